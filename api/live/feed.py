"""The newest live events, held in memory for whoever follows: one reader of the log a process, however many follow.

An event has a cursor, its place in the log. Who comes back with the cursor of the last event it saw, at any process,
gets what came since, as far as it is still held; a repeat of an event that is held is dropped by its id.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncGenerator
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple, Protocol

import msgspec

HELD_EVENTS: Final = 10_000
POLL_S: Final = 0.05
IDLE_POLL_S: Final = 1.0
SIGN_OF_LIFE_S: Final = 60.0
RETRY_S: Final = 1.0
ROW_BITS: Final = 20
"""A cursor is a message's offset shifted by this, plus the event's place in it."""

log: Final = logging.getLogger(__name__)


class LiveEvent(msgspec.Struct, frozen=True):
    """A row of a live table as the dataflow sends it; `place` is the fence or zone that it concerns."""

    table: str
    id: str
    place: str | None
    row: dict[str, Any]


class Held(NamedTuple):
    """An event and where it stands in the log."""

    cursor: int
    event: LiveEvent


class TailUnavailableError(Exception):
    """The log gives nothing now."""


class Tail(Protocol):
    """The end of the log's stream of live events. Called from one thread at a time."""

    def read(self, offset: int | None) -> list[tuple[int, bytes]]:
        """Return messages from `offset` on with their offsets, None for a little before the end.

        Raises TailUnavailableError.
        """


_DECODER: Final = msgspec.json.Decoder(list[LiveEvent])


class Feed:
    """Follows the log while `run` runs, and is followed."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._next: int | None = None
        self._held: list[Held] = []
        self._ids: set[str] = set()
        self._news = asyncio.Event()
        self.followers = 0

    async def run(self) -> None:
        """Read until cancelled; an outage of the log is logged once and waited for."""
        away = False
        while True:
            try:
                messages = await asyncio.to_thread(self._tail.read, self._next)
            except TailUnavailableError as error:
                if not away:
                    log.warning("live events wait", extra={"reason": str(error)})
                away = True
                await asyncio.sleep(RETRY_S)
                continue
            away = False
            self._take(messages)
            if not messages:
                await asyncio.sleep(POLL_S if self.followers else IDLE_POLL_S)

    def newest(self) -> int:
        """Return the cursor behind the newest event held, 0 if there is none."""
        return self._held[-1].cursor if self._held else 0

    def holds(self, cursor: int) -> bool:
        """Tell whether nothing behind this cursor has been given up yet."""
        return not self._held or cursor >= self._held[0].cursor

    async def follow(self, after: int, places: AbstractSet[str] | None) -> AsyncGenerator[list[Held], None]:
        """Yield the events behind `after` as they come, of these places only; nothing for a minute yields nothing."""
        self.followers += 1
        try:
            while True:
                news, new = self._news, self._since(after)
                after = new[-1].cursor if new else after
                if wanted := [held for held in new if places is None or held.event.place in places]:
                    yield wanted
                try:
                    async with asyncio.timeout(SIGN_OF_LIFE_S):
                        await news.wait()
                except TimeoutError:
                    yield []
        finally:
            self.followers -= 1

    def _since(self, cursor: int) -> list[Held]:
        return self._held[bisect_right(self._held, cursor, key=lambda held: held.cursor) :]

    def _take(self, messages: list[tuple[int, bytes]]) -> None:
        for offset, payload in messages:
            self._next = offset + 1
            for row, event in enumerate(_decode(payload)):
                if event.id not in self._ids:
                    self._ids.add(event.id)
                    self._held.append(Held((offset << ROW_BITS) + row + 1, event))
        given_up = self._held[: max(0, len(self._held) - HELD_EVENTS)]
        del self._held[: len(given_up)]
        self._ids -= {held.event.id for held in given_up}
        if messages:
            self._news.set()
            self._news = asyncio.Event()


def _decode(payload: bytes) -> list[LiveEvent]:
    """Read a message; one that is none of ours is logged and passed over."""
    try:
        return _DECODER.decode(payload)
    except msgspec.MsgspecError as error:
        log.error("a live message cannot be read", extra={"reason": str(error)})  # noqa: TRY400  the trace says nothing
        return []
