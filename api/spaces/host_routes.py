"""`/v1/hosts/me`: private hosts list their spaces. Whoever lists the first becomes a host by it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import msgspec
from litestar import MediaType, Request, Response, Router, delete, get, post, put
from litestar.params import JSONBody, PathParameter, QueryParameter

from api.bookings.answers import BookingAnswer
from api.bookings.desk import Desk
from api.bookings.routes import Instant
from api.bookings.states import Status
from api.bookings.tariff import VehicleKind
from api.errors import (
    InvalidRequestError,
    InvalidTariffError,
    KeyInUseError,
    KeyReusedError,
    NotFoundError,
    RoleMissingError,
    StrandedError,
    UnauthenticatedError,
    UnavailableError,
    responses,
)
from api.idempotency import IdempotencyKey, scope_of
from api.people.principal import PERSON_SECURITY, Guard, caller_of
from api.spaces.listing import Block, Listing, OwnPlace, PlaceText
from api.spaces.routes import Lat, Lon, PlaceId
from api.spaces.search import Search, SuggestedPrice
from api.spaces.sheet_routes import After, Sheets, sheet_responses

READS: Final = (UnauthenticatedError, InvalidRequestError, UnavailableError, NotFoundError, RoleMissingError)
CHANGES: Final = (*READS, InvalidTariffError, StrandedError)
CREATES: Final = (*CHANGES, KeyInUseError, KeyReusedError)
MAX_BODY_BYTES: Final = 262_144

AnyRequest = Request[Any, Any, Any]
BlockId = Annotated[UUID, PathParameter(description="The block")]
Since = Annotated[Instant | None, QueryParameter(name="from", description="bookings that end behind it; default now")]
Until = Annotated[Instant | None, QueryParameter(name="to", description="bookings that begin before it; default +31 d")]
WhichStatus = Annotated[Status | None, QueryParameter(description="only these")]


class NewBlock(msgspec.Struct, frozen=True):
    """A time in which a place, or so many spaces of a lot, are not for sale."""

    place_id: UUID
    starts_at: Instant
    ends_at: Instant
    spaces: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    reason: Annotated[str, msgspec.Meta(max_length=400)] = ""

    def block(self) -> Block:
        return Block(uuid4(), self.place_id, self.starts_at, self.ends_at, self.spaces, self.reason)


def around(since: datetime | None, until: datetime | None) -> dict[str, Any]:
    """Return the window of a calendar."""
    first = since or datetime.now(UTC)
    return {"starts_at": first, "ends_at": max(first, until or first + timedelta(days=31)), "limit": 1000}


def host_routes(listing: Listing, desk: Desk, search: Search, sheets: Sheets, guard: Guard) -> Router:
    """Build `/v1/hosts/me`."""

    @get("/spaces", responses=responses(*READS))
    async def list_my_spaces(request: AnyRequest) -> list[OwnPlace]:
        """Return the host's spaces."""
        caller = caller_of(request)
        return await listing.places(caller, await listing.host_of(caller), "space")

    @post("/spaces", responses=responses(*CREATES))
    async def post_my_space(data: JSONBody[PlaceText], request: AnyRequest, key: IdempotencyKey) -> OwnPlace:
        """List a space; drivers are shown a place within 150 m of it until they have reserved."""
        caller = caller_of(request)
        tenant_id = await listing.host_of(caller, make=True)
        return await listing.add(caller, await scope_of(request, key), tenant_id, "space", data)

    @put("/spaces/{place_id:uuid}", responses=responses(*CHANGES))
    async def put_my_space(place_id: PlaceId, data: JSONBody[PlaceText], request: AnyRequest) -> OwnPlace:
        """Say it anew; refused, with their list, if live bookings would be left outside the hours."""
        caller = caller_of(request)
        return await listing.change(caller, await listing.host_of(caller), place_id, data)

    @get("/spaces/{place_id:uuid}/sheet", media_type=MediaType.HTML, responses=sheet_responses(*READS))
    async def get_my_sheet(place_id: PlaceId, request: AnyRequest, after: After = "") -> Response[str]:
        """Return a sheet of A4 with the space's QR code, to print."""
        caller = caller_of(request)
        return await sheets.answer(caller, await listing.host_of(caller), place_id, after)

    @get("/blocks", responses=responses(*READS))
    async def list_my_blocks(request: AnyRequest) -> list[Block]:
        """Return the blocks that are not over."""
        caller = caller_of(request)
        return await listing.blocks(caller, await listing.host_of(caller))

    @post("/blocks", responses=responses(*CREATES))
    async def post_my_block(data: JSONBody[NewBlock], request: AnyRequest, key: IdempotencyKey) -> Block:
        """Take a space off sale for a time, as for own use; refused, with their list, where it is booked."""
        caller = caller_of(request)
        tenant_id = await listing.host_of(caller)
        return await listing.add_block(caller, await scope_of(request, key), tenant_id, data.block())

    @delete("/blocks/{block_id:uuid}", responses=responses(*READS))
    async def delete_my_block(block_id: BlockId, request: AnyRequest) -> None:
        """Put a space on sale again."""
        caller = caller_of(request)
        await listing.delete_block(caller, await listing.host_of(caller), block_id)

    @get("/bookings", responses=responses(*READS))
    async def list_my_guests(
        request: AnyRequest, since: Since = None, until: Until = None, status: WhichStatus = None
    ) -> list[BookingAnswer]:
        """Return the bookings of the host's spaces; name and plate only around the stay."""
        caller = caller_of(request)
        filters = around(since, until) | {"plate": None, "status": status}
        return await desk.of_tenant(caller, await listing.host_of(caller), filters)

    @get("/suggested-price", responses=responses(*READS))
    async def get_suggested_price(
        request: AnyRequest,
        lat: Lat,
        lon: Lon,
        currency: Annotated[str, QueryParameter(pattern="^[A-Z]{3}$", description="ISO 4217")] = "PHP",
        vehicle_kind: Annotated[VehicleKind, QueryParameter(description="what is parked")] = "car",
    ) -> SuggestedPrice:
        """Return what the places within 2 km cost, at the median."""
        return await search.suggest(caller_of(request), lat, lon, currency, vehicle_kind)

    spaces = [list_my_spaces, post_my_space, put_my_space, get_my_sheet]
    blocks = [list_my_blocks, post_my_block, delete_my_block]
    return Router(
        "/v1/hosts/me",
        route_handlers=[*spaces, *blocks, list_my_guests, get_suggested_price],
        guards=[guard],
        security=PERSON_SECURITY,
        tags=["hosts"],
        request_max_body_size=MAX_BODY_BYTES,
    )
