"""Where on a drive a search began and ended, and what was driven in it.

Each point of the track has log-odds of lying in a search (`geo.trips.model`). Added up from a point to the end of the
drive they say how likely the search for the parking place began there. Neighbours tell the same, so a share of each
counts, and no search at all has odds of its own; where it began is the middle of that distribution: the duration that
errs least in the mean. A search that was given up is the run of points, anywhere on the drive, over which those that
know no place add up to the most. Both are changepoints with independent odds.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geo.jit import kernel
from geo.trips.features import REACH_M, Scratch, leg_m
from geo.trips.model import Coefficients

FAR_LOG_ODDS: Final = -6.9
"""Further from the place than REACH_M nobody searches: odds of 1 to 1,000."""
LOOK_BACK_S: Final = 1_800.0
"""A search lasts half an hour at most."""
NEAR_M: Final = 400.0
"""Excess is counted from the first time within this distance of the place,"""
DETOUR: Final = 1.3
"""against the distance as the crow flies times this."""
LOOP_M: Final = 25.0
LOOP_S: Final = 60.0
"""Coming back to within this distance of the own track of longer ago than this is a loop."""
SLOW_MPS: Final = 1.2
STOP_S: Final = 8.0
LONG_STOP_S: Final = 60.0
"""Slower than SLOW_MPS for between these is a stop of traffic."""
AGAIN_HM: Final = 0.3
STAND_M: Final = 30.0
LAST_LEGS: Final = 8
HALF: Final = 0.5


@kernel
def log_odds(coefficients: Coefficients, values: NDArray[np.float64]) -> float:
    """Return the log-odds; `values` may hold more than the coefficients ask for."""
    total = coefficients[0]
    for k in range(1, len(coefficients)):
        total += coefficients[k] * values[k - 1]
    return total


@kernel
def session_odds(gate: Coefficients, values: NDArray[np.float64]) -> float:
    """Return the log-odds of a session: each value counts by one slope up to its bend and by another beyond it."""
    n, total = len(values), gate[0]
    for k in range(n):
        total += gate[1 + k] * values[k] + gate[1 + n + k] * max(0.0, values[k] - gate[1 + 2 * n + k])
    return total


@kernel
def search_begin(plane: Scratch, begin: int, end: int, near: Coefficients, start: Coefficients) -> tuple[int, float]:
    """Return the point of [begin, end) at which the search began, `end` where there was none, and its log-odds."""
    total, best, first = 0.0, 0.0, end
    for i in range(end - 1, begin - 1, -1):
        if plane.s[end - 1] - plane.s[i] > LOOK_BACK_S:
            break
        far = plane.features[i][10] * 100 >= REACH_M
        total += plane.weight[i] * (FAR_LOG_ODDS if far else log_odds(near, plane.features[i]))
        plane.odds[i], first = total, i
        best = max(best, total)
    return middle_start(plane, first, end, start[0], start[1], start[0] * best), best


@kernel
def middle_start(plane: Scratch, first: int, end: int, share: float, none: float, most: float) -> int:
    """Return the start before which it is as likely as not, of the points [first, end) and none (`end`)."""
    nothing = math.exp(none - most)
    whole = nothing
    for i in range(first, end):
        plane.odds[i] = plane.weight[i] * math.exp(share * plane.odds[i] - most)
        whole += plane.odds[i]
    later = nothing
    for i in range(end, first, -1):
        if later >= HALF * whole:
            return i
        later += plane.odds[i - 1]
    return first


@kernel
def wandering(
    plane: Scratch, count: int, x: float, y: float, away_m: float, wander: Coefficients
) -> tuple[int, int, float]:
    """Return the run [begin, end) of points that most likely was a search, further than `away_m` from (x, y).

    And its log-odds, 0 if there was none.
    """
    total, start, best, begin, end = 0.0, 0, 0.0, 0, 0
    for i in range(count):
        total += plane.weight[i] * log_odds(wander, plane.features[i])
        if total <= 0 or math.hypot(plane.x[i] - x, plane.y[i] - y) < away_m:
            total, start = 0.0, i + 1
        elif total > best and plane.s[i] - plane.s[start] <= LOOK_BACK_S:
            best, begin, end = total, start, i + 1
    return begin, end, best


@kernel
def middle(plane: Scratch, begin: int, end: int) -> tuple[float, float]:
    """Return the mean place of the points [begin, end), each as long as it lasted."""
    x, y, weight = 0.0, 0.0, 0.0
    for i in range(begin, end):
        x += plane.weight[i] * plane.x[i]
        y += plane.weight[i] * plane.y[i]
        weight += plane.weight[i]
    return x / weight, y / weight


@kernel
def farthest_m(plane: Scratch, begin: int, end: int, x: float, y: float) -> float:
    """Return how far from (x, y) the points [begin, end) come."""
    farthest = 0.0
    for i in range(begin, end):
        farthest = max(farthest, math.hypot(plane.x[i] - x, plane.y[i] - y))
    return farthest


@kernel
def first_near(plane: Scratch, begin: int, end: int, x: float, y: float) -> int:
    """Return the first of the points [begin, end) within NEAR_M of the place, `end` if there is none."""
    for i in range(begin, end):
        if math.hypot(plane.x[i] - x, plane.y[i] - y) <= NEAR_M:
            return i
    return end


@kernel
def excess_m(plane: Scratch, near: int, end: int, x: float, y: float) -> float:
    """Return the metres driven beyond DETOUR times the crow's since point `near`, 0 where that is `end`."""
    if near == end:
        return 0.0
    return max(0.0, plane.way[end - 1] - plane.way[near] - DETOUR * math.hypot(plane.x[near] - x, plane.y[near] - y))


@kernel
def loop_count(plane: Scratch, begin: int, end: int) -> int:
    """Return how often the points [begin, end) come within LOOP_M of the own track of more than LOOP_S ago."""
    loops, inside = 0, False
    for i in range(begin, end):
        back = plane.features[i][8] * 100 <= LOOP_M
        if back and not inside:
            loops += 1
        inside = back
    return loops


@kernel
def stops_per_km(plane: Scratch, end: int) -> float:
    """Return the stops of traffic a kilometre, of half a kilometre at least."""
    stops, standing = 0, 0.0
    for i in range(1, end):
        if is_slow(plane, i):
            standing += plane.s[i] - plane.s[i - 1]
        else:
            if STOP_S <= standing <= LONG_STOP_S:
                stops += 1
            standing = 0.0
    return stops / max(0.5, plane.way[end - 1] / 1000)


@kernel
def is_slow(plane: Scratch, i: int) -> bool:
    """Tell whether the leg to point i was slower than SLOW_MPS."""
    return leg_m(plane, i - 1, i) < SLOW_MPS * max(1.0, plane.s[i] - plane.s[i - 1])


@kernel
def slow_s(plane: Scratch, begin: int, end: int) -> float:
    """Return the seconds of the legs between points [begin, end) that were slow."""
    total = 0.0
    for i in range(begin + 1, end):
        if is_slow(plane, i):
            total += plane.s[i] - plane.s[i - 1]
    return total


@kernel
def longest_stand_s(plane: Scratch, begin: int, end: int) -> float:
    """Return the longest time that the points [begin, end) stay within STAND_M of where they come to stand."""
    longest, since = 0.0, begin
    for i in range(begin, end):
        if leg_m(plane, since, i) > STAND_M:
            since = i
        longest = max(longest, plane.s[i] - plane.s[since])
    return longest


@kernel
def describe(
    plane: Scratch, begin: int, end: int, x: float, y: float, odds: float, stay_s: float, busy: float, left: bool,
    values: NDArray[np.float64],
) -> None:  # fmt: skip
    """Write SESSION_FEATURES of the session [begin, end) that ended at (x, y)."""
    last = end - 1
    length, way = max(30.0, plane.s[last] - plane.s[begin]), plane.way[last] - plane.way[begin]
    crow = math.hypot(plane.x[begin] - x, plane.y[begin] - y)
    values[0] = math.log1p((plane.s[last] - plane.s[begin]) / 30)
    values[1] = math.log1p(max(0.0, odds))
    values[2] = math.log1p(max(0.0, way - DETOUR * crow) / 200)
    values[3] = min(5.0, way / max(50.0, crow))
    values[4] = slow_s(plane, begin, end) / length
    values[5] = math.log1p(plane.turned[last] - plane.turned[begin])
    again = 0
    for i in range(begin, end):
        if plane.features[i][8] < AGAIN_HM:
            again += 1
    values[6] = again / (end - begin)
    values[7] = math.log1p(stops_per_km(plane, end))
    values[8] = math.log1p(plane.way[last] / 1000)
    values[9] = 1.0 if 0 <= stay_s < 600 else 0.0
    values[10] = 1.0 if stay_s < 0 else 0.0
    values[11] = min(5.0, busy)
    values[12] = math.hypot(plane.x[0] - x, plane.y[0] - y) / max(200.0, plane.way[last])
    values[13] = way / length / 5
    values[14] = math.log1p(farthest_m(plane, begin, end, x, y) / 100)
    few = max(0, last - LAST_LEGS)
    values[15] = (plane.way[last] - plane.way[few]) / max(1.0, plane.s[last] - plane.s[few]) / 5
    values[16] = math.log1p(longest_stand_s(plane, begin, end) / 20)
    values[17] = plane.features[last][5] if left else 0.0


@kernel
def probability(odds: float) -> float:
    """Return the probability of log-odds."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))
