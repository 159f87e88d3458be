"""`/v1/analytics/cells` and `/v1/zones`: published statistics, each with its freshness, k and what is missing."""

import asyncio
from collections import defaultdict
from datetime import datetime
from typing import Annotated, Final, Literal

import h3
import msgspec
from litestar import Router, get
from litestar.params import QueryParameter

from api.analytics.boxes import box_to_areas, parse_box
from api.analytics.publish import (
    K_CONTRIBUTIONS,
    K_DEVICES,
    MOST_OF_ONE,
    ROUNDING,
    Bin,
    Period,
    Published,
    choose_period,
    publish,
)
from api.analytics.reader import LakeReader
from api.api_keys import ANALYTICS_READ, API_KEY_SECURITY, build_guard
from api.database import Pool
from api.errors import (
    AnswerTooLargeError,
    InsufficientScopeError,
    InvalidRequestError,
    UnauthenticatedError,
    UnavailableError,
    responses,
)
from api.geofences.fences import list_zones

MAX_ZONES: Final = 1_000

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Since = Annotated[Instant | None, QueryParameter(name="from", description="RFC 3339 with an offset, floored to 15 min")]
Until = Annotated[Instant | None, QueryParameter(name="to", description="RFC 3339 with an offset, floored to 15 min")]


class K(msgspec.Struct, frozen=True):
    """What a bin needs to be published, and how its counts are rounded."""

    devices: int = K_DEVICES
    contributions: int = K_CONTRIBUTIONS
    most_of_one_device: int = MOST_OF_ONE
    rounded_to: int = ROUNDING


class Freshness(msgspec.Struct, frozen=True):
    """How far the data goes: the newest receive_time in the lake."""

    data_through: datetime


class CellBin(msgspec.Struct, frozen=True):
    """Presences of devices in a cell and a bin; a presence is one slot of 5 minutes, at most two of one device."""

    cell: str
    bin_start: datetime
    bin_s: int
    devices: int
    presences: int


class CellsAnswer(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """A heat map. suppressed: quarters of an hour with data, by cell, that are in no published one."""

    since: datetime
    until: datetime
    resolution: int
    freshness: Freshness
    k: K
    suppressed: int
    cells: list[CellBin]


class VisitBin(msgspec.Struct, frozen=True):
    """Entries or exits in a bin; dwell_median_s on exits where enough of them tell it."""

    bin_start: datetime
    bin_s: int
    devices: int
    count: int
    dwell_median_s: float | None


class Zone(msgspec.Struct, frozen=True):
    """A zone and what may be said of it; empty lists where nothing passes k."""

    zone_id: str
    name: str
    entries: list[VisitBin]
    exits: list[VisitBin]


class ZonesAnswer(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """All zones in force in the period. suppressed: quarters of an hour with entries or exits in no published one."""

    since: datetime
    until: datetime
    freshness: Freshness
    k: K
    suppressed: int
    zones: list[Zone]


def analytics_routes(pool: Pool, reader: LakeReader) -> Router:
    """Build the routes of published statistics."""
    errors = (InvalidRequestError, UnauthenticatedError, InsufficientScopeError, AnswerTooLargeError, UnavailableError)

    @get("/v1/analytics/cells", responses=responses(*errors))
    async def get_cells(
        since: Since = None,
        until: Until = None,
        resolution: Annotated[Literal[7, 8, 9], QueryParameter(description="H3 resolution")] = 9,
        bbox: Annotated[
            str | None,
            QueryParameter(
                description="west,south,east,north in degrees; widened to H3 cells of resolution 6", max_length=100
            ),
        ] = None,
    ) -> CellsAnswer:
        """Return where devices were, by H3 cell and time."""
        areas = box_to_areas(parse_box(bbox)) if bbox is not None else None
        parameters: dict[str, object] = {"resolution": resolution, "areas": areas}
        period, published = await asyncio.to_thread(_read, reader, "cells", since, until, parameters)
        cells = [
            CellBin(h3.int_to_str(int(one.place)), one.bin_start, one.bin_s, one.devices, one.contributions)
            for one in published.bins
        ]
        freshness = Freshness(period.data_through)
        return CellsAnswer(period.since, period.until, resolution, freshness, K(), published.suppressed, cells)

    @get("/v1/zones", responses=responses(*errors))
    async def get_zones(since: Since = None, until: Until = None) -> ZonesAnswer:
        """Return the zones with their entries, exits and median dwell."""
        period = await asyncio.to_thread(choose_period, reader, since, until)
        zones = await list_zones(pool, period.since, period.until, MAX_ZONES + 1)
        if len(zones) > MAX_ZONES:
            raise AnswerTooLargeError(f"More than {MAX_ZONES} zones.")
        parameters = {"fence_ids": [fence_id for fence_id, _ in zones]}
        published = await asyncio.to_thread(publish, reader, "visits", period, parameters)
        freshness = Freshness(period.data_through)
        return ZonesAnswer(
            period.since, period.until, freshness, K(), published.suppressed, _by_zone(zones, published.bins)
        )

    return Router(
        "/",
        route_handlers=[get_cells, get_zones],
        guards=[build_guard(pool, ANALYTICS_READ)],
        security=API_KEY_SECURITY,
        tags=["analytics"],
    )


def _read(
    reader: LakeReader, source: str, since: datetime | None, until: datetime | None, parameters: dict[str, object]
) -> tuple[Period, Published]:
    period = choose_period(reader, since, until)
    return period, publish(reader, source, period, parameters)


def _by_zone(zones: list[tuple[str, str]], bins: list[Bin]) -> list[Zone]:
    visits: dict[str, list[VisitBin]] = defaultdict(list)
    for one in bins:
        visit = VisitBin(one.bin_start, one.bin_s, one.devices, one.contributions, one.median)
        visits[str(one.place)].append(visit)
    return [
        Zone(fence_id, name, visits[f"{fence_id} entries"], visits[f"{fence_id} exits"]) for fence_id, name in zones
    ]
