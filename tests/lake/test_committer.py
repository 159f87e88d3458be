"""What any store of commits must do, whatever it is made of."""

import os
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import fault
from pipeline.lake.commit import Commit, Committer, Extent, LakeRefusedError, Slice
from pipeline.lake.lake import Lake
from pipeline.lake.tables import POSITIONS, REJECTED
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import NOON, positions, rejected, write_messages
from tests.lake.stores import LAKES, open_lake, seen

DAY = NOON // 86_400_000
ROWS = [("a", 0), ("a", 1)]


class Crash(BaseException):
    """Stands for the death of the process: no handler of an Exception may catch it."""


@pytest.fixture(params=LAKES)
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    return LAKES[request.param](tmp_path)


def stage(committer: Committer, seq: int = 1, device: str = "a", receive_time: int = NOON) -> Commit:
    """Stage a commit of two positions and a reject."""
    slices = [
        Slice(POSITIONS, DAY, pa.Table.from_batches([positions(device, [0, 1])])),
        Slice(REJECTED, DAY, pa.Table.from_batches([rejected(0, 0, 1)])),
    ]
    return committer.stage(
        Commit(part=0, seq=seq, receive_time=receive_time, extents=(Extent("positions", 0, seq, seq + 1, 3),)), slices
    )


def test_what_is_staged_is_known_to_the_store_and_to_no_reader(lake: Lake) -> None:
    commit = stage(lake.committer())
    assert list(lake.committer().staged()) == [commit]
    assert seen(lake, "positions") == []
    assert [file for file in lake.committer().files() if "/k" in file] == []
    assert lake.committer().published(0) is None


def test_what_is_published_is_seen_and_recorded(lake: Lake) -> None:
    commit = stage(lake.committer())
    lake.committer().publish(commit)
    assert seen(lake, "positions") == ROWS
    assert sorted(file for file in lake.committer().files() if "/k" in file) == sorted(f.path for f in commit.files)
    assert lake.committer().published(0) == commit
    assert list(lake.committer().commits()) == [commit]
    assert list(lake.committer().staged()) == []


def test_publishing_twice_shows_the_rows_once(lake: Lake, tmp_path: Path) -> None:
    commit = stage(lake.committer())
    lake.committer().publish(commit)
    open_lake(tmp_path).committer().publish(commit)
    assert seen(lake, "positions") == ROWS


@pytest.mark.parametrize("at", ["lake.renamed", "lake.placed", "lake.recorded"])
@pytest.mark.parametrize("number", [1, 2])
def test_publishing_that_died_anywhere_is_finished_by_the_next(
    lake: Lake, tmp_path: Path, at: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Crash

    commit = stage(lake.committer())
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", die)
        fault.arm(f"{at}:{number}")
        try:
            lake.committer().publish(commit)
        except Crash:
            pass
        finally:
            fault._target.clear()
    open_lake(tmp_path).committer().publish(commit)
    assert seen(lake, "positions") == ROWS
    assert seen(lake, "rejected", "source_offset") == [(0,)]
    assert list(open_lake(tmp_path).committer().commits()) == [commit]


def test_what_is_discarded_is_gone_and_its_number_is_free(lake: Lake) -> None:
    stage(lake.committer(), device="gone")
    lake.committer().discard(0)
    assert list(lake.committer().staged()) == []
    lake.committer().publish(stage(lake.committer()))
    assert seen(lake, "positions") == ROWS


def test_a_pending_file_that_is_nowhere_is_refused_before_anything_shows(lake: Lake) -> None:
    committer = lake.committer()
    commit = stage(committer)
    committer.discard(0)
    with pytest.raises(LakeRefusedError, match="nowhere"):
        committer.publish(commit)
    assert seen(lake, "positions") == []


def test_commits_of_a_sink_partition_come_in_order(lake: Lake, tmp_path: Path) -> None:
    committer = lake.committer()
    for seq in range(1, 12):
        committer.publish(stage(committer, seq, f"device-{seq}"))
    assert [commit.seq for commit in open_lake(tmp_path).committer().commits()] == list(range(1, 12))
    assert len(seen(lake, "positions")) == 22


def test_a_writer_goes_on_where_it_stood(lake: Lake, tmp_path: Path) -> None:
    writer = PartitionWriter.open(lake, 0, None)
    write_messages(writer, 0, 0, 2)
    writer.snapshot()
    write_messages(writer, 0, 2, 3)
    state = writer.snapshot()
    writer.close()
    writer = PartitionWriter.open(open_lake(tmp_path), 0, state)
    write_messages(writer, 0, 3, 4)
    writer.snapshot()
    writer.close()
    assert publish_pending(lake) == 1
    assert seen(lake, "positions") == [("device-0", seq) for seq in range(8)]


def test_a_writer_without_its_state_is_refused(lake: Lake) -> None:
    lake.committer().publish(stage(lake.committer()))
    with pytest.raises(LakeRefusedError, match="lost or older"):
        PartitionWriter.open(lake, 0, None)


def test_times_places_and_words_are_the_same_for_every_reader(lake: Lake) -> None:
    lake.committer().publish(stage(lake.committer()))
    columns = "event_time::VARCHAR, lat::VARCHAR, activity, h3_r9, late, event_date::VARCHAR"
    assert seen(lake, "positions", columns)[0] == (
        "2026-03-07 12:00:00+00", "14.554729", None, 0x89608B0A8C3FFFF, False, "2026-03-07",
    )  # fmt: skip
