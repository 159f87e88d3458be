"""Once a tombstone lies, the sink takes no row of its devices, and the proof that every row is somewhere holds."""

import multiprocessing
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipeline.lake.audit import LogPartition, audit
from pipeline.lake.commit import Extent
from pipeline.lake.lake import Lake
from pipeline.lake.tables import REJECTED
from pipeline.lake.tombstones import Tombstones, laid, lay, note_done, without
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import NOON, positions, rejected


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.create(str(tmp_path / "lake"))


def naming(device: str | None, payload: bytes) -> pa.RecordBatch:
    """Build one reject."""
    batch = rejected(0, 9, 1)
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns |= {"device_id": pa.array([device], pa.string()), "payload": pa.array([payload], pa.binary())}
    return pa.RecordBatch.from_arrays([columns[name] for name in REJECTED.schema.names], schema=REJECTED.schema)


def seen(lake: Lake, table: str, columns: str) -> list[tuple[object, ...]]:
    return duckdb.execute(f"SELECT {columns} FROM '{lake.root}/{table}/**/*.parquet' ORDER BY ALL").fetchall()


def test_rows_of_an_erased_device_are_only_counted(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 0, None)
    for first in (0, 1):
        writer.append("positions", positions("gone", [2 * first, 2 * first + 1]))
        writer.append("positions", positions("stays", [first]))
        writer.append("rejected", naming("gone", b"{}"))
        writer.extend(Extent("positions", 0, first, first + 1, 4))
        writer.snapshot()
        lay(lake, ["gone"])
    writer.close()
    publish_pending(lake)
    assert seen(lake, "positions", "device_id, seq") == [("gone", 0), ("gone", 1), ("stays", 0), ("stays", 1)]
    blank = ("erased", None, "", None, 0)
    assert seen(lake, "rejected", "reason, device_id, detail, payload, payload_bytes")[:3] == [blank] * 3
    assert audit(lake, [LogPartition("positions", 0, 0, 2, [(0, 4), (1, 4)])]).problems == []


def test_a_commit_of_erased_rows_alone_keeps_its_offsets(lake: Lake) -> None:
    lay(lake, ["gone"])
    writer = PartitionWriter.open(lake, 0, None)
    writer.append("positions", positions("gone", [0], event_time=[NOON]))
    writer.extend(Extent("positions", 0, 0, 1, 1))
    writer.snapshot()
    writer.close()
    publish_pending(lake)
    assert seen(lake, "positions", "seq") == []
    assert seen(lake, "rejected", "reason, receive_time::DATE::VARCHAR") == [("erased", "2026-03-07")]
    assert audit(lake).sources["positions", 0].rows == 1


def test_a_device_is_found_in_a_payload_too(lake: Lake) -> None:
    for batch, left in (
        (naming(None, b'{"device_id": "gone"'), 0),
        (naming("gone", b"{}"), 0),
        (naming(None, b"\xff\x00"), 1),
        (naming("stays", b"{}"), 1),
    ):
        kept, blank = without("rejected", batch, {"gone"})
        assert kept.num_rows == left
        assert (blank is None) == bool(left)


def test_tombstones_are_read_again_when_one_is_laid_and_stay_when_done(lake: Lake) -> None:
    tombstones = Tombstones(lake)
    assert tombstones.devices() == frozenset()
    first = lay(lake, ["a", "b"])
    assert tombstones.devices() == {"a", "b"}
    lay(lake, ["c"])
    note_done(lake, first)
    assert tombstones.devices() == {"a", "b", "c"}
    assert [(each.tombstone.devices, each.done) for each in laid(lake)] == [(("a", "b"), True), (("c",), False)]


def test_laying_waits_for_a_commit_that_is_being_staged(lake: Lake) -> None:
    process = multiprocessing.get_context("spawn").Process(target=lay, args=(lake, ["a"]))
    with Tombstones(lake).held() as devices:
        assert devices == frozenset()
        process.start()
        time.sleep(1.5)
        assert laid(lake) == []
    process.join(30)
    assert [each.tombstone.devices for each in laid(lake)] == [("a",)]
