"""The embedded event log: one SQLite file that several processes append to and read at once.

Rule: an append is one transaction, and a message's key is its partition's range plus its offset; so what was answered
is on the disk (WAL, synchronous=FULL), and a reader's snapshot never shows a message without all those before it.

Appending and trimming also hold a lock on the file beside the log. SQLite before 3.51.3 can corrupt a WAL that one
connection resets while another finishes a checkpoint (its documentation, "WAL-reset bug"); SQLite checkpoints inside
the call that commits, so under this lock no write ever meets a checkpoint.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pipeline import fault
from pipeline.log import LogUnavailableError, Message, NewMessage

_PATIENCE_S: Final = 25.0
"""How long an append waits for its turn among the log's writers; with _BUSY_S that is the protocol's 30 s."""
_BUSY_S: Final = 5.0
"""How long a statement waits for a program that is none of ours."""
_POLL_S: Final = 0.001
_TRIM_CHUNK: Final = 1_000  # messages dropped in one transaction: appends wait for no more than that
_PARTITION_BITS: Final = 40  # 10^12 messages a partition

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS partitions (
        id INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        partition INTEGER NOT NULL,
        next_offset INTEGER NOT NULL DEFAULT 0,
        last_appended_at INTEGER NOT NULL DEFAULT 0,
        UNIQUE (stream, partition)
    )""",
    """CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY, -- partitions.id << 40 | offset
        appended_at INTEGER NOT NULL,
        content_type TEXT NOT NULL,
        payload BLOB NOT NULL
    )""",
)
_OUTAGES: Final = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
)


class SqliteLog:
    """An EventLog in the file `path`. Open it anew after a fork."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._writer = _Connection(self._path)
        self._reader = _Connection(self._path)

    def create(self, partitions: dict[str, int]) -> None:
        """Create the streams that are missing; ValueError if one exists with another number of partitions."""
        with _outages_named(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked(), self._writer.use(create=True) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                with _transaction(connection):
                    for statement in _SCHEMA:
                        connection.execute(statement)
                    for stream, count in partitions.items():
                        _create_stream(connection, stream, count)

    def partitions(self, stream: str) -> int:
        """Return the number of partitions; LookupError if the stream does not exist."""
        with _outages_named(self._path), self._reader.use() as connection:
            count = _count_partitions(connection, stream)
        if count == 0:
            raise LookupError(f"the log {self._path} has no stream {stream!r}")
        return count

    def append(self, messages: Sequence[NewMessage]) -> list[int]:
        """Append all messages or none, in one transaction; return their offsets once they are on the disk.

        Raises LogUnavailableError when that could not be had within 30 s, LookupError for an unknown stream.
        """
        if not messages:
            return []
        with _outages_named(self._path), self._locked(), self._writer.use() as connection, _transaction(connection):
            offsets = _append(connection, messages)
            fault.point("log.sending")
            return offsets

    def read(self, stream: str, partition: int, offset: int, max_bytes: int) -> list[Message]:
        """Return messages from `offset` on in order: at least one if there is one, then up to `max_bytes` of payload.

        Offsets that were trimmed away are skipped; `bounds` tells.
        """
        with _outages_named(self._path), self._reader.use() as connection:
            base = _find(connection, stream, partition)[0] << _PARTITION_BITS
            rows = connection.execute(
                "SELECT id, appended_at, content_type, payload FROM messages WHERE id >= ? AND id < ? ORDER BY id",
                (base + offset, base + (1 << _PARTITION_BITS)),
            )
            messages: list[Message] = []
            for key, appended_at, content_type, payload in rows:
                max_bytes -= len(payload)
                if messages and max_bytes < 0:
                    break
                messages.append(Message(key - base, appended_at, content_type, payload))
            rows.close()
            return messages

    def bounds(self, stream: str, partition: int) -> tuple[int, int]:
        """Return the first offset still held and the next offset to be given."""
        with _outages_named(self._path), self._reader.use() as connection, _snapshot(connection):
            number, next_offset, _ = _find(connection, stream, partition)
            return _first_offset(connection, number, next_offset), next_offset

    def stored_bytes(self, stream: str, partition: int) -> int | None:
        """Return the payload bytes still held."""
        with _outages_named(self._path), self._reader.use() as connection:
            base = _find(connection, stream, partition)[0] << _PARTITION_BITS
            total: int = connection.execute(
                "SELECT coalesce(sum(length(payload)), 0) FROM messages WHERE id >= ? AND id < ?",
                (base, base + (1 << _PARTITION_BITS)),
            ).fetchone()[0]
            return total

    def trim(self, older_than: int, below: Mapping[tuple[str, int], int] = MappingProxyType({})) -> int:
        """Drop messages appended before `older_than` (ms UTC); return how many. Their offsets are never given again.

        Of a (stream, partition) in `below` only those under that offset. Oldest first and a few at a time, so that one
        that is killed has dropped a part, and nobody waits for it. Frees room inside the file for later appends; the
        file does not shrink.
        """
        dropped = 0
        with _outages_named(self._path):
            with self._reader.use() as connection:
                parts = connection.execute("SELECT id, stream, partition FROM partitions").fetchall()
            for number, stream, partition in parts:
                base = number << _PARTITION_BITS
                end = base + below.get((stream, partition), 1 << _PARTITION_BITS)
                while chunk := self._trim_chunk(base, end, older_than):
                    dropped += chunk
                    fault.point("log.trimmed")
        return dropped

    def rewrite(self, stream: str, partition: int, payloads: Mapping[int, bytes]) -> bool:
        """Replace the payloads of messages at these offsets, in the file and its WAL; return True."""
        with _outages_named(self._path), self._locked(), self._writer.use() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            with _transaction(connection):
                base = _find(connection, stream, partition)[0] << _PARTITION_BITS
                new = [(payload, base + offset) for offset, payload in payloads.items()]
                connection.executemany("UPDATE messages SET payload = ? WHERE id = ?", new)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True

    def close(self) -> None:
        """Release connections; the log stays."""
        self._writer.close()
        self._reader.close()

    def _trim_chunk(self, base: int, end: int, older_than: int) -> int:
        with self._locked(), self._writer.use() as connection, _transaction(connection):
            oldest = connection.execute(
                "SELECT id, appended_at FROM messages WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
                (base, end, _TRIM_CHUNK),
            )
            doomed = [(key,) for key, appended_at in oldest if appended_at < older_than]
            connection.executemany("DELETE FROM messages WHERE id = ?", doomed)
        return len(doomed)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the one lock that every writer of this log takes."""
        lock = os.open(f"{self._path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            deadline = time.monotonic() + _PATIENCE_S
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    raise LogUnavailableError(f"the log {self._path} was locked for {_PATIENCE_S:.0f} s")
                time.sleep(_POLL_S)
            yield
        finally:
            os.close(lock)


class _Connection:
    """One connection, opened on first use and used by one thread at a time.

    A connection per thread would tie it to thread-local state, which Bytewax wipes between calls.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def use(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        with self._turn:
            if self._connection is None:
                self._connection = _connect(self._path, create=create)
            yield self._connection

    def close(self) -> None:
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _connect(path: Path, *, create: bool) -> sqlite3.Connection:
    if not create and not path.exists():
        raise LookupError(f"there is no log at {path}: create it first")
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    connection = sqlite3.connect(uri, _BUSY_S, isolation_level=None, check_same_thread=False, uri=True)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        if create or connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'messages'").fetchone():
            return connection
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        raise LookupError(f"{path} is no log but a file of another kind") from error
    connection.close()
    raise LookupError(f"{path} holds no log: create it first")


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _outages_named(path: Path) -> Iterator[None]:
    """Turn what a full, locked, read-only or failing disk raises into LogUnavailableError; let bugs pass."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _OUTAGES:
            raise
        raise LogUnavailableError(f"the log {path}: {error}") from error
    except OSError as error:
        raise LogUnavailableError(f"the log {path}: {error}") from error


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _create_stream(connection: sqlite3.Connection, stream: str, count: int) -> None:
    if count < 1:
        raise ValueError(f"stream {stream!r}: {count} partitions")
    have = _count_partitions(connection, stream)
    if have not in (0, count):
        raise ValueError(f"stream {stream!r} has {have} partitions, for its life; asked for {count}")
    if have == 0:
        connection.executemany(
            "INSERT INTO partitions (stream, partition) VALUES (?, ?)", [(stream, p) for p in range(count)]
        )


def _count_partitions(connection: sqlite3.Connection, stream: str) -> int:
    count: int = connection.execute("SELECT count(*) FROM partitions WHERE stream = ?", (stream,)).fetchone()[0]
    return count


def _find(connection: sqlite3.Connection, stream: str, partition: int) -> tuple[int, int, int]:
    """Return (id, next_offset, last_appended_at)."""
    found: tuple[int, int, int] | None = connection.execute(
        "SELECT id, next_offset, last_appended_at FROM partitions WHERE stream = ? AND partition = ?",
        (stream, partition),
    ).fetchone()
    if found is None:
        raise LookupError(f"the log has no partition {partition} of stream {stream!r}")
    return found


def _first_offset(connection: sqlite3.Connection, number: int, next_offset: int) -> int:
    base = number << _PARTITION_BITS
    first = connection.execute(
        "SELECT id FROM messages WHERE id >= ? AND id < ? ORDER BY id LIMIT 1", (base, base + (1 << _PARTITION_BITS))
    ).fetchone()
    return next_offset if first is None else first[0] - base


def _append(connection: sqlite3.Connection, messages: Sequence[NewMessage]) -> list[int]:
    offsets = [0] * len(messages)
    by_partition = sorted(range(len(messages)), key=lambda i: messages[i][:2])
    for (stream, partition), group in groupby(by_partition, key=lambda i: messages[i][:2]):
        indices = list(group)
        number, next_offset, last_appended_at = _find(connection, stream, partition)
        # A clock set back must not let a later message look older: trim goes by prefix.
        appended_at = max(time.time_ns() // 1_000_000, last_appended_at)
        base = number << _PARTITION_BITS
        for offset, i in enumerate(indices, next_offset):
            offsets[i] = offset
            message = (base + offset, appended_at, messages[i].content_type, messages[i].payload)
            connection.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", message)
        connection.execute(
            "UPDATE partitions SET next_offset = ?, last_appended_at = ? WHERE id = ?",
            (next_offset + len(indices), appended_at, number),
        )
    return offsets
