"""`/v1/geofences`: GeoJSON in and out; every change is a new version, in force some minutes later."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Router, delete, get, post, put
from litestar.params import JSONBody, PathParameter, QueryParameter

from api.api_keys import API_KEY_SECURITY, GEOFENCES_READ, GEOFENCES_WRITE, build_guard, sight_of
from api.database import Pool
from api.errors import (
    FenceExistsError,
    InsufficientScopeError,
    InvalidFenceError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
    responses,
)
from api.geofences.fences import FenceRow, add_fence, end_fence, get_fence, list_fences, read_fence, replace_fence

MAX_FENCE_BYTES = 1 << 20

AnyRequest = Request[Any, Any, Any]
FenceId = Annotated[str, PathParameter(max_length=128, description="The fence")]
_ALWAYS = (InvalidRequestError, UnauthenticatedError, InsufficientScopeError, UnavailableError)


class NewFenceProperties(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a caller decides about a fence. Times are the server's."""

    fence_id: str | None = None
    name: str | None = None
    kind: Literal["zone", "area"] = "zone"
    dwell_s: float | None = None


class NewFence(msgspec.Struct, frozen=True):
    """A GeoJSON Feature: a Polygon or MultiPolygon in WGS84, lon before lat."""

    type: Literal["Feature"]
    properties: NewFenceProperties
    geometry: dict[str, Any]

    def under(self, fence_id: str | None) -> dict[str, Any]:
        """Return the feature with this fence_id, or with its own if None."""
        feature: dict[str, Any] = msgspec.to_builtins(self)
        if fence_id is not None:
            feature["properties"]["fence_id"] = fence_id
        return feature


class FenceProperties(msgspec.Struct, frozen=True):
    """One version of a fence; it holds from valid_from until before valid_to."""

    fence_id: str
    version: int
    name: str
    kind: str
    dwell_s: float
    valid_from: datetime
    valid_to: datetime | None


class Fence(msgspec.Struct, frozen=True):
    """A GeoJSON Feature with a MultiPolygon."""

    type: Literal["Feature"]
    properties: FenceProperties
    geometry: dict[str, Any]


class FencePage(msgspec.Struct, frozen=True):
    """A GeoJSON FeatureCollection; `next` is the `after` of the following page, null on the last."""

    type: Literal["FeatureCollection"]
    features: list[Fence]
    next: str | None


def geofence_routes(pool: Pool) -> Router:
    """Build `/v1/geofences`."""
    reads, writes = [build_guard(pool, GEOFENCES_READ)], [build_guard(pool, GEOFENCES_WRITE)]

    @post("/", responses=responses(*_ALWAYS, FenceExistsError, InvalidFenceError), guards=writes)
    async def post_fence(data: JSONBody[NewFence]) -> Fence:
        """Add a fence; it is in force from valid_from, some minutes from now."""
        return _answer(await add_fence(pool, read_fence(data.under(None))))

    @get("/", responses=responses(*_ALWAYS), guards=reads)
    async def get_fences(
        request: AnyRequest,
        after: Annotated[str, QueryParameter(max_length=128, description="fence_id behind which the page begins")] = "",
        limit: Annotated[int, QueryParameter(ge=1, le=1000, description="fences on the page")] = 100,
    ) -> FencePage:
        """List the newest version of each fence that has not ended."""
        rows = await list_fences(pool, after, sight_of(request).zone_ids, limit)
        return FencePage("FeatureCollection", [_answer(row) for row in rows], _next(rows, limit))

    @get("/{fence_id:str}", responses=responses(*_ALWAYS, NotFoundError), guards=reads)
    async def get_one_fence(
        fence_id: FenceId,
        request: AnyRequest,
        version: Annotated[int | None, QueryParameter(ge=1, le=2**31 - 1, description="the newest if left out")] = None,
    ) -> Fence:
        """Return one version of a fence."""
        if not sight_of(request).shows_zone(fence_id):
            raise NotFoundError
        return _answer(await get_fence(pool, fence_id, version))

    @put("/{fence_id:str}", responses=responses(*_ALWAYS, NotFoundError, InvalidFenceError), guards=writes)
    async def put_fence(fence_id: FenceId, data: JSONBody[NewFence]) -> Fence:
        """Add a version, which ends the one in force where it begins."""
        return _answer(await replace_fence(pool, read_fence(data.under(fence_id))))

    @delete("/{fence_id:str}", status_code=200, responses=responses(*_ALWAYS, NotFoundError), guards=writes)
    async def delete_fence(fence_id: FenceId) -> Fence:
        """End a fence, some minutes from now; what it decided stays."""
        return _answer(await end_fence(pool, fence_id))

    return Router(
        "/v1/geofences",
        route_handlers=[post_fence, get_fences, get_one_fence, put_fence, delete_fence],
        security=API_KEY_SECURITY,
        tags=["geofences"],
        request_max_body_size=MAX_FENCE_BYTES,
    )


def _answer(row: FenceRow) -> Fence:
    return Fence("Feature", FenceProperties(*row[:-1]), row.geometry)


def _next(rows: list[FenceRow], limit: int) -> str | None:
    return rows[-1].fence_id if len(rows) == limit else None
