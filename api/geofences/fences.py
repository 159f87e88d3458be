"""Fence versions in the database: added, ended, never changed.

A change takes effect NOTICE after it is made. Detection never passes its last reading of the fences plus 2 min, so any
version that is in force was known before the first event that it could decide: a replay says what the live run said.
"""

from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from api.database import Connection, Pool, fetch_row, load_queries
from api.errors import FenceExistsError, InvalidFenceError, NotFoundError
from geo.fences import FOREVER, FenceVersion, Polygons, versions_from_geojson

NOTICE: Final = timedelta(minutes=5)
"""The 2 min of detection, one for a slow commit, and two to spare."""
MAX_CORNERS: Final = 10_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_SQL: Final = load_queries("api.geofences", "fences.sql")


class FenceRow(NamedTuple):
    """A version as the database keeps it; `geometry` is a GeoJSON MultiPolygon."""

    fence_id: str
    version: int
    name: str
    kind: str
    dwell_s: float
    valid_from: datetime
    valid_to: datetime | None
    geometry: dict[str, Any]


def read_fence(feature: dict[str, Any]) -> FenceVersion:
    """Read one GeoJSON Feature; InvalidFenceError names field and rule. Times in it are not taken."""
    try:
        (fence,) = versions_from_geojson(msgspec.json.encode(feature))
    except ValueError as error:
        raise InvalidFenceError(str(error)) from None
    corners = sum(len(ring) for polygon in fence.polygons for ring in polygon)
    if corners > MAX_CORNERS:
        raise InvalidFenceError(f"geometry: at most {MAX_CORNERS} corners, not {corners}")
    return fence


async def add_fence(pool: Pool, fence: FenceVersion) -> FenceRow:
    """Add a fence that is not in force; FenceExistsError if it is."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(_SQL["lock"], {"fence_id": fence.fence_id})
        latest = await _one(connection, "latest", {"fence_id": fence.fence_id, "version": None})
        if latest is not None and latest.valid_to is None:
            raise FenceExistsError
        return await _add(connection, fence, await _next_valid_from(connection, fence.fence_id))


async def replace_fence(pool: Pool, fence: FenceVersion) -> FenceRow:
    """Add a version of a fence in force, which ends the one before; NotFoundError if none is in force."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(_SQL["lock"], {"fence_id": fence.fence_id})
        valid_from = await _next_valid_from(connection, fence.fence_id)
        if await _one(connection, "end", {"fence_id": fence.fence_id, "valid_to": valid_from}) is None:
            raise NotFoundError
        return await _add(connection, fence, valid_from)


async def end_fence(pool: Pool, fence_id: str) -> FenceRow:
    """End the version in force; NotFoundError if there is none."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(_SQL["lock"], {"fence_id": fence_id})
        valid_to = await _next_valid_from(connection, fence_id)
        ended = await _one(connection, "end", {"fence_id": fence_id, "valid_to": valid_to})
    if ended is None:
        raise NotFoundError
    return ended


async def get_fence(pool: Pool, fence_id: str, version: int | None) -> FenceRow:
    """Return a version of a fence, the newest if none is named; NotFoundError."""
    async with pool.connection() as connection:
        row = await _one(connection, "latest", {"fence_id": fence_id, "version": version})
    if row is None:
        raise NotFoundError
    return row


async def list_fences(pool: Pool, after: str, fence_ids: AbstractSet[str] | None, limit: int) -> list[FenceRow]:
    """Return the newest version of each fence that has not ended, in order of fence_id, from behind `after`.

    fence_ids: only of these, if given.
    """
    async with pool.connection() as connection:
        parameters = {"after": after, "fence_ids": _listed(fence_ids), "limit": limit}
        rows = await (await connection.execute(_SQL["page"], parameters)).fetchall()
    return [FenceRow(*row) for row in rows]


async def list_zones(
    pool: Pool, since: datetime, until: datetime, fence_ids: AbstractSet[str] | None, limit: int
) -> list[tuple[str, str]]:
    """Return (fence_id, name) of the fences of kind zone, of these if given, in force at any time in [since, until)."""
    async with pool.connection() as connection:
        parameters = {"since": since, "until": until, "fence_ids": _listed(fence_ids), "limit": limit}
        rows = await (await connection.execute(_SQL["zones"], parameters)).fetchall()
    return [(fence_id, name) for fence_id, name in rows]


async def get_zone(pool: Pool, zone_id: str, at: datetime) -> FenceRow:
    """Return the version of a fence of kind zone that is in force then; NotFoundError."""
    async with pool.connection() as connection:
        row = await _one(connection, "zone_at", {"fence_id": zone_id, "at": at})
    if row is None:
        raise NotFoundError("There is no such zone.")
    return row


def seed_fences(database_url: str, text: bytes) -> tuple[int, int]:
    """Load a GeoJSON file of fences; return how many versions were added and how many fences were known already.

    Into an empty table versions go with the times the file gives: nothing has been detected with it yet. Later a new
    fence takes effect NOTICE from now. ValueError names feature, field and rule.
    """
    versions = versions_from_geojson(text)
    with psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE fence_versions IN SHARE ROW EXCLUSIVE MODE")
        known = {fence_id for (fence_id,) in connection.execute(_SQL["known_ids"])}
        fresh = [version for version in versions if version.fence_id not in known]
        if known:
            soon = round((datetime.now(UTC) + NOTICE - _EPOCH) / _MILLISECOND)
            fresh = [replace(version, valid_from=soon) for version in fresh if version.valid_to == FOREVER]
        for version in fresh:
            valid_to = None if version.valid_to == FOREVER else _to_datetime(version.valid_to)
            connection.execute(_SQL["add"], _parameters(version, _to_datetime(version.valid_from), valid_to))
    return len(fresh), len({version.fence_id for version in versions} & known)


def _listed(fence_ids: AbstractSet[str] | None) -> list[str] | None:
    return None if fence_ids is None else sorted(fence_ids)


async def _add(connection: Connection, fence: FenceVersion, valid_from: datetime) -> FenceRow:
    return FenceRow(*await fetch_row(connection, _SQL["add"], _parameters(fence, valid_from, None)))


async def _next_valid_from(connection: Connection, fence_id: str) -> datetime:
    parameters = {"fence_id": fence_id, "notice": NOTICE}
    valid_from: datetime = (await fetch_row(connection, _SQL["next_valid_from"], parameters)).valid_from
    return valid_from


async def _one(connection: Connection, query: str, parameters: dict[str, Any]) -> FenceRow | None:
    row = await (await connection.execute(_SQL[query], parameters)).fetchone()
    return None if row is None else FenceRow(*row)


def _parameters(fence: FenceVersion, valid_from: datetime, valid_to: datetime | None) -> dict[str, Any]:
    return {
        "fence_id": fence.fence_id,
        "name": fence.name,
        "kind": fence.kind,
        "dwell_s": fence.dwell_s,
        "geometry": Jsonb(_to_geojson(fence.polygons)),
        "valid_from": valid_from,
        "valid_to": valid_to,
    }


def _to_geojson(polygons: Polygons) -> dict[str, Any]:
    coordinates = [[[[lon, lat] for lat, lon in ring] for ring in polygon] for polygon in polygons]
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _to_datetime(time_ms: int) -> datetime:
    return _EPOCH + time_ms * _MILLISECOND
