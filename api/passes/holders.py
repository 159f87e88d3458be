"""Passes as people ask for them: who may issue and end one, and what holders and operators are told."""

import datetime as dt
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from api.bookings.clock import utc_now
from api.bookings.hours import Hours
from api.bookings.money import Money
from api.contacts import Contact
from api.database import Connection, Pool, load_queries
from api.errors import NotFoundError
from api.idempotency import Scope, once
from api.passes.issuing import Terms, end, issue
from api.people.access import Caller
from api.people.principal import require_role
from api.tenancy import at_desk

ISSUERS: Final = ("attendant", "operator_admin")
ENDERS: Final = ("operator_admin",)

_SQL: Final = load_queries("api.passes", "passes.sql")


class Pass(msgspec.Struct, frozen=True):
    """A pass. to_come: its bookings that are not over; owing: the booking with which its price is to be paid."""

    pass_id: UUID
    place_id: UUID
    place_name: str
    plate: str
    vehicle_kind: str
    month: dt.date
    hours: tuple[Hours, ...]
    currency: str
    price_minor: int
    issued_at: datetime
    ended_at: datetime | None
    end_reason: str
    to_come: int
    owing: UUID | None


class Passes(NamedTuple):
    """Issues, ends and lists passes."""

    pool: Pool
    money: Money
    clock: Callable[[], datetime] = utc_now

    async def issue(self, caller: Caller, scope: Scope, holder: Contact, terms: Terms) -> Pass:
        """Issue a pass to whoever has this contact; NotFoundError, and as `issuing.issue`."""
        await require_role(self.pool, caller, terms.tenant_id, *ISSUERS)

        async def work(connection: Connection) -> Pass:
            row = await (await connection.execute(_SQL["holder"], {"contact": holder.text})).fetchone()
            if row is None:
                raise NotFoundError("Nobody has an account with this contact.")
            held = terms._replace(driver_id=row.person_id)
            return await _one(connection, await issue(connection, self.money, held, self.clock()))

        return await once(at_desk(self.pool, caller.person_id), scope, Pass, work)

    async def end(self, caller: Caller, scope: Scope, tenant_id: UUID, pass_id: UUID, reason: str) -> Pass:
        """End a pass; NotFoundError, WrongStateError."""
        await require_role(self.pool, caller, tenant_id, *ENDERS)

        async def work(connection: Connection) -> Pass:
            await end(connection, tenant_id, pass_id, reason, self.clock())
            return await _one(connection, pass_id)

        return await once(at_desk(self.pool, caller.person_id), scope, Pass, work)

    async def of_tenant(self, caller: Caller, tenant_id: UUID, month: date | None) -> list[Pass]:
        """Return the operator's passes, of one month or the newest."""
        await require_role(self.pool, caller, tenant_id, *ISSUERS)
        async with at_desk(self.pool, caller.person_id) as connection:
            return await _list(connection, tenant_id=tenant_id, month=month)

    async def of_driver(self, caller: Caller) -> list[Pass]:
        """Return the caller's passes."""
        async with at_desk(self.pool, caller.person_id) as connection:
            return await _list(connection, driver_id=caller.person_id)


async def _one(connection: Connection, pass_id: UUID) -> Pass:
    (found,) = await _list(connection, pass_id=pass_id)
    return found


async def _list(connection: Connection, **which: Any) -> list[Pass]:  # noqa: ANN401  # parameters of the query
    every: dict[str, Any] = {"tenant_id": None, "driver_id": None, "pass_id": None, "month": None}
    rows = await (await connection.execute(_SQL["listed"], every | which)).fetchall()
    shared = [{name: getattr(row, name) for name in Pass.__struct_fields__} for row in rows]
    return [Pass(**values | {"hours": msgspec.convert(values["hours"], tuple[Hours, ...])}) for values in shared]
