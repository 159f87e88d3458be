"""How the api reads the log's stream of live events."""

from typing import Final

from api.live.feed import TailUnavailableError
from pipeline.log import LIVE, EventLog, LogUnavailableError

BEHIND_MESSAGES: Final = 1_000
"""How far before the end a process begins: what a follower that comes back from another process may ask for."""
READ_BYTES: Final = 1_000_000


class LiveTail:
    """Reads the stream `live` of a log that has it."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def read(self, offset: int | None) -> list[tuple[int, bytes]]:
        """Return messages from `offset` on, None for a little before the end; TailUnavailableError."""
        try:
            if offset is None:
                first, end = self._log.bounds(LIVE, 0)
                offset = max(first, end - BEHIND_MESSAGES)
            return [(message.offset, message.payload) for message in self._log.read(LIVE, 0, offset, READ_BYTES)]
        except LogUnavailableError as error:
            raise TailUnavailableError(str(error)) from error
