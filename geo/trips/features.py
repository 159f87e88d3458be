"""What a point of a drive tells of a search: numbers that know no street, no city and no sampling rate.

Of each point, from the drive's own track alone, over the time before it and after it (the whole drive is known when it
is judged):

    0  km/h over the 120 s before it, per 10       4  the same over 240 s
    1  km/h over the 30 s before it, per 10        5  the same over the 120 s after it
    2  km/h over the 120 s after it, per 10        6  the same over the 240 s after it
    3  straightness of the 120 s before it: the    7  radians turned in the 120 s before it
       crow's way as a share of the way driven     8, 9  metres to the own track of more than 60 s before it,
                                                      and to that of more than 60 s after it, per 100

and, of a place at which a search may have ended:

    10 metres to the place, per 100                12 the same on a scale of logarithms
    11 how many more than at the nearest so far,   13 how many more the drive will still be away from it than here,
       per 100                                        per 100

`WANDER` is the first ten, `FEATURES` all of them. Sums over points weigh each by the time since the one before it, so
that a phone that sends more often says no more.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.boundary import METRES, east_m, lon_step
from geo.jit import kernel
from geo.trips.model import SESSION_FEATURES
from geo.trips.records import FEATURES, POINTS, Records

WANDER: Final = 10

LONG_S: Final = 120.0
SHORT_S: Final = 30.0
LONGER_S: Final = 240.0
OLD_S: Final = 60.0
MAX_KMH: Final = 80.0
MAX_REVISIT_M: Final = 500.0
MIN_WAY_M: Final = 50.0
"""Straightness of less than this says nothing: noise."""
TURN_LEG_M: Final = 12.0
"""A turn is the angle between two legs of this length at least."""
REACH_M: Final = 3_000.0
MAX_BEYOND_M: Final = 1_500.0
NEAR_SCALE_M: Final = 50.0
STEP_S: Final = 6.0
"""A point that follows the one before it so soon weighs one;"""
MAX_STEP_S: Final = 20.0
"""one that follows later weighs as much more, up to this."""

Metres = NDArray[np.float64]
Matrix = NDArray[np.float64]


class Scratch(NamedTuple):
    """Room for one drive, laid out on the plane that touches the earth at its last point."""

    s: Metres  # seconds since its first point
    x: Metres  # metres east
    y: Metres  # metres north
    way: Metres  # metres driven
    turned: Metres  # radians turned
    weight: Metres  # of the point in sums
    odds: Metres  # room for sums over points
    features: Matrix  # POINTS x FEATURES
    session: Metres  # SESSION_FEATURES


def scratch() -> Scratch:
    """Return room for one drive."""
    s, x, y, way, turned, weight, odds = (np.empty(POINTS) for _ in range(7))
    matrix, session = np.empty((POINTS, FEATURES)), np.empty(len(SESSION_FEATURES))
    return Scratch(s, x, y, way, turned, weight, odds, matrix, session)


@kernel
def lay_out(track: Records, first: int, end: int, plane: Scratch) -> int:
    """Lay points [first, end) of a track out as 0 .. count - 1, with what only they tell; return the count."""
    count = end - first
    origin = track[end - 1]
    scale = east_m(origin.lat)
    for i in range(count):
        point = track[first + i]
        plane.s[i] = (point.time - track[first].time) / 1000
        plane.x[i] = lon_step(origin.lon, point.lon) * scale
        plane.y[i] = (point.lat - origin.lat) * METRES
        if i == 0:
            plane.way[0], plane.weight[0] = 0.0, 1.0
        else:
            plane.way[i] = plane.way[i - 1] + leg_m(plane, i - 1, i)
            plane.weight[i] = min(plane.s[i] - plane.s[i - 1], MAX_STEP_S) / STEP_S
    add_turns(plane, count)
    add_wander(plane, count)
    return count


@kernel
def leg_m(plane: Scratch, i: int, j: int) -> float:
    """Return the crow's way between two points."""
    return math.hypot(plane.x[j] - plane.x[i], plane.y[j] - plane.y[i])


@kernel
def add_turns(plane: Scratch, count: int) -> None:
    """Sum up the angles between one leg and the next."""
    total = 0.0
    for i in range(count):
        if 0 < i < count - 1 and leg_m(plane, i - 1, i) > TURN_LEG_M and leg_m(plane, i, i + 1) > TURN_LEG_M:
            ax, ay = plane.x[i] - plane.x[i - 1], plane.y[i] - plane.y[i - 1]
            bx, by = plane.x[i + 1] - plane.x[i], plane.y[i + 1] - plane.y[i]
            total += abs(math.atan2(ax * by - ay * bx, ax * bx + ay * by))
        plane.turned[i] = total


@kernel
def add_wander(plane: Scratch, count: int) -> None:
    """Write the features that need no place."""
    short, long, longer, ahead, further = 0, 0, 0, 0, 0
    for i in range(count):
        short = since(plane, short, i, SHORT_S)
        long = since(plane, long, i, LONG_S)
        longer = since(plane, longer, i, LONGER_S)
        ahead = until(plane, max(ahead, i), count, i, LONG_S)
        further = until(plane, max(further, i), count, i, LONGER_S)
        row = plane.features[i]
        row[0] = kmh(plane, long, i) / 10
        row[1] = kmh(plane, short, i) / 10
        row[2] = kmh(plane, i, ahead) / 10
        row[3] = straightness(plane, long, i)
        row[4] = straightness(plane, longer, i)
        row[5] = straightness(plane, i, ahead)
        row[6] = straightness(plane, i, further)
        row[7] = plane.turned[i - 1] - plane.turned[long] if i - 1 > long else 0.0
        row[8] = revisit_m(plane, i, 0, i) / 100
        row[9] = revisit_m(plane, i, i + 1, count) / 100


@kernel
def since(plane: Scratch, start: int, i: int, reach_s: float) -> int:
    """Return the newest point, from `start` on, at least so long before point i; `start` if there is none."""
    while start + 1 < i and plane.s[i] - plane.s[start + 1] >= reach_s:
        start += 1
    return start


@kernel
def until(plane: Scratch, start: int, count: int, i: int, reach_s: float) -> int:
    """Return the first point, from `start` on, at least so long after point i; the last if there is none."""
    while start < count - 1 and plane.s[start] - plane.s[i] < reach_s:
        start += 1
    return start


@kernel
def kmh(plane: Scratch, i: int, j: int) -> float:
    """Return the speed along the way between two points."""
    elapsed = plane.s[j] - plane.s[i]
    return min(MAX_KMH, 3.6 * (plane.way[j] - plane.way[i]) / elapsed) if elapsed > 0 else 0.0


@kernel
def straightness(plane: Scratch, i: int, j: int) -> float:
    """Return the crow's way between two points as a share of the way driven."""
    return leg_m(plane, i, j) / max(MIN_WAY_M, plane.way[j] - plane.way[i])


@kernel
def revisit_m(plane: Scratch, i: int, begin: int, end: int) -> float:
    """Return the distance from point i to those of the points [begin, end) that are OLD_S away from it in time."""
    least = MAX_REVISIT_M**2
    for j in range(begin, end):
        dx, dy = plane.x[i] - plane.x[j], plane.y[i] - plane.y[j]
        square = dx * dx + dy * dy
        if square < least and abs(plane.s[i] - plane.s[j]) > OLD_S:
            least = square
    return math.sqrt(least)


@kernel
def add_place(plane: Scratch, begin: int, end: int, x: float, y: float) -> None:
    """Write the features of points [begin, end) that depend on the place (x, y) at which a search may have ended."""
    nearest, farthest = math.inf, 0.0
    for i in range(begin, end):
        away = math.hypot(plane.x[i] - x, plane.y[i] - y)
        nearest = min(nearest, away)
        row = plane.features[i]
        row[10] = min(away, REACH_M) / 100
        row[11] = min(away - nearest, MAX_BEYOND_M) / 100
        row[12] = math.log1p(away / NEAR_SCALE_M)
    for i in range(end - 1, begin - 1, -1):
        away = math.hypot(plane.x[i] - x, plane.y[i] - y)
        farthest = max(farthest, away)
        plane.features[i][13] = min(farthest - away, MAX_BEYOND_M) / 100
