"""`/v1/operators/{id}`: malls and other operators list spaces and lots, and their attendants work there."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import MediaType, Request, Response, Router, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, PathParameter, QueryParameter

from api.bookings.answers import BookingAnswer
from api.bookings.desk import Desk
from api.errors import RateLimitedError, WrongStateError, responses
from api.idempotency import IdempotencyKey, scope_of
from api.people.accounts import read_contact
from api.people.auth_routes import ContactText
from api.people.principal import PERSON_SECURITY, Guard, caller_of, require_role
from api.people.tenant_routes import TenantId
from api.people.tenants import Member, Tenants
from api.spaces.host_routes import (
    CHANGES,
    CREATES,
    MAX_BODY_BYTES,
    READS,
    BlockId,
    NewBlock,
    Since,
    Until,
    WhichStatus,
    around,
)
from api.spaces.listing import Block, Listing, OwnPlace, PlaceText
from api.spaces.routes import PlaceId
from api.spaces.sheet_routes import After, Sheets, sheet_responses

AnyRequest = Request[Any, Any, Any]
ATTENDANT: Final = "attendant"
AT_THE_GATE: Final = (ATTENDANT, "operator_admin")


class NewAttendant(msgspec.Struct, frozen=True):
    """Who is to work at the operator's lots."""

    contact: ContactText


class Validation(msgspec.Struct, frozen=True):
    """The stay that a shop validates."""

    booking_id: UUID


def operator_routes(listing: Listing, desk: Desk, tenants: Tenants, sheets: Sheets, guard: Guard) -> Router:
    """Build what lies below an operator."""
    return Router(
        "/v1/operators/{operator_id:uuid}",
        route_handlers=[
            *_place_handlers(listing),
            *_sheet_handlers(sheets),
            *_block_handlers(listing),
            *_attendant_handlers(tenants),
            *_stay_handlers(desk),
        ],
        guards=[guard],
        security=PERSON_SECURITY,
        tags=["operators"],
        request_max_body_size=MAX_BODY_BYTES,
    )


def _place_handlers(listing: Listing) -> list[HTTPRouteHandler]:
    @get("/spaces", responses=responses(*READS))
    async def list_spaces(operator_id: TenantId, request: AnyRequest) -> list[OwnPlace]:
        """Return the operator's single spaces."""
        return await listing.places(caller_of(request), operator_id, "space")

    @post("/spaces", responses=responses(*CREATES))
    async def post_space(
        operator_id: TenantId, data: JSONBody[PlaceText], request: AnyRequest, key: IdempotencyKey
    ) -> OwnPlace:
        """List a space that is sold singly."""
        return await listing.add(caller_of(request), await scope_of(request, key), operator_id, "space", data)

    @put("/spaces/{place_id:uuid}", responses=responses(*CHANGES))
    async def put_space(
        operator_id: TenantId, place_id: PlaceId, data: JSONBody[PlaceText], request: AnyRequest
    ) -> OwnPlace:
        """Say it anew; refused, with their list, if live bookings would be left outside the hours."""
        return await listing.change(caller_of(request), operator_id, place_id, data)

    @get("/lots", responses=responses(*READS))
    async def list_lots(operator_id: TenantId, request: AnyRequest) -> list[OwnPlace]:
        """Return the operator's lots."""
        return await listing.places(caller_of(request), operator_id, "lot")

    @post("/lots", responses=responses(*CREATES))
    async def post_lot(
        operator_id: TenantId, data: JSONBody[PlaceText], request: AnyRequest, key: IdempotencyKey
    ) -> OwnPlace:
        """List a lot of interchangeable spaces; a booking is given one of them at check-in."""
        return await listing.add(caller_of(request), await scope_of(request, key), operator_id, "lot", data)

    @put("/lots/{place_id:uuid}", responses=responses(*CHANGES))
    async def put_lot(
        operator_id: TenantId, place_id: PlaceId, data: JSONBody[PlaceText], request: AnyRequest
    ) -> OwnPlace:
        """Say it anew; refused, with their list, if live bookings would be left without what they were promised."""
        return await listing.change(caller_of(request), operator_id, place_id, data)

    return [list_spaces, post_space, put_space, list_lots, post_lot, put_lot]


def _sheet_handlers(sheets: Sheets) -> list[HTTPRouteHandler]:
    answers = sheet_responses(*READS)

    @get("/spaces/{place_id:uuid}/sheet", media_type=MediaType.HTML, responses=answers)
    async def get_space_sheet(
        operator_id: TenantId, place_id: PlaceId, request: AnyRequest, after: After = ""
    ) -> Response[str]:
        """Return a sheet of A4 with the space's QR code, to print."""
        return await sheets.answer(caller_of(request), operator_id, place_id, after)

    @get("/lots/{place_id:uuid}/sheet", media_type=MediaType.HTML, responses=answers)
    async def get_lot_sheet(
        operator_id: TenantId, place_id: PlaceId, request: AnyRequest, after: After = ""
    ) -> Response[str]:
        """Return sheets of A4 with the QR codes of the lot and of a hundred of its spaces, to print and cut."""
        return await sheets.answer(caller_of(request), operator_id, place_id, after)

    return [get_space_sheet, get_lot_sheet]


def _block_handlers(listing: Listing) -> list[HTTPRouteHandler]:
    @get("/blocks", responses=responses(*READS))
    async def list_blocks(operator_id: TenantId, request: AnyRequest) -> list[Block]:
        """Return the blocks that are not over."""
        return await listing.blocks(caller_of(request), operator_id)

    @post("/blocks", responses=responses(*CREATES))
    async def post_block(
        operator_id: TenantId, data: JSONBody[NewBlock], request: AnyRequest, key: IdempotencyKey
    ) -> Block:
        """Take a space, or so many of a lot, off sale for a time; refused, with their list, where they are booked."""
        return await listing.add_block(caller_of(request), await scope_of(request, key), operator_id, data.block())

    @delete("/blocks/{block_id:uuid}", responses=responses(*READS))
    async def delete_block(operator_id: TenantId, block_id: BlockId, request: AnyRequest) -> None:
        """Put it on sale again."""
        await listing.delete_block(caller_of(request), operator_id, block_id)

    return [list_blocks, post_block, delete_block]


def _attendant_handlers(tenants: Tenants) -> list[HTTPRouteHandler]:
    @get("/attendants", responses=responses(*READS))
    async def list_attendants(operator_id: TenantId, request: AnyRequest) -> list[Member]:
        """Return who checks vehicles in and out."""
        members = await tenants.members(caller_of(request), operator_id)
        return [member for member in members if member.role == ATTENDANT]

    @put("/attendants", status_code=204, responses=responses(*READS, RateLimitedError))
    async def put_attendant(operator_id: TenantId, data: JSONBody[NewAttendant], request: AnyRequest) -> None:
        """Let a person with an account work as attendant."""
        await tenants.grant(caller_of(request), operator_id, read_contact(data.contact), ATTENDANT)

    @delete("/attendants/{person_id:uuid}", responses=responses(*READS))
    async def delete_attendant(
        operator_id: TenantId,
        person_id: Annotated[UUID, PathParameter(description="The attendant")],
        request: AnyRequest,
    ) -> None:
        """Let an attendant go."""
        await tenants.revoke(caller_of(request), operator_id, person_id, ATTENDANT)

    return [list_attendants, put_attendant, delete_attendant]


def _stay_handlers(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/bookings", responses=responses(*READS))
    async def list_operator_bookings(
        operator_id: TenantId,
        request: AnyRequest,
        since: Since = None,
        until: Until = None,
        status: WhichStatus = None,
        plate: Annotated[str | None, QueryParameter(pattern="^[A-Z0-9]{2,12}$", description="of the vehicle")] = None,
    ) -> list[BookingAnswer]:
        """Return bookings of the operator's places, by plate where the driver's phone is lost."""
        caller = caller_of(request)
        await require_role(desk.pool, caller, operator_id, *AT_THE_GATE)
        return await desk.of_tenant(caller, operator_id, around(since, until) | {"plate": plate, "status": status})

    @post("/validation", status_code=200, responses=responses(*CREATES, WrongStateError))
    async def post_validation(
        operator_id: TenantId, data: JSONBody[Validation], request: AnyRequest, key: IdempotencyKey
    ) -> BookingAnswer:
        """Let a shop's validation count for a stay that goes on: the tariff says how much of it is then free."""
        caller = caller_of(request)
        await require_role(desk.pool, caller, operator_id, *AT_THE_GATE)
        return await desk.validate(caller, await scope_of(request, key), data.booking_id)

    return [list_operator_bookings, post_validation]
