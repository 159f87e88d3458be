"""Roll-ups: what the published statistics need, counted from the lake a day at a time and never corrected in place.

A day is stale if its roll-up was not made from the files that the day's tables hold now: each roll-up carries a digest
of their names in its footer. Names in the lake are never used twice, so late rows, compaction, erasure and rebuild are
all seen, whoever makes them, and nobody has to tell. A day of which retention has taken rows is left as it is. Bins of
a week lie in the day of its Monday and are made once the week is over, from all seven days.

K-anonymity is decided here, for each bin from its own rows: `publish_*` says which bins may be shown.
"""

import fcntl
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic
from typing import Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from geo.survival import BEYOND, CLASS_S, SEARCHER_S
from pipeline.lake.catalog import define_macros, quote
from pipeline.lake.exchange import exchanging, settle_all, swaps, sweep
from pipeline.lake.folder import locked
from pipeline.lake.freshness import newest_receive_time, write_rolled_up
from pipeline.lake.lake import Lake, LakeMissingError
from pipeline.lake.named_sql import load_named
from pipeline.lake.retention import RETAIN
from pipeline.lake.tables import (
    CELL_METRICS,
    CELL_METRICS_WIDE,
    GEOFENCE_EVENTS,
    PARK_EVENTS,
    POSITIONS,
    ROLLUPS,
    TRIPS,
    ZONE_METRICS,
    ZONE_METRICS_WIDE,
    Table,
)
from pipeline.lake.vanished import forgiven

VERSION: Final = 1
"""Of what is counted and how; another one makes every day stale."""
SOURCES: Final = (POSITIONS, GEOFENCE_EVENTS, PARK_EVENTS, TRIPS)
QUARTERS: Final = (*CELL_METRICS.values(), ZONE_METRICS)
WIDE: Final = (CELL_METRICS_WIDE, ZONE_METRICS_WIDE)
K_DEVICES: Final = 10
K_CONTRIBUTIONS: Final = 20
MOST_OF_ONE: Final = 2

JOB: Final = "rollup"
MADE_FROM: Final = b"parkpal.made_from"
EVERY_S: Final = 15.0
SHARE: Final = 9
"""Between passes is this many times what the last one took."""
MEMORY: Final = "2GB"
ROW_GROUP: Final = 16_384
"""Rows lie in order of place, so that a question about some places reads few groups."""

_COUNT: Final = load_named("pipeline.lake", "rollups.sql")
_PARAMETERS: Final = {
    "most_of_one": MOST_OF_ONE,
    "class_s": CLASS_S,
    "beyond": BEYOND,
    "searcher_s": SEARCHER_S,
    "k_devices": K_DEVICES,
    "k_contributions": K_CONTRIBUTIONS,
}


class Stale(NamedTuple):
    """Tables whose roll-up of the day is to be made anew, from the rows of these days."""

    day: date
    made_of: tuple[date, ...]
    tables: tuple[Table, ...]


Progress = Callable[[list[Stale]], Iterable[Stale]]
"""Hands through what is to be made anew, and may show how far it is."""


def refresh(lake: Lake, progress: Progress = iter) -> int:
    """Make anew whatever is stale and return how much it was; one process at a time, another waits.

    Raises LakeRefusedError, LakeWriteError, and what is `forgiven` if a day was exchanged meanwhile: try again.
    """
    if lake.place is not None:
        raise ValueError("roll-ups are made in a lake that is a folder")
    with locked(lake.root, JOB, fcntl.LOCK_EX):
        settle_all(lake)
        through = newest_receive_time(lake)
        if through is None:
            return 0
        stale = find_stale(lake, through)
        for each in progress(stale):
            _make(lake, each)
        write_rolled_up(lake, through)
        sweep(lake)
    return len(stale)


def keep(url: str, stopped: Event) -> None:
    """Refresh the lake's roll-ups from time to time, and once more when `stopped` is set; the lake may come later.

    Days that are compacted meanwhile are made next time. Raises LakeRefusedError, LakeWriteError.
    """
    took_s = 0.0
    while True:
        last = stopped.wait(max(EVERY_S, took_s * SHARE))
        began = monotonic()
        with suppress(LakeMissingError), forgiven():
            refresh(Lake.open(url))
        if last:
            return
        took_s = monotonic() - began


def find_stale(lake: Lake, through: int) -> list[Stale]:
    """Return what is not made from the files that are there now, in order of days."""
    sources = {table.name for table in SOURCES}
    expired = {date.fromisoformat(swap.day) for swap in swaps(lake) if swap.job == RETAIN and swap.table in sources}
    known = {day for table in (*SOURCES, *ROLLUPS.values()) for day in _days(lake, table)}
    return [stale for day in sorted(known - expired) for stale in _stale_of(lake, day, through)]


def _stale_of(lake: Lake, day: date, through: int) -> Iterator[Stale]:
    for made_of, tables in _split(day, through):
        digest = _digest(made_of, _list_inputs(lake, made_of))
        stale = tuple(table for table in tables if _made_from(lake, table, day) != digest)
        if stale:
            yield Stale(day, made_of, stale)


def _split(day: date, through: int) -> Iterator[tuple[tuple[date, ...], tuple[Table, ...]]]:
    """Yield tables with the days they are made of: a week for the wide ones if one that is over begins on this day."""
    week = tuple(day + timedelta(days=n) for n in range(7))
    end = datetime.combine(week[-1], time(), UTC) + timedelta(days=1)
    if day.weekday() == 0 and end.timestamp() * 1000 <= through:
        yield (day,), QUARTERS
        yield week, WIDE
    else:
        yield (day,), (*QUARTERS, *WIDE)


def _make(lake: Lake, stale: Stale) -> None:
    """Count anew and put each table's rows of the day in place of what it had."""
    inputs = _list_inputs(lake, stale.made_of)
    digest = _digest(stale.made_of, inputs)
    with TemporaryDirectory() as spill, duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{MEMORY}'; SET temp_directory = {quote(spill)}; SET TimeZone = 'UTC'")
        define_macros(connection)
        for table in SOURCES:
            connection.execute(_view(lake, table, inputs))
        for text in _COUNT.values():
            connection.execute(text, {name: value for name, value in _PARAMETERS.items() if f"${name}" in text})
        for table in stale.tables:
            rows = connection.sql(_select(table, stale)).to_arrow_table()
            _replace(lake, table, stale.day, rows, digest)


def _replace(lake: Lake, table: Table, day: date, rows: pa.Table, digest: str) -> None:
    rows = rows.cast(table.schema).replace_schema_metadata({MADE_FROM: digest})
    with exchanging(lake, table, day, JOB) as draft:
        draft.dropped = None
        draft.replace(draft.present)
        pq.write_table(rows, draft.path(), compression="zstd", row_group_size=ROW_GROUP)


def _select(table: Table, stale: Stale) -> str:
    """Return the query of the table's rows of the day, by place and time; no weeks of single days."""
    resolution = next((r for r, each in CELL_METRICS.items() if each is table), None)
    of_zone = table in (ZONE_METRICS, ZONE_METRICS_WIDE)
    place = "resolution = 0" if of_zone else "resolution > 0" if resolution is None else f"resolution = {resolution}"
    widest = 604_800 if len(stale.made_of) > 1 else 86_400
    width = f"bin_s BETWEEN 3600 AND {widest}" if table in WIDE else "bin_s = 900"
    return f"""
        SELECT {", ".join(table.schema.names)} FROM rollup
        WHERE {place} AND {width} AND bin_start::DATE = {quote(stale.day)}::DATE
        ORDER BY resolution, cell, zone_id, bin_start
    """  # noqa: S608 -- names come from tables.py


def _view(lake: Lake, table: Table, inputs: Iterable[Path]) -> str:
    """Return the view of those inputs that are the table's, which may be none."""
    schema = lake.root / table.name / "event_date=1970-01-01" / "schema.parquet"
    listed = ", ".join(quote(path) for path in (schema, *inputs) if path.parent.parent.name == table.name)
    return f"""
        CREATE OR REPLACE TEMP VIEW {table.name} AS
        SELECT * FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = false)
    """  # noqa: S608 -- paths are quoted


def _list_inputs(lake: Lake, days: Iterable[date]) -> list[Path]:
    return [path for day in days for table in SOURCES for path in _files(lake, table, day)]


def _digest(days: Iterable[date], inputs: Iterable[Path]) -> str:
    """Return the digest of the names of the files that a roll-up is made from."""
    names = (f"{path.parent.parent.name}/{path.parent.name}/{path.name}" for path in inputs)
    return sha256("\n".join([f"rollup@{VERSION}", *map(str, days), *names]).encode()).hexdigest()


def _made_from(lake: Lake, table: Table, day: date) -> str | None:
    """Return the digest that the day's roll-up carries, None without one."""
    paths = _files(lake, table, day)
    metadata = pq.read_metadata(paths[0]).metadata or {} if len(paths) == 1 else {}
    return metadata[MADE_FROM].decode() if MADE_FROM in metadata else None


def _files(lake: Lake, table: Table, day: date) -> list[Path]:
    return sorted((lake.root / table.name / f"event_date={day}").glob("*.parquet"))


def _days(lake: Lake, table: Table) -> Iterator[date]:
    """Yield the days of which the table has a directory, but for the one that only holds the schema."""
    for path in (lake.root / table.name).glob("event_date=*"):
        if not (path / "schema.parquet").exists():
            yield date.fromisoformat(path.name.partition("=")[2])
