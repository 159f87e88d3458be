"""One contract of limits, on PostgreSQL and on Redis: exactly the allowance passes, whichever process asks."""

import asyncio
import multiprocessing
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import pytest
from redis import Redis
from redis.exceptions import RedisError

from api.database import build_pool
from api.errors import RateLimitedError, UnavailableError
from api.limiter import Allowances, Limiter, PostgresAllowances, RedisAllowances

PROCESSES: Final = 4
REQUESTS: Final = 30


@pytest.fixture(
    params=[pytest.param("postgres", marks=pytest.mark.postgres), "redis"],
)
def place(request: pytest.FixtureRequest) -> str:
    """The URL of a server that counts."""
    name = "database_url" if request.param == "postgres" else "redis_url"
    return str(request.getfixturevalue(name))


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A real Redis: PARKPAL_TEST_REDIS, or one started for the test."""
    if url := os.environ.get("PARKPAL_TEST_REDIS"):
        Redis.from_url(url).flushall()
        yield url
        return
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("no redis-server on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        _wait_for(url)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str) -> None:
    ends = monotonic() + 30
    while True:
        try:
            Redis.from_url(url).ping()
        except RedisError:
            assert monotonic() < ends
            sleep(0.05)
        else:
            return


def _ask(place: str, subject: str, requests: int) -> list[int]:
    """Ask so often at once; return 0 for what passed, else after how many seconds to come again."""

    async def ask() -> list[int]:
        pool = None
        allowances: Allowances
        if place.startswith("redis"):
            allowances = RedisAllowances(place)
        else:
            pool = build_pool(place, max_size=4)
            await pool.open()
            allowances = PostgresAllowances(pool)
        limiter = Limiter(allowances, b"key", "test", per_minute=4)
        found = await asyncio.gather(*(limiter.take(subject) for _ in range(requests)), return_exceptions=True)
        await allowances.close()
        if pool is not None:
            await pool.close()
        assert all(one is None or isinstance(one, RateLimitedError) for one in found), found
        return [one.retry_after_s or 0 if isinstance(one, RateLimitedError) else 0 for one in found]

    return asyncio.run(ask())


def test_the_limit_holds_over_four_processes(place: str) -> None:
    """Of 120 requests at once exactly the allowance passes; the others are told when to come again."""
    began = monotonic()
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as workers:
        asked = [(place, "192.0.2.1", REQUESTS)] * PROCESSES
        found = [wait_s for answer in workers.starmap(_ask, asked) for wait_s in answer]
    assert 4 <= found.count(0) <= 4 + (monotonic() - began) // 15  # one more for each quarter of a minute that it took
    assert len(found) == PROCESSES * REQUESTS
    assert all(1 <= wait_s <= 60 for wait_s in found if wait_s)
    assert _ask(place, "192.0.2.2", 1) == [0]


def test_nothing_that_is_stored_tells_who_asked(redis_url: str) -> None:
    _ask(redis_url, "192.0.2.1", 1)
    (key,) = Redis.from_url(redis_url).keys()
    assert b"192.0.2.1" not in key
    assert 1 <= Redis.from_url(redis_url).ttl(key) <= 15  # forgotten once the allowance is whole again


async def _refused_without_a_server() -> None:
    allowances = RedisAllowances("redis://127.0.0.1:9/0")
    with pytest.raises(UnavailableError):
        await Limiter(allowances, b"key", "test", per_minute=4).take("192.0.2.1")
    await allowances.close()


def test_without_an_answer_of_redis_nobody_passes() -> None:
    asyncio.run(_refused_without_a_server())
