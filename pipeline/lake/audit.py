"""Prove exactly-once from what lies on disk: records, files, footers, rows, and if given the log, counted anew.

It trusts nothing that the writer computed without looking at the file itself, and it may run beside a writer; upkeep
waits for it. What upkeep replaced is followed through its records: each replaced file must have been there, no row may
be gone but those dropped on purpose, and the new files' footers must name the same commits.
"""

import fcntl
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.lake.commit import Commit, DataFile, Extent
from pipeline.lake.encoding import PROVED, footer_of, read_footer
from pipeline.lake.exchange import stoppers, swaps, unrecorded
from pipeline.lake.folder import PUBLISHING, locked
from pipeline.lake.history import History, follow, lineage_faults
from pipeline.lake.lake import Lake
from pipeline.lake.tables import POSITIONS

Source = tuple[str, int]
"""Stream and partition of the log."""

RESTORE: Final = "restore the lake from a copy, or begin an empty lake and read the log again"
REPORT: Final = "this is a fault of the program: keep lake and log as they are and report it"
SHOWN: Final = 10
"""Examples named in a problem."""
REPEATS: Final = """
    SELECT device_id, seq, count(*) FROM read_parquet($paths, union_by_name = true)
    WHERE seq IS NOT NULL GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT $shown
"""


class LogPartition(NamedTuple):
    """A partition of the log: the offsets it holds, [first, next), and of each message the offset and row count."""

    stream: str
    partition: int
    first: int
    next: int
    messages: Iterable[tuple[int, int]]


@dataclass(frozen=True)
class Problem:
    """What does not hold, and what to do about it."""

    what: str
    mend: str


@dataclass
class Count:
    """Of one partition of the log: the committed end and rows, and what the log holds beyond, not yet committed."""

    next: int = 0
    rows: int = 0
    compared_rows: int = 0
    backlog_rows: int = 0


@dataclass
class Report:
    """The outcome: it holds if there are no problems; notes are worth knowing and no fault."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: dict[Source, Count] = field(default_factory=lambda: defaultdict(Count))
    tables: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    dropped: dict[tuple[str, str], int] = field(default_factory=dict)
    """Rows gone on purpose, by job and table."""
    commits: int = 0


def audit(lake: Lake, log: Iterable[LogPartition] | None = None) -> Report:
    """Check every commit, exchange, file, row and interval of the lake, and the log's rows against them."""
    with locked(lake.root, PUBLISHING, fcntl.LOCK_SH):  # no exchange comes between records and files
        return _audit(lake, log)


def _audit(lake: Lake, log: Iterable[LogPartition] | None) -> Report:
    committer = lake.committer()
    passing = stoppers(lake)  # before the files: a stopper of that moment may be gone a moment later
    shown = set(committer.files()) - passing  # before the records: a file shown later has its record later
    staged = list(committer.staged())
    commits = list(committer.commits())
    history = follow(commits, [*swaps(lake), *unrecorded(lake)])
    report = Report(commits=len(commits), dropped=dict(history.dropped))
    for commit in staged:
        report.notes.append(f"commit {commit.seq} of sink partition {commit.part} is pending: it shows one epoch later")
    report.problems += _check_sequence(commits)
    report.problems += [Problem(fault, REPORT) for fault in history.faults]
    with lake.at_hand(history.files) as root:
        faults = _find_faults(root, history)
        report.problems += [Problem(f"{path}: {fault}", RESTORE) for path, fault in faults.items()]
        report.problems += [Problem(fault, REPORT) for fault in lineage_faults(root, commits, history, faults)]
        report.problems += _check_repeats(root, history, faults)
    report.problems += _check_rows(commits)
    report.problems += _check_strays(shown, {*history.files, *(file.path for each in staged for file in each.files)})
    extents = _by_source(commits)
    for source, intervals in sorted(extents.items()):
        report.problems += _check_tiling(source, intervals)
        report.sources[source] = Count(intervals[-1].next, sum(extent.rows for extent in intervals))
    for file, _ in history.files.values():
        report.tables[file.table] += file.rows
    if log is not None:
        _check_log(report, extents, log)
    else:
        report.notes += [note for source, intervals in extents.items() for note in _gaps(source, intervals)]
    return report


def _check_sequence(commits: Sequence[Commit]) -> Iterator[Problem]:
    expected: defaultdict[int, int] = defaultdict(lambda: 1)
    for commit in commits:
        if commit.seq != expected[commit.part]:
            what = f"sink partition {commit.part}: commit {commit.seq} where {expected[commit.part]} was due"
            yield Problem(what, RESTORE)
        expected[commit.part] = commit.seq + 1


def _find_faults(root: Path, history: History) -> dict[str, str]:
    """Read every file that must be there and return what is wrong, by path."""
    found = ((path, _fault_of(root / path, *entry)) for path, entry in history.files.items())
    return {path: fault for path, fault in found if fault}


def _check_rows(commits: Sequence[Commit]) -> Iterator[Problem]:
    for commit in commits:
        held = sum(file.rows for file in commit.files if file.table in PROVED)
        decoded = sum(extent.rows for extent in commit.extents)
        if held != decoded:
            what = f"sink partition {commit.part}, commit {commit.seq}: {decoded} rows decoded"
            yield Problem(f"{what}, {held} in positions and rejected", REPORT)


def _fault_of(path: Path, file: DataFile, commit: Commit | None) -> str | None:
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if (len(data), sha256(data).hexdigest()) != (file.bytes, file.sha256):
        return f"not the {file.bytes} bytes that were recorded"
    rows = pq.read_metadata(pa.BufferReader(data)).num_rows
    if rows != file.rows:
        return f"{rows} rows, {file.rows} recorded"
    if commit and read_footer(data) != footer_of(commit, file.table):
        return "its footer tells of another commit"
    return None


def _check_strays(shown: set[str], known: set[str]) -> Iterator[Problem]:
    for path in sorted(shown - known):
        yield Problem(f"{path}: readers see it and no record tells of it", "move it out of the lake, then audit again")


def _check_repeats(root: Path, history: History, faults: Container[str]) -> Iterator[Problem]:
    files = [path for path, (file, _) in history.files.items() if file.table == POSITIONS.name]
    paths = [str(root / path) for path in files if path not in faults]
    if not paths:
        return
    with duckdb.connect() as connection:
        found = connection.execute(REPEATS, {"paths": paths, "shown": SHOWN}).fetchall()
    for device_id, seq, count in found:
        yield Problem(f"positions holds device {device_id}, seq {seq} {count} times", REPORT)


def _by_source(commits: Sequence[Commit]) -> dict[Source, list[Extent]]:
    extents: defaultdict[Source, list[Extent]] = defaultdict(list)
    for commit in commits:
        for extent in commit.extents:
            extents[extent.stream, extent.partition].append(extent)
    return {source: sorted(each, key=lambda extent: extent.first) for source, each in extents.items()}


def _check_tiling(source: Source, extents: Sequence[Extent]) -> Iterator[Problem]:
    for before, after in pairwise(extents):
        if after.first < before.next:
            yield Problem(f"{_name(source)}: offsets {after.first} to {before.next} were committed twice", REPORT)


def _gaps(source: Source, extents: Sequence[Extent]) -> Iterator[str]:
    ends = [0, *(extent.next for extent in extents)]
    for end, extent in zip(ends, extents, strict=False):
        if extent.first > end:
            what = f"{_name(source)}: offsets {end} to {extent.first} are in no commit"
            yield f"{what}; only --log can tell whether the log had any there"


def _check_log(report: Report, extents: dict[Source, list[Extent]], log: Iterable[LogPartition]) -> None:
    left = dict(extents)
    for held in log:
        source = held.stream, held.partition
        intervals = left.pop(source, [])
        if intervals and intervals[-1].next > held.next:
            report.problems.append(_other_log(source, intervals[-1].next, held.next))
        else:
            _compare(report, intervals, held)
    for source, intervals in left.items():
        report.problems.append(_other_log(source, intervals[-1].next, 0))


def _compare(report: Report, extents: Sequence[Extent], held: LogPartition) -> None:
    """Compare the log's count with each extent it still holds whole."""
    source = held.stream, held.partition
    count = report.sources[source]
    rows, skipped = _count(count, extents, held)
    if skipped:
        what = f"{_name(source)}: {len(skipped)} messages are in no commit, at offsets {skipped[:SHOWN]}"
        report.problems.append(Problem(what, REPORT))
    for extent, found in zip(extents, rows, strict=True):
        if extent.first < held.first:
            continue
        count.compared_rows += found
        if found != extent.rows:
            what = f"{_name(source)}: offsets {extent.first} to {extent.next} hold {found} rows in the log"
            report.problems.append(Problem(f"{what}, {extent.rows} in the lake", REPORT))
    if extents and extents[0].first < held.first:
        note = f"{_name(source)}: the log holds offsets from {held.first} on, only these rows were compared"
        report.notes.append(note)


def _count(count: Count, extents: Sequence[Extent], held: LogPartition) -> tuple[list[int], list[int]]:
    """Return the log's rows in each extent, and the offsets below the committed end that are in none."""
    firsts = [extent.first for extent in extents]
    rows = [0] * len(extents)
    skipped = []
    for offset, found in held.messages:
        at = bisect_right(firsts, offset) - 1
        if at >= 0 and offset < extents[at].next:
            rows[at] += found
        elif offset >= count.next:
            count.backlog_rows += found
        else:
            skipped.append(offset)
    return rows, skipped


def _other_log(source: Source, committed: int, given: int) -> Problem:
    what = f"{_name(source)}: the lake holds offsets up to {committed}, the log gave only {given}"
    return Problem(what, "audit with the log this lake was written from")


def _name(source: Source) -> str:
    return f"log partition {source[0]}/{source[1]}"
