"""Where an operator wants to be told: made, rotated, disabled and replayed by its admins, each change audited.

A secret is answered once; the one before it goes on signing for OVERLAP.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from api.database import Connection, Pool, fetch_row, load_queries
from api.errors import InvalidRequestError, NotFoundError, TooManyEndpointsError
from api.limiter import Limiter
from api.people.access import Caller
from api.people.principal import require_role
from api.people.tenants import OPERATOR_ADMIN
from api.tenancy import acting
from api.webhooks.egress import Egress, EgressError
from api.webhooks.signing import Seal, make_secret

OVERLAP: Final = timedelta(hours=24)
MOST_ENDPOINTS: Final = 10

Kind = Literal[
    "booking.held",
    "booking.reserved",
    "booking.active",
    "booking.overstay",
    "booking.fulfilled",
    "booking.canceled",
    "booking.expired",
    "booking.no_show",
]
Outcome = Literal["waiting", "taken", "given_up"]

_SQL: Final = load_queries("api.webhooks", "webhooks.sql")


class Endpoint(msgspec.Struct, frozen=True):
    """Where an operator is told; failing_since: the first failure since something was taken."""

    endpoint_id: UUID
    url: str
    kinds: list[Kind]
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None


class EndpointOnce(msgspec.Struct, frozen=True):
    """An endpoint with its secret, which is not shown again."""

    endpoint: Endpoint
    secret: str


class Delivery(msgspec.Struct, frozen=True):
    """What one endpoint is told; answer: the last status, or why there was none."""

    event_id: UUID
    kind: Kind
    occurred_at: datetime
    outcome: Outcome
    attempts: int
    due_at: datetime | None
    answer: str


class Replayed(msgspec.Struct, frozen=True):
    """How many deliveries are sent again."""

    count: int


class Endpoints(NamedTuple):
    """Endpoints of operators; roles are read from the database."""

    pool: Pool
    egress: Egress
    seal: Seal
    limiter: Limiter

    async def endpoints(self, caller: Caller, tenant_id: UUID) -> list[Endpoint]:
        """Return the operator's endpoints."""
        await require_role(self.pool, caller, tenant_id, OPERATOR_ADMIN)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            return [Endpoint(*row) for row in await (await connection.execute(_SQL["endpoints"])).fetchall()]

    async def add(self, caller: Caller, tenant_id: UUID, url: str, kinds: list[Kind]) -> EndpointOnce:
        """Add an endpoint; InvalidRequestError for a URL that is never called, TooManyEndpointsError."""
        await self._may_change(caller, tenant_id)
        try:
            self.egress.check_url(url)
        except EgressError as error:
            raise InvalidRequestError(f"url: {error}") from None
        secret = make_secret()
        parameters = {"url": url, "kinds": sorted(set(kinds)), "sealed": self.seal.close(secret)}
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            await connection.execute(_SQL["alone"])
            if (await fetch_row(connection, _SQL["count"], {})).count >= MOST_ENDPOINTS:
                raise TooManyEndpointsError(f"An operator has at most {MOST_ENDPOINTS}.")
            endpoint = Endpoint(*await fetch_row(connection, _SQL["add"], parameters))
            await _audit(connection, "webhook.added", endpoint_id=str(endpoint.endpoint_id), url=url)
        return EndpointOnce(endpoint, secret)

    async def drop(self, caller: Caller, tenant_id: UUID, endpoint_id: UUID) -> None:
        """Remove an endpoint with all that waits for it; NotFoundError."""
        await self._change(caller, tenant_id, "drop", "webhook.dropped", {"endpoint_id": endpoint_id})

    async def rotate(self, caller: Caller, tenant_id: UUID, endpoint_id: UUID) -> EndpointOnce:
        """Draw another secret; the one before goes on signing for OVERLAP. NotFoundError."""
        secret = make_secret()
        of = {"endpoint_id": endpoint_id, "overlap": OVERLAP, "sealed": self.seal.close(secret)}
        return EndpointOnce(Endpoint(*await self._change(caller, tenant_id, "rotate", "webhook.rotated", of)), secret)

    async def enable(self, caller: Caller, tenant_id: UUID, endpoint_id: UUID) -> None:
        """Send to it again, what waits for it first; NotFoundError."""
        await self._change(caller, tenant_id, "enable", "webhook.enabled", {"endpoint_id": endpoint_id})

    async def deliveries(
        self, caller: Caller, tenant_id: UUID, endpoint_id: UUID, outcome: Outcome | None, limit: int
    ) -> list[Delivery]:
        """Return what an endpoint was told, newest first."""
        await require_role(self.pool, caller, tenant_id, OPERATOR_ADMIN)
        parameters = {"endpoint_id": endpoint_id, "outcome": outcome, "limit": limit}
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            return [
                Delivery(*row) for row in await (await connection.execute(_SQL["deliveries"], parameters)).fetchall()
            ]

    async def replay(
        self, caller: Caller, tenant_id: UUID, endpoint_id: UUID, event_id: UUID | None, since: datetime | None
    ) -> Replayed:
        """Send one delivery again, or all that were given up since then; NotFoundError if there is none."""
        await self._may_change(caller, tenant_id)
        parameters = {"endpoint_id": endpoint_id, "event_id": event_id, "since": since}
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            rows = await (await connection.execute(_SQL["replay"], parameters)).fetchall()
        if not rows:
            raise NotFoundError("There is nothing to be sent again.")
        return Replayed(len(rows))

    async def _change(
        self, caller: Caller, tenant_id: UUID, query: str, action: str, parameters: dict[str, Any]
    ) -> Any:  # noqa: ANN401  # a row
        await self._may_change(caller, tenant_id)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            row = await (await connection.execute(_SQL[query], parameters)).fetchone()
            if row is None:
                raise NotFoundError("There is no such endpoint.")
            await _audit(connection, action, endpoint_id=str(row.endpoint_id))
        return row

    async def _may_change(self, caller: Caller, tenant_id: UUID) -> None:
        await require_role(self.pool, caller, tenant_id, OPERATOR_ADMIN)
        await self.limiter.take(str(caller.person_id))


async def _audit(connection: Connection, action: str, **details: str) -> None:
    await connection.execute(_SQL["audit"], {"action": action, "details": Jsonb(details)})
