"""`/v1/operators/{id}/passes` and `/v1/passes`: monthly passes, as those who issue and those who hold them see them."""

import datetime as dt
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.params import JSONBody, PathParameter, QueryParameter

from api.bookings.hours import Hours
from api.bookings.places import Vehicle
from api.bookings.routes import Plate
from api.bookings.tariff import VehicleKind
from api.errors import (
    InvalidRequestError,
    KeyInUseError,
    KeyReusedError,
    NotFoundError,
    PlaceClosedError,
    PlaceTakenError,
    RoleMissingError,
    UnauthenticatedError,
    UnavailableError,
    WrongStateError,
    responses,
)
from api.idempotency import IdempotencyKey, scope_of
from api.passes.holders import Pass, Passes
from api.passes.issuing import Terms
from api.passes.windows import check_pass_hours
from api.people.accounts import read_contact
from api.people.auth_routes import ContactText
from api.people.principal import Guard, caller_of, person_routes
from api.people.tenant_routes import TenantId

_READS: Final = (UnauthenticatedError, InvalidRequestError, UnavailableError, NotFoundError, RoleMissingError)
_ONCE: Final = (*_READS, KeyInUseError, KeyReusedError)

AnyRequest = Request[Any, Any, Any]
PassId = Annotated[UUID, PathParameter(description="The pass")]
Month = Annotated[str, msgspec.Meta(pattern="^20[0-9]{2}-(0[1-9]|1[0-2])$")]
WhichMonth = Annotated[
    str | None, QueryParameter(pattern="^20[0-9]{2}-(0[1-9]|1[0-2])$", description="only this month")
]


class NewPass(msgspec.Struct, frozen=True):
    """For whom, where, and when: a calendar month; hours as of places, by quarters of an hour, none: all of it."""

    contact: ContactText
    place_id: UUID
    month: Month
    plate: Plate
    price_minor: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
    vehicle_kind: VehicleKind = "car"
    hours: Annotated[tuple[Hours, ...], msgspec.Meta(max_length=14)] = ()


class Why(msgspec.Struct, frozen=True):
    """Why a pass ends."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=400)]


def pass_routes(passes: Passes, guard: Guard) -> list[Router]:
    """Build the routers."""

    @get("/", responses=responses(UnauthenticatedError, UnavailableError))
    async def list_my_passes(request: AnyRequest) -> list[Pass]:
        """Return the caller's passes, newest first."""
        return await passes.of_driver(caller_of(request))

    return [
        person_routes("/v1/passes", [list_my_passes], guard, "bookings"),
        person_routes("/v1/operators/{operator_id:uuid}/passes", _operator_handlers(passes), guard, "operators"),
    ]


def _operator_handlers(passes: Passes) -> list[Any]:
    @get("/", responses=responses(*_READS))
    async def list_passes(operator_id: TenantId, request: AnyRequest, month: WhichMonth = None) -> list[Pass]:
        """Return the operator's passes, newest first."""
        day = None if month is None else _first_day(month)
        return await passes.of_tenant(caller_of(request), operator_id, day)

    @post("/", responses=responses(*_ONCE, PlaceTakenError, PlaceClosedError))
    async def post_pass(
        operator_id: TenantId, data: JSONBody[NewPass], request: AnyRequest, key: IdempotencyKey
    ) -> Pass:
        """Issue a pass: all its windows are kept, or 409 tells which cannot be. Its price is owed at once."""
        try:
            check_pass_hours(data.hours)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from None
        caller = caller_of(request)
        vehicle = Vehicle(data.plate, data.vehicle_kind)
        month = _first_day(data.month)
        terms = Terms(operator_id, data.place_id, caller.person_id, vehicle, month, data.hours, data.price_minor)
        return await passes.issue(caller, await scope_of(request, key), read_contact(data.contact), terms)

    @post("/{pass_id:uuid}/end", status_code=200, responses=responses(*_ONCE, WrongStateError))
    async def post_end(
        operator_id: TenantId, pass_id: PassId, data: JSONBody[Why], request: AnyRequest, key: IdempotencyKey
    ) -> Pass:
        """End a pass: what is to come of it is for sale again."""
        return await passes.end(caller_of(request), await scope_of(request, key), operator_id, pass_id, data.reason)

    return [list_passes, post_pass, post_end]


def _first_day(month: str) -> dt.date:
    return dt.date.fromisoformat(f"{month}-01")
