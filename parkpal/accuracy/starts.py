"""How far the log-odds of points can be trusted to say when a search began, and how likely there was none.

Points a few seconds apart tell the same, so their log-odds count for less than their number. What they count, and the
log-odds of no search, are those under which the true starts of real drives are the most likely (`geo.trips.search`).
"""

from collections.abc import Iterator
from itertools import product
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.trips.features import REACH_M, WANDER
from geo.trips.search import FAR_LOG_ODDS

Floats = NDArray[np.float64]
Records = NDArray[np.void]

SHARES: Final = (0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 1.0)
NONE: Final = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
NEAR_S: Final = 20.0
"""A button is pressed so soon or late."""
LEAST: Final = 1e-3
"""The likelihood of a start that no model foresees."""


class Drive(NamedTuple):
    """Of each point of a drive: the log-odds from it to the end, what it weighs, whether it is near the true start."""

    odds: Floats
    weight: Floats
    near: NDArray[np.bool_]
    searched: bool


def fit_start(near: Floats, points: Records, searched: NDArray[np.bool_]) -> Floats:
    """Return what a log-odds counts and those of no search; `searched` says which points lie in the search."""
    drives = list(_drives(near, points, searched))
    return np.array(max(product(SHARES, NONE), key=lambda pair: sum(_log_likelihood(drive, *pair) for drive in drives)))


def _drives(near: Floats, points: Records, searched: NDArray[np.bool_]) -> Iterator[Drive]:
    """Cut points into drives; the true start is the first that lies in the search, or the end."""
    for of in np.split(np.arange(len(points)), np.flatnonzero(np.diff(points["drive"])) + 1):
        mine, inside = points[of], searched[of]
        if not len(mine):
            continue
        odds = near[0] + mine["features"] @ near[1:]
        odds = np.where(mine["features"][:, WANDER] * 100 >= REACH_M, FAR_LOG_ODDS, odds) * mine["weight"]
        start = mine["time"][np.argmax(inside)] if inside.any() else mine["time"][-1]
        near_start = np.abs(mine["time"] - start) <= 1000 * NEAR_S
        yield Drive(np.cumsum(odds[::-1])[::-1], mine["weight"], near_start, bool(inside.any()))


def _log_likelihood(drive: Drive, share: float, none: float) -> float:
    odds = share * drive.odds
    most = max(float(odds.max()), none)
    mass, nothing = drive.weight * np.exp(odds - most), np.exp(none - most)
    hit = mass[drive.near].sum() + (0.0 if drive.searched else nothing)
    return float(np.log(hit / (mass.sum() + nothing) + LEAST))
