"""What upkeep did and when, a line a job: the record for whoever asks later why the lake looks as it does.

Each exchange has its own record, which counts rows; a job's says what was asked for, by whom it was ended, and what it
came to. A job that was killed has no line here, but its exchanges have theirs.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from pipeline.lake.commit import VERSION
from pipeline.lake.folder import COMMITS, append_record, locked, read_records, writing
from pipeline.lake.lake import Lake

JOBS: Final = "jobs.jsonl"


class Job(msgspec.Struct, kw_only=True):
    """One run of a job: times in ms UTC, what it was asked for, directories changed, rows in them and rows dropped."""

    version: int = VERSION
    job: str
    started: int
    ended: int = 0
    asked: dict[str, str] = {}
    changed: int = 0
    rows: int = 0
    dropped: int = 0
    refused: list[str] = []
    failed: str | None = None

    def count(self, rows: int, *, dropped: int = 0) -> None:
        """Count one more directory changed."""
        self.changed += 1
        self.rows += rows
        self.dropped += dropped


@contextmanager
def recording(lake: Lake, job: str, **asked: str) -> Iterator[Job]:
    """Give a job to count in, and record it when the block ends, with its error if it ends by one.

    A job that changed nothing and met no obstacle leaves no record.
    """
    record = Job(job=job, started=_now(), asked=asked)
    try:
        yield record
    except BaseException as error:
        record.failed = f"{type(error).__name__}: {error}"
        raise
    finally:
        record.ended = _now()
        if record.changed or record.refused or record.failed:
            with locked(lake.root, "jobs", fcntl.LOCK_EX), writing(lake.root):
                append_record(lake.root / COMMITS / JOBS, msgspec.json.encode(record))


def jobs(lake: Lake) -> Iterator[Job]:
    """Yield the record of every job, in order of their ends."""
    for line in read_records(lake.root / COMMITS / JOBS):
        yield msgspec.json.decode(line, type=Job)


def _now() -> int:
    return time.time_ns() // 1_000_000
