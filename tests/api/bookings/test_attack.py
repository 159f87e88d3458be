"""A short run of the attack in one process; the long one is `python -m tests.crash.bookings`."""

import logging
from pathlib import Path

import pytest

from tests.crash.bookings import run_worker
from tests.crash.bookings_audit import Auditor
from tests.crash.bookings_town import TownClock, prepare

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_nothing_is_sold_twice_while_connections_die(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Sixteen connections, a few hundred operations, cut at any statement."""
    caplog.set_level(logging.ERROR, "psycopg.pool")
    prepare(database_url, workers=1)
    clock, auditor = TownClock(tmp_path / "clock", workers=1), Auditor(database_url)
    await run_worker(database_url, clock, 7, 0, 320)
    found = auditor.look(clock.now())
    assert found == dict.fromkeys(found, 0)
    auditor.close()
