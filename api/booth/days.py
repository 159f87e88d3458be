"""A lot's vehicles as people count them, beside its bookings; and its days, which are closed once, in order.

What is counted or paid after a day was closed belongs to the next one: malls close before midnight. The database
refuses whatever would still change a closed day.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from api.bookings.clock import utc_now
from api.database import Connection, Pool, load_queries
from api.errors import DayClosedError, InvalidRequestError, NotFoundError, WrongStateError
from api.idempotency import Scope, once
from api.people.access import Caller
from api.people.principal import require_role
from api.tenancy import at_desk

AT_THE_BOOTH: Final = ("attendant", "operator_admin")
READERS: Final = (*AT_THE_BOOTH, "operator_analyst")

_SQL: Final = load_queries("api.booth", "days.sql")

Vehicles = Annotated[int, msgspec.Meta(ge=0, le=100_000)]


class Count(msgspec.Struct, frozen=True):
    """Vehicles that entered and departed since the count before; standing: all in the lot, where counted anew."""

    entered: Vehicles = 0
    departed: Vehicles = 0
    standing: Vehicles | None = None


class Occupancy(msgspec.Struct, frozen=True):
    """Vehicles in a lot: checked in by a booking, and as counted; standing is null until somebody counted them all."""

    capacity: int
    checked_in: int
    standing: int | None
    counted_at: datetime | None


class Day(msgspec.Struct, frozen=True):
    """What a lot's day was. entered_without_booking: counted in, less check-ins; cash_minor: what was taken by booking.

    counted_minor, note: what lay in the drawer, and what whoever closed the day says of it; null while it is open.
    """

    day: dt.date
    since: datetime
    until: datetime
    currency: str
    entered: int
    departed: int
    check_ins: int
    walk_ups: int
    check_outs: int
    entered_without_booking: int
    cash_minor: int
    cash_payments: int
    unpaid_minor: int
    counted_minor: int | None = None
    note: str | None = None


class Days(NamedTuple):
    """Counts vehicles and closes days, for those who work at a lot."""

    pool: Pool
    clock: Callable[[], datetime] = utc_now

    async def add(self, caller: Caller, scope: Scope, tenant_id: UUID, lot_id: UUID, count: Count) -> Occupancy:
        """Add a count; NotFoundError, InvalidRequestError if nothing was counted."""
        await require_role(self.pool, caller, tenant_id, *AT_THE_BOOTH)
        if count == Count():
            raise InvalidRequestError("A count says how many entered, departed or stand there.")

        async def work(connection: Connection) -> Occupancy:
            parameters = {"lot_id": lot_id, "tenant_id": tenant_id, "now": self.clock()}
            parameters["day"] = await open_day(connection, parameters)
            await connection.execute(_SQL["count"], parameters | msgspec.structs.asdict(count))
            return await _occupancy(connection, parameters)

        return await once(at_desk(self.pool, caller.person_id), scope, Occupancy, work)

    async def occupancy(self, caller: Caller, tenant_id: UUID, lot_id: UUID) -> Occupancy:
        """Return how full a lot is; NotFoundError."""
        await require_role(self.pool, caller, tenant_id, *READERS)
        async with at_desk(self.pool, caller.person_id) as connection:
            return await _occupancy(connection, {"lot_id": lot_id, "tenant_id": tenant_id})

    async def read(self, caller: Caller, tenant_id: UUID, lot_id: UUID) -> Day:
        """Return the day that is open, so far; NotFoundError."""
        await require_role(self.pool, caller, tenant_id, *READERS)
        parameters = {"lot_id": lot_id, "tenant_id": tenant_id, "now": self.clock()}
        async with at_desk(self.pool, caller.person_id) as connection:
            parameters["day"] = await open_day(connection, parameters)
            return _day(await _report(connection, parameters))

    async def close(
        self, caller: Caller, scope: Scope, tenant_id: UUID, lot_id: UUID, day: date, counted_minor: int, note: str
    ) -> Day:
        """Close a day that has begun; NotFoundError, DayClosedError if it or a later one is, WrongStateError."""
        await require_role(self.pool, caller, tenant_id, *AT_THE_BOOTH)

        async def work(connection: Connection) -> Day:
            parameters = {"lot_id": lot_id, "tenant_id": tenant_id, "day": day, "now": self.clock()}
            await connection.execute(_SQL["alone_to_close"], parameters)
            row = await _report(connection, parameters)
            if day > row.today:
                raise WrongStateError("The day has not begun.")
            report = msgspec.structs.replace(_day(row), counted_minor=counted_minor, note=note)
            await connection.execute(_SQL["close"], parameters | {"report": Jsonb(msgspec.to_builtins(report))})
            return report

        try:
            return await once(at_desk(self.pool, caller.person_id), scope, Day, work)
        except psycopg.errors.CheckViolation:
            raise DayClosedError from None

    async def closed(self, caller: Caller, tenant_id: UUID, lot_id: UUID, limit: int) -> list[Day]:
        """Return the days that were closed, newest first."""
        await require_role(self.pool, caller, tenant_id, *READERS)
        parameters = {"lot_id": lot_id, "tenant_id": tenant_id, "limit": limit}
        async with at_desk(self.pool, caller.person_id) as connection:
            rows = await (await connection.execute(_SQL["closed"], parameters)).fetchall()
        return [msgspec.convert(row.report, Day) for row in rows]


async def open_day(connection: Connection, parameters: dict[str, Any]) -> date:
    """Return the day of a place that is open now, and stays so until the transaction ends; NotFoundError."""
    await connection.execute(_SQL["alone"], parameters)
    row = await (await connection.execute(_SQL["day"], parameters)).fetchone()
    if row is None:
        raise NotFoundError("There is no such lot.")
    day: date = row.day
    return day


async def read_occupancies(
    connection: Connection, lot_ids: Sequence[UUID], tenant_id: UUID | None = None
) -> dict[UUID, Occupancy]:
    """Return how full each of these lots is, of those of the tenant if one is named."""
    parameters = {"lot_ids": list(lot_ids), "tenant_id": tenant_id}
    rows = await (await connection.execute(_SQL["occupancies"], parameters)).fetchall()
    return {lot_id: Occupancy(*counts) for lot_id, *counts in rows}


async def _occupancy(connection: Connection, parameters: dict[str, Any]) -> Occupancy:
    found = await read_occupancies(connection, [parameters["lot_id"]], parameters["tenant_id"])
    if not found:
        raise NotFoundError("There is no such lot.")
    return found[parameters["lot_id"]]


async def _report(connection: Connection, parameters: dict[str, Any]) -> Any:  # noqa: ANN401  # a row
    row = await (await connection.execute(_SQL["report"], parameters)).fetchone()
    if row is None:
        raise NotFoundError("There is no such lot.")
    return row


def _day(row: Any) -> Day:  # noqa: ANN401  # a row of `report`
    return Day(**{name: value for name, value in row._asdict().items() if name != "today"})
