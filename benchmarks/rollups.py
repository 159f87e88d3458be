"""What making roll-ups costs, and answering from them, beside counting the same from positions, in one run.

    python -m benchmarks.rollups --rows 7000000 --days 7

A query is what the API asks: planned, run, and read through its reader. Times are ms; on a shared machine wall time
tells of the neighbours too, so CPU time of the whole process stands beside it.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from api.analytics.boxes import Box, box_to_areas
from api.analytics.publish import choose_period, publish_cells, publish_zones
from api.analytics.reader import LakeReader
from benchmarks.lake_days import CENTRE, FIRST, day_of
from pipeline.lake.commit import Extent
from pipeline.lake.lake import Lake
from pipeline.lake.rollups import refresh
from pipeline.lake.tables import GEOFENCE_EVENTS, TRIPS, Table
from pipeline.lake.writer import PartitionWriter, publish_pending

ROUNDS: Final = 300
COUNTED: Final = """
    SELECT cell, start, count(DISTINCT device_id) AS devices, count(DISTINCT (device_id, slot)) AS presences FROM (
        SELECT h3_parent(h3_r9, 8) AS cell, device_id, epoch_ms(event_time) // 300000 AS slot,
            epoch_ms(event_time) // 900000 AS start
        FROM positions WHERE event_date = $day::DATE AND h3_r9 IS NOT NULL
    ) GROUP BY ALL
"""
"""Presences by cell and quarter of an hour of one day: the narrowest bins alone."""
DRIVEN: Final = """
    SELECT *, ['parked', 'parked', 'parked', 'gave_up', 'unknown'][1 + chance % 5] AS outcome, 'high' AS quality,
        if(chance % 3 = 0, 0, chance % 900)::DOUBLE AS search_s, 'zone-' || (h3_r9 >> 18) % 64 AS zone_id
    FROM (
        SELECT md5(device_id || seq // 144) AS trip_id, device_id, min(event_time) AS trip_start,
            max(event_time) AS trip_end, arg_max(h3_r9, event_time) AS h3_r9,
            (hash(device_id, seq // 144) % 1000000)::BIGINT AS chance
        FROM positions GROUP BY device_id, seq // 144
    )
"""
"""A drive every 144 fixes, as benchmarks.lake_days makes them, with an end and a search by chance."""
VISITED: Final = """
    SELECT trip_id || kind AS event_id, device_id, zone_id AS fence_id, kind,
        CASE kind WHEN 'enter' THEN trip_start ELSE trip_end END AS event_time,
        CASE kind WHEN 'exit' THEN epoch(trip_end - trip_start) END AS dwell_s
    FROM trips CROSS JOIN (VALUES ('enter'), ('exit')) AS kinds (kind)
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="positions of all days together")
    parser.add_argument("--days", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.create(folder + "/lake")
        rows = sum(_fill(lake, arguments.days, arguments.rows // arguments.days))
        began = time.process_time()
        made = refresh(lake)
        spent = time.process_time() - began
        size = sum(path.stat().st_size for path in Path(folder).glob("lake/*_metrics*/**/*.parquet"))
        print(f"{rows:,} positions, {arguments.days} days; roll-ups {size / 1e6:.1f} MB")
        print(f"making {made} days: {spent:.1f} CPU s, {rows / spent / 1e6:.2f} M rows per CPU second\n")
        print(f"{'question':44} {'bins':>6} {'wall p50':>9} {'wall p99':>9} {'CPU p50':>9} {'CPU p99':>9}")
        for name, question, rounds in _questions(lake):
            _show(name, question, rounds)


def _fill(lake: Lake, days: int, rows: int) -> Iterator[int]:
    """Write the days, with a drive and a visit for each drive of a phone; yield the rows of each."""
    writer = PartitionWriter.open(lake, 0, None)
    for number in range(days):
        positions = day_of(number, rows)
        trips = _derive(TRIPS, DRIVEN, positions=pa.table(positions))
        visits = _derive(GEOFENCE_EVENTS, VISITED, trips=trips)
        for table, batch in (("positions", positions), ("trips", trips), ("geofence_events", visits)):
            for piece in [batch] if isinstance(batch, pa.RecordBatch) else batch.combine_chunks().to_batches():
                writer.append(table, piece)
        writer.extend(Extent("positions", 0, number, number + 1, positions.num_rows))
        writer.snapshot()
        yield positions.num_rows
    writer.snapshot()
    writer.close()
    publish_pending(lake)


def _derive(table: Table, query: str, **tables: pa.Table) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, rows in tables.items():
            connection.register(name, rows)
        found = connection.sql(query).to_arrow_table()
    columns = [
        found[name].cast(kind) if name in found.column_names else pa.nulls(len(found), kind)
        for name, kind in zip(table.schema.names, table.schema.types, strict=True)
    ]
    return pa.table(columns, schema=table.schema)


def _questions(lake: Lake) -> Iterator[tuple[str, Callable[[], int], int]]:
    reader = LakeReader(str(lake.root))
    start = datetime.fromtimestamp(FIRST / 1000, UTC)
    period = choose_period(reader, start, start + timedelta(days=1))
    lat, lon = CENTRE
    areas = box_to_areas(Box(lon - 0.011, lat - 0.011, lon + 0.011, lat + 0.011))
    zones = [f"zone-{n}" for n in range(64)]

    def of_cells(statistic: str, resolution: int, within: list[int] | None) -> Callable[[], int]:
        return lambda: len(publish_cells(reader, statistic, period, resolution, within).bins)

    def of_zones(statistic: str, zone_ids: list[str]) -> Callable[[], int]:
        return lambda: len(publish_zones(reader, statistic, period, zone_ids).bins)

    yield "heat map of a day, box of 6 km2, resolution 9", of_cells("cells", 9, areas), ROUNDS
    yield "heat map of a day, everywhere, resolution 8", of_cells("cells", 8, None), ROUNDS
    yield "search times of a day, cells in the box", of_cells("drives_of_cells", 9, areas), ROUNDS
    yield "search times of a day, 64 zones", of_zones("drives_of_zones", zones), ROUNDS
    yield "search times of a day, one zone", of_zones("drives_of_zones", zones[:1]), ROUNDS
    yield "entries and exits of a day, 64 zones", of_zones("visits", zones), ROUNDS
    yield (
        "counted from positions: a day, resolution 8",
        lambda: len(reader.query(COUNTED, {"day": start.date()})),
        ROUNDS // 50,
    )


def _show(name: str, question: Callable[[], int], rounds: int) -> None:
    question()
    wall, cpu, bins = [], [], 0
    for _ in range(rounds):
        began, spent = time.perf_counter(), time.process_time()
        bins = question()
        wall.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - spent))
    shown = (np.percentile(values, share) for values in (wall, cpu) for share in (50, 99))
    print(f"{name:44} {bins:6}" + "".join(f" {value:9.1f}" for value in shown))


if __name__ == "__main__":
    main()
