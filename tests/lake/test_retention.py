"""Expired days leave whole, by the lake's clock; the records count what is gone, and nothing else is touched."""

from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from parkpal.settings import Settings
from pipeline.lake.audit import audit
from pipeline.lake.commit import Extent
from pipeline.lake.compaction import compact
from pipeline.lake.exchange import exchanging, swaps
from pipeline.lake.jobs import jobs
from pipeline.lake.lake import Lake
from pipeline.lake.retention import expired, parse_retention, retain
from pipeline.lake.tables import POSITIONS
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import NOON, positions

DAY_MS = 86_400_000
FIRST = date(2026, 3, 7)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Ten days of three positions each from two sink partitions, the second of which has come two days less far."""
    lake = Lake.create(str(tmp_path / "lake"))
    for part, days in ((0, 10), (1, 8)):
        writer = PartitionWriter.open(lake, part, None)
        for day in range(days):
            at = [NOON + day * DAY_MS + part + minute for minute in range(3)]
            writer.append("positions", positions(f"device-{part}", [3 * day, 3 * day + 1, 3 * day + 2], event_time=at))
            writer.extend(Extent("positions", part, day, day + 1, 3))
            writer.snapshot()
        writer.close()
    publish_pending(lake)
    return lake


def days(lake: Lake) -> list[date]:
    found = duckdb.execute(
        f"SELECT DISTINCT event_date FROM '{lake.root}/positions/**/*.parquet' ORDER BY 1"
    ).fetchall()
    return [day for (day,) in found]


def rows(lake: Lake, day: date) -> int:
    query = f"SELECT count(*) FROM '{lake.root}/positions/**/*.parquet' WHERE event_date = $day"
    return int(duckdb.execute(query, {"day": day}).fetchall()[0][0])


def test_days_before_the_slowest_partitions_clock_less_retention_go(lake: Lake) -> None:
    job = retain(lake, {"positions": 3})
    assert days(lake) == [FIRST + timedelta(days=day) for day in range(4, 10)]
    assert (job.changed, job.dropped) == (4, 24)
    assert [(record.job, record.asked) for record in jobs(lake)] == [("retain", {"positions": "3 days"})]
    assert retain(lake, {"positions": 3}).changed == 0


def test_audit_counts_expired_rows_from_their_records(lake: Lake) -> None:
    compact(lake, files=1)
    retain(lake, {"positions": 3})
    report = audit(lake)
    assert report.problems == []
    assert report.dropped == {("retain", "positions"): 24}
    assert dict(report.tables) == {"positions": 30}
    assert report.sources["positions", 0].rows == 30


def test_a_table_without_retention_and_an_empty_lake_are_left(lake: Lake, tmp_path: Path) -> None:
    assert expired(lake, {"rejected": 3}) == []
    assert expired(Lake.create(str(tmp_path / "empty")), {"positions": 3}) == []


def test_the_schema_stays_for_a_plain_glob(lake: Lake) -> None:
    retain(lake, {"positions": 2})
    assert (lake.root / "positions" / "event_date=1970-01-01" / "schema.parquet").exists()


def test_a_day_with_rows_that_no_record_tells_of_yet_stays_whole(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 2, None)
    writer.append("positions", positions("late", [0], event_time=[NOON]))
    writer.extend(Extent("positions", 2, 0, 1, 1))
    writer.snapshot()
    writer.close()
    (pending,) = lake.committer().staged()
    next((lake.root / "_staging").glob("*.parquet")).rename(lake.root / pending.files[0].path)
    assert retain(lake, {"positions": 3}).changed == 3
    assert days(lake)[:2] == [FIRST, FIRST + timedelta(days=4)]
    assert rows(lake, FIRST) == 7
    publish_pending(lake)
    assert audit(lake).problems == []


def test_a_day_that_grows_while_it_is_dropped_stays_whole(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 2, None)
    writer.append("positions", positions("late", [0], event_time=[NOON]))
    writer.extend(Extent("positions", 2, 0, 1, 1))
    writer.snapshot()

    with exchanging(lake, POSITIONS, FIRST, "retain") as draft:
        draft.replace(draft.present)
        draft.dropped, draft.whole = 6, True
        writer.snapshot()
    writer.close()
    assert not draft.done
    assert rows(lake, FIRST) == 7
    assert list(swaps(lake)) == []


def test_a_dropped_day_that_returns_is_dropped_again_and_counted(lake: Lake) -> None:
    retain(lake, {"positions": 3})
    writer = PartitionWriter.open(lake, 2, None)
    old = positions("late", [0, 1], event_time=[NOON, NOON + 9 * DAY_MS])
    writer.append("positions", old)
    writer.extend(Extent("positions", 2, 0, 1, 2))
    writer.snapshot()
    writer.close()
    publish_pending(lake)
    assert days(lake)[0] == FIRST
    retain(lake, {"positions": 3})
    assert days(lake)[0] == FIRST + timedelta(days=4)
    report = audit(lake)
    assert report.problems == []
    assert report.dropped == {("retain", "positions"): 25}


def test_retention_is_read_by_table_in_days() -> None:
    assert parse_retention(Settings.read({}).retention) == {"positions": 30, "rejected": 30}
    assert parse_retention(" trips=400 ,") == {"trips": 400}
    assert parse_retention("") == {}


@pytest.mark.parametrize("text", ["positions", "positions=1", "positions=x", "nothing=30", "positions=-3"])
def test_a_retention_that_cannot_be_is_a_wrong_call(text: str) -> None:
    with pytest.raises(ValueError, match="expected TABLE=DAYS"):
        parse_retention(text)
