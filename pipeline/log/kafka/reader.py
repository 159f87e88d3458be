"""Reading one partition: a consumer that fetches ahead, bounded, and what it gave beyond one call's bytes.

Rule: messages are handed out in order of offset, each once, from where the last call ended; a call from another offset
begins anew there.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as KafkaMessage

from pipeline.log import JSON, LogUnavailableError, Message
from pipeline.log.kafka.settings import CONTENT_TYPE

_PATIENCE_S: Final = 1.0  # whoever reads has other partitions to read
_FIRST_PATIENCE_S: Final = 10.0  # a consumer that begins has to find its broker first, which answers: the end is known
_AT_ONCE: Final = 100  # messages: few, because what a call leaves over waits in memory
_NOWHERE: Final = -1


class Reader:
    """Reads one partition, for one thread at a time."""

    def __init__(self, consumer: Consumer, topic: str, partition: int) -> None:
        self._consumer, self._topic, self._partition = consumer, topic, partition
        self._turn = threading.Lock()
        self._held: deque[Message] = deque()
        self._held_bytes = 0
        self._next = _NOWHERE  # where a call goes on if it goes on
        self._reached = _NOWHERE  # everything below was consumed, or is no message

    def read(self, offset: int, end: int, max_bytes: int, first: Callable[[], int]) -> list[Message]:
        """Return messages from `offset` on: all below `end`, or at least one and then up to `max_bytes` of payload.

        `first` tells where the partition begins; it is asked only where reading begins anew. LogUnavailableError if
        there should be messages and none comes.
        """
        with self._turn:
            patience_s = _PATIENCE_S
            if offset != self._next:
                self._begin(offset, max(offset, first()))
                patience_s = _FIRST_PATIENCE_S
            self._fill(end, max_bytes, patience_s)
            return self._take(max_bytes)

    def close(self) -> None:
        """Close the consumer."""
        with self._turn:
            self._consumer.close()

    def _begin(self, asked: int, offset: int) -> None:
        self._held.clear()
        self._held_bytes = 0
        self._consumer.assign([TopicPartition(self._topic, self._partition, offset)])
        self._next, self._reached = asked, offset

    def _fill(self, end: int, max_bytes: int, patience_s: float) -> None:
        until = time.monotonic() + patience_s
        while self._reached < end and (not self._held or self._held_bytes < max_bytes):
            try:
                self._fetch(until)
            except LogUnavailableError:
                if not self._held:
                    raise
                return

    def _fetch(self, until: float) -> None:
        """Hold what has come, or else the next that comes; LogUnavailableError if nothing does."""
        come = self._consumer.consume(_AT_ONCE, 0) or self._consumer.consume(1, max(0.0, until - time.monotonic()))
        if not come:
            raise LogUnavailableError(f"partition {self._partition} of {self._topic} has messages and gives none")
        for message in come:
            error = message.error()
            if error is None:
                self._hold(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's own codes begin so
                self._reached = max(self._reached, message.offset())
            else:
                self._next = _NOWHERE
                raise LogUnavailableError(f"partition {self._partition} of {self._topic}: {error.str()}")

    def _hold(self, message: KafkaMessage) -> None:
        if message.offset() < self._reached:
            return
        self._reached = message.offset() + 1
        payload = message.value() or b""
        self._held.append(Message(message.offset(), message.timestamp()[1], _content_type(message), payload))
        self._held_bytes += len(payload)

    def _take(self, max_bytes: int) -> list[Message]:
        taken: list[Message] = []
        while self._held and (not taken or len(self._held[0].payload) <= max_bytes):
            taken.append(self._held.popleft())
            max_bytes -= len(taken[-1].payload)
            self._held_bytes -= len(taken[-1].payload)
            self._next = taken[-1].offset + 1
        return taken


def _content_type(message: KafkaMessage) -> str:
    for name, value in message.headers() or ():
        if name.lower() == CONTENT_TYPE and value:
            return _plain(value)
    return JSON


@lru_cache(64)
def _plain(content_type: bytes) -> str:
    """Return a content type without its parameters."""
    return content_type.partition(b";")[0].strip().lower().decode("utf-8", "backslashreplace")
