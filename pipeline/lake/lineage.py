"""Where the rows of a file come from: the commits, how many rows of each, and the offsets that each was decoded from.

The sink's files name their one commit. A file that replaces others carries the commits of all of them, packed: a run of
consecutive commits is lists of differences, about ten bytes a commit and log partition, so that a day of one-second
epochs still has a footer of a megabyte or less.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec
import pyarrow.parquet as pq

from pipeline.lake.commit import Extent
from pipeline.lake.encoding import FOOTER, Footer

PACKED: Final = 2
"""Version of the footers of files that replace others."""


class Held(msgspec.Struct, frozen=True):
    """Rows of one commit that a file was given, and the commit's extents."""

    part: int
    seq: int
    rows: int
    extents: tuple[Extent, ...] = ()


class Spread(msgspec.Struct, frozen=True):
    """Offsets of a log partition through a run of commits: from `first` on, so many offsets and rows a commit."""

    stream: str
    partition: int
    first: int
    sizes: tuple[int, ...]
    rows: tuple[int, ...]


class Run(msgspec.Struct, frozen=True):
    """Consecutive commits of a sink partition from `seq` on: the rows held of each, and their offsets."""

    part: int
    seq: int
    held: tuple[int, ...]
    extents: tuple[Spread, ...]


class PackedFooter(msgspec.Struct, frozen=True, kw_only=True):
    """The footer of a file that replaces others; `dropped` of the rows held are gone on purpose."""

    version: int = PACKED
    runs: tuple[Run, ...] = ()
    dropped: int = 0


class Lineage(msgspec.Struct, frozen=True):
    """What a file was given, by commit, and how many rows of it are gone on purpose."""

    held: tuple[Held, ...] = ()
    dropped: int = 0


def read_lineage(source: Path) -> Lineage:
    """Read the lineage of a file of the lake; KeyError if its footer tells of none."""
    metadata = pq.read_metadata(source)
    footer = (metadata.metadata or {})[FOOTER.encode()]
    if msgspec.json.decode(footer, type=_Version).version < PACKED:
        single = msgspec.json.decode(footer, type=Footer)
        return Lineage((Held(single.part, single.seq, metadata.num_rows, single.extents),))
    packed = msgspec.json.decode(footer, type=PackedFooter)
    return Lineage(tuple(held for run in packed.runs for held in _unpack(run)), packed.dropped)


def merge(lineages: Iterable[Lineage], *, dropped: int = 0) -> Lineage:
    """Return the lineage of one file in place of several, `dropped` more of whose rows are gone."""
    found: dict[tuple[int, int], Held] = {}
    for lineage in lineages:
        dropped += lineage.dropped
        for held in lineage.held:
            before = found.get((held.part, held.seq))
            rows = held.rows + (before.rows if before else 0)
            found[held.part, held.seq] = Held(held.part, held.seq, rows, held.extents)
    return Lineage(tuple(found[key] for key in sorted(found)), dropped)


def pack(lineage: Lineage) -> bytes:
    """Return the footer of a file with this lineage."""
    runs = tuple(_pack(run) for run in _runs(lineage.held))
    return msgspec.json.encode(PackedFooter(runs=runs, dropped=lineage.dropped))


class _Version(msgspec.Struct):
    version: int


def _runs(held: Iterable[Held]) -> Iterator[list[Held]]:
    """Split commits in order where one is missing, or does not go on where the last one ended."""
    run: list[Held] = []
    for each in held:
        if run and not _goes_on(run[-1], each):
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def _goes_on(last: Held, following: Held) -> bool:
    if (last.part, last.seq + 1) != (following.part, following.seq):
        return False
    ends = [(extent.stream, extent.partition, extent.next) for extent in last.extents]
    return ends == [(extent.stream, extent.partition, extent.first) for extent in following.extents]


def _pack(run: list[Held]) -> Run:
    columns = zip(*(held.extents for held in run), strict=True)
    return Run(run[0].part, run[0].seq, tuple(held.rows for held in run), tuple(_spread(column) for column in columns))


def _spread(extents: tuple[Extent, ...]) -> Spread:
    first = extents[0]
    sizes = tuple(extent.next - extent.first for extent in extents)
    return Spread(first.stream, first.partition, first.first, sizes, tuple(extent.rows for extent in extents))


def _unpack(run: Run) -> Iterator[Held]:
    columns = [list(_extents(spread)) for spread in run.extents]
    for at, rows in enumerate(run.held):
        yield Held(run.part, run.seq + at, rows, tuple(column[at] for column in columns))


def _extents(spread: Spread) -> Iterator[Extent]:
    ends = accumulate(spread.sizes, initial=spread.first)
    for first, size, rows in zip(ends, spread.sizes, spread.rows, strict=False):
        yield Extent(spread.stream, spread.partition, first, first + size, rows)
