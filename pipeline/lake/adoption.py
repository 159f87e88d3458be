"""Go on with a lake whose recovery store is lost: what was remembered of the devices follows from the log's last day.

The commits say up to where the log is in the lake. So the log is read from WARM_UP before that without writing
anything, until the flow remembers what it did, and then on as ever. What it had decided by its clock alone, after the
last message it read, comes again; rows of derived tables have ids, and those the lake holds already are left out for a
day of the log.

What a device had kept open for longer than WARM_UP begins anew there: a drive or a visit of that length is told by its
rest.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.fault import point
from pipeline.lake.commit import VERSION, Commit, Committer, decode_known
from pipeline.lake.exchange import settle_all
from pipeline.lake.folder import COMMITS, sync_directory, write_synced, writing
from pipeline.lake.lake import Lake
from pipeline.lake.reader import connect
from pipeline.lake.tables import CIRCLING_SESSIONS, GEOFENCE_EVENTS, PARK_EVENTS, SEARCH_HINTS, TRIPS
from pipeline.lake.vanished import read_again

WARM_UP: Final = timedelta(hours=26)
"""A device is forgotten a day after its last event, and rows come at most two hours late."""
RECOVERY: Final = "_recovery"
_RECORD: Final = "adopted.json"
_KEYS: Final = {
    GEOFENCE_EVENTS.name: "event_id",
    PARK_EVENTS.name: "event_id",
    TRIPS.name: "trip_id",
    CIRCLING_SESSIONS.name: "session_id",
    SEARCH_HINTS.name: "hint_id || CASE WHEN cleared_at IS NULL THEN ' raised' ELSE ' cleared' END",
}
"""What `key_of` returns, as the views have it."""


class Source(msgspec.Struct, frozen=True):
    """A partition of the log: the lake has its rows up to `next`; read it again from `first` on."""

    stream: str
    partition: int
    first: int
    next: int


class Part(msgspec.Struct, frozen=True):
    """A sink partition as it was adopted: its newest commit, and the newest receive_time in it (ms UTC)."""

    seq: int
    receive_time: int | None


class Adoption(msgspec.Struct, frozen=True, kw_only=True):
    """The state that stands in place of the lost one, for whoever starts without any."""

    version: int = VERSION
    sources: tuple[Source, ...] = ()
    parts: dict[str, Part] = {}


def adopt(lake: Lake) -> Adoption:
    """Publish what is whole and pending, drop the recovery store, and note from where to read the log.

    Raises LakeLockedError while a flow runs, LakeRefusedError where the records cannot be gone on from, LakeWriteError.
    """
    with ExitStack() as stack:
        stack.callback(os.close, lake.lock_run())
        for part in range(lake.format.sink_partitions):
            stack.callback(os.close, lake.lock(part))
        _publish_pending(lake)
        adoption = _take_stock(lake)
        _write(lake, adoption)
        point("adopt.noted")
        lost = lake.root / f"{RECOVERY}.lost"
        if (lake.root / RECOVERY).exists():
            shutil.rmtree(lost, ignore_errors=True)
            (lake.root / RECOVERY).rename(lost)
        shutil.rmtree(lost, ignore_errors=True)
    return adoption


def read_adoption(lake: Lake) -> Adoption:
    """Return what the last adoption noted, an empty one if there was none."""
    path = lake.root / COMMITS / _RECORD
    try:
        return decode_known(_DECODER, path.read_bytes(), str(path))
    except FileNotFoundError:
        return Adoption()


def ids_to_leave_out(lake: Lake, part: int, last: Commit | None) -> Mapping[str, pa.Array]:
    """Return the ids of derived rows that may come again, by table; none once the adoption is a day of the log old."""
    adopted = read_adoption(lake).parts.get(str(part))
    if adopted is None or adopted.receive_time is None or last is None or last.receive_time is None:
        return {}
    if last.receive_time > adopted.receive_time + WARM_UP // timedelta(milliseconds=1):
        return {}
    since = (datetime.fromtimestamp(adopted.receive_time / 1000, UTC) - 2 * WARM_UP).date()
    return read_again(lambda: _ids_since(lake, since))


def key_of(table: str, batch: pa.RecordBatch) -> pa.Array:
    """Return what tells a derived row: its id, and of a search hint whether it is raised or cleared."""
    if table != SEARCH_HINTS.name:
        return batch.column(0)
    step = pc.if_else(pc.is_null(batch["cleared_at"]), "raised", "cleared")
    return pc.binary_join_element_wise(batch["hint_id"], step, " ")


def _ids_since(lake: Lake, since: date) -> dict[str, pa.Array]:
    settle_all(lake)
    with connect(lake) as connection:
        return {
            table: _texts(
                connection.execute(
                    f"SELECT {key} FROM {table} WHERE event_date >= $since",  # noqa: S608 -- ours
                    {"since": since},
                ).fetchall()
            )
            for table, key in _KEYS.items()
        }


def _texts(rows: Iterable[tuple[str]]) -> pa.Array:
    return pa.array([text for (text,) in rows], pa.string())


def _publish_pending(lake: Lake) -> None:
    """Publish each commit that follows the last one: it is whole, and nothing else will write its rows."""
    committer = lake.committer()
    for commit in list(committer.staged()):
        last = committer.published(commit.part)
        if commit.seq == (last.seq if last else 0) + 1:
            committer.publish(commit)
    for part in range(lake.format.sink_partitions):
        committer.discard(part)


def _take_stock(lake: Lake) -> Adoption:
    committer = lake.committer()
    newest = {part: committer.published(part) for part in range(lake.format.sink_partitions)}
    parts = {str(part): Part(last.seq, last.receive_time) for part, last in newest.items() if last}
    firsts = _firsts(committer, {part: last for part, last in newest.items() if last})
    sources = [
        Source(at.stream, at.partition, firsts.get((at.stream, at.partition), at.next), at.next)
        for last in newest.values()
        if last
        for at in last.offsets
    ]
    return Adoption(sources=tuple(sources), parts=parts)


def _firsts(committer: Committer, newest: Mapping[int, Commit]) -> dict[tuple[str, int], int]:
    """Return the least offset of each log partition in the commits that reach into the last WARM_UP."""
    firsts: dict[tuple[str, int], int] = {}
    for commit in committer.commits():
        until = newest[commit.part].receive_time
        if until is None or commit.receive_time is None:
            continue
        if commit.receive_time >= until - WARM_UP // timedelta(milliseconds=1):
            for extent in commit.extents:
                source = extent.stream, extent.partition
                firsts[source] = min(extent.first, firsts.get(source, extent.first))
    return firsts


def _write(lake: Lake, adoption: Adoption) -> None:
    path = lake.root / COMMITS / _RECORD
    with writing(lake.root):
        draft = path.with_suffix(".making")
        write_synced(draft, msgspec.json.encode(adoption))
        draft.rename(path)
        sync_directory(path.parent)


_DECODER: Final = msgspec.json.Decoder(Adoption)
