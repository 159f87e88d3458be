"""The derived tables of given days, decided anew from `positions` by the detectors that the flow runs.

One rule: a row is a function of its device's facts and the fences, so the same rows come out as the flow wrote,
whatever the order of the files. Facts are read a device at a time: from WARM_UP before the first day, which lets the
detectors remember what they would, to COOL_DOWN behind the last, by when all of that day is decided. What a device has
kept open for longer than WARM_UP without a silence of 20 h, a visit or a parked car, begins there instead.

What the flow has not decided yet is not its rows' absence: `settled_until` says up to when it has decided everything.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from typing import Final, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geo.fence_index import FenceIndex
from geo.fix import ACTIVITIES, FIX, NULL_CODE, NULL_DEGREES, NULL_TIME, FixArray
from geo.holding import FOREVER
from geo.order import CLOCK_SLACK_MS
from geo.reorder import released_again
from pipeline.detection import Detection
from pipeline.lake.at_hand import days_at_hand
from pipeline.lake.commit import Commit
from pipeline.lake.ending import ended_parts
from pipeline.lake.lake import Lake
from pipeline.lake.retention import expired_days
from pipeline.lake.tables import (
    CIRCLING_SESSIONS,
    GEOFENCE_EVENTS,
    PARK_EVENTS,
    POSITIONS,
    SEARCH_HINTS,
    TABLES,
    TRIPS,
)
from pipeline.lake.writer import DAY_MS, by_day
from pipeline.network import Roads

DERIVED: Final = tuple(table.name for table in (GEOFENCE_EVENTS, PARK_EVENTS, TRIPS, CIRCLING_SESSIONS, SEARCH_HINTS))
"""Tables whose rows are decided from `positions`."""
WARM_UP: Final = timedelta(days=7)
COOL_DOWN: Final = timedelta(days=2)
"""No decision takes longer than 26 h: two hours until a row is late, two and ten minutes of silence, a day on hold."""
SETTLES_MS: Final = 26 * 3_600_000
DEVICES_AT_ONCE_ROWS: Final = 1_000_000

_EPOCH: Final = date(1970, 1, 1)
_NULLS: Final = {
    "device_time": NULL_TIME,
    "seq": NULL_TIME,
    "lat": NULL_DEGREES,
    "lon": NULL_DEGREES,
    "activity": NULL_CODE,
    "activity_confidence": NULL_CODE,
}


@dataclass(frozen=True)
class Days:
    """UTC days, both included."""

    first: date
    last: date

    def each(self) -> list[date]:
        """Return them one by one."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]


class Decided(NamedTuple):
    """Rows of one table and one day; `certain` unless they close what the log may still go on with."""

    table: str
    day: date
    rows: pa.RecordBatch
    certain: bool


def settled_until(lake: Lake) -> int:
    """Return the time (ms UTC) before which the flow has decided everything; FOREVER for a lake that was ended.

    That is the log time up to which every sink partition that takes positions, and is not ended, has read, less 26 h.
    """
    committer, ended = lake.committer(), ended_parts(lake)
    newest = [committer.published(part) for part in range(lake.format.sink_partitions)]
    times = [
        commit.receive_time
        for commit in newest
        if commit and commit.receive_time is not None and _read_by(commit) - ended
    ]
    if ended and not times:
        return FOREVER
    return min(times, default=0) - CLOCK_SLACK_MS - SETTLES_MS


def first_whole_day(lake: Lake) -> date:
    """Return the first day of which retention has taken neither facts nor what led up to them."""
    expired = expired_days(lake, POSITIONS.name)
    return max(expired) + timedelta(days=1) + WARM_UP if expired else date.min


def is_settled(day: date, until: int) -> bool:
    """Tell whether all of a day lies before that time."""
    return _midnight(day + timedelta(days=1)) <= until


def recompute(lake: Lake, index: FenceIndex, days: Days, roads: Roads | None = None) -> Iterator[Decided]:
    """Decide the derived rows of these days again; `index` holds every version of every fence."""
    clock = min(_midnight(days.last + COOL_DOWN + timedelta(days=1)), settled_until(lake) + SETTLES_MS)
    for facts in _by_device(lake, days):
        ids, slot, rows, late = _to_rows(facts)
        detection = Detection(roads=roads)
        detection.grow(len(ids))
        decided = detection.advance(index, FOREVER, released_again(slot, rows, late), ids)
        decided += detection.expire(index, clock, ids)
        yield from _of_days(decided, days, certain=True)
        yield from _of_days(detection.expire(index, FOREVER, ids), days, certain=False)


def _read_by(commit: Commit) -> set[str]:
    """Return the names of the log's partitions of positions that the sink partition has read."""
    return {f"{at.stream}-{at.partition:02d}" for at in commit.offsets if at.stream == POSITIONS.name}


def _midnight(day: date) -> int:
    return (day - _EPOCH).days * DAY_MS


def _by_device(lake: Lake, days: Days) -> Iterator[pa.Table]:
    """Yield the facts that these days need, all of a device in one table, many devices at once."""
    first, last = days.first - WARM_UP, days.last + COOL_DOWN
    with days_at_hand(lake, [POSITIONS], first, last) as root, duckdb.connect() as connection:
        parameters = {
            "positions": str(root / POSITIONS.name / "**" / "*.parquet"),
            "activities": list(ACTIVITIES),
            "first": first,
            "last": last,
            "near_first": days.first - timedelta(days=1),
            "near_last": days.last + timedelta(days=1),
        }
        reader = connection.sql(_FACTS, params=parameters).to_arrow_reader(DEVICES_AT_ONCE_ROWS // 4)
        held = reader.schema.empty_table()
        for batch in reader:
            held = pa.concat_tables([held, pa.Table.from_batches([batch])])
            last = pc.index(held["device_id"], held["device_id"][-1]).as_py()
            if last and len(held) >= DEVICES_AT_ONCE_ROWS:
                yield held.slice(0, last)
                held = held.slice(last)
    if len(held):
        yield held


def _to_rows(facts: pa.Table) -> tuple[list[bytes], NDArray[np.int32], FixArray, NDArray[np.bool_]]:
    """Return the device ids, and by row its device, its record and whether it was late."""
    device = facts["device_id"].combine_chunks().dictionary_encode()
    rows = np.zeros(len(facts), FIX)
    for name in facts.schema.names[1:-1]:
        column = facts[name]
        rows[name] = (column.fill_null(_NULLS[name]) if name in _NULLS else column).to_numpy()
    slot = device.indices.to_numpy().astype(np.int32)
    return [each.encode() for each in device.dictionary.to_pylist()], slot, rows, facts["late"].to_numpy()


def _of_days(decided: list[tuple[str, pa.RecordBatch]], days: Days, *, certain: bool) -> Iterator[Decided]:
    for table, batch in decided:
        for number, rows in by_day(TABLES[table], batch):
            day = _EPOCH + timedelta(days=number)
            if days.first <= day <= days.last:
                yield Decided(table, day, rows, certain)


_FACTS: Final = files(__package__).joinpath("recompute.sql").read_text()
