"""Deliveries are sent by any process, at least once, ever more seldom: the receiver drops repeats by `webhook-id`.

No transaction is open while a receiver is called: a delivery is taken for LEASE, and comes again if nobody says what
became of it. After the last of PAUSES it is given up, and may be replayed. An endpoint that takes nothing for PATIENCE,
or says 410, is disabled, and its owners are told.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import psycopg

from api.contacts import Contact
from api.database import Connection, Pool, load_queries
from api.outbox.messages import put_message
from api.tenancy import at_desk
from api.webhooks.egress import TIMEOUT_S, Egress, EgressError
from api.webhooks.signing import Seal, encode_body, sign

PAUSES: Final = tuple(timedelta(seconds=s) for s in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400))
"""Before the second attempt, the third, and so on, as Standard Webhooks proposes."""
PATIENCE: Final = timedelta(days=5)
LEASE: Final = timedelta(seconds=4 * TIMEOUT_S)
KEPT: Final = timedelta(days=30)
AT_ONCE: Final = 16
POLL_S: Final = 1.0
_GONE: Final = 410

_SQL: Final = load_queries("api.webhooks", "webhooks.sql")
log = logging.getLogger(__name__)


class Deliveries(NamedTuple):
    """Sends what is due."""

    pool: Pool
    egress: Egress
    seal: Seal

    async def run(self) -> None:
        """Send for ever; a database that does not answer is asked again."""
        while True:
            try:
                while await self.send_due():
                    pass
            except psycopg.Error as error:
                log.warning("webhooks not read", extra={"error": type(error).__name__})
            await asyncio.sleep(POLL_S)

    async def send_due(self) -> int:
        """Send what is due, some at once; return how many that were."""
        async with at_desk(self.pool) as connection:
            await connection.execute(_SQL["clean"], {"kept": KEPT})
            taken = await connection.execute(_SQL["take"], {"lease": LEASE, "most": AT_ONCE})
            rows = await taken.fetchall()
        await asyncio.gather(*map(self._send, rows))
        return len(rows)

    async def _send(self, row: Any) -> None:  # noqa: ANN401  # a row
        body = encode_body(row.kind, row.occurred_at, row.data)
        holding = [self.seal.open(sealed) for sealed in (row.sealed_secret, row.sealed_former) if sealed is not None]
        headers = sign(row.event_id, datetime.now(UTC), body, holding)
        try:
            status = await self.egress.post(row.url, headers | {"content-type": "application/json"}, body)
        except EgressError as error:
            await self._note(row, None, str(error))
        else:
            await self._note(row, status, str(status))

    async def _note(self, row: Any, status: int | None, answer: str) -> None:  # noqa: ANN401  # a row
        of = {"endpoint_id": row.endpoint_id, "event_id": row.event_id, "answer": answer}
        async with at_desk(self.pool) as connection:
            if status is not None and 200 <= status < 300:
                await connection.execute(_SQL["taken"], of)
                await connection.execute(_SQL["well"], of)
                return
            if row.attempts > len(PAUSES):
                await connection.execute(_SQL["give_up"], of)
            else:
                await connection.execute(_SQL["later"], of | {"pause": PAUSES[row.attempts - 1]})
            failing = {"gone": status == _GONE, "patience": PATIENCE}
            found = await (await connection.execute(_SQL["failing"], of | failing)).fetchone()
            if found is not None and found.disabled_at is not None:
                await _tell(connection, found)


async def _tell(connection: Connection, endpoint: Any) -> None:  # noqa: ANN401  # a row
    """Write to those who run the tenant that an endpoint is disabled."""
    for row in await (await connection.execute(_SQL["admins"], {"tenant_id": endpoint.tenant_id})).fetchall():
        to = Contact("email", row.email) if row.email else Contact("phone", row.phone)
        await put_message(connection, to, "webhook_disabled", row.locale, {"url": endpoint.url})
