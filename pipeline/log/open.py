"""A URL picks the log; nothing outside this file knows which adapters there are."""

from collections.abc import Callable
from typing import Final
from urllib.parse import unquote, urlsplit

from pipeline.log import LIVE, POSITIONS, REJECTED, EventLog

DEFAULT_PARTITIONS: Final = {POSITIONS: 8, REJECTED: 1, LIVE: 1}
"""Of a log that does not exist yet. One partition of `rejected`: refused events are few and have no order to share.
One of `live`: events are few, and whoever follows them reads all."""


def open_log(url: str) -> EventLog:
    """Open the log named by `url`; ValueError if no adapter takes its scheme.

    `sqlite:///absolute/path`, the path as in a file URL. Nothing is created until `create` is called.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _LOADERS:
        raise ValueError(f"log URL {url!r}: scheme {scheme!r} is not one of {', '.join(_LOADERS)}")
    return _LOADERS[scheme](url)


def open_or_create_log(url: str) -> EventLog:
    """Open the log, and create what is missing of its streams."""
    log = open_log(url)
    for stream, count in DEFAULT_PARTITIONS.items():
        try:
            log.partitions(stream)
        except LookupError:
            log.create({stream: count})
    return log


def _open_sqlite(url: str) -> EventLog:
    from pipeline.log.sqlite import SqliteLog  # noqa: PLC0415  an adapter loads its driver only when it is picked

    parts = urlsplit(url)
    if parts.netloc or not parts.path.strip("/"):
        raise ValueError(f"log URL {url!r}: want sqlite:///absolute/path")
    return SqliteLog(unquote(parts.path))


def _open_kafka(url: str) -> EventLog:
    from pipeline.log.kafka.log import KafkaLog  # noqa: PLC0415  an adapter loads its driver only when it is picked

    return KafkaLog(url)


_LOADERS: Final[dict[str, Callable[[str], EventLog]]] = {"sqlite": _open_sqlite, "kafka": _open_kafka}
