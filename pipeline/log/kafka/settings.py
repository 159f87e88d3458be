"""What a `kafka://` URL and its properties file say, and what ParkPal itself demands of the client library.

Rule: the file carries what the broker wants to know of us (TLS, SASL, names) straight through to librdkafka; what the
log's promises rest on stands here and cannot be set from outside.
"""

import re
import stat
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_MESSAGE_BYTES: Final = 64 * 2**20
"""The largest message: 500 refused events may carry 64 KiB each, and JSON makes them longer."""
DELIVERY_S: Final = 28.0
"""The client looks for overdue messages once a second, and `append` promises an answer within 30 s."""
DEFAULT_PREFIX: Final = "parkpal."
CONTENT_TYPE: Final = "content-type"
"""The header."""

Properties = dict[str, str | int | bool]

CLIENT: Final[Properties] = {
    "log_level": 2,  # outages are told by the error that the call raises, once
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 1_000,
    "message.max.bytes": MAX_MESSAGE_BYTES + 2**20,  # with headers, and the batch around it
    "receive.message.max.bytes": MAX_MESSAGE_BYTES + 16 * 2**20,
}
PRODUCER: Final[Properties] = {
    "acks": "all",
    "enable.idempotence": True,
    "message.timeout.ms": int(DELIVERY_S * 1_000),
    "linger.ms": 1,  # the api has lingered already; this lets one call's messages travel together
    "compression.type": "zstd",
    "queue.buffering.max.messages": 0,  # bounded by bytes
    "queue.buffering.max.kbytes": 256 * 2**10,
}
CONSUMER: Final[Properties] = {
    "group.id": "parkpal",  # the library wants one; nothing is committed to it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "check.crcs": True,
    "queued.max.messages.kbytes": 2_048,
    "fetch.message.max.bytes": 2**20,
    "fetch.wait.max.ms": 100,  # a reader that begins anew waits this long for the last answer
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 100,
}
"""One consumer reads one partition: with the answer of 1 MB that comes on top, unpacked, about 4 MB wait in each."""

_SERVER: Final = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}")
_FREE: Final = re.compile(
    r"security\.protocol$|sasl\.|ssl\.|enable\.ssl\.|https\.ca\.|client\.|broker\.address\.family$"
)
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,200}")


class Place(NamedTuple):
    """Where a log is: the brokers to ask first, what its topics' names begin with, and what the client is told."""

    servers: str
    prefix: str
    client: Properties


def read_place(url: str) -> Place:
    """Read a URL `kafka://host:port[,host:port...]/[topic prefix][?config=/file]`; ValueError says what is wrong."""
    parts = urlsplit(url)
    prefix = unquote(parts.path).strip("/")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    path = query.pop("config", None)
    if not all(map(_SERVER.fullmatch, parts.netloc.split(","))) or not _PREFIX.fullmatch(prefix) or query:
        shown = url.rpartition("@")[2]  # before it stood a password
        raise ValueError(f"log URL {shown!r}: want kafka://host:port[,host:port]/[topic prefix][?config=/path/of/file]")
    client = CLIENT | {"bootstrap.servers": parts.netloc} | (read_properties(Path(path)) if path is not None else {})
    return Place(parts.netloc, prefix or DEFAULT_PREFIX, client)


def read_properties(path: Path) -> Properties:
    """Read librdkafka properties, a `name=value` each line; ValueError if others may read the file or it says too much.

    It may hold passwords, so the mode must keep group and others out.
    """
    try:
        mode, text = stat.S_IMODE(path.stat().st_mode), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    if mode & 0o077:
        raise ValueError(f"{path}: mode {mode:04o}, but it may hold passwords: chmod 600")
    properties: Properties = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name:
            raise ValueError(f"{path}, line {number}: want name=value")
        if not _FREE.match(name):
            raise ValueError(f"{path}, line {number}: {name} is not one of TLS, SASL or the client's name")
        properties[name] = value
    return properties
