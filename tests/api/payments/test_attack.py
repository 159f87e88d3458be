"""A short run of the attack with money, in one process; the long one is `python -m tests.crash.payments`."""

import asyncio
import logging
from pathlib import Path

import pytest

from tests.api.payments.conftest import Simulator
from tests.crash.bookings_town import TownClock, prepare
from tests.crash.payments import FAULTS, check, drain, run_worker

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_every_centavo_is_in_one_account_while_connections_die_and_providers_fail(
    database_url: str, simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "psycopg.pool")
    prepare(database_url, workers=1)
    simulator.faults(**FAULTS)
    clock = TownClock(tmp_path / "clock", workers=1)
    await run_worker(database_url, simulator.url, clock, 7, 0, 320)
    assert await asyncio.to_thread(check, database_url, simulator.url, clock.now()) == []
    await drain(database_url, simulator.url)
    assert await asyncio.to_thread(check, database_url, simulator.url, clock.now(), complete=True) == []
