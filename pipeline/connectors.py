"""The engine's ends: the log's partitions as a source of column batches, the lake's sink partitions as a sink."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import pyarrow as pa
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from geo.holding import FOREVER, Times
from geo.order import CLOCK_SLACK_MS, arrivals
from pipeline import fault
from pipeline.batch import Decoded, NewerVersionError, decode, decode_refused
from pipeline.heard import heard
from pipeline.lake.adoption import Adoption
from pipeline.lake.commit import Extent
from pipeline.lake.lake import Lake
from pipeline.lake.source import Source
from pipeline.lake.writer import PartitionWriter
from pipeline.layout import Part
from pipeline.live import LiveSender
from pipeline.log import POSITIONS, EventLog, LogUnavailableError, Message

READ_BYTES: Final = 2_000_000
"""About 35,000 rows of our own format: enough to make the cost per item vanish."""
ROWS_PER_EPOCH: Final = 4_000_000
"""Over all partitions: queues inside an epoch are unbounded, so the source is not."""
KNOWN_BEHIND_MS: Final = 300_000
"""While rows are read again the clock stays so far behind that it brings forward nothing the lake may not have."""
IDLE_POLL: Final = timedelta(milliseconds=50)
RETRY: Final = timedelta(seconds=1)
TICK_EVERY_S: Final = 0.5
"""A sink partition is published only in epochs in which it got something, so idle partitions tick."""

_log: Final = logging.getLogger(__name__)


class Chunk(NamedTuple):
    """Rows of one partition in log order, the offsets [first, next) they came from, and the log clock behind them."""

    part: Part
    first: int
    next: int
    clock: int  # ms UTC; FOREVER ends the log
    decoded: Decoded
    arrival: Times  # (n,) ms UTC, of the decoded rows
    known: bool = False  # the lake has these rows: they are read again for what is remembered of the devices


class Progress(msgspec.Struct):
    """How far a partition was read, and what its clock was there."""

    next: int = 0
    newest: int = -FOREVER  # largest receive_time read, ms UTC
    appended_at: int = 0  # when the log took the message read last, ms UTC
    version: int = 1
    known: int = 0  # the lake has everything below this offset

    def clock_at(self, now: int) -> int:
        """Return the log clock once the partition is read to its end.

        Time goes on for the log as it does on the wall, from where its last message left it: the wall clock for
        live traffic, the recording's time for a replay.
        """
        return self.newest + max(0, now - self.appended_at) - CLOCK_SLACK_MS


@dataclass(frozen=True)
class LogSource(FixedPartitionedSource[Chunk, bytes]):
    """The partitions of a log that this host reads.

    `ends` gives the offset at which each partition is done; without it the source goes on until `stop` is set. With
    `closes`, the end is followed by the news that nothing more comes. `past` says where offsets begin if there was a
    log before this one. `rows` and `stalled` tell what was read, and which partitions wait for a newer reader.
    `adopted` tells where to begin without a state.
    """

    log: EventLog
    stop: threading.Event
    parts: Sequence[Part]
    ends: dict[Part, int] | None = None
    closes: bool = False
    read_bytes: int = READ_BYTES
    past: Source | None = None
    stalled: dict[Part, NewerVersionError] = field(default_factory=dict)
    rows: Counter[Part] = field(default_factory=Counter)
    adopted: Adoption = field(default_factory=Adoption)

    def list_parts(self) -> list[str]:
        return [str(part) for part in self.parts]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "LogPartition":  # noqa: ARG002
        part = next(part for part in self.parts if str(part) == for_part)
        progress = msgspec.json.decode(resume_state, type=Progress) if resume_state else self._adopt(part)
        return LogPartition(self, part, self._moved(part, progress), ROWS_PER_EPOCH // len(self.parts))

    def _moved(self, part: Part, progress: Progress) -> Progress:
        """Return where to read: at the beginning of this log if what is remembered is of the one before."""
        if self.past is None or progress.next >= self.past.base:
            return progress
        clock = self.past.clock_before(part.partition) if part.stream == POSITIONS else None
        return Progress(self.past.base, -FOREVER if clock is None else clock, known=progress.known)

    def _adopt(self, part: Part) -> Progress:
        """Return where to begin a partition of which no state is left, if there ever was one."""
        found = (at for at in self.adopted.sources if (at.stream, at.partition) == part)
        return next((Progress(next=at.first, known=at.next) for at in found), Progress())


class LogPartition(StatefulSourcePartition[Chunk, bytes]):
    """Reads one partition: chunks while there is something, ticks while there is not."""

    def __init__(self, source: LogSource, part: Part, progress: Progress, rows_per_epoch: int) -> None:
        self._source, self._part, self._progress = source, part, progress
        self._base = 0 if source.past is None else source.past.base
        self._end = None if source.ends is None else source.ends[part] + self._base
        self._rows_left = self._rows_per_epoch = rows_per_epoch
        self._awake: datetime | None = None
        self._ticked = 0.0
        self._closed = False

    @heard
    def next_batch(self) -> list[Chunk]:
        self._awake = None
        if self._source.stop.is_set():
            raise StopIteration
        if self._part in self._source.stalled or (self._end is not None and self._progress.next >= self._end):
            return self._at_end()
        if self._rows_left <= 0:
            return self._nothing(IDLE_POLL)
        messages = self._read()
        fault.point("flow.read")
        if messages is None:
            return self._tick(read_to_end=False)
        if messages:
            return self._chunk(messages)
        if self._end is None:
            return self._tick(read_to_end=True)
        self._tell_lost(self._end)
        self._progress = msgspec.structs.replace(self._progress, next=self._end)  # the offsets left are no messages
        return self._at_end()

    def _at_end(self) -> list[Chunk]:
        if self._end is None:  # stalled: the others go on
            return self._tick(read_to_end=False)
        if self._closed or not self._source.closes or self._part in self._source.stalled:
            raise StopIteration
        self._closed = True
        return [self._empty(FOREVER)]

    def _read(self) -> Sequence[Message] | None:
        """Return the next messages, none at the log's end, None if the log is away."""
        try:
            messages = self._source.log.read(*self._part, self._progress.next - self._base, self._source.read_bytes)
            if self._base:
                messages = [message._replace(offset=message.offset + self._base) for message in messages]
            if messages and messages[0].offset > self._progress.next:
                self._tell_lost(messages[0].offset)
        except LogUnavailableError as error:
            _log.warning("%s: %s", self._part, error)
            self._awake = datetime.now(UTC) + RETRY
            return None
        if messages and messages[0].offset >= self._progress.known > self._progress.next:
            self._progress = msgspec.structs.replace(self._progress, next=messages[0].offset)
        end = self._progress.known if self._progress.next < self._progress.known else self._end
        return [message for message in messages if end is None or message.offset < end]

    def _tell_lost(self, found: int) -> None:
        first, _ = self._source.log.bounds(*self._part)
        begins = max(self._progress.next, self._progress.known)
        if first + self._base > begins:  # else a broker used these offsets for itself
            lost = found - begins
            _log.error("%s: %d messages were trimmed from the log before they were read", self._part, lost)

    def _chunk(self, messages: Sequence[Message]) -> list[Chunk]:
        try:
            decoded = self._decode(messages)
        except NewerVersionError as error:
            _log.error("%s: %s; this partition waits for a newer reader", self._part, error)
            self._source.stalled[self._part] = error
            messages = [message for message in messages if message.offset < (error.offset or 0)]
            if not messages:
                return self._at_end()
            decoded = self._decode(messages)
        at = self._progress
        newest = int(decoded.rows["receive_time"].max()) if len(decoded.rows) else at.newest
        arrival = arrivals(decoded.rows["receive_time"], at.newest)
        first, end = messages[0].offset, messages[-1].offset + 1
        known = at.next < at.known
        self._progress = Progress(end, max(at.newest, newest), messages[-1].appended_at, known=at.known)
        rows = len(decoded.rows) + len(decoded.malformed)
        self._source.rows[self._part] += rows
        self._rows_left -= rows
        clock = self._progress.newest - CLOCK_SLACK_MS - (KNOWN_BEHIND_MS if known else 0)
        return [Chunk(self._part, first, end, clock, decoded, arrival, known)]

    def _decode(self, messages: Sequence[Message]) -> Decoded:
        if self._part.stream == POSITIONS:
            return decode(messages)
        return replace(decode(()), malformed=decode_refused(messages))

    def _tick(self, *, read_to_end: bool) -> list[Chunk]:
        """Return a sign of life; the clock stands where rows may be waiting unread."""
        now = time.time()
        if now - self._ticked < TICK_EVERY_S:
            return self._nothing(IDLE_POLL)
        self._ticked = now
        at = self._progress
        return [self._empty(at.clock_at(int(now * 1000)) if read_to_end else at.newest - CLOCK_SLACK_MS)]

    def _nothing(self, pause: timedelta) -> list[Chunk]:
        self._awake = self._awake or datetime.now(UTC) + pause
        return []

    def _empty(self, clock: int) -> Chunk:
        nothing = decode(())
        return Chunk(self._part, self._progress.next, self._progress.next, clock, nothing, nothing.offset)

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> bytes:
        self._rows_left = self._rows_per_epoch
        return msgspec.json.encode(self._progress)


def sink_key(sink: int) -> str:
    """Return the key, and the name, of a sink partition."""
    return f"k{sink}"


def sink_of(key: str) -> int:
    """Return the sink partition of a key."""
    return int(key.removeprefix("k"))


SinkItem = Extent | tuple[str, pa.RecordBatch]
"""What a sink partition takes: offsets that were read, or rows of a table."""


@dataclass(frozen=True)
class LakeSink(FixedPartitionedSink[SinkItem, bytes]):
    """The lake's sink partitions that this host writes."""

    lake: Lake
    taken: range

    def list_parts(self) -> list[str]:
        return [sink_key(part) for part in self.taken]

    def part_fn(self, item_key: str) -> int:
        return self.taken.index(sink_of(item_key))

    @heard
    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "LakePartition":  # noqa: ARG002
        return LakePartition(PartitionWriter.open(self.lake, sink_of(for_part), resume_state))


class LakePartition(StatefulSinkPartition[SinkItem, bytes]):
    """Hands the engine's calls to the two-phase commit."""

    def __init__(self, writer: PartitionWriter) -> None:
        self._writer = writer

    @heard
    def write_batch(self, items: list[SinkItem]) -> None:
        fault.point("flow.write")
        for item in items:
            if not isinstance(item, Extent):
                self._writer.append(*item)
            elif item.next > item.first:  # a tick has read nothing
                self._writer.extend(item)

    @heard
    def snapshot(self) -> bytes:
        return self._writer.snapshot()

    def close(self) -> None:
        self._writer.close()


LiveItem = tuple[str, pa.RecordBatch]
"""Rows of a live table."""


@dataclass(frozen=True)
class LiveSink(FixedPartitionedSink[LiveItem, bytes]):
    """The way out of live rows, in parts as the lake's; its state is what the log has not taken yet."""

    sender: LiveSender
    taken: range

    def list_parts(self) -> list[str]:
        return [sink_key(part) for part in self.taken]

    def part_fn(self, item_key: str) -> int:
        return self.taken.index(sink_of(item_key))

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "LivePartition":  # noqa: ARG002
        self.sender.put(for_part, msgspec.msgpack.decode(resume_state, type=list[bytes]) if resume_state else [])
        return LivePartition(self.sender, for_part)


class LivePartition(StatefulSinkPartition[LiveItem, bytes]):
    """Hands rows on at once: they wait for no epoch."""

    def __init__(self, sender: LiveSender, part: str) -> None:
        self._sender, self._part = sender, part

    def write_batch(self, items: list[LiveItem]) -> None:
        for table, rows in items:
            self._sender.send(self._part, table, rows)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self._sender.unsent(self._part))
