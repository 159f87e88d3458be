"""What goes out live: rows of some tables, as messages of the log's stream `live`, the moment they are decided.

At least once, repeats told by `id`, and only while they are news: a row of an event older than LIVE_FOR is in the
lake and nowhere else, so reading a backlog floods nobody. A row never carries a device id.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.log import JSON, LIVE, EventLog, LogUnavailableError, NewMessage

LIVE_FOR_MS: Final = 3_600_000
WAITING_BYTES: Final = 16 * 2**20
"""What may wait while the log takes nothing; beyond it the oldest are dropped: the lake has them."""
RETRY_S: Final = 1.0

_log: Final = logging.getLogger(__name__)


class LiveTable(NamedTuple):
    """A table whose rows go out: what identifies a row, when it happened, the place it concerns, and what is shown."""

    row_id: tuple[str, ...]
    time: str
    place: str
    shown: tuple[str, ...]


TABLES: Final = {
    "geofence_events": LiveTable(
        ("event_id",),
        "event_time",
        "fence_id",
        ("event_id", "fence_id", "fence_version", "kind", "event_time", "h3_r9", "confidence", "dwell_s"),
    ),
    "search_hints": LiveTable(
        ("hint_id", "cleared_at"),  # raised, then cleared
        "raised_at",
        "zone_id",
        ("hint_id", "raised_at", "search_start", "h3_r9", "zone_id", "cleared_at"),
    ),
}


def encode(table: str, rows: pa.RecordBatch, now: int) -> bytes | None:
    """Return the message of what is news at `now` (ms UTC) among the rows of a live table, None if nothing is."""
    kind = TABLES[table]
    rows = rows.filter(pc.greater_equal(rows.column(kind.time).cast(pa.int64()), now - LIVE_FOR_MS))
    if not rows.num_rows:
        return None
    events = [
        {"table": table, "id": " ".join(str(row[name]) for name in kind.row_id), "place": row[kind.place], "row": row}
        for row in rows.select(sorted({*kind.shown, *kind.row_id, kind.place})).to_pylist()
    ]
    return msgspec.json.encode(events)


class LiveSender:
    """Appends messages to the stream `live` in a thread of its own: who decides never waits for the log."""

    def __init__(self, log: EventLog, clock: Callable[[], float] = time.time) -> None:
        self._log, self._clock = log, clock
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="live", daemon=True)
        self._thread.start()

    def send(self, part: str, table: str, rows: pa.RecordBatch) -> None:
        """Send what is news among the rows; `part` is who may ask for what is unsent of it."""
        message = encode(table, rows, int(self._clock() * 1_000))
        if message is not None:
            self.put(part, [message])

    def put(self, part: str, messages: Sequence[bytes]) -> None:
        """Send messages."""
        with self._changed:
            self._waiting.extend((part, message) for message in messages)
            self._bytes += sum(map(len, messages))
            dropped = 0
            while self._bytes > WAITING_BYTES:
                self._bytes -= len(self._waiting.popleft()[1])
                dropped += 1
            self._changed.notify_all()
        if dropped:
            _log.error("live: %d messages dropped, the log takes nothing; the lake has their rows", dropped)

    def unsent(self, part: str) -> list[bytes]:
        """Return what of a part is not in the log yet, as far as is known."""
        with self._changed:
            return [message for owner, message in self._waiting if owner == part]

    def close(self, patience_s: float = 5.0) -> None:
        """Send what waits, as far as the log takes it by then, and end the thread."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, patience_s)
            self._closed = True
            self._changed.notify_all()
        self._thread.join(patience_s)

    def _serve(self) -> None:
        told = False
        while batch := self._next():
            try:
                self._log.append([NewMessage(LIVE, 0, message, JSON) for _, message in batch])
            except LogUnavailableError as error:
                if not told:
                    _log.warning("live: %s; its messages wait", error)
                told = True
                time.sleep(RETRY_S)
                continue
            told = False
            self._forget(batch)

    def _next(self) -> list[tuple[str, bytes]]:
        """Wait for messages and return them all, none once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return [] if self._closed else list(self._waiting)

    def _forget(self, sent: Sequence[tuple[str, bytes]]) -> None:
        with self._changed:
            for message in sent:
                if self._waiting and self._waiting[0] is message:  # it may have been dropped meanwhile
                    self._bytes -= len(self._waiting.popleft()[1])
            self._changed.notify_all()
