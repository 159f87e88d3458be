"""What attendants do at a lot, below `/v1/operators/{id}`: count, take cash, close the day."""

import datetime as dt
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.params import JSONBody, PathParameter, QueryParameter

from api.bookings.routes import BookingId
from api.booth.cash import Cash, Due, Taking
from api.booth.days import Count, Day, Days, Occupancy
from api.errors import (
    CannotPayError,
    DayClosedError,
    InvalidRequestError,
    KeyInUseError,
    KeyReusedError,
    NotFoundError,
    RoleMissingError,
    UnauthenticatedError,
    UnavailableError,
    WrongStateError,
    responses,
)
from api.idempotency import IdempotencyKey, scope_of
from api.people.principal import Guard, caller_of, person_routes
from api.people.tenant_routes import TenantId

_READS: Final = (UnauthenticatedError, InvalidRequestError, UnavailableError, NotFoundError, RoleMissingError)
_ONCE: Final = (*_READS, KeyInUseError, KeyReusedError, WrongStateError)

AnyRequest = Request[Any, Any, Any]
LotId = Annotated[UUID, PathParameter(description="The lot")]
Minor = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class Drawer(msgspec.Struct, frozen=True):
    """The day to close, by the lot's calendar; what lies in the drawer, in minor units, and what to say of it."""

    day: dt.date
    counted_minor: Minor
    note: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class Banknotes(msgspec.Struct, frozen=True):
    """Cash for a booking: exactly what it owes next."""

    booking_id: UUID
    amount_minor: Annotated[int, msgspec.Meta(gt=0, le=1 << 40)]


def booth_routes(days: Days, cash: Cash, guard: Guard) -> Router:
    """Build what the booth adds to an operator."""
    handlers = [*_day_handlers(days), *_cash_handlers(cash)]
    return person_routes("/v1/operators/{operator_id:uuid}", handlers, guard, "operators")


def _day_handlers(days: Days) -> list[Any]:
    @post("/lots/{lot_id:uuid}/counts", responses=responses(*_ONCE))
    async def post_count(
        operator_id: TenantId, lot_id: LotId, data: JSONBody[Count], request: AnyRequest, key: IdempotencyKey
    ) -> Occupancy:
        """Add vehicles that were counted at the gate, or all that stand in the lot."""
        return await days.add(caller_of(request), await scope_of(request, key), operator_id, lot_id, data)

    @get("/lots/{lot_id:uuid}/occupancy", responses=responses(*_READS))
    async def get_occupancy(operator_id: TenantId, lot_id: LotId, request: AnyRequest) -> Occupancy:
        """Return how many vehicles are in the lot: by their bookings, and as counted."""
        return await days.occupancy(caller_of(request), operator_id, lot_id)

    @get("/lots/{lot_id:uuid}/day", responses=responses(*_READS))
    async def get_open_day(operator_id: TenantId, lot_id: LotId, request: AnyRequest) -> Day:
        """Return the day that is open, so far: entries beside bookings, and cash."""
        return await days.read(caller_of(request), operator_id, lot_id)

    @get("/lots/{lot_id:uuid}/days", responses=responses(*_READS))
    async def list_closed_days(
        operator_id: TenantId,
        lot_id: LotId,
        request: AnyRequest,
        limit: Annotated[int, QueryParameter(ge=1, le=366, description="days on the page")] = 31,
    ) -> list[Day]:
        """Return the days that were closed, newest first."""
        return await days.closed(caller_of(request), operator_id, lot_id, limit)

    @post("/lots/{lot_id:uuid}/days", responses=responses(*_ONCE, DayClosedError))
    async def post_close(
        operator_id: TenantId,
        lot_id: LotId,
        data: JSONBody[Drawer],
        request: AnyRequest,
        key: IdempotencyKey,
    ) -> Day:
        """Close a day: what is counted or paid from now on belongs to the next."""
        scope = await scope_of(request, key)
        return await days.close(caller_of(request), scope, operator_id, lot_id, data.day, data.counted_minor, data.note)

    return [post_count, get_occupancy, get_open_day, list_closed_days, post_close]


def _cash_handlers(cash: Cash) -> list[Any]:
    @get("/cash/{booking_id:uuid}", responses=responses(*_READS))
    async def get_due(operator_id: TenantId, booking_id: BookingId, request: AnyRequest) -> Due:
        """Return what a booking still owes."""
        return await cash.due(caller_of(request), operator_id, booking_id)

    @post("/cash", responses=responses(*_ONCE, CannotPayError))
    async def post_cash(
        operator_id: TenantId, data: JSONBody[Banknotes], request: AnyRequest, key: IdempotencyKey
    ) -> Taking:
        """Take cash for what a booking owes next; the driver's receipt shows it."""
        scope = await scope_of(request, key)
        return await cash.take(caller_of(request), scope, operator_id, data.booking_id, data.amount_minor)

    return [get_due, post_cash]
