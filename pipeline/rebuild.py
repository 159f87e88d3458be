"""Derived tables of given days decided anew and put in place of what is there: how a detector's fix reaches history.

Whole days are replaced, each at once. The flow must have decided them to the end, since what it decides later would
come beside the rebuilt rows. Killed at any moment, the same call again does the rest.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from geo.fence_index import FenceIndex
from pipeline.fault import point
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.encoding import encode
from pipeline.lake.exchange import exchanging, settle_all
from pipeline.lake.jobs import recording
from pipeline.lake.lake import Lake
from pipeline.lake.retention import expired_days
from pipeline.lake.tables import TABLES
from pipeline.lake.tombstones import Tombstones, without
from pipeline.network import Roads
from pipeline.recompute import DERIVED, SETTLES_MS, Days, first_whole_day, is_settled, recompute, settled_until

JOB: Final = "rebuild"

Told = Callable[[str, date, int, int], None]
"""Is told of a table and day: rows before, rows now."""


def rebuild(
    lake: Lake, index: FenceIndex, days: Days, tables: Iterable[str], told: Told, roads: Roads | None = None
) -> None:
    """Replace these tables' rows of these days by what the detectors decide now from `positions`.

    Raises ValueError for a table that is not derived, LakeRefusedError for a day that is still being decided or whose
    facts are expired.
    """
    tables = sorted(set(tables))
    if unknown := set(tables) - set(DERIVED):
        raise ValueError(f"{min(unknown)} is not derived: only {', '.join(DERIVED)} can be rebuilt")
    _check_settled(lake, days)
    _check_facts(lake, days)
    settle_all(lake)
    rows: defaultdict[tuple[str, date], list[pa.RecordBatch]] = defaultdict(list)
    for decided in recompute(lake, index, days, roads):
        if decided.certain:
            rows[decided.table, decided.day].append(decided.rows)
    _check_facts(lake, days)  # retention may have come between
    with recording(lake, JOB, tables=", ".join(tables), days=f"{days.first} to {days.last}") as job:
        for table in tables:
            for day in days.each():
                before, now = _replace(lake, table, day, rows[table, day])
                job.count(now)
                told(table, day, before, now)
                point("rebuild.replaced")


def _check_settled(lake: Lake, days: Days) -> None:
    until = settled_until(lake)
    for day in days.each():
        if not is_settled(day, until):
            heard = datetime.fromtimestamp(max(0, until + SETTLES_MS) / 1000, UTC)
            raise LakeRefusedError(
                f"{day} is still being decided: the flow has read up to {heard:%Y-%m-%d %H:%M} UTC, and a day is "
                f"complete {SETTLES_MS // 3_600_000} h after its end. Rebuild it then, or end the lake (parkpal run "
                "--until-end) if its log has ended"
            )


def _check_facts(lake: Lake, days: Days) -> None:
    if (whole := first_whole_day(lake)) > days.first:
        raise LakeRefusedError(
            f"the facts of {days.first}, or what led up to them, are expired: {whole} is the first day to be rebuilt"
        )


def _replace(lake: Lake, table: str, day: date, batches: list[pa.RecordBatch]) -> tuple[int, int]:
    """Exchange one day of one table; return the rows before and now.

    An erasure that begins later waits for the exchange, so that it finds what is put here.
    """
    with exchanging(lake, TABLES[table], day, JOB) as draft:
        if day in expired_days(lake, table):  # a dropped day never returns, and from here on retention waits
            raise LakeRefusedError(f"{table}, {day}: expired, so there is nothing to rebuild")
        before = sum(pq.read_metadata(path).num_rows for path in draft.present)
        erased = Tombstones(lake).devices()
        rows = pa.Table.from_batches([without(table, batch, erased)[0] for batch in batches], TABLES[table].schema)
        draft.replace(draft.present)
        draft.dropped = None
        if len(rows):
            draft.path().write_bytes(encode(TABLES[table], rows))
    return before, len(rows)
