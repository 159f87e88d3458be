"""A box chooses cells of resolution 6, never a place: the count of what was suppressed must not point at anyone."""

from typing import Final, NamedTuple

import h3

from api.errors import InvalidRequestError

AREA_RESOLUTION: Final = 6
MAX_BOX_DEG: Final = 2.0
"""A box of this many degrees each way has some 1,400 cells of resolution 6 at the equator."""


class Box(NamedTuple):
    """Degrees WGS84, borders included."""

    west: float
    south: float
    east: float
    north: float


def parse_box(text: str) -> Box:
    """Read `west,south,east,north` in degrees; InvalidRequestError names the rule it breaks."""
    try:
        box = Box(*map(float, text.split(",")))
    except (TypeError, ValueError):
        raise InvalidRequestError("`bbox` is west,south,east,north in degrees.") from None
    if not (-180 <= box.west < box.east <= 180 and -90 <= box.south < box.north <= 90):
        raise InvalidRequestError("`bbox` must have west < east and south < north, in range.")
    if box.east - box.west > MAX_BOX_DEG or box.north - box.south > MAX_BOX_DEG:
        raise InvalidRequestError(f"`bbox` has at most {MAX_BOX_DEG:g} degrees each way.")
    return box


def box_to_areas(box: Box) -> list[int]:
    """Return the cells of AREA_RESOLUTION that overlap the box."""
    corners = [(box.south, box.west), (box.south, box.east), (box.north, box.east), (box.north, box.west)]
    shape = h3.LatLngPoly(corners)
    return [h3.str_to_int(cell) for cell in h3.polygon_to_cells_experimental(shape, AREA_RESOLUTION, contain="overlap")]


def cells_within(area: int, resolution: int) -> tuple[int, int]:
    """Return the lowest and highest number that a descendant of the cell may have at this resolution."""
    bare = area & ~(15 << 52) | resolution << 52
    free = (1 << 3 * (15 - AREA_RESOLUTION)) - (1 << 3 * (15 - resolution))
    return bare & ~free, bare
