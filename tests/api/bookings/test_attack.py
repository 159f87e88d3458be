"""A short run of the attack in one process; the long one is `python -m tests.crash.bookings`."""

import logging

import pytest

from tests.crash.bookings import check, prepare, run_worker

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_nothing_is_sold_twice_while_connections_die(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Sixteen connections, a few hundred operations, cut at any statement."""
    caplog.set_level(logging.ERROR, "psycopg.pool")
    prepare(database_url)
    await run_worker(database_url, 7, 0, 320)
    assert check(database_url) == dict.fromkeys(check(database_url), 0)
