"""`parkpal lake` on a log and a lake as the parts write them."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from parkpal.commands.lake import lake as command
from pipeline.batch import Refused, encode_refused
from pipeline.lake.commit import Extent
from pipeline.lake.lake import Lake
from pipeline.lake.writer import PartitionWriter, publish_pending
from pipeline.log import JSON, POSITIONS, REFUSED, REJECTED, NewMessage
from pipeline.log.open import open_log
from tests.lake.build import NOON, rejected


@pytest.fixture
def urls(tmp_path: Path) -> list[str]:
    """A log of one broken message and one of two refused events, all in the lake, as options of the command."""
    log = open_log(f"sqlite:///{tmp_path}/log.sqlite")
    log.create({POSITIONS: 2, REJECTED: 1})
    refused = Refused(NOON, "malformed", "", None, b"{}", 2)
    log.append([NewMessage(POSITIONS, 1, b"{", JSON), NewMessage(REJECTED, 0, encode_refused([refused] * 2), REFUSED)])
    log.close()
    lake = Lake.create(str(tmp_path / "lake"))
    writer = PartitionWriter.open(lake, 1, None)
    writer.append("rejected", rejected(1, 0, 1))
    writer.extend(Extent(POSITIONS, 1, 0, 1, 1))
    writer.append("rejected", rejected(0, 0, 2))
    writer.extend(Extent(REJECTED, 0, 0, 1, 2))
    writer.snapshot()
    writer.close()
    publish_pending(lake)
    return ["--lake", f"file://{lake.root}", "--log", f"sqlite:///{tmp_path}/log.sqlite"]


def test_audit_ends_with_0_where_exactly_once_holds(urls: list[str]) -> None:
    ended = CliRunner().invoke(command, ["audit", *urls])
    assert ended.exit_code == 0, ended.output
    assert "exactly once holds: 1 commits, 3 rows decoded, 3 in rejected" in ended.output


def test_audit_ends_with_1_and_says_what_to_do_where_it_does_not(urls: list[str]) -> None:
    folder = Path(urls[1].removeprefix("file://"))
    next(folder.glob("rejected/*/k1-*.parquet")).unlink()
    ended = CliRunner().invoke(command, ["audit", *urls])
    assert ended.exit_code == 1
    assert "cannot be read (No such file or directory). To mend: restore the lake" in ended.output


def test_audit_of_no_lake_ends_with_1(tmp_path: Path) -> None:
    ended = CliRunner().invoke(command, ["audit", "--lake", str(tmp_path)])
    assert ended.exit_code == 1
    assert "no lake at" in ended.output


def test_sql_prints_the_answer_to_a_query_or_to_standard_input(urls: list[str]) -> None:
    query = "SELECT count(*) AS rejects FROM rejected"
    for ended in (
        CliRunner().invoke(command, ["sql", *urls[:2], query]),
        CliRunner().invoke(command, ["sql", *urls[:2]], input=query),
    ):
        assert ended.exit_code == 0, ended.output
        assert "rejects" in ended.output
        assert " 3 " in ended.output


def test_sql_that_is_none_ends_with_1_and_duckdbs_message(urls: list[str]) -> None:
    ended = CliRunner().invoke(command, ["sql", *urls[:2], "SELEC 1"])
    assert ended.exit_code == 1
    assert "Parser Error" in ended.output


def test_compact_and_retain_say_what_they_did_and_leave_the_proof_standing(urls: list[str]) -> None:
    compacted = CliRunner().invoke(command, ["compact", *urls[:2]])
    assert compacted.exit_code == 0, compacted.output
    assert "1 days merged, 3 rows" in compacted.output
    assert "1 replaced folders wait for readers" in compacted.output
    assert CliRunner().invoke(command, ["compact", *urls[:2]]).output.count("merged") == 0
    assert CliRunner().invoke(command, ["retain", *urls[:2], "--keep", "positions=30"]).exit_code == 0
    ended = CliRunner().invoke(command, ["audit", *urls])
    assert ended.exit_code == 0, ended.output
    assert "exactly once holds: 1 commits, 3 rows decoded, 3 in rejected" in ended.output


def test_compact_names_a_file_it_cannot_read_and_ends_with_1(urls: list[str]) -> None:
    folder = Path(urls[1].removeprefix("file://"))
    broken = next(folder.glob("rejected/*/k1-*.parquet"))
    broken.write_bytes(broken.read_bytes()[:-50])
    ended = CliRunner().invoke(command, ["compact", *urls[:2]])
    assert ended.exit_code == 1
    assert f"{broken} cannot be read" in ended.output
    assert "run parkpal lake audit" in ended.output
    audited = CliRunner().invoke(command, ["audit", *urls])
    assert audited.exit_code == 1
    assert "bytes that were recorded. To mend: restore the lake" in audited.output


def test_retain_of_a_table_that_is_none_is_told(urls: list[str]) -> None:
    ended = CliRunner().invoke(command, ["retain", *urls[:2], "--keep", "nothing=3"])
    assert ended.exit_code == 1
    assert "expected TABLE=DAYS" in ended.output
