"""Requests to addresses that strangers choose: to public ones alone, by the very address that was looked at.

A name is resolved once, every address it has must be public, and the connection goes to the first of them; the name
still decides the certificate. So a name that means another address a moment later gains nothing. No redirect is
followed, no connection kept, no proxy asked; an answer has ANSWER_BYTES at most of which nobody reads more, and
everything together TIMEOUT_S.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

TIMEOUT_S: Final = 15.0
ANSWER_BYTES: Final = 64 << 10
_EMBEDDING: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))

Resolve = Callable[[str, int], Awaitable[list[str]]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class EgressError(Exception):
    """The request was not made, or nothing came of it; the message may be shown to who chose the address."""


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name; OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def is_public(text: str) -> bool:
    """Tell whether an address is one of the public Internet, and leads to no other by being translated."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None or any(address in network for network in _EMBEDDING):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class Egress:
    """Posts to URLs of strangers. strict: https and public addresses alone; else also http, and this machine."""

    def __init__(self, *, strict: bool, resolve: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._strict = strict
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()

    def check_url(self, url: str) -> None:
        """Raise EgressError for a URL that is never called."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise EgressError("The URL cannot be read.") from None
        if parts.scheme not in ({"https"} if self._strict else {"https", "http"}) or not parts.hostname:
            raise EgressError("The URL must be https://, with a host.")
        if parts.username or parts.password or parts.fragment or port == 0:
            raise EgressError("The URL must have no user, no fragment and a port to call.")

    async def post(self, url: str, headers: Mapping[bytes | str, bytes | str], body: bytes) -> int:
        """Post; return the status. EgressError if there was none."""
        self.check_url(url)
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._tls, max_keepalive_connections=0, network_backend=_Guarded(self._pick)
        )
        try:
            async with asyncio.timeout(TIMEOUT_S), pool, pool.stream("POST", url, headers=headers, content=body) as got:
                await _read(got.aiter_stream())
                return int(got.status)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise EgressError(f"No answer: {type(error).__name__}.") from None

    async def _pick(self, host: str, port: int) -> str:
        try:
            addresses = await self._resolve(host, port)
        except OSError:
            raise EgressError("The host has no address.") from None
        for address in addresses:
            local = not self._strict and ipaddress.ip_address(address.partition("%")[0]).is_loopback
            if not is_public(address) and not local:
                raise EgressError("The host has an address that is not public.")
        if not addresses:
            raise EgressError("The host has no address.")
        return addresses[0]


async def _read(stream: AsyncIterable[bytes]) -> None:
    read = 0
    async for chunk in stream:
        read += len(chunk)
        if read > ANSWER_BYTES:
            return


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to the address that was picked for a name."""

    def __init__(self, pick: Callable[[str, int], Awaitable[str]]) -> None:
        self._pick = pick
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the library's protocol
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        address = await self._pick(host, port)
        return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
