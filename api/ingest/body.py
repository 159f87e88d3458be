"""A body is read and inflated within limits, whatever it claims: nothing is held beyond them, nothing waits for ever.

Work in progress is counted in bytes over all requests; when too much is held, the next request is turned away before
its body is read, so memory never grows with the number of senders.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import zstandard
from litestar.exceptions import InternalServerException

from api.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    NotJsonError,
    OverloadedError,
    UnsupportedEncodingError,
)

MAX_BODY_BYTES: Final = 1 << 20
"""Limit of a body, as sent and inflated."""
MAX_DISCARDED_BYTES: Final = 16 << 20
"""A body beyond the limit is read on and thrown away up to here: a sender that still sends would not see the answer."""
BODY_TIMEOUT_S: Final = 15.0
"""A whole body must have come within this."""
_ZSTD_WINDOW_BYTES: Final = 8 << 20  # what RFC 8878 asks every decoder to take
_REQUEST_BYTES: Final = 16 << 10  # what a request holds beside its body, roughly
_RETRY_AFTER_S: Final = 2


class Held:
    """What one request holds of the budget."""

    def __init__(self, budget: "Budget") -> None:
        self._budget = budget
        self.size = 0

    def set(self, size: int) -> None:
        """Hold `size` bytes from now on; OverloadedError if that is more than is left."""
        self._budget.claim(size - self.size)
        self.size = size


class Budget:
    """Bytes of unfinished work, over all requests of this process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def claim(self, size: int) -> None:
        """Take `size` bytes, or give them back if negative; OverloadedError if there are not as many left."""
        if size > 0 and self.used + size > self.limit:
            raise OverloadedError(retry_after_s=_RETRY_AFTER_S)
        self.used += size

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Hold bytes until the block ends."""
        held = Held(self)
        try:
            held.set(_REQUEST_BYTES)
            yield held
        finally:
            self.used -= held.size


async def read_body(chunks: AsyncIterator[bytes], held: Held) -> bytes:
    """Collect a body as sent; BodyTooLargeError, BodyTooSlowError, OverloadedError."""
    collected: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in chunks:
                size += len(chunk)
                if size <= MAX_BODY_BYTES:
                    held.set(_REQUEST_BYTES + size)
                    collected.append(chunk)
                elif size > MAX_DISCARDED_BYTES:
                    break
    except InternalServerException:
        raise NotJsonError("The body was cut off.") from None  # the framework's word for a sender that hung up
    except TimeoutError:
        raise BodyTooSlowError(f"The whole body must arrive within {BODY_TIMEOUT_S:.0f} s.") from None
    if size > MAX_BODY_BYTES:
        raise BodyTooLargeError(f"At most {MAX_BODY_BYTES} bytes.")
    return b"".join(collected)


def inflate(body: bytes, encoding: str) -> bytes:
    """Undo a Content-Encoding, stopping at the limit; BodyTooLargeError, NotJsonError, UnsupportedEncodingError."""
    decoder = _DECODERS.get(encoding.strip().lower())
    if decoder is None:
        raise UnsupportedEncodingError
    try:
        inflated = decoder(body, MAX_BODY_BYTES + 1)
    except (zlib.error, zstandard.ZstdError):
        raise NotJsonError("The compressed body is damaged.") from None
    if len(inflated) > MAX_BODY_BYTES:
        raise BodyTooLargeError(f"At most {MAX_BODY_BYTES} bytes when inflated.")
    return inflated


def _gunzip(body: bytes, limit: int) -> bytes:
    inflated = b""
    while body and len(inflated) < limit:
        member = zlib.decompressobj(wbits=31)
        inflated += member.decompress(body, limit - len(inflated))
        if not member.eof and len(inflated) < limit:
            raise zlib.error("truncated")
        body = member.unused_data
    return inflated


def _unzstd(body: bytes, limit: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    with decompressor.stream_reader(body, read_across_frames=True) as reader:
        return reader.read(limit)


def _identity(body: bytes, _: int) -> bytes:
    return body


_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "": _identity,
    "identity": _identity,
    "gzip": _gunzip,
    "zstd": _unzstd,
}
