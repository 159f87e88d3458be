"""Exact answers about one fence's boundary: does it hold a place, how far is it, where does a step cut it.

Edges are rows [first, last) of an array float64[m, 4]: lat, lon, lat, lon in microdegrees. A polygon's shell and its
holes, and the parts of a MultiPolygon, all count alike: a place is held when a line from it to the east cuts an odd
number of edges. Metres are those of the plane that touches the earth at the place asked about.
"""

import math
from typing import Final

from numpy import float64
from numpy.typing import NDArray

from geo.jit import kernel

EARTH_RADIUS_M: Final = 6371008.8
"""Mean radius R1 of WGS84 (Moritz 2000)."""
METRES: Final = EARTH_RADIUS_M * math.pi / 180e6
"""Metres of one microdegree along a meridian."""
RADIANS: Final = math.pi / 180e6
HALF_TURN: Final = 180_000_000
"""180 degrees in microdegrees."""
NO_CUT: Final = 2.0

Edges = NDArray[float64]


@kernel
def east_m(lat: float) -> float:
    """Return the metres of one microdegree of longitude at a latitude in microdegrees."""
    return METRES * math.cos(lat * RADIANS)


@kernel
def lon_step(from_lon: float, to_lon: float) -> float:
    """Return the shorter way from one longitude to another in microdegrees, in [-180, 180] degrees."""
    step = to_lon - from_lon
    if step > HALF_TURN:
        return step - 2 * HALF_TURN
    if step < -HALF_TURN:
        return step + 2 * HALF_TURN
    return step


@kernel
def holds(edges: Edges, first: int, last: int, lat: float, lon: float) -> bool:
    """Return whether the place lies inside; on the boundary itself either answer may come."""
    inside = False
    for e in range(first, last):
        south, north = edges[e, 0], edges[e, 2]
        if (south > lat) != (north > lat):
            west, east = edges[e, 1], edges[e, 3]
            if lon < west + (lat - south) * (east - west) / (north - south):
                inside = not inside
    return inside


@kernel
def distance_m(edges: Edges, first: int, last: int, lat: float, lon: float) -> float:
    """Return the distance from the place to the nearest edge in metres, never negative."""
    scale = east_m(lat)
    nearest = math.inf
    for e in range(first, last):
        x, y = (edges[e, 1] - lon) * scale, (edges[e, 0] - lat) * METRES
        dx, dy = (edges[e, 3] - edges[e, 1]) * scale, (edges[e, 2] - edges[e, 0]) * METRES
        square = dx * dx + dy * dy
        along = 0.0 if square == 0.0 else min(1.0, max(0.0, -(x * dx + y * dy) / square))
        x += along * dx
        y += along * dy
        nearest = min(nearest, x * x + y * y)
    return math.sqrt(nearest)


@kernel
def cut_share(edges: Edges, e: int, lat: float, lon: float, north: float, east: float) -> float:
    """Return the share of the step (north, east) from a place at which it cuts edge `e`; NO_CUT if it does not."""
    up, right = edges[e, 2] - edges[e, 0], edges[e, 3] - edges[e, 1]
    y, x = edges[e, 0] - lat, edges[e, 1] - lon
    across = east * up - north * right
    share, along = x * up - y * right, x * north - y * east
    if across < 0.0:
        across, share, along = -across, -share, -along
    if across == 0.0 or share < 0.0 or share > across or along < 0.0 or along > across:
        return NO_CUT
    return share / across


@kernel
def next_cut(
    edges: Edges, first: int, last: int, lat: float, lon: float, to_lat: float, to_lon: float, after: float
) -> float:
    """Return the share of the straight step, beyond `after`, at which it next cuts an edge; NO_CUT if nowhere.

    A step across the antimeridian cuts nothing: fences end there.
    """
    north, east = to_lat - lat, to_lon - lon
    nearest = NO_CUT
    if abs(east) > HALF_TURN:
        return nearest
    for e in range(first, last):
        share = cut_share(edges, e, lat, lon, north, east)
        if after < share < nearest:
            nearest = share
    return nearest


@kernel
def last_cut(edges: Edges, first: int, last: int, lat: float, lon: float, to_lat: float, to_lon: float) -> float:
    """Return the share of the straight step at which it cuts an edge for the last time; NO_CUT if nowhere."""
    north, east = to_lat - lat, to_lon - lon
    farthest = -1.0
    if abs(east) > HALF_TURN:
        return NO_CUT
    for e in range(first, last):
        share = cut_share(edges, e, lat, lon, north, east)
        if farthest < share < NO_CUT:
            farthest = share
    return NO_CUT if farthest < 0.0 else farthest


@kernel
def longest_chord(
    edges: Edges, first: int, last: int, lat: float, lon: float, to_lat: float, to_lon: float
) -> tuple[float, float]:
    """Return where the longest piece of a step that lies inside begins and ends, as shares; (NO_CUT, NO_CUT) if none.

    Both ends of the step lie outside.
    """
    best = (NO_CUT, NO_CUT)
    begin = next_cut(edges, first, last, lat, lon, to_lat, to_lon, -1.0)
    while begin != NO_CUT:
        end = next_cut(edges, first, last, lat, lon, to_lat, to_lon, begin)
        middle = (begin + end) / 2
        if end != NO_CUT and (best[0] == NO_CUT or end - begin > best[1] - best[0]):  # noqa: SIM102 - holds is dear
            if holds(edges, first, last, lat + middle * (to_lat - lat), lon + middle * (to_lon - lon)):
                best = (begin, end)
        begin = end
    return best
