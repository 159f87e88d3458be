"""Rid the engine's recovery store of snapshots from a future that did not happen.

Bytewax keeps a snapshot of a key by epoch. One taken in an epoch that died before it was durable on every worker is
not overwritten when the re-run of that epoch does not touch the key, and the crash after that would load it. So
before each start, everything from the resume epoch on is deleted.
"""

import pickle
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from pipeline.lake.commit import LakeWriteError
from pipeline.lake.writer import WAYS_OUT

_OUTAGES: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
"""A disk that is full shows as any of these."""


class StoreBrokenError(Exception):
    """A file of the recovery store is missing or cannot be read; the message says the way out."""


def forget_ghosts(folder: Path) -> int:
    """Delete the snapshots of the epochs that the next execution runs again; return how many there were.

    Raises StoreBrokenError for a store that is not whole, LakeWriteError if it takes no writes.
    """
    with ExitStack() as stack:
        stores = [stack.enter_context(_opened(path)) for path in sorted(folder.glob("part-*.sqlite3"))]
        parts = {part for store in stores for part in store.execute("SELECT part_index, part_count FROM parts")}
        if not parts or {index for index, _ in parts} != set(range(max(count for _, count in parts))):
            raise _broken(folder, f"of its files there are {len(stores)}")
        resume = _resume_epoch(stores)
        if resume is None:
            return 0
        return sum(store.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (resume,)).rowcount for store in stores)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file of the store that is whole."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as store:
            if (said := store.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise _broken(path, said)
            yield store
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _OUTAGES:
            raise LakeWriteError(
                f"the recovery store {path} takes no writes: {error}; mend this and start again"
            ) from error
        raise _broken(path, str(error)) from error


def _broken(path: Path, reason: str) -> StoreBrokenError:
    return StoreBrokenError(f"the recovery store {path} is broken: {reason}. {WAYS_OUT}")


def _resume_epoch(stores: Sequence[sqlite3.Connection]) -> int | None:
    """Return the epoch that every worker of the newest execution had reached; None before the first execution."""
    executions = [
        row for store in stores for row in store.execute("SELECT ex_num, worker_count, resume_epoch FROM exs")
    ]
    if not executions:
        return None
    newest, workers, resume = max(executions)
    reached = dict.fromkeys(range(workers), int(resume))
    for store in stores:
        fronts = store.execute("SELECT worker_index, worker_frontier FROM fronts WHERE ex_num = ?", (newest,))
        for worker, frontier in fronts:
            reached[worker] = max(reached[worker], frontier)
    return min(reached.values())


def read_states(folder: Path, step: str) -> dict[str, bytes]:
    """Return the newest state of each key of a step, as the step gave it; to be called when nothing runs."""
    states: dict[str, bytes] = {}
    for path in sorted(folder.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(path)) as store:
            rows = store.execute(
                "SELECT state_key, ser_change FROM snaps WHERE step_id = ? ORDER BY snap_epoch", (step,)
            ).fetchall()
        for key, change in rows:
            states[key] = pickle.loads(change)  # noqa: S301  the engine pickles the bytes; the store is our own
    return states
