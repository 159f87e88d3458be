"""How long drivers lately searched for a place at the kerb near somewhere: the newest figure that is published there.

It is the median of Kaplan and Meier in the H3 cell of resolution 8 around the place; where none passes k, null with the
reason. Booking goes on where the lake does not answer.
"""

import asyncio
from datetime import timedelta
from typing import Final

import h3

from api.analytics.boxes import AREA_RESOLUTION
from api.analytics.publish import MAX_SPAN, choose_period, publish_cells
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


def build_search_times(reader: LakeReader) -> AskSearchTimes:
    """Return what tells the expected search at a place."""

    async def ask(lat: float, lon: float) -> ExpectedSearch:
        try:
            return await asyncio.to_thread(_newest, reader, h3.latlng_to_cell(lat, lon, RESOLUTION))
        except UnavailableError:
            return ExpectedSearch(None, NO_LAKE)

    return ask


def _newest(reader: LakeReader, cell: str) -> ExpectedSearch:
    whole = choose_period(reader, None, None)
    period = whole._replace(since=whole.until - LOOK_BACK)
    areas = [h3.str_to_int(h3.cell_to_parent(cell, AREA_RESOLUTION))]
    found = publish_cells(reader, "drives_of_cells", period, RESOLUTION, areas)
    here = [row for row in found.bins if h3.int_to_str(row[0]) == cell]
    if not here:
        return ExpectedSearch(None, TOO_FEW)
    value_s = SearchTimes.read(cell, here[-1]).p50.value_s
    return ExpectedSearch(value_s, None if value_s is not None else NOT_REACHED)
