"""Appending: one idempotent producer, and a thread that brings its delivery reports.

Rule: a call's messages enter the producer's queue together, so they stay together in each partition; then every call
waits for its own reports alone.
"""

import threading
import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as KafkaMessage

from pipeline import fault
from pipeline.log import LogUnavailableError, NewMessage
from pipeline.log.kafka.settings import CONTENT_TYPE, DELIVERY_S

_POLL_S: Final = 0.1
_REPORT_S: Final = (
    DELIVERY_S + 10
)  # the client reports within 1-2 s of its own timeout: this is for a client that hangs


class Sender:
    """Sends from any thread. Once `broken` it stays so, and a new one must take its place."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._turn = threading.Lock()
        self._closed = threading.Event()
        self._reports = threading.Thread(target=self._serve, name="kafka-delivery", daemon=True)
        self._reports.start()
        self.broken = False

    def send(self, messages: Sequence[NewMessage]) -> list[int]:
        """Send messages, whose stream is a topic here; return their offsets, or raise LogUnavailableError."""
        delivery = _Delivery(len(messages))
        with self._turn:
            for place, message in enumerate(messages):
                self._enqueue(message, delivery, place)
        fault.point("log.sending")
        error = delivery.wait()
        if error is not None:
            self.broken = self.broken or error.fatal()
            raise LogUnavailableError(f"not appended, or not known to be: {error.str()}")
        return delivery.offsets

    def close(self) -> None:
        """Stop; what is still on its way gets no report."""
        self._closed.set()
        self._reports.join()
        self._producer.purge()
        self._producer.flush(1.0)

    def _enqueue(self, message: NewMessage, delivery: "_Delivery", place: int) -> None:
        until = time.monotonic() + DELIVERY_S
        while True:
            try:
                self._producer.produce(
                    message.stream,
                    message.payload,
                    partition=message.partition,
                    headers=[(CONTENT_TYPE, message.content_type.encode())],
                    on_delivery=lambda error, sent: delivery.settle(place, error, sent),
                )
            except BufferError:  # the queue is full of what the broker has not taken yet
                if time.monotonic() > until:
                    raise LogUnavailableError("the broker takes messages too slowly: the queue is full") from None
                time.sleep(0.01)
            else:
                return

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_POLL_S)


class _Delivery:
    """The reports of one call's messages."""

    def __init__(self, count: int) -> None:
        self.offsets = [-1] * count
        self._left = count
        self._error: KafkaError | None = None
        self._settled = threading.Event()
        if count == 0:
            self._settled.set()

    def settle(self, place: int, error: KafkaError | None, sent: KafkaMessage) -> None:
        """Take the report of one message; only the one thread that brings reports calls this."""
        self.offsets[place] = sent.offset()
        self._error = self._error or error
        self._left -= 1
        if self._left == 0:
            self._settled.set()

    def wait(self) -> KafkaError | None:
        """Wait for all reports; return the first error."""
        if not self._settled.wait(_REPORT_S):
            raise LogUnavailableError(f"the client reported nothing within {_REPORT_S:.0f} s")
        return self._error
