"""After an adoption derived rows that come again are left out, by what tells them; others are taken."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from geo.fix import NULL_TIME
from pipeline.lake.adoption import adopt
from pipeline.lake.audit import audit
from pipeline.lake.commit import Extent
from pipeline.lake.lake import Lake
from pipeline.lake.tables import SEARCH_HINTS, times
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import NOON, positions


def hints(*steps: tuple[str, bool]) -> pa.RecordBatch:
    """Build hints that are raised, or cleared a second later."""
    n = len(steps)
    columns = {
        "hint_id": pa.array([name for name, _ in steps], pa.string()),
        "raised_at": times(np.full(n, NOON), NULL_TIME),
        "cleared_at": times(np.array([NOON + 1_000 if cleared else NULL_TIME for _, cleared in steps]), NULL_TIME),
    }
    arrays = [columns.get(field.name, pa.nulls(n, field.type)) for field in SEARCH_HINTS.schema]
    return pa.RecordBatch.from_arrays(arrays, schema=SEARCH_HINTS.schema)


def write(lake: Lake, offset: int, rows: pa.RecordBatch) -> None:
    writer = PartitionWriter.open(lake, 0, None)
    writer.append("positions", positions("device", [offset]))
    writer.append("search_hints", rows)
    writer.extend(Extent("positions", 0, offset, offset + 1, 1))
    writer.snapshot()
    writer.close()
    publish_pending(lake)


def test_a_hint_that_comes_again_is_left_out_and_its_end_is_taken(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path / "lake"))
    write(lake, 0, hints(("a", False), ("b", False), ("b", True)))
    (source,) = adopt(lake).sources
    assert (source.first, source.next) == (0, 1)
    write(lake, 1, hints(("a", False), ("a", True), ("b", True), ("c", False)))
    found = duckdb.execute(
        f"SELECT hint_id, cleared_at IS NOT NULL FROM '{lake.root}/search_hints/**/*.parquet' ORDER BY ALL"
    ).fetchall()
    assert found == [("a", False), ("a", True), ("b", False), ("b", True), ("c", False)]
    assert audit(lake).problems == []
