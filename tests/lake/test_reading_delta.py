"""What the API and analysts are answered from a lake in an object store."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from pipeline.lake.lake import Lake, LakeMissingError
from pipeline.lake.reader import Reader, connect
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import write_messages
from tests.lake.stores import SERVER, delta_lake

QUESTION = "SELECT count(*), min(event_time), count(DISTINCT local_date) FROM positions WHERE event_date > $since"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = delta_lake(tmp_path)
    write(lake, 0, 3)
    return lake


def write(lake: Lake, first: int, following: int, state: bytes | None = None) -> bytes:
    """Write and publish messages; return the state to go on from."""
    writer = PartitionWriter.open(lake, 0, state)
    write_messages(writer, 0, first, following)
    state = writer.snapshot()
    writer.close()
    publish_pending(lake)
    return state


def test_the_views_of_the_catalog_stand_over_delta_tables(lake: Lake) -> None:
    with connect(lake) as connection:
        found = connection.execute(QUESTION, {"since": "2026-03-01"}).fetchall()
        assert connection.execute("SELECT DISTINCT h3_resolution(h3_r9) FROM positions").fetchall() == [(9,)]
    assert found == [(6, datetime(2026, 3, 7, 11, 58, tzinfo=UTC), 1)]


def test_analysts_read_the_tables_with_the_libraries_they_have(lake: Lake) -> None:
    assert lake.place
    where, options = f"{lake.place.name}/positions", lake.place.options
    rows = DeltaTable(where, storage_options=options).to_pyarrow_dataset()
    assert rows.count_rows() == 6
    assert duckdb.sql("SELECT count(*) FROM rows WHERE event_date = DATE '2026-03-07'").fetchall() == [(6,)]
    assert pl.scan_delta(where, storage_options=options).collect().height == 6


@pytest.mark.skipif(SERVER is None, reason="needs an S3 server: make s3, and PARKPAL_TEST_S3=s3://BUCKET?endpoint=URL")
def test_a_reader_sees_what_was_published_since_it_opened(tmp_path: Path) -> None:
    lake = delta_lake(tmp_path)
    reader = Reader((tmp_path / "url").read_text())
    assert reader.query(QUESTION, {"since": "2026-03-01"})[0][0] == 0
    write(lake, 0, 3)
    assert reader.query(QUESTION, {"since": "2026-03-01"})[0][0] == 6
    assert reader.freshness() is not None
    reader.close()


@pytest.mark.skipif(SERVER is None, reason="needs an S3 server: make s3, and PARKPAL_TEST_S3=s3://BUCKET?endpoint=URL")
def test_a_prefix_without_a_lake_is_said_to_have_none(tmp_path: Path) -> None:
    delta_lake(tmp_path)
    with pytest.raises(LakeMissingError, match="no lake at s3://"):
        Lake.open((tmp_path / "url").read_text().replace("?", "-other?"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://bucket/lake", "home=/FOLDER is needed"),
        ("s3://bucket?home=/x", "expected s3://BUCKET/PREFIX"),
        ("s3://key:secret@bucket/lake?home=/x", r"^lake s3://\.\.\.: keys belong into the environment"),
        ("s3://bucket/lake?home=/x&acl=public", "expected s3://BUCKET/PREFIX"),
    ],
)
def test_a_url_that_breaks_a_rule_is_refused_by_name(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Lake.open(url)
