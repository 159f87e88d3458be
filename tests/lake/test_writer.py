"""A sink partition: what readers see after which call, and what it refuses when it is opened again."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.lake.commit import (
    Commit,
    DataFile,
    Extent,
    LakeLockedError,
    LakeRefusedError,
    LakeWriteError,
    Offset,
    State,
    decode_state,
)
from pipeline.lake.lake import Lake
from pipeline.lake.tables import POSITIONS, TABLES
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import MESSAGE_ROWS, NOON, positions, rejected, write_messages


def seen(lake: Lake, table: str = "positions") -> list[tuple[str, int]]:
    """Return device_id and seq of every row that a plain glob sees."""
    found = duckdb.execute(f"SELECT device_id, seq FROM '{lake.root}/{table}/**/*.parquet' ORDER BY ALL")
    return found.fetchall()


def count(lake: Lake) -> int:
    """Return the rows of positions and rejected."""
    tables = [f"SELECT * FROM '{lake.root}/{name}/**/*.parquet'" for name in ("positions", "rejected")]
    return sum(duckdb.execute(f"SELECT count(*) FROM ({each})").fetchall()[0][0] for each in tables)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.create(str(tmp_path / "lake"))


def write_epochs(lake: Lake, part: int, epochs: int) -> list[bytes]:
    """Write epochs of two messages each, from nothing, and return the state after each; the last one is pending."""
    writer = PartitionWriter.open(lake, part, None)
    states = []
    for epoch in range(epochs):
        write_messages(writer, part, 2 * epoch, 2 * epoch + 2)
        states.append(writer.snapshot())
    writer.close()
    return states


def test_an_empty_lake_has_all_columns_and_no_rows_for_a_plain_glob(lake: Lake) -> None:
    for table in TABLES.values():
        found = duckdb.execute(f"SELECT * FROM '{lake.root}/{table.name}/**/*.parquet'")
        assert [name for name, *_ in found.description or []] == [*table.schema.names, "event_date"]
        assert found.fetchall() == []


def test_rows_are_seen_one_snapshot_after_the_one_that_staged_them(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 0, None)
    write_messages(writer, 0, 0, 2)
    writer.snapshot()
    assert count(lake) == 0
    writer.snapshot()
    assert count(lake) == 2 * MESSAGE_ROWS
    writer.close()


def test_what_the_last_snapshot_staged_is_seen_after_publish_pending_once(lake: Lake) -> None:
    states = write_epochs(lake, 0, 2)
    assert publish_pending(lake) == 1
    assert publish_pending(lake) == 0
    PartitionWriter.open(lake, 0, states[-1]).close()
    assert count(lake) == 4 * MESSAGE_ROWS


def test_an_epoch_without_rows_and_offsets_leaves_nothing(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 0, None)
    state = writer.snapshot()
    writer.close()
    assert decode_state(state) == State(part=0, seq=0)
    assert list((lake.root / "_staging").iterdir()) == []


def test_offsets_without_rows_are_recorded_without_a_file(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 0, None)
    writer.extend(Extent("positions", 0, 0, 3, 0))
    writer.snapshot()
    writer.snapshot()
    writer.close()
    assert [(commit.extents, commit.files) for commit in lake.committer().commits()] == [
        ((Extent("positions", 0, 0, 3, 0),), ())
    ]


def test_a_commit_has_one_file_a_utc_day_named_by_its_newest_hour(lake: Lake) -> None:
    hour = 3_600_000
    last_of_day = NOON + 12 * hour - 1
    writer = PartitionWriter.open(lake, 3, None)
    batch = positions("a", [0, 1, 2, 3], event_time=[last_of_day + 1, NOON, last_of_day, NOON + 1])
    writer.append("positions", batch)
    writer.extend(Extent("positions", 3, 0, 1, 4))
    writer.snapshot()
    writer.snapshot()
    writer.close()
    found = {path: pq.read_table(lake.root / path, columns=["seq"])["seq"].to_pylist() for path in files(lake)}
    assert found == {
        "positions/event_date=2026-03-07/k3-23-00000001.parquet": [1, 2, 3],
        "positions/event_date=2026-03-08/k3-00-00000001.parquet": [0],
    }


def files(lake: Lake) -> list[str]:
    """Return the files readers see."""
    return sorted(lake.committer().files())


def test_rows_come_back_as_they_went_in(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 0, None)
    batch = positions("a", range(20))
    writer.append("positions", batch)
    writer.extend(Extent("positions", 0, 0, 1, 20))
    writer.snapshot()
    writer.snapshot()
    writer.close()
    assert pq.read_table(lake.root / files(lake)[0], partitioning=None).equals(pa.Table.from_batches([batch]))


def test_all_files_of_a_commit_carry_its_extents_joined_and_the_view_shows_them(lake: Lake) -> None:
    write_epochs(lake, 1, 2)
    publish_pending(lake)
    with duckdb.connect(str(lake.root / "lake.duckdb"), read_only=True) as connection:
        found = connection.execute(
            'SELECT part, seq, stream, "partition", first, next, rows, held FROM extents ORDER BY 2'
        )
        assert found.fetchall() == [(1, 1, "positions", 1, 0, 2, 6, 6), (1, 2, "positions", 1, 2, 4, 6, 6)]


def test_an_epoch_whose_extents_count_other_rows_than_it_holds_is_not_written(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 0, None)
    writer.append("positions", positions("a", [0, 1]))
    writer.extend(Extent("positions", 0, 0, 1, 3))
    with pytest.raises(ValueError, match="3 rows decoded, 2 in positions and rejected"):
        writer.snapshot()
    writer.close()


@pytest.mark.parametrize(("first", "following"), [(0, 4), (1, 3), (5, 5)])
def test_offsets_that_are_committed_or_empty_are_refused(lake: Lake, first: int, following: int) -> None:
    states = write_epochs(lake, 0, 1)
    writer = PartitionWriter.open(lake, 0, states[-1])
    with pytest.raises(ValueError, match="does not go on from offset 2"):
        writer.extend(Extent("positions", 0, first, following, 1))
    writer.close()


def test_a_batch_of_other_columns_or_without_its_date_is_refused(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 0, None)
    with pytest.raises(ValueError, match="expected columns"):
        writer.append("positions", rejected(0, 0, 1))
    nulls = pa.RecordBatch.from_arrays([pa.nulls(1, kind.type) for kind in POSITIONS.schema], schema=POSITIONS.schema)
    with pytest.raises(ValueError, match="event_time holds a null"):
        writer.append("positions", nulls)
    writer.close()


# -- opening again -----------------------------------------------------------------------------------------------------


def test_a_second_writer_of_a_sink_partition_is_locked_out_until_the_first_ends(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 0, None)
    with pytest.raises(LakeLockedError, match="stop it first"):
        PartitionWriter.open(lake, 0, None)
    PartitionWriter.open(lake, 1, None).close()
    writer.close()
    PartitionWriter.open(lake, 0, None).close()


def test_a_sink_partition_that_the_lake_does_not_have_is_a_wrong_call(lake: Lake) -> None:
    with pytest.raises(ValueError, match="the lake has 4"):
        PartitionWriter.open(lake, 4, None)


def test_the_state_before_the_last_one_drops_what_the_last_one_staged(lake: Lake) -> None:
    states = write_epochs(lake, 0, 3)
    writer = PartitionWriter.open(lake, 0, states[1])
    assert list((lake.root / "_staging").iterdir()) == []
    write_messages(writer, 0, 4, 6)
    writer.snapshot()
    writer.snapshot()
    writer.close()
    assert seen(lake) == [("device-0", seq) for seq in range(12)]


def test_commits_without_a_state_are_refused(lake: Lake) -> None:
    write_epochs(lake, 0, 2)
    with pytest.raises(LakeRefusedError, match="lost or older"):
        PartitionWriter.open(lake, 0, None)


def test_files_shown_without_a_record_and_without_a_state_are_refused(lake: Lake) -> None:
    write_epochs(lake, 0, 2)
    (lake.root / "_commits" / "k0.jsonl").unlink()
    with pytest.raises(LakeRefusedError, match="of no commit"):
        PartitionWriter.open(lake, 0, None)


def test_a_state_older_than_the_commits_is_refused(lake: Lake) -> None:
    states = write_epochs(lake, 0, 3)
    with pytest.raises(LakeRefusedError, match="lost or older"):
        PartitionWriter.open(lake, 0, states[0])


def test_a_lake_older_than_the_state_is_refused(lake: Lake, tmp_path: Path) -> None:
    writer_states = write_epochs(lake, 0, 1)
    shutil.copytree(lake.root, tmp_path / "backup")
    writer = PartitionWriter.open(lake, 0, writer_states[0])
    write_messages(writer, 0, 2, 4)
    writer.snapshot()
    write_messages(writer, 0, 4, 6)
    state = writer.snapshot()
    writer.close()
    with pytest.raises(LakeRefusedError, match="the lake is lost or older"):
        PartitionWriter.open(Lake.open(str(tmp_path / "backup")), 0, state)


def test_a_pending_file_that_is_nowhere_is_refused_before_anything_is_shown(lake: Lake) -> None:
    states = write_epochs(lake, 0, 1)
    next((lake.root / "_staging").glob("*rejected*")).unlink()
    with pytest.raises(LakeRefusedError, match="nowhere"):
        PartitionWriter.open(lake, 0, states[0])
    assert count(lake) == 0


def test_a_state_of_another_run_with_as_many_commits_is_refused(lake: Lake, tmp_path: Path) -> None:
    write_epochs(lake, 0, 1)
    publish_pending(lake)
    other = Lake.create(str(tmp_path / "other"))
    writer = PartitionWriter.open(other, 0, None)
    write_messages(writer, 0, 0, 3)
    state = writer.snapshot()
    writer.close()
    with pytest.raises(LakeRefusedError, match="different runs"):
        PartitionWriter.open(lake, 0, state)


def test_a_state_of_another_sink_partition_is_refused(lake: Lake) -> None:
    states = write_epochs(lake, 0, 1)
    with pytest.raises(LakeRefusedError, match="of sink partition 0"):
        PartitionWriter.open(lake, 1, states[0])


@pytest.mark.parametrize("state", [b"", b"{}", b'{"version":1}', b"\x80\x04pickle", b'{"version":2,"part":0,"seq":0}'])
def test_a_state_that_is_none_or_newer_is_refused(lake: Lake, state: bytes) -> None:
    with pytest.raises(LakeRefusedError, match=r"cannot be read|run the newer program"):
        PartitionWriter.open(lake, 0, state)


@pytest.mark.parametrize("torn", [b'{"version":1,"part":0,"se', b"\0" * 100_000])
def test_a_record_torn_by_a_crash_is_overwritten(lake: Lake, torn: bytes) -> None:
    states = write_epochs(lake, 0, 3)
    with (lake.root / "_commits" / "k0.jsonl").open("ab") as records:
        records.write(torn)
    writer = PartitionWriter.open(lake, 0, states[-1])
    writer.close()
    assert [commit.seq for commit in lake.committer().commits()] == [1, 2, 3]
    assert count(lake) == 6 * MESSAGE_ROWS


def test_a_record_longer_than_one_read_of_the_tail_is_found(lake: Lake) -> None:
    files = tuple(DataFile("positions", f"positions/event_date=2026-03-07/k2-{n}", 1, 1, "0" * 64) for n in range(900))
    long = Commit(part=2, seq=7, files=files)
    (lake.root / "_commits" / "k2.jsonl").write_bytes(msgspec.json.encode(long) + b"\n")
    assert lake.committer().published(2) == long


def test_the_first_version_of_a_state_is_read_for_good() -> None:
    state = (
        b'{"version":1,"part":2,"seq":5,"pending":{"version":1,"part":2,"seq":5,"files":[{"table":"positions",'
        b'"path":"positions/event_date=2026-03-07/k2-12-00000005.parquet","rows":3,"bytes":10,"sha256":"ab"}],'
        b'"extents":[{"stream":"positions","partition":2,"first":4,"next":6,"rows":3}],'
        b'"offsets":[{"stream":"positions","partition":2,"next":6}],"receive_time":1772884800000}}'
    )
    path = "positions/event_date=2026-03-07/k2-12-00000005.parquet"
    assert decode_state(state) == State(
        part=2,
        seq=5,
        pending=Commit(
            part=2,
            seq=5,
            files=(DataFile("positions", path, 3, 10, "ab"),),
            extents=(Extent("positions", 2, 4, 6, 3),),
            offsets=(Offset("positions", 2, 6),),
            receive_time=NOON,
        ),
    )


# -- storage that takes no writes --------------------------------------------------------------------------------------


def test_a_folder_that_takes_no_writes_is_named_and_a_restart_goes_on(lake: Lake) -> None:
    staging = lake.root / "_staging"
    states = write_epochs(lake, 0, 1)
    writer = PartitionWriter.open(lake, 0, states[0])
    staging.rename(lake.root / "aside")
    staging.touch()
    write_messages(writer, 0, 2, 4)
    with pytest.raises(LakeWriteError, match=str(lake.root)):
        writer.snapshot()
    writer.close()
    staging.unlink()
    (lake.root / "aside").rename(staging)
    writer = PartitionWriter.open(lake, 0, states[0])
    write_messages(writer, 0, 2, 4)
    writer.snapshot()
    writer.snapshot()
    writer.close()
    assert seen(lake) == [("device-0", seq) for seq in range(8)]


FULL = """
import resource, sys
from pipeline.lake.commit import LakeWriteError
from pipeline.lake.lake import Lake
from pipeline.lake.writer import PartitionWriter
from tests.lake.build import write_messages

lake = Lake.open(sys.argv[1])
writer = PartitionWriter.open(lake, 0, None)
write_messages(writer, 0, 0, 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
try:
    writer.snapshot()
except LakeWriteError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_ends_the_process_with_its_reason_and_a_restart_goes_on(lake: Lake) -> None:
    """A limit on the size of a file stands for the full disk: the same call fails in the same place."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(lake.root)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1, ended.stderr
    assert "takes no writes: File too large" in ended.stderr
    states = write_epochs(lake, 0, 1)
    PartitionWriter.open(lake, 0, states[0]).close()
    assert seen(lake) == [("device-0", seq) for seq in range(4)]
