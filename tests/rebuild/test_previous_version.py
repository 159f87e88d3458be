"""A lake written by the version before a column was added: old rows read null, and every job goes on with them."""

import tarfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.fences import FileFences
from pipeline.lake.adoption import adopt
from pipeline.lake.audit import audit
from pipeline.lake.commit import Extent
from pipeline.lake.compaction import compact
from pipeline.lake.erasure import finish
from pipeline.lake.lake import Lake
from pipeline.lake.reader import Reader, connect
from pipeline.lake.tables import POSITIONS
from pipeline.lake.tombstones import lay
from pipeline.lake.writer import PartitionWriter, publish_pending
from pipeline.proof import prove
from pipeline.rebuild import rebuild
from pipeline.recompute import DERIVED, Days
from tests.rebuild.days import digests

WRITTEN = Path(__file__).with_name("data") / "version-1.tar.gz"
"""A lake of three phones on three days, and its fences, as version 1 wrote them: frozen bytes."""
DAYS = Days(date(2026, 3, 4), date(2026, 3, 7))
ADDED = pa.field("battery_pct", pa.int8())


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Lake]:
    """That lake, opened by a program whose `positions` has one column more."""
    with tarfile.open(WRITTEN) as tar:
        tar.extractall(tmp_path, filter="data")
    schema, comments = POSITIONS.schema, POSITIONS.comments
    object.__setattr__(POSITIONS, "schema", schema.append(ADDED))
    object.__setattr__(POSITIONS, "comments", comments | {ADDED.name: "charge left, 0-100"})
    try:
        yield Lake.create(str(tmp_path / "lake"))
    finally:
        object.__setattr__(POSITIONS, "schema", schema)
        object.__setattr__(POSITIONS, "comments", comments)


def counts(lake: Lake) -> tuple[int, int]:
    """Return the rows of `positions`, and those that have the new column."""
    with connect(lake) as connection:
        return connection.execute(f"SELECT count(*), count({ADDED.name}) FROM positions").fetchall()[0]


def write(lake: Lake) -> None:
    """Go on with the lake without its store, and add two rows that have the new column."""
    part = min(int(path.name[1]) for path in (lake.root / POSITIONS.name).rglob("k*.parquet"))
    source = next(at for at in adopt(lake).sources if at.stream == "positions" and at.partition == part)
    rows = pq.read_table(next((lake.root / POSITIONS.name).rglob(f"k{part}-*.parquet")), partitioning=None).slice(0, 2)
    rows = rows.set_column(0, "device_id", pa.array(["new", "new"]))
    rows = rows.append_column(ADDED, pa.array([80, 79], ADDED.type)).cast(POSITIONS.schema)
    writer = PartitionWriter.open(lake, part, None)
    writer.append("positions", rows.combine_chunks().to_batches()[0])
    writer.extend(Extent("positions", part, source.next, source.next + 1, 2))
    writer.snapshot()
    writer.close()
    publish_pending(lake)


def test_old_rows_read_null_and_new_ones_what_they_have(old: Lake) -> None:
    before, none = counts(old)
    assert before > 500
    assert none == 0
    write(old)
    assert counts(old) == (before + 2, 2)
    glob = f"'{old.root}/positions/**/*.parquet'"
    plain = duckdb.execute(f"SELECT count({ADDED.name}) FROM read_parquet({glob}, union_by_name = true)").fetchall()
    assert plain == [(2,)]
    reader = Reader(str(old.root))
    assert reader.query(f"SELECT max({ADDED.name}) FROM positions", {}) == [(80,)]
    reader.close()


def test_compaction_erasure_and_audit_go_on_with_old_files(old: Lake) -> None:
    write(old)
    before = counts(old)
    assert not compact(old, files=1).refused
    assert counts(old) == before
    lay(old, ["new"])
    assert finish(old) == {"positions": 2}
    assert counts(old) == (before[0] - 2, 0)
    assert audit(old).problems == []


def test_derived_tables_are_proved_and_rebuilt_from_old_files(old: Lake, tmp_path: Path) -> None:
    index, _ = FileFences(tmp_path / "fences.geojson").current()
    rebuild(old, index, DAYS, DERIVED, lambda *_: None)
    before = digests(old, DERIVED)
    assert before["geofence_events"][0] > 20
    proof = prove(old, index)
    assert (proof.problems, proof.notes) == ([], [])
    rebuild(old, index, DAYS, DERIVED, lambda *_: None)
    assert digests(old, DERIVED) == before
