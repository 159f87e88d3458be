"""Who may not push is known without asking the database at each request, and is never older than stated.

The list is read again every REFRESH_S; a withdrawal reaches this process at once and every other within that time.
If the database has not answered for MAX_AGE_S, nobody may push: rather late than against someone's will.
"""

import asyncio
import logging
import time
from datetime import datetime, timedelta
from typing import Final

import psycopg

from api.database import Pool, fetch_row, load_queries
from api.errors import ConsentMissingError, UnavailableError
from api.metrics import Metrics

REFRESH_S: Final = 5.0
MAX_AGE_S: Final = 60.0
_OVERLAP: Final = timedelta(seconds=30)
"""Changes become visible when their transaction ends, up to this much after the instant they carry."""

_SQL: Final = load_queries("api.ingest", "devices.sql")
log = logging.getLogger(__name__)


class Denied:
    """The devices that may not push: revoked, or without consent to location_analytics."""

    def __init__(self, pool: Pool, metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._devices: set[str] = set()
        self._since: datetime | None = None
        self._read_at = float("-inf")

    def check(self, device_id: str) -> None:
        """ConsentMissingError if the device may not push, UnavailableError if the list is too old to tell."""
        if time.monotonic() - self._read_at > MAX_AGE_S:
            raise UnavailableError("Consents cannot be checked.", retry_after_s=int(REFRESH_S))
        if device_id in self._devices:
            raise ConsentMissingError

    def set(self, device_id: str, *, may_push: bool) -> None:
        """Take note of a change that this process has just committed."""
        (self._devices.discard if may_push else self._devices.add)(device_id)

    async def refresh(self) -> None:
        """Read what has changed since the last time."""
        started = time.monotonic()
        async with self._pool.connection() as connection:
            now = (await fetch_row(connection, _SQL["now"], {})).now
            rows = await (await connection.execute(_SQL["denied"], {"since": self._since})).fetchall()
        for device_id, may_push in rows:
            self.set(device_id, may_push=may_push)
        self._since = now - _OVERLAP
        self._read_at = started

    async def run(self) -> None:
        """Refresh for ever; a database that does not answer is asked again."""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh()
            except psycopg.Error as error:
                log.warning("consents not read", extra={"error": type(error).__name__})
            self._metrics.consents_age_seconds.set(time.monotonic() - self._read_at)
