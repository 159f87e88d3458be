"""The broker inside librdkafka, for machines without Java: real connections and the real protocol, topics in memory.

It knows producing, fetching and asking for offsets; it cannot create topics, delete records or tell settings. So the
topics that tests ask for are made from outside, as here.
"""

import ctypes
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import confluent_kafka

_ID = 1  # of the only broker


def _library() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(folder.glob("librdkafka*"))))
    handle, number = ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_new", handle, [number, handle, ctypes.c_char_p, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [handle]),
        ("rd_kafka_mock_cluster_new", handle, [handle, number]),
        ("rd_kafka_mock_cluster_destroy", None, [handle]),
        ("rd_kafka_mock_cluster_bootstraps", ctypes.c_char_p, [handle]),
        ("rd_kafka_mock_topic_create", number, [handle, ctypes.c_char_p, number, number]),
        ("rd_kafka_mock_broker_set_down", number, [handle, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", number, [handle, ctypes.c_int32]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class StandIn:
    """A broker in this process that other processes may connect to."""

    def __init__(self) -> None:
        self._library = _library()
        message = ctypes.create_string_buffer(512)
        self._client = self._library.rd_kafka_new(0, None, message, len(message))
        assert self._client, message.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        self.bootstrap = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create(self, topics: Mapping[str, int]) -> None:
        """Create topics with their number of partitions."""
        with self._awake():
            for topic, count in topics.items():
                assert not self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), count, 1)

    def go_away(self) -> None:
        """Drop every connection and take no new one."""
        with self._awake():
            assert not self._library.rd_kafka_mock_broker_set_down(self._cluster, _ID)

    def come_back(self) -> None:
        """Take connections again."""
        with self._awake():
            assert not self._library.rd_kafka_mock_broker_set_up(self._cluster, _ID)

    def close(self) -> None:
        """End the broker."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)

    @contextmanager
    def _awake(self) -> Iterator[None]:
        """Knock: without traffic the broker looks only once a second at what it is told."""
        host, port = self.bootstrap.split(":")
        done = threading.Event()

        def knock() -> None:
            while not done.wait(0.01):
                with suppress(OSError):
                    socket.create_connection((host, int(port)), timeout=1).close()

        knocking = threading.Thread(target=knock)
        knocking.start()
        try:
            yield
        finally:
            done.set()
            knocking.join()
