"""What must be in the lake now: the files of all commits, followed through every exchange since.

Files that upkeep replaced are gone, those it added are there, and no row was lost between: what is fewer was dropped on
purpose, and the exchange's record says how many and why.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.lake.commit import Commit, DataFile, Swap
from pipeline.lake.encoding import PROVED
from pipeline.lake.lineage import Held, Lineage, merge, read_lineage

Directory = tuple[str, str]
"""Table and day."""


@dataclass
class History:
    """The files that must be there, each with its commit if it still is the sink's; what does not add up; rows gone."""

    files: dict[str, tuple[DataFile, Commit | None]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rows gone on purpose, by job and table."""
    changed: dict[Directory, int] = field(default_factory=dict)
    """Directories that were exchanged, with the rows dropped from each."""


def follow(commits: Iterable[Commit], swaps: Iterable[Swap]) -> History:
    """Return what must be there after these commits and exchanges."""
    history = History()
    for commit in commits:
        history.files |= {file.path: (file, commit) for file in commit.files}
    for swap in swaps:
        history.faults += _apply(history, swap)
    return history


def lineage_faults(root: Path, commits: Iterable[Commit], history: History, unread: Iterable[str]) -> Iterator[str]:
    """Yield each exchanged directory whose files' footers do not tell of the rows that the commits put there.

    Directories with a file of `unread` are passed over.
    """
    written = _written(commits, history.changed)
    there: defaultdict[Directory, list[str]] = defaultdict(list)
    for path in history.files:
        there[_directory(path)].append(path)
    passed_over = {_directory(path) for path in unread}
    for directory, dropped in sorted(history.changed.items()):
        if directory[0] in PROVED and directory not in passed_over:
            found = merge(read_lineage(root / path) for path in there[directory])
            if fault := _compare(written[directory], found, dropped):
                yield f"{directory[0]}/event_date={directory[1]}: {fault}"


def _apply(history: History, swap: Swap) -> Iterator[str]:
    folder = f"{swap.table}/event_date={swap.day}"
    where = f"{folder}: {swap.job} {swap.id}"
    removed = 0
    for name in swap.removed:
        entry = history.files.pop(f"{folder}/{name}", None)
        if entry is None:
            yield f"{where} replaced {name}, which no record tells of"
        else:
            removed += entry[0].rows
    history.files |= {file.path: (file, None) for file in swap.added}
    dropped = swap.dropped
    if dropped is None:
        return
    added = sum(file.rows for file in swap.added)
    if not removed == swap.removed_rows == added + dropped:
        yield f"{where} replaced {removed} rows by {added} and dropped {dropped}"
    history.changed[swap.table, swap.day] = history.changed.get((swap.table, swap.day), 0) + dropped
    if dropped:
        history.dropped[swap.job, swap.table] += dropped


def _written(commits: Iterable[Commit], of: Mapping[Directory, int]) -> defaultdict[Directory, list[Held]]:
    written: defaultdict[Directory, list[Held]] = defaultdict(list)
    for commit in commits:
        for file in commit.files:
            directory = _directory(file.path)
            if directory in of and file.table in PROVED:
                written[directory].append(Held(commit.part, commit.seq, file.rows, commit.extents))
    return written


def _compare(written: Iterable[Held], found: Lineage, dropped: int) -> str | None:
    """Say what is wrong: rows of unknown commits, or fewer than written where not as many were dropped."""
    expected = {(held.part, held.seq): held for held in written}
    told = {(held.part, held.seq): held for held in found.held}
    other = sorted(key for key, held in told.items() if expected.get(key) != held)
    if other:
        return f"footers tell of other rows of commit {other[0][1]} of sink partition {other[0][0]} than were written"
    missing = sum(held.rows for key, held in expected.items() if key not in told)
    if missing + found.dropped != dropped:
        return f"footers miss {missing + found.dropped} rows of the commits, {dropped} were dropped on purpose"
    return None


def _directory(path: str) -> Directory:
    table, folder, _ = path.split("/")
    return table, folder.partition("=")[2]
