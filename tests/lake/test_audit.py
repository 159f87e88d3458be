"""The audit holds on a lake as it was written, and names each way in which it can be wrong."""

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.lake.audit import LogPartition, audit
from pipeline.lake.commit import Commit, Extent
from pipeline.lake.lake import Lake
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import MESSAGE_ROWS, positions, write_messages

MESSAGES = 6


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three commits of two messages each of log partition 0."""
    lake = Lake.create(str(tmp_path / "lake"))
    writer = PartitionWriter.open(lake, 0, None)
    for first in range(0, MESSAGES, 2):
        write_messages(writer, 0, first, first + 2)
        writer.snapshot()
    writer.close()
    publish_pending(lake)
    return lake


def log(
    first: int = 0, following: int = MESSAGES, *, without: Iterable[int] = (), rows: int = MESSAGE_ROWS
) -> LogPartition:
    """Build what a log of equal messages holds."""
    messages = [(offset, rows) for offset in range(first, following) if offset not in without]
    return LogPartition("positions", 0, first, following, messages)


def problems(lake: Lake, *partitions: LogPartition) -> list[str]:
    return [problem.what for problem in audit(lake, partitions or None).problems]


def records(lake: Lake) -> Path:
    return lake.root / "_commits" / "k0.jsonl"


def first_file(lake: Lake) -> Path:
    return lake.root / min(lake.committer().files())


def rewrite(lake: Lake, change: Callable[[list[Commit]], list[Commit]]) -> None:
    """Replace the commit records."""
    lines = [msgspec.json.encode(commit) + b"\n" for commit in change(list(lake.committer().commits()))]
    records(lake).write_bytes(b"".join(lines))


def test_a_lake_as_it_was_written_holds(lake: Lake) -> None:
    report = audit(lake, [log()])
    assert report.problems == []
    assert report.notes == []
    assert report.commits == 3
    assert dict(report.tables) == {"positions": 2 * MESSAGES, "rejected": MESSAGES}
    count = report.sources["positions", 0]
    assert (count.next, count.rows, count.compared_rows, count.backlog_rows) == (MESSAGES, 18, 18, 0)


def test_an_empty_lake_holds(tmp_path: Path) -> None:
    assert audit(Lake.create(str(tmp_path / "lake"))).problems == []


def test_rows_of_the_log_beyond_the_committed_end_are_backlog_and_no_fault(lake: Lake) -> None:
    report = audit(lake, [log(following=MESSAGES + 4)])
    assert report.problems == []
    assert report.sources["positions", 0].backlog_rows == 4 * MESSAGE_ROWS


def test_of_a_trimmed_log_only_what_it_still_holds_is_compared_and_said_so(lake: Lake) -> None:
    report = audit(lake, [log(first=3)])
    assert report.problems == []
    assert report.sources["positions", 0].compared_rows == 2 * MESSAGE_ROWS
    assert report.notes == ["log partition positions/0: the log holds offsets from 3 on, only these rows were compared"]


def test_a_pending_commit_is_a_note(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 1, None)
    write_messages(writer, 1, 0, 1)
    writer.snapshot()
    writer.close()
    report = audit(lake)
    assert report.problems == []
    assert report.notes == ["commit 1 of sink partition 1 is pending: it shows one epoch later"]


def test_a_log_that_counts_other_rows_is_a_problem(lake: Lake) -> None:
    assert problems(lake, log(rows=4))[0] == (
        "log partition positions/0: offsets 0 to 2 hold 8 rows in the log, 6 in the lake"
    )


def test_a_log_that_never_gave_what_the_lake_holds_is_a_problem(lake: Lake) -> None:
    expected = ["log partition positions/0: the lake holds offsets up to 6, the log gave only 4"]
    assert problems(lake, log(following=4)) == expected
    assert problems(lake, LogPartition("rejected", 0, 0, 0, [])) == [expected[0].replace("only 4", "only 0")]


def test_a_missing_record_is_a_problem(lake: Lake) -> None:
    rewrite(lake, lambda commits: [commits[0], commits[2]])
    found = problems(lake, log())
    assert "sink partition 0: commit 3 where 2 was due" in found
    assert "log partition positions/0: 2 messages are in no commit, at offsets [2, 3]" in found
    assert any("no record tells of it" in problem for problem in found)


def test_offsets_between_commits_are_noted_where_there_is_no_log_to_ask(lake: Lake) -> None:
    rewrite(lake, lambda commits: [commits[0], commits[2]])
    assert audit(lake).notes == [
        "log partition positions/0: offsets 2 to 4 are in no commit; only --log can tell whether the log had any there"
    ]


def test_offsets_committed_twice_are_a_problem(lake: Lake) -> None:
    def again(commits: list[Commit]) -> list[Commit]:
        twice = msgspec.structs.replace(commits[2], extents=(Extent("positions", 0, 3, 6, 6),))
        return [*commits[:2], twice]

    rewrite(lake, again)
    assert "log partition positions/0: offsets 3 to 4 were committed twice" in problems(lake)


def test_a_missing_file_is_a_problem(lake: Lake) -> None:
    first_file(lake).unlink()
    assert [problem for problem in problems(lake) if "cannot be read (No such file or directory)" in problem]


def test_a_changed_file_is_a_problem(lake: Lake) -> None:
    data = bytearray(first_file(lake).read_bytes())
    data[len(data) // 2] ^= 1
    first_file(lake).write_bytes(data)
    assert "not the" in problems(lake)[0]


def test_a_file_without_a_record_is_a_problem(lake: Lake) -> None:
    rows = pa.Table.from_batches([positions("stray", [0])])
    pq.write_table(rows, first_file(lake).with_name("stray.parquet"))
    (found,) = problems(lake)
    assert found.endswith("stray.parquet: readers see it and no record tells of it")


def test_a_row_written_twice_is_a_problem_though_all_counts_agree(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 1, None)
    writer.append("positions", positions("device-0", [3]))
    writer.extend(Extent("positions", 1, 0, 1, 1))
    writer.snapshot()
    writer.close()
    publish_pending(lake)
    assert problems(lake) == ["positions holds device device-0, seq 3 2 times"]


def test_rows_decoded_that_are_in_no_file_are_a_problem(lake: Lake) -> None:
    def more(commits: list[Commit]) -> list[Commit]:
        return [*commits[:2], msgspec.structs.replace(commits[2], extents=(Extent("positions", 0, 4, 6, 7),))]

    rewrite(lake, more)
    found = problems(lake)
    assert "sink partition 0, commit 3: 7 rows decoded, 6 in positions and rejected" in found
    assert [problem for problem in found if "its footer tells of another commit" in problem]


def test_each_problem_says_how_to_mend_it(lake: Lake) -> None:
    first_file(lake).unlink()
    assert all(problem.mend for problem in audit(lake, [log(following=2)]).problems)
