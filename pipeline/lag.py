"""How far a lake is behind the log that it is read from, seen from outside: its commits beside the log's ends."""

import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from pipeline.batch import count_rows
from pipeline.lake.commit import Commit
from pipeline.lake.lake import Lake
from pipeline.lake.source import read_source
from pipeline.layout import Layout, Part
from pipeline.log import EventLog

READ_BYTES: Final = 8 * 2**20


class Lag(NamedTuple):
    """Of one partition: the log's offset up to which the lake has it, the log's end, rows between, and since when."""

    part: Part
    committed: int
    end: int
    rows: int
    seconds: float


def committed(lake: Lake) -> dict[Part, int]:
    """Return the log's next offset that the lake has not, of each partition it has any of."""
    source = read_source(lake)
    base = source.base if source else 0
    found: dict[Part, int] = {}
    for at in (offset for commit in _newest(lake) for offset in commit.offsets):
        part = Part(at.stream, at.partition)
        found[part] = max(found.get(part, 0), at.next - base)
    return found


def lags(log: EventLog, lake: Lake, *, exact: bool) -> Iterator[Lag]:
    """Yield the lag of each partition; its rows are counted if `exact`, else told from the newest commit's.

    Raises LogUnavailableError, LookupError for a log that was not created.
    """
    done, rows_a_message = committed(lake), _rows_a_message(lake)
    for part in Layout.of(log, lake.format.sink_partitions).all_parts:
        at, end = done.get(part, 0), log.bounds(*part)[1]
        waiting = log.read(*part, at, 1) if at < end else []
        waited_s = max(0.0, time.time() - waiting[0].appended_at / 1_000) if waiting else 0.0
        rows = count(log, part, at) if exact else round((end - at) * rows_a_message)
        yield Lag(part, at, end, rows, waited_s)


def count(log: EventLog, part: Part, offset: int) -> int:
    """Count the rows from an offset on."""
    rows = 0
    while messages := log.read(*part, offset, READ_BYTES):
        rows += sum(count_rows(message.content_type, message.payload) for message in messages)
        offset = messages[-1].offset + 1
    return rows


def _newest(lake: Lake) -> list[Commit]:
    committer = lake.committer()
    newest = (committer.published(sink) for sink in range(lake.format.sink_partitions))
    return [commit for commit in newest if commit is not None]


def _rows_a_message(lake: Lake) -> float:
    extents = [extent for commit in _newest(lake) for extent in commit.extents]
    messages = sum(extent.next - extent.first for extent in extents)
    return sum(extent.rows for extent in extents) / messages if messages else 1.0
