"""`/v1/spaces/{id}/photos`, `/v1/bookings/{id}/photos`, and `/v1/photos/{id}` where a folder holds them.

A photo is sent as it is, as the body: no form around it.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, cast
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema, SecurityRequirement
from litestar.params import JSONBody, PathParameter, QueryParameter

from api.bookings.routes import BookingId
from api.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    KeyInUseError,
    KeyReusedError,
    NotFoundError,
    RateLimitedError,
    RoleMissingError,
    TooManyPhotosError,
    UnauthenticatedError,
    UnavailableError,
    responses,
)
from api.idempotency import IdempotencyKey, scope_of
from api.people.principal import Guard, caller_of, person_routes
from api.photos.album import Album, Photo
from api.photos.picture import MAX_BYTES
from api.photos.store import FolderStore, PhotoStore

JPEG: Final = "image/jpeg"
SIGNED_URL: Final[list[SecurityRequirement]] = [{"signedUrl": []}]
_ALWAYS: Final = (UnauthenticatedError, InvalidRequestError, UnavailableError, NotFoundError)
_CHANGES: Final = (*_ALWAYS, RoleMissingError)
_ADDS: Final = (
    *(*_CHANGES, KeyInUseError, KeyReusedError),
    *(BodyTooLargeError, TooManyPhotosError, RateLimitedError),
)
_HEADERS: Final = {"cache-control": "private, max-age=3600, immutable", "content-security-policy": "default-src 'none'"}

AnyRequest = Request[Any, Any, Any]
PlaceId = Annotated[UUID, PathParameter(description="The space or lot")]
PhotoId = Annotated[UUID, PathParameter(description="The photo")]
Signature = Annotated[str, QueryParameter(max_length=500, description="as the URL had it")]


@dataclass
class _PhotoOperation(Operation):
    """Tells the OpenAPI document of a body that is a picture."""

    def __post_init__(self) -> None:
        schema = cast("Schema", {"type": "string", "format": "binary", "maxLength": MAX_BYTES})
        kinds = (JPEG, "image/png", "image/webp")
        self.request_body = RequestBody({kind: OpenAPIMediaType(schema=schema) for kind in kinds}, required=True)


class PhotoOrder(msgspec.Struct, frozen=True):
    """All photos of a place in the order in which they are to be shown."""

    photo_ids: Annotated[list[UUID], msgspec.Meta(max_length=10)]


def photo_routes(album: Album, store: PhotoStore, guard: Guard) -> list[Router]:
    """Build the routers."""
    routers = [_place_router(album, guard), _booking_router(album, guard)]
    return [*routers, _folder_router(store)] if isinstance(store, FolderStore) else routers


def _place_router(album: Album, guard: Guard) -> Router:
    @get("/", responses=responses(*_ALWAYS))
    async def list_photos(place_id: PlaceId, request: AnyRequest) -> list[Photo]:
        """Return the photos of a space or lot in order."""
        return await album.of_place(caller_of(request), place_id)

    @post("/", operation_class=_PhotoOperation, responses=responses(*_ADDS))
    async def post_photo(place_id: PlaceId, request: AnyRequest, key: IdempotencyKey) -> Photo:
        """Add a photo: JPEG, PNG or WebP, as the body. It is encoded anew; where and when it was taken is not kept."""
        scope = await scope_of(request, key)
        return await album.add_to_place(caller_of(request), scope, place_id, await request.body())

    @put("/order", responses=responses(*_CHANGES))
    async def put_photo_order(place_id: PlaceId, data: JSONBody[PhotoOrder], request: AnyRequest) -> list[Photo]:
        """Say in which order the photos are shown; the first one stands for the place."""
        return await album.order(caller_of(request), place_id, data.photo_ids)

    @delete("/{photo_id:uuid}", responses=responses(*_CHANGES))
    async def delete_photo(place_id: PlaceId, photo_id: PhotoId, request: AnyRequest) -> None:
        """Remove a photo."""
        await album.drop(caller_of(request), place_id, photo_id)

    handlers = [list_photos, post_photo, put_photo_order, delete_photo]
    return person_routes("/v1/spaces/{place_id:uuid}/photos", handlers, guard, "spaces", MAX_BYTES)


def _booking_router(album: Album, guard: Guard) -> Router:
    @get("/", responses=responses(*_ALWAYS))
    async def list_booking_photos(booking_id: BookingId, request: AnyRequest) -> list[Photo]:
        """Return the photos that the driver added, to the driver and those who run the place."""
        return await album.of_booking(caller_of(request), booking_id)

    @post("/", operation_class=_PhotoOperation, responses=responses(*_ADDS))
    async def post_booking_photo(booking_id: BookingId, request: AnyRequest, key: IdempotencyKey) -> Photo:
        """Add a photo of what is wrong at the space, to be named in a report."""
        scope = await scope_of(request, key)
        return await album.add_to_booking(caller_of(request), scope, booking_id, await request.body())

    return person_routes(
        "/v1/bookings/{booking_id:uuid}/photos", [list_booking_photos, post_booking_photo], guard, "spaces", MAX_BYTES
    )


def _folder_router(store: FolderStore) -> Router:
    errors = responses(UnauthenticatedError, InvalidRequestError)
    jpeg = ResponseSpec(bytes, generate_examples=False, description="The photo", media_type=JPEG)

    @get(
        "/{photo_id:uuid}",
        media_type=JPEG,
        security=SIGNED_URL,
        responses={200: jpeg, **responses(NotFoundError), **errors},
    )
    async def get_photo(photo_id: PhotoId, signature: Signature = "") -> Response[bytes]:
        """Return a photo, at the URL that another answer gave."""
        data = await store.read(photo_id, signature)
        if data is None:
            raise UnauthenticatedError("This URL has ended, or is not one of ours.")
        return Response(data, media_type=JPEG, headers=_HEADERS)

    return Router("/v1/photos", route_handlers=[get_photo], tags=["spaces"])
