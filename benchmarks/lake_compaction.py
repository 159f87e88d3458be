"""Bytes, pruning and CPU time of a week of positions, before and after compaction, all in one run.

    python -m benchmarks.lake_compaction --rows 50000000

The floor of the map query is a compiled loop over the matching rows, already in memory: the least that anything can do
that answers it. Times are CPU seconds of the whole process, the best of several.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import h3
import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from benchmarks.lake_days import CENTRE, METRES, day_of, write
from pipeline.lake.catalog import quote
from pipeline.lake.compaction import compact
from pipeline.lake.encoding import encode
from pipeline.lake.exchange import sweep
from pipeline.lake.lake import Lake
from pipeline.lake.tables import POSITIONS

DAYS: Final = 7
ROUNDS: Final = 7
SIX: Final = ("device_id", "event_time", "lat", "lon", "activity", "h3_r9")
RANGES: Final = 8
HALF_BOX_M: Final = 1_225
"""Half the side of a box of 6 km2."""
MAP: Final = """
    SELECT h3_r9, count(*) AS fixes, sum(speed_mps) AS speed
    FROM read_parquet($glob, hive_partitioning = true, hive_types = {{'event_date': DATE}})
    WHERE event_date = $day AND ({cells})
        AND lat BETWEEN $south AND $north AND lon BETWEEN $west AND $east
    GROUP BY h3_r9
"""
SCAN: Final = "SELECT activity, count(*), avg(speed_mps), max(event_time) FROM read_parquet($glob) GROUP BY activity"


class Box:
    """The box on the map, and the ranges of cells that cover it."""

    def __init__(self) -> None:
        half = HALF_BOX_M / METRES
        wide = half / np.cos(np.radians(CENTRE[0]))
        self.corners = {
            "south": CENTRE[0] - half, "north": CENTRE[0] + half, "west": CENTRE[1] - wide, "east": CENTRE[1] + wide,
        }  # fmt: skip
        ring = [
            (self.corners[lat], self.corners[lon])
            for lat, lon in (("south", "west"), ("south", "east"), ("north", "east"), ("north", "west"))
        ]
        cells = h3.h3shape_to_cells_experimental(h3.LatLngPoly(ring), 9, contain="overlap")
        self.ranges = _joined([_range(cell) for cell in h3.compact_cells(cells)])

    def query(self) -> str:
        """Return the map query with its ranges of cells."""
        cells = " OR ".join(f"h3_r9 BETWEEN {first} AND {last}" for first, last in sorted(self.ranges))
        return MAP.format(cells=cells)


def _range(cell: str) -> tuple[int, int]:
    """Return the first and last cell of resolution 9 within a cell."""
    children = h3.cell_to_children(cell, 9)
    return h3.str_to_int(min(children)), h3.str_to_int(max(children))


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join the nearest until few are left: each costs a comparison a row, and the box itself decides in the end."""
    ranges = sorted(ranges)
    while len(ranges) > RANGES:
        at = min(range(len(ranges) - 1), key=lambda at: ranges[at + 1][0] - ranges[at][1])
        ranges[at : at + 2] = [(ranges[at][0], ranges[at + 1][1])]
    return ranges


@njit(cache=True)
def _floor(
    cell: NDArray[np.int64], speed: NDArray[np.float32], slots: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Group by cell with an open hash table: the plainest loop that gives the map query's answer."""
    key = np.zeros(slots, np.int64)
    count = np.zeros(slots, np.int64)
    total = np.zeros(slots, np.float64)
    for i in range(len(cell)):
        slot = ((cell[i] >> 18) * 2_654_435_761) % slots
        while key[slot] not in (0, cell[i]):
            slot = (slot + 1) % slots
        key[slot] = cell[i]
        count[slot] += 1
        if speed[i] == speed[i]:
            total[slot] += speed[i]
    return key, count, total


def _numpy(cell: NDArray[np.int64], speed: NDArray[np.float32]) -> tuple[NDArray[np.int64], ...]:
    """Answer the same in numpy."""
    key, place = np.unique(cell, return_inverse=True)
    return key, np.bincount(place), np.bincount(place, speed)


def cpu(run: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the CPU seconds of the best round."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.process_time()
        run()
        best = min(best, time.process_time() - begun)
    return best


def sizes(connection: duckdb.DuckDBPyConnection, glob: str) -> None:
    """Print bytes a row, by column."""
    columns = connection.execute(
        "SELECT path_in_schema, sum(total_compressed_size), string_agg(DISTINCT encodings) "
        "FROM parquet_metadata($glob) GROUP BY 1",
        {"glob": glob},
    ).fetchall()
    found: tuple[int, int] = connection.execute(
        "SELECT sum(num_rows), sum(file_size_bytes) FROM parquet_file_metadata($glob)", {"glob": glob}
    ).fetchall()[0]
    rows, total = found
    by_name = {name: (size / rows, encodings) for name, size, encodings in columns}
    for name in POSITIONS.schema.names:
        print(f"  {name:20} {by_name[name][0]:6.2f} B/row  {by_name[name][1]}")
    six = sum(by_name[name][0] for name in SIX)
    print(f"  six columns {six:.2f} B/row, all columns with footers and bloom filters {total / rows:.2f} B/row")


def pruning(connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, Any]) -> str:
    """Return what EXPLAIN ANALYZE says of the row groups of the scan."""
    plan = connection.execute("EXPLAIN ANALYZE " + query, parameters).fetchall()[0][1]
    return "; ".join(
        line.strip("│ ").strip() for line in plan.splitlines() if "Row Groups" in line or "Files Read" in line
    )


def minute_files(batch: pa.RecordBatch, folder: Path, day: date) -> str:
    """Write a day as one file a minute, as they would lie without compaction; return their glob."""
    place = folder / "minutes" / f"event_date={day}"
    place.mkdir(parents=True)
    size = -(-batch.num_rows // 1440)
    for minute in range(1440):
        piece = pa.Table.from_batches([batch.slice(minute * size, size)])
        (place / f"m-{minute:04}.parquet").write_bytes(encode(POSITIONS, piece))
    return f"{folder}/minutes/**/*.parquet"


def floors(connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, Any]) -> tuple[float, float, int]:
    """Return CPU seconds of the compiled loop and of numpy over the matching rows, and how many those are."""
    plain = query.replace("count(*) AS fixes, sum(speed_mps) AS speed", "speed_mps").replace("GROUP BY h3_r9", "")
    rows = connection.execute(plain, parameters).fetchnumpy()
    cell, speed = np.ascontiguousarray(rows["h3_r9"]), np.ascontiguousarray(rows["speed_mps"], np.float32)
    _floor(cell, speed, 4096)
    return cpu(lambda: _floor(cell, speed, 4096), 50), cpu(lambda: _numpy(cell, speed), 10), len(cell)


def map_query(connection: duckdb.DuckDBPyConnection, glob: str, minutes: str, day: date) -> None:
    """Print the map query's cost beside the floor and beside minute files."""
    box = Box()
    parameters = {"glob": glob, "day": day, **box.corners}
    loop, plain, rows = floors(connection, box.query(), parameters)
    compacted = cpu(lambda: connection.execute(box.query(), parameters).fetchall())
    by_minute = cpu(lambda: connection.execute(box.query(), parameters | {"glob": minutes}).fetchall(), 2)
    print(f"map query, one day, 6 km2, {rows} rows match, {len(box.ranges)} ranges of cells")
    print(f"  {pruning(connection, box.query(), parameters)}")
    print(
        f"  {compacted * 1e3:.1f} ms CPU; over the matching rows in memory a compiled loop takes {loop * 1e3:.2f} ms "
        f"({compacted / loop:.1f} x), numpy {plain * 1e3:.2f} ms ({compacted / plain:.2f} x); "
        f"over 1,440 minute files {by_minute * 1e3:.0f} ms ({by_minute / compacted:.0f} x more)"
    )
    device = connection.execute("SELECT any_value(device_id) FROM read_parquet($glob)", {"glob": glob}).fetchall()[0][0]
    person, of = "SELECT count(*) FROM read_parquet($glob) WHERE device_id = $device", {"glob": glob, "device": device}
    used = cpu(lambda: connection.execute(person, of).fetchall(), 3)
    print(f"one device, all days: {used * 1e3:.0f} ms CPU; {pruning(connection, person, of)}")


def compaction(lake: Lake, rows: int) -> None:
    """Compact every day and print what a row cost."""
    files = sum(1 for _ in lake.committer().files())
    begun, used = time.monotonic(), time.process_time()
    job = compact(lake, files=1)
    used = time.process_time() - used
    assert job.rows == rows, job
    sweep(lake, 0)
    print(
        f"compaction, all columns: {rows / used / 1e6:.2f} M rows per CPU second ({used:.1f} s CPU, "
        f"{time.monotonic() - begun:.1f} s), {files} files into {sum(1 for _ in lake.committer().files())}"
    )


def full_scan(connection: duckdb.DuckDBPyConnection, glob: str, rows: int) -> None:
    """Print what reading three columns of every row costs."""
    used = cpu(lambda: connection.execute(SCAN, {"glob": glob}).fetchall(), 3)
    print(f"full scan, three columns: {used * 1e3:.0f} ms CPU, {rows / used / 1e6:.0f} M rows per CPU second")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a week, compact it, and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3_500_000, help="positions in seven days")
    parser.add_argument("--folder", type=Path, help="where the lake is to lie; default: a temporary folder")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.folder) as place, duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        folder = Path(place)
        lake = Lake.create(str(folder / "lake"))
        rows = sum(write(lake, DAYS, given.rows // DAYS))
        glob = f"{lake.root}/positions/**/*.parquet"
        print(f"{rows} rows in {DAYS} days, as the sink wrote them:")
        sizes(connection, glob)
        compaction(lake, rows)
        sizes(connection, glob)
        day = date(2026, 3, 7) + timedelta(days=3)
        minutes = minute_files(day_of(3, given.rows // DAYS), folder, day)
        map_query(connection, glob, minutes, day)
        full_scan(connection, glob, rows)
        print(connection.execute(f"SELECT count(*) FROM {quote(glob)}").fetchall()[0][0], "rows by the bare glob")  # noqa: S608


if __name__ == "__main__":
    main()
