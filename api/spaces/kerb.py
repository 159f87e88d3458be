"""How long drivers lately searched for a place at the kerb near somewhere: the newest figure that is published there.

It is the median of Kaplan and Meier in a zone, or in the H3 cell of resolution 8 around a place; where none passes k,
null with the reason. Booking goes on where the lake does not answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import h3

from api.analytics.boxes import AREA_RESOLUTION
from api.analytics.publish import MAX_SPAN, Period, choose_period, publish_cells, publish_zones
from api.analytics.reader import LakeReader
from api.analytics.search_times import SearchTimes
from api.errors import UnavailableError
from api.spaces.search import ExpectedSearch
from api.spaces.search import SearchTimes as AskSearchTimes

RESOLUTION: Final = 8
LOOK_BACK: Final = MAX_SPAN - timedelta(days=1)

TOO_FEW: Final = "too few drives ended near there to publish how long they searched"
NO_LAKE: Final = "the statistics cannot be read now"
NOT_REACHED: Final = "less than half of the drives near there are known to have found a place"


class Newest(NamedTuple):
    """The newest figure that is published, and the end of the bin that it is of."""

    expected: ExpectedSearch
    until: datetime | None


AskZone = Callable[[str], Awaitable[Newest]]


def build_search_times(reader: LakeReader) -> AskSearchTimes:
    """Return what tells the expected search at a place."""

    async def ask(lat: float, lon: float) -> ExpectedSearch:
        try:
            return await asyncio.to_thread(_newest, reader, h3.latlng_to_cell(lat, lon, RESOLUTION))
        except UnavailableError:
            return ExpectedSearch(None, NO_LAKE)

    return ask


def build_zone_search(reader: LakeReader) -> AskZone:
    """Return what tells the expected search in a zone."""

    async def ask(zone_id: str) -> Newest:
        try:
            return await asyncio.to_thread(_newest_of_zone, reader, zone_id)
        except UnavailableError:
            return Newest(ExpectedSearch(None, NO_LAKE), None)

    return ask


def _newest(reader: LakeReader, cell: str) -> ExpectedSearch:
    areas = [h3.str_to_int(h3.cell_to_parent(cell, AREA_RESOLUTION))]
    found = publish_cells(reader, "drives_of_cells", _lately(reader), RESOLUTION, areas)
    return _last([row for row in found.bins if h3.int_to_str(row[0]) == cell]).expected


def _newest_of_zone(reader: LakeReader, zone_id: str) -> Newest:
    return _last(publish_zones(reader, "drives_of_zones", _lately(reader), [zone_id]).bins)


def _lately(reader: LakeReader) -> Period:
    whole = choose_period(reader, None, None)
    return whole._replace(since=whole.until - LOOK_BACK)


def _last(bins: list[tuple[Any, ...]]) -> Newest:
    if not bins:
        return Newest(ExpectedSearch(None, TOO_FEW), None)
    newest = SearchTimes.read("", bins[-1])
    until = newest.bin_start + timedelta(seconds=newest.bin_s)
    value_s = newest.p50.value_s
    return Newest(ExpectedSearch(value_s, None if value_s is not None else NOT_REACHED), until)
