"""`/v1/quotes`, `/v1/bookings`, `/v1/walk-ups`: what drivers do, and those who run a place do to a booking."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, PathParameter, QueryParameter

from api.bookings.answers import BookingAnswer, HistoryLine, ReportAnswer
from api.bookings.changes import CancelTerms
from api.bookings.codes import GOOD_FOR, Action
from api.bookings.desk import ChosenVehicle, Desk
from api.bookings.places import Window
from api.bookings.policy import Policy
from api.bookings.states import Status
from api.bookings.tariff import VehicleKind
from api.errors import (
    BalanceDueError,
    CannotPayError,
    InvalidQuoteError,
    InvalidRequestError,
    KeyInUseError,
    KeyReusedError,
    NotFoundError,
    PlaceClosedError,
    PlaceTakenError,
    RateLimitedError,
    RoleMissingError,
    TooEarlyError,
    UnauthenticatedError,
    UnavailableError,
    WrongStateError,
    WrongTokenError,
    responses,
)
from api.idempotency import IdempotencyKey, scope_of
from api.people.principal import Guard, caller_of, person_routes

_ALWAYS: Final = (UnauthenticatedError, InvalidRequestError, UnavailableError)
_ONCE: Final = (*_ALWAYS, KeyInUseError, KeyReusedError, RoleMissingError, NotFoundError, WrongStateError)
_HOLDS: Final = (PlaceTakenError, PlaceClosedError, BalanceDueError, CannotPayError, RateLimitedError)

AnyRequest = Request[Any, Any, Any]
BookingId = Annotated[UUID, PathParameter(description="The booking")]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Plate = Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{2,12}$")]
Text = Annotated[str, msgspec.Meta(max_length=1000)]


class QuoteRequest(msgspec.Struct, frozen=True):
    """A window of a place; of a lot whole quarters of an hour."""

    place_id: UUID
    starts_at: Instant
    ends_at: Instant
    vehicle_kind: VehicleKind = "car"


class QuoteAnswer(msgspec.Struct, frozen=True):
    """A price, good until expires_at. rails: how it can be paid; if it cannot, shortest_s is the length that can."""

    quote: str
    place_id: UUID
    starts_at: datetime
    ends_at: datetime
    currency: str
    total_minor: int
    rails: tuple[str, ...]
    shortest_s: int | None
    policy: Policy
    expires_at: datetime


class VehicleChoice(msgspec.Struct, frozen=True):
    """One of the driver's vehicles by id, or any by plate and kind."""

    vehicle_id: UUID | None = None
    plate: Plate | None = None
    kind: VehicleKind = "car"

    def chosen(self) -> ChosenVehicle:
        return ChosenVehicle(self.vehicle_id, self.plate, self.kind)


class NewBooking(msgspec.Struct, frozen=True):
    """What was quoted, for this vehicle."""

    quote: Annotated[str, msgspec.Meta(max_length=4000)]
    vehicle: VehicleChoice


class NewWalkUp(msgspec.Struct, frozen=True):
    """The space whose printed code was scanned, or its lot; and until when."""

    space_id: UUID
    ends_at: Instant
    vehicle: VehicleChoice


class Reason(msgspec.Struct, frozen=True):
    """Why; whoever runs the place must say."""

    reason: Annotated[str, msgspec.Meta(max_length=400)] = ""


class MoreTime(msgspec.Struct, frozen=True):
    """Until when the stay is to last."""

    ends_at: Instant


class Lateness(msgspec.Struct, frozen=True):
    """When a late driver will come."""

    arrives_at: Instant


class ShownCode(msgspec.Struct, frozen=True):
    """The driver's QR code, where one is shown."""

    code: Annotated[str, msgspec.Meta(max_length=1000)] | None = None


class Report(msgspec.Struct, frozen=True):
    """What is wrong at the space; photo_id: one that was added to the booking."""

    kind: Literal["occupied", "blocked", "unsafe", "other"]
    note: Text = ""
    photo_id: UUID | None = None


class CodeAnswer(msgspec.Struct, frozen=True):
    """A QR code's text, good once."""

    code: str
    action: Action
    good_for_s: int = int(GOOD_FOR.total_seconds())


def booking_routes(desk: Desk, guard: Guard) -> list[Router]:
    """Build the routers."""

    @post("/", status_code=200, responses=responses(*_ALWAYS, NotFoundError, PlaceClosedError))
    async def post_quote(data: JSONBody[QuoteRequest], request: AnyRequest) -> QuoteAnswer:
        """Price a window of a place. What is quoted is what is charged, until the quote ends."""
        window = Window(data.starts_at, data.ends_at)
        quote, text = await desk.quote(caller_of(request), data.place_id, window, data.vehicle_kind)
        shared = {name: getattr(quote, name) for name in QuoteAnswer.__struct_fields__ if hasattr(quote, name)}
        return QuoteAnswer(quote=text, **shared)

    @post("/", responses=responses(*_ONCE, *_HOLDS, InvalidQuoteError))
    async def post_booking(data: JSONBody[NewBooking], request: AnyRequest, key: IdempotencyKey) -> BookingAnswer:
        """Hold what was quoted, for some minutes; it is reserved by its payment, or by `confirm` if it is free."""
        scope = await scope_of(request, key)
        return await desk.hold(caller_of(request), scope, data.quote, data.vehicle.chosen())

    @get("/", responses=responses(*_ALWAYS))
    async def list_bookings(
        request: AnyRequest,
        status: Annotated[Status | None, QueryParameter(description="only these")] = None,
        before: Annotated[Instant | None, QueryParameter(description="created_at of the last one of a page")] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=200, description="bookings on the page")] = 50,
    ) -> list[BookingAnswer]:
        """Return the caller's bookings as driver, newest first."""
        return await desk.mine(caller_of(request), status, before, limit)

    @get("/{booking_id:uuid}", responses=responses(*_ALWAYS, NotFoundError))
    async def get_booking(booking_id: BookingId, request: AnyRequest) -> BookingAnswer:
        """Return a booking, to its driver and those who run its place."""
        return await desk.read(caller_of(request), booking_id)

    @get("/{booking_id:uuid}/history", responses=responses(*_ALWAYS, NotFoundError))
    async def get_history(booking_id: BookingId, request: AnyRequest) -> list[HistoryLine]:
        """Return every change of a booking, oldest first."""
        return await desk.history(caller_of(request), booking_id)

    @get("/{booking_id:uuid}/reports", responses=responses(*_ALWAYS, NotFoundError))
    async def list_reports(booking_id: BookingId, request: AnyRequest) -> list[ReportAnswer]:
        """Return what the driver said is wrong at the space; its photos are those of the booking."""
        return await desk.reports(caller_of(request), booking_id)

    @get(
        "/{booking_id:uuid}/cancel",
        responses=responses(*_ALWAYS, NotFoundError, RoleMissingError, WrongStateError),
    )
    async def get_cancel_terms(booking_id: BookingId, request: AnyRequest) -> CancelTerms:
        """Return what cancelling now would come to for whoever asks; nothing is canceled by it."""
        return await desk.cancel_terms(caller_of(request), booking_id)

    @get("/{booking_id:uuid}/code", responses=responses(*_ALWAYS, NotFoundError, RoleMissingError, WrongStateError))
    async def get_code(
        booking_id: BookingId,
        request: AnyRequest,
        action: Annotated[Action, QueryParameter(description="what the code is to open")] = "check-in",
    ) -> CodeAnswer:
        """Return a QR code to show to an attendant; each is good once."""
        return CodeAnswer(await desk.code(caller_of(request), booking_id, action), action)

    @post("/", responses=responses(*_ONCE, *_HOLDS))
    async def post_walk_up(data: JSONBody[NewWalkUp], request: AnyRequest, key: IdempotencyKey) -> BookingAnswer:
        """Begin a stay at once, on the space whose code was scanned; it is paid for at the end."""
        scope = await scope_of(request, key)
        return await desk.walk_up(caller_of(request), scope, data.space_id, data.ends_at, data.vehicle.chosen())

    reads = [list_bookings, get_booking, get_history, list_reports, get_cancel_terms, get_code]
    bookings = [post_booking, *reads, *_change_handlers(desk)]
    return [
        person_routes("/v1/quotes", [post_quote], guard, "bookings"),
        person_routes("/v1/bookings", bookings, guard, "bookings"),
        person_routes("/v1/walk-ups", [post_walk_up], guard, "bookings"),
    ]


def _change_handlers(desk: Desk) -> list[HTTPRouteHandler]:
    """Build what changes a booking."""

    @post("/{booking_id:uuid}/confirm", status_code=200, responses=responses(*_ONCE, CannotPayError))
    async def post_confirm(booking_id: BookingId, request: AnyRequest, key: IdempotencyKey) -> BookingAnswer:
        """Reserve a hold for which nothing is to be paid now."""
        return await desk.confirm(caller_of(request), await scope_of(request, key), booking_id)

    @post("/{booking_id:uuid}/approve", status_code=200, responses=responses(*_ONCE))
    async def post_approve(booking_id: BookingId, request: AnyRequest, key: IdempotencyKey) -> BookingAnswer:
        """Agree, as host, to a booking that was asked for; to refuse, cancel it."""
        return await desk.approve(caller_of(request), await scope_of(request, key), booking_id)

    @post("/{booking_id:uuid}/cancel", status_code=200, responses=responses(*_ONCE))
    async def post_cancel(
        booking_id: BookingId, data: JSONBody[Reason], request: AnyRequest, key: IdempotencyKey
    ) -> BookingAnswer:
        """Cancel, by the booking's policy; what a host, an operator or the platform cancels is refunded whole."""
        return await desk.cancel(caller_of(request), await scope_of(request, key), booking_id, data.reason)

    @post("/{booking_id:uuid}/extend", responses=responses(*_ONCE, *_HOLDS))
    async def post_extend(
        booking_id: BookingId, data: JSONBody[MoreTime], request: AnyRequest, key: IdempotencyKey
    ) -> BookingAnswer:
        """Hold more time of a stay, as a booking of its own; 409 tells until when it could last, and other places."""
        return await desk.extend(caller_of(request), await scope_of(request, key), booking_id, data.ends_at)

    @post(
        "/{booking_id:uuid}/check-in",
        status_code=200,
        responses=responses(*_ONCE, TooEarlyError, PlaceTakenError, WrongTokenError),
    )
    async def post_check_in(
        booking_id: BookingId, data: JSONBody[ShownCode], request: AnyRequest, key: IdempotencyKey
    ) -> BookingAnswer:
        """Begin the stay. If another vehicle stands there, the answer is RESERVED at another place, or CANCELED."""
        return await desk.check_in(caller_of(request), await scope_of(request, key), booking_id, data.code)

    @post("/{booking_id:uuid}/check-out", status_code=200, responses=responses(*_ONCE, WrongTokenError))
    async def post_check_out(
        booking_id: BookingId, data: JSONBody[ShownCode], request: AnyRequest, key: IdempotencyKey
    ) -> BookingAnswer:
        """End the stay; it never waits for money."""
        return await desk.check_out(caller_of(request), await scope_of(request, key), booking_id, data.code)

    @post("/{booking_id:uuid}/report", status_code=200, responses=responses(*_ONCE))
    async def post_report(
        booking_id: BookingId, data: JSONBody[Report], request: AnyRequest, key: IdempotencyKey
    ) -> BookingAnswer:
        """Say what is wrong at the space; who finds it taken is moved to another, or gets everything back."""
        scope = await scope_of(request, key)
        return await desk.report(caller_of(request), scope, booking_id, msgspec.structs.asdict(data))

    @post("/{booking_id:uuid}/late", status_code=200, responses=responses(*_ONCE))
    async def post_late(
        booking_id: BookingId, data: JSONBody[Lateness], request: AnyRequest, key: IdempotencyKey
    ) -> BookingAnswer:
        """Say when a late driver will come; 409 tells until when the place is kept."""
        return await desk.run_late(caller_of(request), await scope_of(request, key), booking_id, data.arrives_at)

    return [post_late, post_confirm, post_approve, post_cancel, post_extend, post_check_in, post_check_out, post_report]
