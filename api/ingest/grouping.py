"""Rows of many requests become durable together: one append for all that came while the last one was under way.

A request is answered only after the append that holds its rows has returned. What waits longer than MAX_WAIT_S before
its append begins is withdrawn and was never written; together with the limits on reading a body (15 s) and on the
append itself (30 s) a row is in the log within 50 s of its receive_time, which is what the log clock's 60 s stand for.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol

from api.errors import OverloadedError, UnavailableError
from api.metrics import Metrics
from geo.fix import FixArray

LINGER_S: Final = 0.04
"""How long the first row of a group waits for company: no phone feels it, and messages grow several times longer."""
FULL_GROUP_ROWS: Final = 5_000
"""A group of this many rows waits no longer."""
MAX_WAIT_S: Final = 5.0
_RETRY_AFTER_S: Final = 5


class Accepted(NamedTuple):
    """Rows of one device's pseudonym; `device` in the rows is unset."""

    device_id: bytes
    rows: FixArray


class Refused(NamedTuple):
    """An event that cannot become a row, pseudonymised; times in ms UTC, at most 64 KiB of payload."""

    receive_time: int
    reason: str
    detail: str
    device_id: bytes
    payload: bytes
    payload_bytes: int


class WriterUnavailableError(Exception):
    """The log cannot take rows now; whether it has these is unknown."""


class EventWriter(Protocol):
    """Where accepted and refused events become durable. Called from one thread at a time."""

    def append(self, accepted: Sequence[Accepted], refused: Sequence[Refused]) -> None:
        """Return once everything is durable; WriterUnavailableError within 30 s if not."""

    def check(self) -> None:
        """Return if the log answers, else WriterUnavailableError."""

    def close(self) -> None:
        """Release what the writer holds."""


class Submission(NamedTuple):
    """What one request brings."""

    accepted: list[Accepted]
    refused: list[Refused]

    @property
    def row_count(self) -> int:
        return sum(len(part.rows) for part in self.accepted) + len(self.refused)

    @property
    def size(self) -> int:
        """Bytes held until it is durable, roughly."""
        return sum(part.rows.nbytes for part in self.accepted) + sum(len(event.payload) + 200 for event in self.refused)


class _Waiting(NamedTuple):
    submission: Submission
    durable: asyncio.Future[None]
    since: float


class Grouper:
    """Gathers submissions and appends them, one group at a time. `run` must be running for `append` to return."""

    def __init__(self, writer: EventWriter, metrics: Metrics) -> None:
        self._writer = writer
        self._metrics = metrics
        self._waiting: list[_Waiting] = []
        self._rows = 0
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, "append")

    async def append(self, submission: Submission) -> None:
        """Return once the submission is durable.

        OverloadedError if it was withdrawn unwritten, UnavailableError if it is unknown whether it was written.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(submission, loop.create_future(), loop.time())
        self._waiting.append(waiting)
        self._rows += submission.row_count
        self._some.set()
        if self._rows >= FULL_GROUP_ROWS:
            self._full.set()
        withdrawal = loop.call_later(MAX_WAIT_S, self._withdraw, waiting)
        try:
            await waiting.durable
        finally:
            withdrawal.cancel()

    async def run(self) -> None:
        """Append groups until `close` is called and nothing waits."""
        while not self._closing or self._waiting:
            await self._some.wait()
            if not self._closing:
                await self._linger()
            group, self._waiting, self._rows = self._waiting, [], 0
            self._some.clear()
            self._full.clear()
            if group:
                await self._write(group)
        self._thread.shutdown()

    def close(self) -> None:
        """Let `run` end after what waits now."""
        self._closing = True
        self._some.set()
        self._full.set()

    async def check(self) -> None:
        """UnavailableError unless the log answers."""
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._writer.check)
        except WriterUnavailableError as error:
            raise UnavailableError(str(error)) from None

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                await self._full.wait()
        except TimeoutError:
            return

    async def _write(self, group: list[_Waiting]) -> None:
        accepted = [part for waiting in group for part in waiting.submission.accepted]
        refused = [event for waiting in group for event in waiting.submission.refused]
        loop = asyncio.get_running_loop()
        started = loop.time()
        error: Exception | None = None
        try:
            await loop.run_in_executor(self._thread, self._writer.append, accepted, refused)
        except WriterUnavailableError:
            self._metrics.append_failures.inc()
            error = UnavailableError("The event log does not respond.", retry_after_s=_RETRY_AFTER_S)
        except Exception as bug:  # noqa: BLE001  # it belongs to the requests of this group, not to the next ones
            error = bug
        self._metrics.append_seconds.observe(loop.time() - started)
        self._metrics.append_rows.observe(sum(waiting.submission.row_count for waiting in group))
        for waiting in group:
            if not waiting.durable.done():
                waiting.durable.set_exception(error) if error else waiting.durable.set_result(None)

    def _withdraw(self, waiting: _Waiting) -> None:
        if waiting not in self._waiting:
            return
        self._waiting.remove(waiting)
        self._rows -= waiting.submission.row_count
        waiting.durable.set_exception(OverloadedError(retry_after_s=_RETRY_AFTER_S))
