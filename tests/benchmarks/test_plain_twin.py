"""The plain pipeline is a fair comparison only if it does the same work: each row in one table, events as they are."""

import json
from pathlib import Path

import duckdb

from benchmarks.plain_twin import run
from geo.fences import versions_from_geojson
from tests.batch.build import NOW

SQUARE = [[121.000, 14.500], [121.002, 14.500], [121.002, 14.502], [121.000, 14.502], [121.000, 14.500]]
FENCE = {
    "type": "Feature",
    "properties": {"fence_id": "square", "dwell_s": 5},
    "geometry": {"type": "Polygon", "coordinates": [SQUARE]},
}


def event(seq: int, lon: float, **changes: object) -> bytes:
    """Build a fix on the square's middle parallel, 5 s after the one before."""
    time = NOW + 5_000 * seq
    fix = {"device_id": "anna", "event_time": time, "receive_time": time, "seq": seq, "lat": 14.501, "lon": lon}
    return json.dumps(fix | {"accuracy_m": 5.0} | changes).encode()


def test_a_drive_through_a_square_is_entered_dwelled_in_and_left_and_each_row_is_kept_once(tmp_path: Path) -> None:
    drive = [event(seq, 120.9975 + 0.001 * seq) for seq in range(8)]
    odd = [drive[3], event(2, 121.5), event(8, 200.0), event(9, 121.0, event_time=NOW + 10**7)]
    lines = [drive[1], drive[0], *drive[2:], *odd]
    run(lines, versions_from_geojson(json.dumps(FENCE)), tmp_path)
    connection = duckdb.connect()

    def query(sql: str) -> list[tuple[object, ...]]:
        return connection.execute(sql.replace("LAKE", str(tmp_path))).fetchall()

    kinds = query("SELECT kind, fence_id FROM 'LAKE/geofence_events/**/*.parquet' ORDER BY event_time")
    assert kinds == [("enter", "square"), ("dwell", "square"), ("exit", "square")]
    assert query("SELECT count(*), count(DISTINCT seq) FROM 'LAKE/positions/**/*.parquet'") == [(8, 8)]
    assert query("SELECT reason FROM 'LAKE/rejected/**/*.parquet' ORDER BY source_offset") == [
        ("duplicate",),
        ("seq_conflict",),
        ("out_of_range",),
        ("ahead_of_time",),
    ]
    connection.close()
