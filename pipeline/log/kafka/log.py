"""The log protocol on topics, one a stream; a message of the log is a message of Kafka.

Rule: what `append` has answered lies on every replica in sync, as many as the topic demands; and `read` gives what the
broker held at the moment of the call, so an empty answer means that there is nothing.

Messages have no key, for their partition is given, and their content type in the header `content-type`; one of another
producer without that header is JSON. Each partition that is read has a consumer of its own.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Final, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.log import LIVE, POSITIONS, REJECTED, LogUnavailableError, Message, NewMessage
from pipeline.log.kafka.reader import Reader
from pipeline.log.kafka.sender import Sender
from pipeline.log.kafka.settings import CONSUMER, MAX_MESSAGE_BYTES, PRODUCER, Properties, read_place
from pipeline.log.kafka.topics import create_topics, find_shortfalls

_ANSWER_S: Final = 10.0
_BOUNDS_S: Final = 1.0  # whoever reads has other partitions to read
_NONE_SO_NEW: Final = -1  # the offset of the first message since a time, where there is none
Client = TypeVar("Client")
_log: Final = logging.getLogger(__name__)


class KafkaLog:
    """An EventLog on the topics `<prefix>positions`, `<prefix>rejected` and so on. Open it anew after a fork."""

    def __init__(self, url: str) -> None:
        self._place = read_place(url)
        self._opening = threading.Lock()
        self._admin_client: AdminClient | None = None
        self._sender: Sender | None = None
        self._readers: dict[tuple[str, int], Reader] = {}
        self._counts: dict[str, int] = {}

    def create(self, partitions: dict[str, int]) -> None:
        """Create the streams that are missing; ValueError if one exists with another number of partitions.

        New topics keep messages for 7 days, on 3 replicas or as many as there are brokers.
        """
        if bad := [f"stream {stream!r}: {count} partitions" for stream, count in partitions.items() if count < 1]:
            raise ValueError("; ".join(bad))
        missing = {self._topic(stream): count for stream, count in partitions.items() if not self._has(stream, count)}
        if missing:
            with self._outages_named():
                create_topics(self._admin(), missing)
            for stream, count in partitions.items():
                self._has(stream, count)

    def partitions(self, stream: str) -> int:
        """Return the number of partitions; LookupError if the stream does not exist.

        The first time it logs a warning where the topic is not as production wants it.
        """
        if stream not in self._counts:
            self._counts[stream] = self._find(stream)
        return self._counts[stream]

    def append(self, messages: Sequence[NewMessage]) -> list[int]:
        """Append all messages; return their offsets once they are durable.

        Raises LogUnavailableError when that could not be had within 30 s: each message may be durable or not. Raises
        LookupError for an unknown stream or partition, ValueError for more than 64 MiB, and then none is appended.
        """
        for stream, partition in {message[:2] for message in messages}:
            self._locate(stream, partition)
        if any(len(message.payload) > MAX_MESSAGE_BYTES for message in messages):
            raise ValueError(f"a message of the log has at most {MAX_MESSAGE_BYTES} bytes")
        with self._outages_named():
            return self._open_sender().send([m._replace(stream=self._topic(m.stream)) for m in messages])

    def read(self, stream: str, partition: int, offset: int, max_bytes: int) -> list[Message]:
        """Return messages from `offset` on in order: at least one if there is one, then up to `max_bytes` of payload.

        Offsets that were trimmed away, and those that Kafka uses for itself, are skipped; `bounds` tells.
        """
        place = self._locate(stream, partition)
        with self._outages_named():
            (end,) = self._offsets([place], OffsetSpec.latest())
            if offset > end:
                raise LogUnavailableError(
                    f"partition {partition} of {place.topic} ends at {end}, but {offset} was to be read: "
                    "the broker has lost messages, or the topic was made anew"
                )
            first = partial(self._offsets, [place], OffsetSpec.earliest())
            return self._reader(place).read(offset, end, max_bytes, lambda: first()[0])

    def bounds(self, stream: str, partition: int) -> tuple[int, int]:
        """Return the first offset still held and the next offset to be given."""
        places = [self._locate(stream, partition)]
        with self._outages_named():
            return self._offsets(places, OffsetSpec.earliest())[0], self._offsets(places, OffsetSpec.latest())[0]

    def stored_bytes(self, stream: str, partition: int) -> None:
        """Return None: a broker knows the size of its files, not of the messages in them."""

    def trim(self, older_than: int, below: Mapping[tuple[str, int], int] = MappingProxyType({})) -> int:
        """Drop messages appended before `older_than` (ms UTC); return how many. Offsets are never given again.

        Of a (stream, partition) in `below` only those under that offset.
        """
        streams = [stream for stream in (POSITIONS, REJECTED, LIVE) if self._exists(stream)]
        parts = [(stream, p) for stream in streams for p in range(self.partitions(stream))]
        places = [self._locate(*part) for part in parts]
        with self._outages_named():
            firsts, ends = (self._offsets(places, at) for at in (OffsetSpec.earliest(), OffsetSpec.latest()))
            kept = self._offsets(places, OffsetSpec.for_timestamp(older_than), least=_NONE_SO_NEW)
            keeps = [end if keep == _NONE_SO_NEW else keep for keep, end in zip(kept, ends, strict=True)]
            bounds = zip(parts, keeps, firsts, strict=True)
            keeps = [max(first, min(keep, below.get(part, keep))) for part, keep, first in bounds]
            doomed = [TopicPartition(p.topic, p.partition, keep) for p, keep in zip(places, keeps, strict=True)]
            for done in self._admin().delete_records(doomed, request_timeout=_ANSWER_S).values():
                done.result()
        return sum(keep - first for keep, first in zip(keeps, firsts, strict=True))

    def rewrite(self, stream: str, partition: int, payloads: Mapping[int, bytes]) -> bool:  # noqa: ARG002
        """Return False: a broker's messages stay as they are until they are dropped."""
        return False

    def close(self) -> None:
        """Release connections; the log stays."""
        with self._opening:
            if self._sender is not None:
                self._sender.close()
            for reader in self._readers.values():
                reader.close()
            self._sender, self._admin_client = None, None
            self._readers.clear()

    def _topic(self, stream: str) -> str:
        return self._place.prefix + stream

    def _has(self, stream: str, count: int) -> bool:
        """Tell whether the stream exists; ValueError if it has another number of partitions."""
        if not self._exists(stream):
            return False
        if (have := self.partitions(stream)) != count:
            raise ValueError(f"stream {stream!r} has {have} partitions, for its life; asked for {count}")
        return True

    def _exists(self, stream: str) -> bool:
        try:
            return self.partitions(stream) > 0
        except LookupError:
            return False

    def _find(self, stream: str) -> int:
        with self._outages_named():
            cluster = self._admin().list_topics(timeout=_ANSWER_S)
            topic = cluster.topics.get(self._topic(stream))
            if topic is None:
                raise LookupError(
                    f"the log at {self._place.servers} has no topic {self._topic(stream)}: create it first"
                )
            if lacks := find_shortfalls(self._admin(), cluster, topic):
                _log.warning("topic %s is not as production wants it: %s", topic.topic, "; ".join(lacks))
            return len(topic.partitions)

    def _locate(self, stream: str, partition: int) -> TopicPartition:
        if not 0 <= partition < self.partitions(stream):
            raise LookupError(f"the log has no partition {partition} of stream {stream!r}")
        return TopicPartition(self._topic(stream), partition)

    def _offsets(self, places: list[TopicPartition], at: OffsetSpec, least: int = 0) -> list[int]:
        """Ask for one offset of each partition, none below `least`; while a leader moves, ask again."""
        until = time.monotonic() + _BOUNDS_S
        while True:
            try:
                return self._ask(places, at, least)
            except KafkaException:
                left = until - time.monotonic()
                if left <= 0:
                    raise
            self._admin().list_topics(timeout=left)  # else it goes on asking the leaders it knew before
            time.sleep(0.02)

    def _ask(self, places: list[TopicPartition], at: OffsetSpec, least: int) -> list[int]:
        asked = self._admin().list_offsets(
            dict.fromkeys(places, at), isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_BOUNDS_S
        )
        found: list[int] = [asked[place].result().offset for place in places]
        if min(found) < least:  # a connection that breaks gives such an offset and no error
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))  # noqa: SLF001  librdkafka's own codes begin so
        return found

    def _admin(self) -> AdminClient:
        with self._opening:
            if self._admin_client is None:
                self._admin_client = _open(AdminClient, self._place.client)
            return self._admin_client

    def _open_sender(self) -> Sender:
        with self._opening:
            if self._sender is not None and self._sender.broken:
                self._sender.close()
                self._sender = None
            if self._sender is None:
                self._sender = Sender(_open(Producer, self._place.client | PRODUCER))
            return self._sender

    def _reader(self, place: TopicPartition) -> Reader:
        key = place.topic, place.partition
        with self._opening:
            if key not in self._readers:
                self._readers[key] = Reader(_open(Consumer, self._place.client | CONSUMER), *key)
            return self._readers[key]

    @contextmanager
    def _outages_named(self) -> Iterator[None]:
        """Turn what a broker that is away, or refuses, raises into LogUnavailableError with its address."""
        try:
            yield
        except KafkaException as error:
            raise LogUnavailableError(f"the log at {self._place.servers}: {error.args[0].str()}") from error
        except LogUnavailableError as error:
            raise LogUnavailableError(f"the log at {self._place.servers}: {error}") from error


def _open(client: Callable[[Properties], Client], properties: Properties) -> Client:
    """Make a client; ValueError if it refuses a property."""
    try:
        return client(properties)
    except KafkaException as error:
        raise ValueError(f"the Kafka client refuses what the log's URL configures: {error.args[0].str()}") from error
