"""Where on a drive the search for its parking place began, and what was driven in it.

Each point of the track has odds of lying in the search, from four features: metres to the parking place; how many more
than at its nearest so far; km/h over the last 120 s; metres to the own track of more than a minute ago. The search
begins at the point from which on the log-odds add up to the most; if they add up to nothing positive, there was none.

The form is that of a changepoint with independent odds. Coefficients: a logistic regression on 121 real drives in
Frankfurt whose drivers pressed a button when they began to search (start2park, ReLUT, BSD-3).
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geo.boundary import METRES, east_m, lon_step
from geo.jit import kernel
from geo.trips.records import POINTS, Records

COEFFICIENTS: Final = np.array([3.196, -0.960, 1.281, -0.562, -0.529])
"""Intercept; per 100 m to the place; per 100 m beyond the nearest so far; per 10 km/h; per 100 m from the own track."""
REACH_M: Final = 3_000.0
FAR_LOG_ODDS: Final = -6.9
"""Further from the place than REACH_M nobody searches: odds of 1 to 1,000."""
LOOK_BACK_MS: Final = 1_800_000
"""A search is looked for in the last half hour of a drive."""
SPEED_MS: Final = 120_000
MAX_KMH: Final = 80.0
OLD_MS: Final = 60_000
MAX_REVISIT_M: Final = 500.0
NEAR_M: Final = 400.0
"""Excess is counted from the first time within this distance of the place,"""
DETOUR: Final = 1.3
"""against the distance as the crow flies times this."""
SEARCH_S: Final = 60.0
SPREAD_S: Final = 30.0
"""Confidence that a search lasted SEARCH_S is a logistic of its length, this wide: not calibrated."""
LOOP_M: Final = 25.0
"""Coming back to within this distance of the own track is a loop."""

Metres = NDArray[np.float64]


@kernel
def to_plane(track: Records, first: int, end: int, lat: int, lon: int, x: Metres, y: Metres) -> None:
    """Write metres east and north of a place of the points [first, end) to x and y from 0 on."""
    scale = east_m(lat)
    for i in range(first, end):
        x[i - first] = lon_step(lon, track[i].lon) * scale
        y[i - first] = (track[i].lat - lat) * METRES


@kernel
def search_start(track: Records, first: int, end: int, x: Metres, y: Metres, coefficients: Metres) -> int:
    """Return the point of [first, end) at which the search began, `end` where there was none.

    x, y: metres from the parking place, of the point first + i at i; coefficients: as COEFFICIENTS.
    """
    nearest, total, least, begin = math.inf, 0.0, math.inf, end
    for i in range(end - first):
        nearest = min(nearest, math.hypot(x[i], y[i]))
        if track[end - 1].time - track[first + i].time > LOOK_BACK_MS:
            continue
        if total <= least:  # what is left to the end is most where the sum so far is least
            least, begin = total, first + i
        total += _log_odds(track, first, i, x, y, nearest, coefficients)
    return begin if total > least else end


@kernel
def _log_odds(track: Records, first: int, i: int, x: Metres, y: Metres, nearest: float, coefficients: Metres) -> float:
    away = math.hypot(x[i], y[i])
    if away >= REACH_M:
        return FAR_LOG_ODDS
    time = track[first + i].time
    j, driven = i, 0.0
    while j > 0 and time - track[first + j].time < SPEED_MS:
        driven += math.hypot(x[j] - x[j - 1], y[j] - y[j - 1])
        j -= 1
    elapsed_s = (time - track[first + j].time) / 1000
    kmh = min(MAX_KMH, 3.6 * driven / elapsed_s) if elapsed_s > 0 else 0.0
    revisit = MAX_REVISIT_M
    for j in range(i):
        if time - track[first + j].time <= OLD_MS:
            break
        revisit = min(revisit, math.hypot(x[i] - x[j], y[i] - y[j]))
    return (
        coefficients[0]
        + coefficients[1] * away / 100
        + coefficients[2] * (away - nearest) / 100
        + coefficients[3] * kmh / 10
        + coefficients[4] * revisit / 100
    )


@kernel
def path_m(begin: int, end: int, x: Metres, y: Metres) -> float:
    """Return the metres along the points [begin, end) of x and y."""
    total = 0.0
    for i in range(begin + 1, end):
        total += math.hypot(x[i] - x[i - 1], y[i] - y[i - 1])
    return total


@kernel
def excess_m(count: int, x: Metres, y: Metres) -> float:
    """Return the metres driven beyond DETOUR times the crow's since first within NEAR_M of the place."""
    for i in range(count):
        away = math.hypot(x[i], y[i])
        if away <= NEAR_M:
            return max(0.0, path_m(i, count, x, y) - DETOUR * away)
    return 0.0


@kernel
def loop_count(track: Records, first: int, begin: int, count: int, x: Metres, y: Metres) -> int:
    """Return how often the points from `begin` on come within LOOP_M of the own track of more than OLD_MS ago."""
    loops, inside = 0, False
    for i in range(begin, count):
        back = False
        for j in range(i):
            if track[first + i].time - track[first + j].time <= OLD_MS:
                break
            if math.hypot(x[i] - x[j], y[i] - y[j]) <= LOOP_M:
                back = True
                break
        if back and not inside:
            loops += 1
        inside = back
    return loops


@kernel
def confidence_of_search(search_s: float) -> float:
    """Return the confidence that a search of at least SEARCH_S took place."""
    return 1 / (1 + math.exp((SEARCH_S - search_s) / SPREAD_S))


def scratch() -> tuple[Metres, Metres]:
    """Return x and y for one track."""
    return np.empty(POINTS), np.empty(POINTS)
