"""The reader answers within its limits, sees what is published, and finds a lake that comes later."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from pipeline.lake.commit import Extent
from pipeline.lake.lake import Lake, LakeMissingError
from pipeline.lake.reader import LakeBusyError, LakeTimeoutError, Reader
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import NOON, positions

SLOW = "SELECT count(*) FROM range(100_000_000_000) AS t(n) WHERE n * n % 7 = $rest"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two rows of sink partition 0 and a newer one of sink partition 2."""
    lake = Lake.create(str(tmp_path / "lake"))
    for part, seqs in ((0, [1, 2]), (2, [60])):
        writer = PartitionWriter.open(lake, part, None)
        writer.append("positions", positions(f"device-{part}", seqs))
        writer.extend(Extent("positions", part, 0, 1, len(seqs)))
        writer.snapshot()
        writer.close()
    publish_pending(lake)
    return lake


def test_a_query_takes_parameters_and_gives_times_in_utc(lake: Lake) -> None:
    reader = Reader(str(lake.root))
    rows = reader.query(
        "SELECT seq, event_time FROM positions WHERE device_id = $device ORDER BY 1", {"device": "device-2"}
    )
    assert rows == [(60, datetime(2026, 3, 7, 13, tzinfo=UTC))]
    reader.close()


def test_freshness_is_the_newest_receive_time_of_all_sink_partitions(lake: Lake) -> None:
    reader = Reader(str(lake.root))
    newest = datetime.fromtimestamp(NOON / 1000, UTC) + timedelta(minutes=60, seconds=5)
    assert reader.freshness() == newest
    assert reader.query("SELECT max(receive_time) FROM positions", {}) == [(newest,)]
    reader.close()


def test_an_older_row_does_not_set_freshness_back(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 1, None)
    for offset, seq in enumerate((90, 30)):
        writer.append("positions", positions("device-1", [seq]))
        writer.extend(Extent("positions", 1, offset, offset + 1, 1))
        writer.snapshot()
    writer.close()
    publish_pending(lake)
    reader = Reader(str(lake.root))
    assert reader.freshness() == datetime(2026, 3, 7, 13, 30, 5, tzinfo=UTC)
    reader.close()


def test_a_lake_created_after_the_reader_is_found(tmp_path: Path) -> None:
    reader = Reader(str(tmp_path / "lake"))
    assert reader.freshness() is None
    with pytest.raises(LakeMissingError):
        reader.query("SELECT 1", {})
    Lake.create(str(tmp_path / "lake"))
    assert reader.freshness() is None
    assert reader.query("SELECT count(*) FROM positions", {}) == [(0,)]
    reader.close()


def test_a_query_that_takes_too_long_is_interrupted_and_the_next_one_runs(lake: Lake) -> None:
    reader = Reader(str(lake.root), timeout_s=0.2)
    with pytest.raises(LakeTimeoutError):
        reader.query(SLOW, {"rest": 3})
    assert reader.query("SELECT count(*) FROM positions", {}) == [(3,)]
    reader.close()


def test_more_queries_than_admitted_wait_and_then_give_up(lake: Lake) -> None:
    reader = Reader(str(lake.root), admitted=1, timeout_s=1.0)
    begun = threading.Event()
    ends: list[type[Exception]] = []

    def slow() -> None:
        begun.set()
        try:
            reader.query(SLOW, {"rest": 3})
        except (LakeTimeoutError, LakeBusyError) as error:
            ends.append(type(error))

    threads = [threading.Thread(target=slow) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert LakeTimeoutError in ends
    assert LakeBusyError in ends
    reader.close()


def test_a_file_that_vanished_is_a_loud_error_and_is_looked_for_once_more(lake: Lake) -> None:
    reader = Reader(str(lake.root))
    with pytest.raises(duckdb.IOException):
        reader.query("SELECT * FROM read_parquet($path)", {"path": str(lake.root / "positions" / "gone.parquet")})
    reader.close()


def test_a_query_cannot_change_the_limits(lake: Lake) -> None:
    reader = Reader(str(lake.root))
    with pytest.raises(duckdb.InvalidInputException, match="locked"):
        reader.query("SET memory_limit = '100GB'", {})
    reader.close()
