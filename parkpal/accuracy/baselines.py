"""Simpler rules for where a search begins, to be beaten. Each takes the way to a park and gives seconds of search.

Always zero; the time since first within 400 m; van der Waerden's speed rule (2015: five samples below 23 km/h); the
simple rule (first within 200 m after the speed over two minutes last exceeded 25 km/h); excess over the crow's way
within 400 m (FHWA-HOP-23-004; Weinberger, Millard-Ball and Hampshire 2020); a logistic regression with a changepoint.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from parkpal.accuracy.ways import Floats, Way

RADIUS_M: Final = 400.0
SLOW_KMH: Final = 23.0
SLOW_SAMPLES: Final = 5
NEAR_M: Final = 200.0
FAST_KMH: Final = 25.0
SPEED_S: Final = 120.0
EXCESS_M: Final = 200.0
MOST_AWAY_M: Final = 1_400.0
INSIDE_SHARE: Final = 0.5
DETOUR: Final = 1.3


def always_zero(_way: Way) -> float:
    """Nobody searches."""
    return 0.0


def within_radius(way: Way) -> float:
    """Search since first within RADIUS_M of the place."""
    return _since_first(way, way.away_m <= RADIUS_M)


def slow_samples(way: Way) -> float:
    """Search since the samples before the park stayed below SLOW_KMH, if they are SLOW_SAMPLES or more."""
    fast = np.flatnonzero(step_kmh(way) >= SLOW_KMH)
    first = int(fast[-1]) + 1 if fast.size else 0
    return -float(way.since_s[first]) if way.since_s.size - first >= SLOW_SAMPLES else 0.0


def near_and_slow(way: Way, near_m: float = NEAR_M, fast_kmh: float = FAST_KMH) -> float:
    """Search since first within `near_m` after the speed over two minutes last exceeded `fast_kmh`."""
    fast = np.flatnonzero(lately_kmh(way) > fast_kmh)
    after = np.arange(way.since_s.size) > (fast[-1] if fast.size else -1)
    return _since_first(way, after & (way.away_m <= near_m))


def excess(way: Way) -> float:
    """Search since first within RADIUS_M where much more was driven from there than the crow's way, and close by."""
    inside = np.flatnonzero(way.away_m <= RADIUS_M)
    if not inside.size:
        return 0.0
    first = int(inside[0])
    driven_m = float(np.hypot(np.diff(way.east_m[first:]), np.diff(way.north_m[first:])).sum())
    away_m = way.away_m[first:]
    local = away_m.max() <= MOST_AWAY_M and np.mean(away_m <= RADIUS_M) >= INSIDE_SHARE
    beyond = driven_m - DETOUR * away_m[0] > EXCESS_M
    return -float(way.since_s[first]) if local and beyond else 0.0


def _since_first(way: Way, where: NDArray[np.bool_]) -> float:
    return -float(way.since_s[int(np.argmax(where))]) if where.any() else 0.0


def step_kmh(way: Way) -> Floats:
    """Return the speed of the step to each fix; the first has none and counts as standing."""
    step_m = np.hypot(np.diff(way.east_m), np.diff(way.north_m))
    return np.concatenate(([0.0], 3.6 * step_m / np.diff(way.since_s)))


def lately_kmh(way: Way) -> Floats:
    """Return the speed along the path of the last SPEED_S, for each fix."""
    driven_m = np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(way.east_m), np.diff(way.north_m)))))
    back = np.maximum(np.searchsorted(way.since_s, way.since_s - SPEED_S, side="right") - 1, 0)
    elapsed_s = way.since_s - way.since_s[back]
    return 3.6 * (driven_m - driven_m[back]) / np.where(elapsed_s > 0, elapsed_s, np.inf)
