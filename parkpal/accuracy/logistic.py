"""A logistic regression of each fix with a changepoint: the rule of its class that the detector must beat.

Four features of a fix, none of which knows a street: metres to the parking place; how many more than at the nearest so
far; km/h over the last two minutes; metres to the own trace of more than a minute ago. The search begins where the
log-odds, summed to the park, are largest; a sum that is nowhere positive is no search.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from parkpal.accuracy.baselines import lately_kmh
from parkpal.accuracy.ways import Floats, Way

REACH_M: Final = 3_000.0
FAR_LOG_ODDS: Final = -6.9
MOST_KMH: Final = 80.0
OLD_S: Final = 60.0
MOST_REVISIT_M: Final = 500.0


def fit(ways: Sequence[Way | None], search_s: NDArray[np.float64]) -> Callable[[Way], float]:
    """Return the rule fitted to ways that end at the true park, with the true seconds of search."""
    known = [(way, seconds) for way, seconds in zip(ways, search_s, strict=True) if way is not None]
    near = [way.away_m < REACH_M for way, _ in known]
    x = np.concatenate([features(way)[mask] for (way, _), mask in zip(known, near, strict=True)])
    y = np.concatenate([(way.since_s >= -s)[mask] for (way, s), mask in zip(known, near, strict=True)])
    model = LogisticRegression(C=np.inf).fit(x, y)
    coefficients = np.concatenate((model.intercept_, model.coef_[0]))
    return lambda way: changepoint(way, coefficients)


def changepoint(way: Way, coefficients: Floats) -> float:
    """Return the seconds from where the log-odds add up to the most."""
    odds = coefficients[0] + features(way) @ coefficients[1:]
    to_end = np.cumsum(np.where(way.away_m < REACH_M, odds, FAR_LOG_ODDS)[::-1])[::-1]
    best = int(np.argmax(to_end))
    return -float(way.since_s[best]) if to_end[best] > 0 else 0.0


def features(way: Way) -> Floats:
    """Return the features of each fix, (n, 4), in hundreds of metres and tens of km/h."""
    beyond = way.away_m - np.minimum.accumulate(way.away_m)
    kmh = np.minimum(lately_kmh(way), MOST_KMH)
    return np.column_stack((way.away_m / 100, beyond / 100, kmh / 10, revisit_m(way) / 100))


def revisit_m(way: Way) -> Floats:
    """Return the metres from each fix to the own trace of more than OLD_S before it."""
    apart = np.hypot(np.subtract.outer(way.east_m, way.east_m), np.subtract.outer(way.north_m, way.north_m))
    old = np.subtract.outer(way.since_s, way.since_s) > OLD_S
    nearest: Floats = np.where(old, apart, MOST_REVISIT_M).min(axis=1, initial=MOST_REVISIT_M)
    return nearest
