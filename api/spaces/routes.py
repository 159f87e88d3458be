"""`/v1/search`, `/v1/spaces`, `/v1/reviews`, `/v1/zones/{id}/availability`: what drivers find."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, PathParameter, QueryParameter

from api.bookings.places import Window
from api.bookings.routes import Instant, Text
from api.bookings.tariff import VehicleKind
from api.errors import (
    AnswerTooLargeError,
    InvalidRequestError,
    KeyInUseError,
    KeyReusedError,
    NotFoundError,
    RateLimitedError,
    ReviewExistsError,
    RoleMissingError,
    UnauthenticatedError,
    UnavailableError,
    WrongStateError,
    responses,
)
from api.geofences.routes import FenceId
from api.idempotency import IdempotencyKey, scope_of
from api.people.principal import Guard, caller_of, person_routes
from api.spaces.availability import Availability, ZoneAvailability
from api.spaces.reviews import Review, Reviews
from api.spaces.search import Found, PlaceDetails, PrintedSpace, Search, Wanted

_ALWAYS: Final = (UnauthenticatedError, InvalidRequestError, UnavailableError)

AnyRequest = Request[Any, Any, Any]
PlaceId = Annotated[UUID, PathParameter(description="The space or lot")]
ReviewId = Annotated[UUID, PathParameter(description="The review")]
Lat = Annotated[float, QueryParameter(ge=-85, le=85, description="degrees, WGS84")]
Lon = Annotated[float, QueryParameter(ge=-180, le=180, description="degrees, WGS84")]
Size = Annotated[int | None, QueryParameter(ge=1, le=10_000, description="of the vehicle, in centimetres")]
Limit = Annotated[int, QueryParameter(ge=1, le=100, description="how many at most")]


class NewReview(msgspec.Struct, frozen=True):
    """What to say of a stay."""

    booking_id: UUID
    stars: Annotated[int, msgspec.Meta(ge=1, le=5)]
    text: Text = ""


def space_routes(search: Search, availability: Availability, reviews: Reviews, guard: Guard) -> list[Router]:
    """Build the routers."""

    @get("/", responses=responses(*_ALWAYS, RateLimitedError))
    async def get_search(
        request: AnyRequest,
        lat: Lat,
        lon: Lon,
        since: Annotated[Instant, QueryParameter(name="from", description="first instant of the stay")],
        until: Annotated[Instant, QueryParameter(name="to", description="its end")],
        radius_m: Annotated[int, QueryParameter(ge=50, le=10_000, description="how far away at most")] = 1000,
        vehicle_kind: Annotated[VehicleKind, QueryParameter(description="what is to be parked")] = "car",
        length_cm: Size = None,
        width_cm: Size = None,
        height_cm: Size = None,
        amenities: Annotated[
            str, QueryParameter(max_length=400, description="all that it must have, with commas between")
        ] = "",
        most_minor: Annotated[int | None, QueryParameter(ge=0, description="highest total, in minor units")] = None,
        limit: Limit = 20,
    ) -> list[Found]:
        """Return places that are free for the whole window, nearest first, with what they would cost."""
        needs = [word for word in amenities.split(",") if word]
        sizes = (length_cm, width_cm, height_cm)
        wanted = Wanted(lat, lon, radius_m, Window(since, until), vehicle_kind, *sizes, needs, most_minor, limit)
        return await search.find(caller_of(request), wanted)

    @get("/{place_id:uuid}", responses=responses(*_ALWAYS, NotFoundError))
    async def get_space(place_id: PlaceId, request: AnyRequest) -> PlaceDetails:
        """Return a space or lot with its tariff, policy and hours."""
        return await search.details(caller_of(request), place_id)

    @get("/{place_id:uuid}/reviews", responses=responses(*_ALWAYS, NotFoundError))
    async def get_space_reviews(place_id: PlaceId, request: AnyRequest, limit: Limit = 20) -> list[Review]:
        """Return what drivers say of a place, newest first."""
        return await reviews.of_place(caller_of(request), place_id, limit)

    @get("/{space_id:uuid}", responses=responses(*_ALWAYS, NotFoundError))
    async def get_printed_space(
        space_id: Annotated[UUID, PathParameter(description="as the printed code has it")], request: AnyRequest
    ) -> PrintedSpace:
        """Return the name and photo of the space whose printed code was scanned."""
        return await search.printed(caller_of(request), space_id)

    @get(
        "/{zone_id:str}/availability",
        responses=responses(*_ALWAYS, NotFoundError, AnswerTooLargeError, RateLimitedError),
    )
    async def get_zone_availability(zone_id: FenceId, request: AnyRequest) -> ZoneAvailability:
        """Return how many spaces of a zone's lots are free now, and how long its kerb is searched."""
        return await availability.of_zone(caller_of(request), zone_id)

    return [
        person_routes("/v1/zones", [get_zone_availability], guard, "spaces"),
        person_routes("/v1/walk-ups", [get_printed_space], guard, "spaces"),
        person_routes("/v1/search", [get_search], guard, "spaces"),
        person_routes("/v1/spaces", [get_space, get_space_reviews], guard, "spaces"),
        person_routes("/v1/reviews", _review_handlers(reviews), guard, "spaces"),
    ]


def _review_handlers(reviews: Reviews) -> list[HTTPRouteHandler]:
    @get("/", responses=responses(*_ALWAYS))
    async def list_reviews(request: AnyRequest, limit: Limit = 20) -> list[Review]:
        """Return what hosts say of the caller, newest first."""
        return await reviews.about_me(caller_of(request), limit)

    errors = (*_ALWAYS, NotFoundError, RoleMissingError)

    @post("/", responses=responses(*errors, ReviewExistsError, WrongStateError, KeyInUseError, KeyReusedError))
    async def post_review(data: JSONBody[NewReview], request: AnyRequest, key: IdempotencyKey) -> Review:
        """Review a stay that is over, once: as its driver the place, as who runs the place the guest."""
        scope = await scope_of(request, key)
        return await reviews.add(caller_of(request), scope, data.booking_id, data.stars, data.text)

    @post("/{review_id:uuid}/report", status_code=204, responses=responses(*_ALWAYS, NotFoundError))
    async def report_review(review_id: ReviewId, request: AnyRequest) -> None:
        """Ask for a review to be looked at."""
        await reviews.report(caller_of(request), review_id)

    @post("/{review_id:uuid}/hide", status_code=204, responses=responses(*errors))
    async def hide_review(review_id: ReviewId, request: AnyRequest) -> None:
        """Hide a review, as support."""
        await reviews.hide(caller_of(request), review_id)

    return [list_reviews, post_review, report_review, hide_review]
