"""The event log: partitioned, ordered, durable, replayable. Everything outside an adapter sees only this protocol.

Three streams: `positions` (batches of fixes, partitioned by device) and `rejected` (what the api refused), which the
dataflow reads, and `live` (what it has just decided), which the api reads.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

POSITIONS: Final = "positions"
REJECTED: Final = "rejected"
LIVE: Final = "live"

BATCH: Final = "application/vnd.parkpal.batch"
ARROW: Final = "application/vnd.apache.arrow.stream"
JSON: Final = "application/json"
REFUSED: Final = "application/vnd.parkpal.refused+json"
"""What the `rejected` stream carries: events refused before the log, each with its reason."""


class NewMessage(NamedTuple):
    """A message to append."""

    stream: str
    partition: int
    payload: bytes
    content_type: str = BATCH


class Message(NamedTuple):
    """A message as the log holds it; `appended_at` is the log's own time in ms UTC."""

    offset: int
    appended_at: int
    content_type: str
    payload: bytes


class LogUnavailableError(Exception):
    """The log cannot take or give messages now; nothing of the call became durable, or it is unknown: try again."""


class EventLog(Protocol):
    """A log opened by URL. Safe to use from several threads and processes."""

    def create(self, partitions: dict[str, int]) -> None:
        """Create the streams that are missing; ValueError if one exists with another number of partitions."""

    def partitions(self, stream: str) -> int:
        """Return the number of partitions; LookupError if the stream does not exist."""

    def append(self, messages: Sequence[NewMessage]) -> list[int]:
        """Append all messages, all or nothing per partition; return their offsets once they are durable.

        Raises LogUnavailableError when durability could not be had within 30 s.
        """

    def read(self, stream: str, partition: int, offset: int, max_bytes: int) -> list[Message]:
        """Return messages from `offset` on in order: at least one if there is one, then up to `max_bytes` of payload.

        Offsets that were trimmed away are skipped; `bounds` tells.
        """

    def bounds(self, stream: str, partition: int) -> tuple[int, int]:
        """Return the first offset still held and the next offset to be given."""

    def stored_bytes(self, stream: str, partition: int) -> int | None:
        """Return the payload bytes still held, None where the log does not tell."""

    def trim(self, older_than: int, below: Mapping[tuple[str, int], int] = MappingProxyType({})) -> int:
        """Drop messages appended before `older_than` (ms UTC); return how many. Offsets are never given again.

        Of a (stream, partition) in `below` only those under that offset.
        """

    def rewrite(self, stream: str, partition: int, payloads: Mapping[int, bytes]) -> bool:
        """Replace the payloads of messages at these offsets, leaving nothing of the old ones; all else stays.

        Returns False, and does nothing, where the log cannot: there only its retention takes a message away.
        """

    def close(self) -> None:
        """Release connections; the log stays."""
