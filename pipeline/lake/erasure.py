"""Take every row of erased devices out of the lake: only files that name them are written again, the rest stays as is.

The tombstone comes first, and nothing is done before what was staged ahead of it is published: from then on no new file
names the devices. Then each directory that holds them is exchanged for one that does not. Killed at any moment, the
next call goes on; a tombstone is done when every directory has been looked at. Rows of derived tables depend on
their own device alone, so they need no computing anew; roll-ups see by the files that they do. A replaced directory
lies outside its table until its grace is over, and then it is deleted.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.fault import point
from pipeline.lake.at_hand import days_at_hand
from pipeline.lake.commit import Commit, LakeLockedError, LakeRefusedError
from pipeline.lake.compaction import read, row_hash, sort
from pipeline.lake.draft import Draft
from pipeline.lake.encoding import PROVED
from pipeline.lake.exchange import exchanging, listing, recorded, settle_all
from pipeline.lake.folder import STAGING
from pipeline.lake.jobs import recording
from pipeline.lake.lake import Lake
from pipeline.lake.lineage import Lineage, merge, pack, read_lineage
from pipeline.lake.packing import DEVICE, write_compacted
from pipeline.lake.tables import REJECTED, TABLES, Table
from pipeline.lake.tombstones import Tombstones, laid, lay, names_any, note_done
from pipeline.lake.vanished import has_vanished, read_again

JOB: Final = "erase"
STAGED_S: Final = 120.0
"""How long a running flow may take to publish what it had staged: many epochs."""
POLL_S: Final = 0.2

Directory = tuple[str, date]
"""Table and day."""


def take_down(lake: Lake, devices: Iterable[str]) -> None:
    """Lay a tombstone for these pseudonyms, unless they have one."""
    if new := set(devices) - Tombstones(lake).devices():
        lay(lake, new)


def is_named(lake: Lake, device: str) -> bool:
    """Tell whether any row of a lake names this device id as it is, as the rows of a recording do."""
    return any(_rows_of(lake, TABLES[table], day, [device]) for table, day in _directories(lake))


def remains(lake: Lake) -> Counter[str]:
    """Return how many rows of a lake name a device that has a tombstone, by table."""
    devices, found = sorted(Tombstones(lake).devices()), Counter[str]()
    for table, day in _directories(lake):
        if rows := _rows_of(lake, TABLES[table], day, devices):
            found[table] += rows
    return found


def finish(
    lake: Lake, *, patience_s: float = STAGED_S, track: Callable[[list[Directory]], Iterable[Directory]] = iter
) -> Counter[str]:
    """Erase what is left of every tombstone that is not done; return the rows that went, by table.

    Where all are done all are looked at again, for a lake may have been restored from a copy that is older than they.
    Raises LakeRefusedError while a commit that names a device is pending and no flow runs that would publish it.
    """
    every = laid(lake)
    tombstones = [each.tombstone for each in every if not each.done] or [each.tombstone for each in every]
    devices = sorted({device for tombstone in tombstones for device in tombstone.devices})
    erased: Counter[str] = Counter()
    if not devices:
        return erased
    with recording(lake, JOB, tombstones=", ".join(str(tombstone.id) for tombstone in tombstones)) as job:
        _wait_for_staged(lake, devices, patience_s)
        for table, day in track(_directories(lake)):
            if rows := _erase_day(lake, TABLES[table], day, devices):
                erased[table] += rows
                job.count(rows, dropped=rows)
        for tombstone in tombstones:
            note_done(lake, tombstone)
    return erased


def naming(table: str, paths: Sequence[Path], devices: Sequence[str]) -> dict[Path, int]:
    """Return the files that name one of the devices, with the rows that do."""
    if not paths or not devices:
        return {}
    if table == REJECTED.name:
        found = {path: pc.sum(names_any(table, _columns(path), devices)).as_py() or 0 for path in paths}
        return {path: rows for path, rows in found.items() if rows}
    parameters = {"paths": [str(path) for path in paths], **{f"d{i}": device for i, device in enumerate(devices)}}
    listed = ", ".join(f"$d{i}" for i in range(len(devices)))
    with duckdb.connect() as connection:
        query = f"""
            SELECT filename, count(*) FROM read_parquet($paths, filename = true, union_by_name = true)
            WHERE device_id IN ({listed}) GROUP BY ALL
        """  # noqa: S608 -- names of parameters, which let DuckDB ask the bloom filters
        return {Path(path): rows for path, rows in connection.execute(query, parameters).fetchall()}


def _columns(path: Path) -> pa.Table:
    return pq.ParquetFile(path).read(columns=["device_id", "payload"])


def _directories(lake: Lake) -> list[Directory]:
    tables = (table for table in TABLES.values() if DEVICE in table.schema.names)
    return [(table.name, day) for table in tables for day in sorted(listing(lake, table))]


def _rows_of(lake: Lake, table: Table, day: date, devices: Sequence[str]) -> int:
    """Count a directory's rows that name a device; it is looked at again where another job exchanges it meanwhile."""

    def count() -> int:
        settle_all(lake)
        if lake.place is None:
            return sum(naming(table.name, list(recorded(lake, table, day)), devices).values())
        with days_at_hand(lake, [table], day, day) as root:
            paths = sorted((root / table.name / f"event_date={day}").glob("*.parquet"))
            return sum(naming(table.name, paths, devices).values())

    return read_again(count)


def _erase_day(lake: Lake, table: Table, day: date, devices: Sequence[str]) -> int:
    """Exchange a directory if it names a device; return the rows that went."""
    if lake.place is None and not _rows_of(lake, table, day, devices):
        return 0
    with exchanging(lake, table, day, JOB) as draft:
        named = naming(table.name, draft.present, devices)  # compaction may have been here since
        for path in named:
            _rewrite(draft, table, path, devices)
        draft.replace(named)
        draft.dropped = sum(named.values())
    point("erase.exchanged")
    return sum(named.values())


def _rewrite(draft: Draft, table: Table, path: Path, devices: Sequence[str]) -> None:
    """Write the rows of others in the file again, in their order if it was sorted, with its lineage."""
    rows = read(table, [path])
    named = names_any(table.name, rows, devices)
    kept = rows.filter(pc.invert(named))
    if not kept.num_rows:
        return
    lineage = merge([read_lineage(path)], dropped=pc.sum(named).as_py()) if table.name in PROVED else Lineage()
    to = draft.path()
    write_compacted(to, table, sort(table, kept), pack(lineage))
    if row_hash(to, table.schema.names) != row_hash(kept, table.schema.names):
        raise LakeRefusedError(f"{path}: written without the erased rows it holds other rows than before")


def _wait_for_staged(lake: Lake, devices: Sequence[str], patience_s: float) -> None:
    """Wait until every commit that was staged before the tombstone, and names a device, is published."""
    waiting = [commit for commit in lake.committer().staged() if _names(lake, commit, devices)]
    deadline = time.monotonic() + patience_s
    while waiting:
        waiting = [commit for commit in waiting if _is_staged(lake, commit)]
        for commit in waiting:
            if _has_no_writer(lake, commit.part) and _is_staged(lake, commit):
                raise LakeRefusedError(
                    f"commit {commit.seq} of sink partition {commit.part} names a device to be erased, and the flow "
                    "that staged it was killed: start parkpal run, which publishes it, then parkpal lake erase again; "
                    "until then all else stays as it is, and no new row of these devices is taken"
                )
        if waiting and time.monotonic() > deadline:
            raise LakeRefusedError(
                f"the flow has not published its staged commits within {patience_s:.0f} s: see why it stands still, "
                "then parkpal lake erase again"
            )
        time.sleep(POLL_S if waiting else 0)


def _names(lake: Lake, commit: Commit, devices: Sequence[str]) -> bool:
    """Tell whether a pending commit may name a device: by its files, or if one of them is no longer in staging.

    Such a commit is being published, and what readers see of it has no record yet.
    """
    for file in commit.files:
        staged = lake.root / STAGING / f"k{commit.part}-{commit.seq:08d}-{file.path.replace('/', '+')}"
        try:
            if lake.place is not None or naming(file.table, [staged], devices):
                return True
        except (duckdb.Error, FileNotFoundError) as error:
            if not has_vanished(error):
                raise
            return True
    return False


def _is_staged(lake: Lake, commit: Commit) -> bool:
    return (commit.part, commit.seq) in {(each.part, each.seq) for each in lake.committer().staged()}


def _has_no_writer(lake: Lake, part: int) -> bool:
    try:
        descriptor = lake.lock(part)
    except LakeLockedError:
        return False
    os.close(descriptor)
    return True
