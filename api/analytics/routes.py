"""`/v1/analytics/*` and `/v1/zones`: published statistics, each with its freshness, k and what is missing.

A key sees the zones and the areas of its contract. What is published of them does not depend on who asks.
"""

import asyncio
from collections import defaultdict
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import h3
import msgspec
from litestar import Request, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from api.analytics.boxes import box_to_areas, parse_box
from api.analytics.formats import TableOperation, answer_rows, choose_format
from api.analytics.publish import (
    ROUNDING,
    Period,
    Published,
    choose_period,
    publish_cells,
    publish_zones,
    round_count,
    round_share,
)
from api.analytics.reader import LakeReader
from api.analytics.search_times import SearchTimes
from api.analytics.zone_metrics import Unpublished, ZoneMetric, count_unpublished, publish_series
from api.api_keys import ANALYTICS_READ, API_KEY_SECURITY, Sight, build_guard, sight_of
from api.database import Pool
from api.errors import (
    AnswerTooLargeError,
    InsufficientScopeError,
    InvalidRequestError,
    NotAcceptableError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
    responses,
)
from api.geofences.fences import list_zones
from api.geofences.routes import FenceId
from pipeline.lake.rollups import K_CONTRIBUTIONS, K_DEVICES, MOST_OF_ONE

MAX_ZONES: Final = 1_000

_ERRORS: Final = (
    InvalidRequestError,
    UnauthenticatedError,
    InsufficientScopeError,
    AnswerTooLargeError,
    UnavailableError,
)
_TABLE_ERRORS: Final = (*_ERRORS, NotAcceptableError)

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
    """How far the data goes: the newest receive_time that the roll-ups know."""

    data_through: datetime


class CellBin(msgspec.Struct, frozen=True):
    """Presences of devices in a cell and a bin; a presence is one slot of 5 minutes, at most two of one device.

    late_share: of the events behind it, those that arrived hours late.
    """

    cell: str
    bin_start: datetime
    bin_s: int
    devices: int
    presences: int
    late_share: float | None


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


class SearchTimesAnswer(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """Search times. suppressed: quarters of an hour with drives, by place, that are in no published bin."""

    since: datetime
    until: datetime
    freshness: Freshness
    k: K
    suppressed: int
    places: list[SearchTimes]


class ZoneMetricsAnswer(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """A zone over time; `metrics` is empty where nothing passes k."""

    zone_id: str
    name: str
    since: datetime
    until: datetime
    freshness: Freshness
    k: K
    unpublished: Unpublished
    metrics: list[ZoneMetric]


Resolution = Annotated[Literal[7, 8, 9], QueryParameter(description="H3 resolution of cells")]
BoundingBox = Annotated[
    str | None,
    QueryParameter(description="west,south,east,north in degrees; widened to H3 cells of resolution 6", max_length=100),
]


def analytics_routes(pool: Pool, reader: LakeReader) -> Router:
    """Build the routes of published statistics."""
    return Router(
        "/",
        route_handlers=[
            _cells_handler(reader),
            _search_times_handler(pool, reader),
            _zones_handler(pool, reader),
            _zone_metrics_handler(pool, reader),
        ],
        guards=[build_guard(pool, ANALYTICS_READ)],
        security=API_KEY_SECURITY,
        tags=["analytics"],
    )


def _cells_handler(reader: LakeReader) -> HTTPRouteHandler:
    @get("/v1/analytics/cells", responses=responses(*_TABLE_ERRORS), operation_class=TableOperation)
    async def get_cells(
        request: Request[Any, Any, Any],
        since: Since = None,
        until: Until = None,
        resolution: Resolution = 9,
        bbox: BoundingBox = None,
    ) -> Response[CellsAnswer]:
        """Return where devices were, by H3 cell and time, as JSON, GeoJSON, CSV, Arrow or Parquet."""
        form = choose_format(request.headers.get("accept"))
        period, areas = await asyncio.to_thread(choose_period, reader, since, until), _areas(bbox, sight_of(request))
        found = await asyncio.to_thread(publish_cells, reader, "cells", period, resolution, areas)
        cells = [_cell_bin(row) for row in found.bins]
        freshness = Freshness(period.data_through)
        answer = CellsAnswer(period.since, period.until, resolution, freshness, K(), found.suppressed, cells)
        return answer_rows(form, answer, CellBin, cells)

    return get_cells


def _search_times_handler(pool: Pool, reader: LakeReader) -> HTTPRouteHandler:
    @get("/v1/analytics/search-times", responses=responses(*_TABLE_ERRORS), operation_class=TableOperation)
    async def get_search_times(
        request: Request[Any, Any, Any],
        since: Since = None,
        until: Until = None,
        by: Annotated[Literal["zone", "cell"], QueryParameter(description="Kind of place")] = "zone",
        resolution: Resolution = 9,
        bbox: BoundingBox = None,
    ) -> Response[SearchTimesAnswer]:
        """Return how long drivers search for a place, by zone or cell and time, in the formats of cells.

        Kaplan-Meier: drives that gave up or fell silent count as searches of at least their length. `resolution` and
        `bbox` choose cells.
        """
        form = choose_format(request.headers.get("accept"))
        period = await asyncio.to_thread(choose_period, reader, since, until)
        if by == "cell":
            areas = _areas(bbox, sight_of(request))
            found = await asyncio.to_thread(publish_cells, reader, "drives_of_cells", period, resolution, areas)
            places = [SearchTimes.read(h3.int_to_str(row[0]), row) for row in found.bins]
        else:
            zone_ids = [zone_id for zone_id, _ in await _zones(pool, period, sight_of(request))]
            found = await asyncio.to_thread(publish_zones, reader, "drives_of_zones", period, zone_ids)
            places = [SearchTimes.read(row[0], row) for row in found.bins]
        freshness = Freshness(period.data_through)
        answer = SearchTimesAnswer(period.since, period.until, freshness, K(), found.suppressed, places)
        return answer_rows(form, answer, SearchTimes, places)

    return get_search_times


def _zones_handler(pool: Pool, reader: LakeReader) -> HTTPRouteHandler:
    @get("/v1/zones", responses=responses(*_ERRORS))
    async def get_zones(request: Request[Any, Any, Any], since: Since = None, until: Until = None) -> ZonesAnswer:
        """Return the zones with their entries, exits and median dwell."""
        period = await asyncio.to_thread(choose_period, reader, since, until)
        zones = await _zones(pool, period, sight_of(request))
        zone_ids = [zone_id for zone_id, _ in zones]
        found = await asyncio.to_thread(publish_zones, reader, "visits", period, zone_ids)
        freshness = Freshness(period.data_through)
        return ZonesAnswer(period.since, period.until, freshness, K(), found.suppressed, _by_zone(zones, found))

    return get_zones


def _zone_metrics_handler(pool: Pool, reader: LakeReader) -> HTTPRouteHandler:
    errors = (*_TABLE_ERRORS, NotFoundError)

    @get("/v1/analytics/zones/{zone_id:str}/metrics", responses=responses(*errors), operation_class=TableOperation)
    async def get_zone_metrics(
        zone_id: FenceId, request: Request[Any, Any, Any], since: Since = None, until: Until = None
    ) -> Response[ZoneMetricsAnswer]:
        """Return a zone's entries, exits, dwell, turnover, occupancy and searches over time, in all formats."""
        form = choose_format(request.headers.get("accept"))
        period = await asyncio.to_thread(choose_period, reader, since, until)
        sight = sight_of(request)
        known = await list_zones(pool, period.since, period.until, {zone_id}, 1) if sight.shows_zone(zone_id) else []
        if not known:
            raise NotFoundError("There is no such zone in this period.")
        rows = await asyncio.to_thread(publish_series, reader, period, zone_id)
        freshness, unpublished = Freshness(period.data_through), count_unpublished(period, rows)
        answer = ZoneMetricsAnswer(*known[0], period.since, period.until, freshness, K(), unpublished, rows)
        return answer_rows(form, answer, ZoneMetric, rows)

    return get_zone_metrics


def _areas(bbox: str | None, sight: Sight) -> list[int] | None:
    """Return the cells of AREA_RESOLUTION that are asked for and may be seen, None for all there are."""
    if bbox is None:
        return None if sight.areas is None else sorted(sight.areas)
    return [area for area in box_to_areas(parse_box(bbox)) if sight.shows_area(area)]


async def _zones(pool: Pool, period: Period, sight: Sight) -> list[tuple[str, str]]:
    """Return id and name of each zone in force in the period that may be seen; AnswerTooLargeError."""
    zones = await list_zones(pool, period.since, period.until, sight.zone_ids, MAX_ZONES + 1)
    if len(zones) > MAX_ZONES:
        raise AnswerTooLargeError(f"More than {MAX_ZONES} zones.")
    return zones


def _cell_bin(row: tuple[Any, ...]) -> CellBin:
    cell, bin_start, bin_s, devices, presences, fixes, late = row
    counts = round_count(devices), round_count(presences)
    return CellBin(h3.int_to_str(cell), bin_start, bin_s, *counts, round_share(late / fixes))


def _by_zone(zones: list[tuple[str, str]], found: Published) -> list[Zone]:
    visits: dict[str, list[VisitBin]] = defaultdict(list)
    for place, bin_start, bin_s, devices, count, median, _ in found.bins:
        visits[place].append(VisitBin(bin_start, bin_s, round_count(devices), round_count(count), median))
    return [Zone(zone_id, name, visits[f"{zone_id} entries"], visits[f"{zone_id} exits"]) for zone_id, name in zones]
