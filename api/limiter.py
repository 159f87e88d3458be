"""Rate limits are kept in PostgreSQL, so that they hold over any number of worker processes and machines.

One row per subject holds the instant at which its allowance is whole again; each request moves it by 1/rate, and is
refused where that would lie more than the burst ahead (the generic cell rate algorithm of ATM Forum TM 4.0, 4.4.2).
One statement, so the row's lock decides between rivals.
"""

import hmac
import ipaddress
import math
from typing import Final

from api.database import Pool, fetch_row, load_queries
from api.errors import RateLimitedError

_SQL: Final = load_queries("api", "limiter.sql")
_CLEAN_EVERY: Final = 256


class Limiter:
    """Allows each subject `per_minute` requests at once and as many in every following minute.

    key: hashes subjects, so that no address is stored. clock: seconds, any origin; paces the cleaning only.
    """

    def __init__(self, pool: Pool, key: bytes, scope: str, per_minute: int) -> None:
        self._pool = pool
        self._key = key
        self._scope = scope
        self._step_s = 60 / per_minute
        self._taken = 0

    async def take(self, subject: str) -> None:
        """Take one request off the subject's allowance; RateLimitedError says when the next is free."""
        hashed = hmac.digest(self._key, subject.encode(), "sha256")
        parameters = {"scope": self._scope, "subject": hashed, "step_s": self._step_s, "burst_s": 60.0}
        async with self._pool.connection() as connection:
            taken = await fetch_row(connection, _SQL["take"], parameters)
            self._taken += 1
            if self._taken % _CLEAN_EVERY == 0:
                await connection.execute(_SQL["clean"])
        if not taken.allowed:
            raise RateLimitedError(retry_after_s=max(1, math.ceil(taken.wait_s or self._step_s)))


def address_subject(address: str) -> str:
    """Return what a limit on addresses counts: an IPv4 address, or the /64 network that one IPv6 customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
