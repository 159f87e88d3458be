"""Commits in a POSIX folder: a file is written and synced in staging, then renamed to where readers look.

The order of steps is the whole rule. Staging: files, manifest, directory. Publishing: renames, directories, record,
and the manifest last. So at any moment each file is staged or shown, never both, and a record never tells of a file
that is not shown. All publishing shares one lock, which an exchange of a directory takes for itself.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import pyarrow.compute as pc

from pipeline.fault import point
from pipeline.lake.commit import Commit, DataFile, LakeRefusedError, LakeWriteError, Slice, decode_commit
from pipeline.lake.encoding import encode, footer_of
from pipeline.lake.tables import TABLES

STAGING: Final = "_staging"
COMMITS: Final = "_commits"
LOCKS: Final = "_locks"
PUBLISHING: Final = "publish"
"""Lock that whoever publishes shares, and whoever exchanges a directory has alone."""
TAIL_BYTES: Final = 1 << 16


class FolderCommitter:
    """The committer of a lake that is a folder of one file system."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._staging = root / STAGING
        self._commits = root / COMMITS

    def stage(self, commit: Commit, slices: Iterable[Slice]) -> Commit:
        """Write and sync one file a slice, then the manifest that makes them a pending commit."""
        with writing(self._root):
            files = tuple(self._stage_file(commit, piece) for piece in slices)
            commit = msgspec.structs.replace(commit, files=files)
            write_synced(self._manifest(commit), msgspec.json.encode(commit))
            sync_directory(self._staging)
        point("lake.staged")
        return commit

    def publish(self, pending: Commit) -> None:
        """Rename the staged files into their tables, record the commit, drop the manifest."""
        last = self.published(pending.part)
        with writing(self._root), locked(self._root, PUBLISHING, fcntl.LOCK_SH):
            if last is None or last.seq < pending.seq:
                self._show(self._moves(pending))
                self._record(pending)
            self._manifest(pending).unlink(missing_ok=True)

    def published(self, part: int) -> Commit | None:
        """Return the last whole line of the sink partition's records."""
        path = self._records(part)
        try:
            with path.open("rb") as records:
                line = _last_line(records.fileno())
        except FileNotFoundError:
            return None
        return decode_commit(line, str(path)) if line else None

    def discard(self, part: int) -> None:
        """Delete the sink partition's staged files and manifests."""
        with writing(self._root):
            for path in self._staging.glob(f"k{part}-*"):
                path.unlink()

    def staged(self) -> Iterator[Commit]:
        """Yield the commit of each manifest in staging."""
        for path in sorted(self._staging.glob("k*.json")):
            try:
                manifest = path.read_bytes()
            except FileNotFoundError:
                continue  # published meanwhile
            yield decode_commit(manifest, str(path))

    def commits(self) -> Iterator[Commit]:
        """Yield every whole line of all records."""
        for path in sorted(self._commits.glob("k*.jsonl")):
            for line in read_records(path):
                yield decode_commit(line, str(path))

    def files(self) -> Iterator[str]:
        """Yield the Parquet files under each table's folder, but for the one that only holds the schema."""
        for name in TABLES:
            for day in (self._root / name).glob("event_date=*"):
                for path in list_files(day):
                    if path.suffix == ".parquet" and path.name != "schema.parquet":
                        yield path.relative_to(self._root).as_posix()

    def _stage_file(self, commit: Commit, piece: Slice) -> DataFile:
        newest = pc.max(piece.rows[piece.table.date_column]).as_py()
        name = f"k{commit.part}-{newest:%H}-{commit.seq:08d}.parquet"
        path = f"{piece.table.name}/event_date={newest:%Y-%m-%d}/{name}"
        data = encode(piece.table, piece.rows, footer_of(commit, piece.table.name))
        write_synced(self._staged(commit, path), data)
        return DataFile(piece.table.name, path, piece.rows.num_rows, data.size, sha256(data).hexdigest())

    def _moves(self, pending: Commit) -> list[tuple[Path, Path]]:
        moves = [(self._staged(pending, file.path), self._root / file.path) for file in pending.files]
        for source, target in moves:
            if source.exists() == target.exists():
                raise LakeRefusedError(
                    f"{target}: pending in commit {pending.seq} of sink partition {pending.part}, but found "
                    f"{'twice' if target.exists() else 'nowhere'}: restore the lake together with its recovery "
                    "store, or begin an empty lake and read the log again"
                )
        return moves

    def _show(self, moves: list[tuple[Path, Path]]) -> None:
        changed = {self._staging}
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            changed |= {target.parent, target.parent.parent}
            if source.exists():
                source.rename(target)
                point("lake.renamed")
        for directory in changed:
            sync_directory(directory)
        point("lake.placed")

    def _record(self, commit: Commit) -> None:
        append_record(self._records(commit.part), msgspec.json.encode(commit))
        point("lake.recorded")

    def _staged(self, commit: Commit, path: str) -> Path:
        return self._staging / f"k{commit.part}-{commit.seq:08d}-{path.replace('/', '+')}"

    def _manifest(self, commit: Commit) -> Path:
        return self._staging / f"k{commit.part}-{commit.seq:08d}.json"

    def _records(self, part: int) -> Path:
        return self._commits / f"k{part}.jsonl"


def list_files(folder: Path) -> list[Path]:
    """List a directory, in order; nothing if it is not there, or is just being dropped."""
    with suppress(FileNotFoundError):
        return sorted(folder.iterdir())
    return []


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until its bytes are durable; its name is only after `sync_directory`."""
    with path.open("wb") as file:
        file.write(data)
        point("lake.written")
        file.flush()
        os.fsync(file.fileno())


def append_record(path: Path, line: bytes) -> None:
    """Append a line and wait until it is durable; a line torn by a crash is overwritten."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as records:
        records.truncate(_whole_bytes(records.fileno()))
        records.seek(0, os.SEEK_END)
        records.write(line + b"\n")
        records.flush()
        os.fsync(records.fileno())
    sync_directory(path.parent)


def read_records(path: Path) -> Iterator[bytes]:
    """Yield every whole line, none where there is no file."""
    if path.exists():
        with path.open("rb") as records:
            yield from (line for line in records if line.endswith(b"\n"))


def sync_directory(path: Path) -> None:
    """Wait until the directory's names are durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(root: Path, name: str, kind: int) -> Iterator[None]:
    """Wait for a lock of the lake, LOCK_SH or LOCK_EX, and hold it; LakeWriteError where it cannot be made."""
    with writing(root):
        descriptor = os.open(root / LOCKS / f"{name}.lock", os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turn an error of the file system into LakeWriteError that names the folder and the reason."""
    try:
        yield
    except OSError as error:
        raise LakeWriteError(
            f"the lake {root} takes no writes: {error.strerror or error} ({error.filename or 'while writing'}); "
            "mend this and start again, it goes on where it stood"
        ) from error


def _whole_bytes(descriptor: int) -> int:
    """Return the length of the file up to its last line end."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - TAIL_BYTES)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _last_line(descriptor: int) -> bytes:
    """Return the last whole line."""
    end = _whole_bytes(descriptor)
    tail = b""
    start = end
    while start and b"\n" not in tail[:-1]:
        start = max(0, start - TAIL_BYTES)
        tail = os.pread(descriptor, end - start, start)
    return tail[:-1].rpartition(b"\n")[2]
