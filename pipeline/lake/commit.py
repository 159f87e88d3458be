"""What one commit is, in bytes that later versions still read, and what a store must do to make it.

A commit of a sink partition is all its rows of one epoch. It is *pending* once its files are durable where no reader
looks, and *published* once they are where readers look and its record tells of them. Sequence numbers have no gaps.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec
import pyarrow as pa

from pipeline.lake.tables import Table

VERSION: Final = 1
"""Version of states, records and footers. A reader takes its own and every earlier one."""


class LakeRefusedError(Exception):
    """Going on would lose or double rows, or the lake is not one this program knows; the message says the way out."""


class LakeLockedError(LakeRefusedError):
    """Another process writes this sink partition."""


class LakeWriteError(Exception):
    """The lake's storage took no write; nothing is lost, and a restart goes on once it takes writes again."""


class Extent(msgspec.Struct, frozen=True):
    """The interval [first, next) of offsets of a log partition, and the rows decoded from it."""

    stream: str
    partition: int
    first: int
    next: int
    rows: int


class Offset(msgspec.Struct, frozen=True):
    """The next offset to read of a log partition."""

    stream: str
    partition: int
    next: int


class DataFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a commit; `path` is where readers find it, relative to the lake; `stats` is for Delta logs."""

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str
    stats: str = ""


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One commit: a line of the commit records, and a manifest in staging while it is pending.

    `offsets` and `receive_time` (newest, ms UTC) hold for this and all earlier commits of the sink partition.
    """

    version: int = VERSION
    part: int
    seq: int
    files: tuple[DataFile, ...] = ()
    extents: tuple[Extent, ...] = ()
    offsets: tuple[Offset, ...] = ()
    receive_time: int | None = None


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange of the directory of a table's day: which files left it, which came, and how many rows are gone.

    `removed` are names in that directory. `dropped` rows are gone on purpose (erased, expired); it is null where the
    rows were computed anew and their number may differ.
    """

    version: int = VERSION
    id: int
    job: str
    table: str
    day: str
    at: int
    removed: tuple[str, ...] = ()
    removed_rows: int = 0
    added: tuple[DataFile, ...] = ()
    dropped: int | None = 0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink partition resumes from: the newest commit's number, and that commit as long as it is pending."""

    version: int = VERSION
    part: int
    seq: int
    pending: Commit | None = None


class Slice(NamedTuple):
    """Rows of one table and one UTC day (since 1970) of its date column: what becomes one file."""

    table: Table
    day: int
    rows: pa.Table


class Committer(Protocol):
    """A store of commits. Every call is safe to repeat after a crash at any place within it."""

    def stage(self, commit: Commit, slices: Iterable[Slice]) -> Commit:
        """Make the slices durable where no reader looks; return the commit with its files."""

    def publish(self, pending: Commit) -> None:
        """Show the files to readers, then record the commit; what is already done stays as it is.

        Raises LakeRefusedError, before anything is done, if a file is neither staged nor shown.
        """

    def published(self, part: int) -> Commit | None:
        """Return the newest recorded commit of a sink partition."""

    def discard(self, part: int) -> None:
        """Delete whatever the sink partition has staged."""

    def staged(self) -> Iterator[Commit]:
        """Yield the pending commits of all sink partitions."""

    def commits(self) -> Iterator[Commit]:
        """Yield all recorded commits, each sink partition's in order."""

    def files(self) -> Iterator[str]:
        """Yield the path of every file that readers see, relative to the lake."""


def decode_commit(line: bytes, source: str) -> Commit:
    """Read a commit; LakeRefusedError if the bytes are none or of a newer version."""
    return decode_known(_COMMIT, line, source)


def decode_state(state: bytes) -> State:
    """Read a state; LakeRefusedError if the bytes are none or of a newer version."""
    return decode_known(_STATE, state, "state of the recovery store")


def decode_swap(line: bytes, source: str) -> Swap:
    """Read a swap; LakeRefusedError if the bytes are none or of a newer version."""
    return decode_known(_SWAP, line, source)


class _Version(msgspec.Struct):
    version: int


_COMMIT: Final = msgspec.json.Decoder(Commit)
_STATE: Final = msgspec.json.Decoder(State)
_SWAP: Final = msgspec.json.Decoder(Swap)
_VERSION: Final = msgspec.json.Decoder(_Version)
_T = TypeVar("_T")


def decode_known(decoder: msgspec.json.Decoder[_T], data: bytes, source: str) -> _T:
    """Read a record that begins with its version; LakeRefusedError if the bytes are none or of a newer version."""
    try:
        version = _VERSION.decode(data).version
        if version <= VERSION:
            return decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise LakeRefusedError(f"{source} cannot be read ({error}): restore it, or begin an empty lake") from error
    raise LakeRefusedError(f"{source} has version {version}, this program knows {VERSION}: run the newer program")
