"""Rate limits hold over any number of worker processes and machines: PostgreSQL counts, or Redis where one is set.

Per subject there is the instant at which its allowance is whole again; each request moves it by 1/rate, and is refused
where that would lie more than the burst ahead (the generic cell rate algorithm of ATM Forum TM 4.0, 4.4.2). One
statement in PostgreSQL, so the row's lock decides between rivals; one script in Redis, which runs one at a time. Either
way the clock is the server's.
"""

import hmac
import ipaddress
import math
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.database import Pool, fetch_row, load_queries
from api.errors import RateLimitedError, UnavailableError

BURST_S: Final = 60.0

_SQL: Final = load_queries("api", "limiter.sql")
_CLEAN_EVERY: Final = 256
_TAKE: Final = """
    local time = redis.call('TIME')
    local now = time[1] + time[2] / 1000000
    local free_at = tonumber(redis.call('GET', KEYS[1]) or '0')
    local step, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
    if free_at + step - burst > now then
        return tostring(free_at + step - burst - now)
    end
    free_at = math.max(free_at, now) + step
    redis.call('SET', KEYS[1], string.format('%.6f', free_at), 'PX', math.ceil((free_at - now) * 1000))
    return false
"""


class Allowances(Protocol):
    """What remembers how much of their allowance subjects have taken."""

    async def take(self, scope: str, subject: bytes, step_s: float) -> float | None:
        """Take one request; None if there was one, else in how many seconds there will be."""

    async def close(self) -> None:
        """Let go of what was opened."""


class PostgresAllowances:
    """Counts in the table `rate_limits`, and deletes what is whole again now and then."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._taken = 0

    async def take(self, scope: str, subject: bytes, step_s: float) -> float | None:
        """Take one request, in one statement."""
        parameters = {"scope": scope, "subject": subject, "step_s": step_s, "burst_s": BURST_S}
        async with self._pool.connection() as connection:
            taken = await fetch_row(connection, _SQL["take"], parameters)
            self._taken += 1
            if self._taken % _CLEAN_EVERY == 0:
                await connection.execute(_SQL["clean"])
        return None if taken.allowed else taken.wait_s or step_s

    async def close(self) -> None:
        """Do nothing: the pool is not ours."""


class RedisAllowances:
    """Counts in a Redis, which forgets by itself what is whole again. Without an answer nobody is let pass."""

    def __init__(self, url: str) -> None:
        self._redis: Redis = Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        self._take: Any = self._redis.register_script(_TAKE)

    async def take(self, scope: str, subject: bytes, step_s: float) -> float | None:
        """Take one request, in one script; UnavailableError."""
        try:
            wait_s = await self._take(keys=[b"parkpal:%s:%s" % (scope.encode(), subject)], args=[step_s, BURST_S])
        except RedisError:
            raise UnavailableError("The limits cannot be read.", retry_after_s=5) from None
        return None if wait_s is None else float(wait_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


class Limiter:
    """Allows each subject `per_minute` requests at once and as many in every following minute.

    key: hashes subjects, so that no address is stored.
    """

    def __init__(self, allowances: Allowances, key: bytes, scope: str, per_minute: int) -> None:
        self._allowances = allowances
        self._key = key
        self._scope = scope
        self._step_s = 60 / per_minute

    async def take(self, subject: str) -> None:
        """Take one request off the subject's allowance; RateLimitedError says when the next is free."""
        hashed = hmac.digest(self._key, subject.encode(), "sha256")
        wait_s = await self._allowances.take(self._scope, hashed, self._step_s)
        if wait_s is not None:
            raise RateLimitedError(retry_after_s=max(1, math.ceil(wait_s)))


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
