"""How long a search takes, told by drives that found a place and by drives that broke off: Kaplan and Meier (1958).

Population: drives that parked, gave up or fell silent (`unknown`). Whoever was only picked up is out. A drive without
a search is an event at 0 s, one that parked an event at its search_s, every other is censored at its search_s: it
searched at least so long. Searchers are those of at least SEARCHER_S.

Survival S(t) is the product of (n - 1) / n over the ends up to t, n being how many still searched; of equal times ends
come one after the other and before those censored. A quantile is the first t with S(t) <= 1 - share. Its interval is
where the band of S crosses that level (Brookmeyer and Crowley 1982), the band being Greenwood's on the scale
log(-log S), which keeps it within 0 and 1. Giving up hangs on how long one has searched, so each quantile has bounds
too that assume nothing.

A roll-up keeps of each drive its class, negative where censored, in order of duration. A class is 0 s alone, then
CLASS_S wide up to LONGEST_S, and stands for its middle; who searched longer is censored at LONGEST_S. With the order
kept, S takes the very values that the durations give, so a quantile is at most half a class away. Lists merge by
joining; then those censored in a class count as the last of it.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.trips.rules import OUTCOMES, PARKED_OUTCOME

CLASS_S: Final = 10
LONGEST_S: Final = 3_600
SEARCHER_S: Final = 60.0
"""From this long on a search is one that people remember; below, it may be a wrong turn."""
BEYOND: Final = LONGEST_S // CLASS_S + 1
"""The class of LONGEST_S and more."""

_PICKED_UP: Final = OUTCOMES.index("picked_up")
_Z: Final = 1.959963984540054
"""Quantile .975 of the normal distribution."""
_ROUNDING: Final = 1e-12

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Classes = NDArray[np.int16]


class Drives(NamedTuple):
    """When each drive's search ended (or was censored), shape (n,) both, ascending, of equal times the ends first."""

    times_s: Floats
    is_end: Flags


class Curve(NamedTuple):
    """Survival from each time on, and its 95 % band."""

    times_s: Floats
    survival: Floats
    low: Floats
    high: Floats


class Quantile(NamedTuple):
    """A quantile with its 95 % interval; value_s and high_s are None where they are not reached, low_s still holds."""

    value_s: float | None
    low_s: float | None
    high_s: float | None


class Bounds(NamedTuple):
    """A quantile if all who were censored had ended that moment, and if none of them ever did (None: not reached)."""

    now_s: float | None
    never_s: float | None


def observe(outcome: NDArray[np.int8], search_s: Floats) -> Drives:
    """Return the population of drives: `outcome` codes of OUTCOMES, `search_s` 0 without a search; shape (n,) both."""
    kept = outcome != _PICKED_UP
    times = search_s[kept]
    return order(times, (outcome[kept] == PARKED_OUTCOME) | (times == 0))


def order(times_s: Floats, is_end: Flags) -> Drives:
    """Put drives in order; shape (n,) both."""
    at = np.lexsort((~is_end, times_s))
    return Drives(times_s[at], is_end[at])


def drives_to_classes(drives: Drives) -> Classes:
    """Return what a roll-up keeps of drives, shape (n,)."""
    beyond = np.minimum(drives.times_s // CLASS_S + 1, BEYOND)
    classes = np.where(drives.times_s == 0, 0, beyond).astype(np.int16)
    return np.where(drives.is_end & (classes < BEYOND), classes, -classes)


def classes_to_drives(classes: Classes) -> Drives:
    """Return the drives that a roll-up keeps, each at the middle of its class; shape (n,)."""
    middles = (np.abs(classes) - 0.5) * CLASS_S
    return Drives(np.clip(middles, 0, LONGEST_S), classes >= 0)


def merge_classes(*lists: Classes) -> Classes:
    """Join what several roll-ups keep of drives."""
    joined = np.concatenate([np.zeros(0, np.int16), *lists])
    return joined[np.lexsort((joined < 0, np.abs(joined)))]


def select_searchers(drives: Drives) -> Drives:
    """Return those who searched for SEARCHER_S at least."""
    searched = drives.times_s >= SEARCHER_S
    return Drives(drives.times_s[searched], drives.is_end[searched])


def estimate(drives: Drives) -> Curve:
    """Return the survival curve and its band after each drive, shape (n,).

    Where S is 0 the formula gives no band: low is 0 and high stays what it was.
    """
    at_risk = np.arange(len(drives.times_s), 0, -1)
    left = at_risk - drives.is_end
    survival = np.cumprod(left / at_risk, dtype=np.float64)
    inside = (survival > 0) & (survival < 1)
    greenwood = np.cumsum(drives.is_end / np.maximum(at_risk * left, 1))
    log_survival = np.log(survival, where=inside, out=np.full(len(survival), -1.0))
    spread = _Z * np.sqrt(greenwood) / -log_survival
    low = np.where(inside, survival ** np.exp(spread), survival)
    high = np.where(inside, survival ** np.exp(-spread), 1.0)
    return Curve(drives.times_s, survival, low, np.minimum.accumulate(high))


def quantile(curve: Curve, share: float) -> Quantile:
    """Return the time by which `share` of all searches have ended; all None for an empty curve.

    Where even the lower end of the interval is not reached, low_s is the longest time seen.
    """
    level = 1 - share
    low = _first(curve.times_s, curve.low, level)
    if low is None and len(curve.times_s):
        low = float(curve.times_s[-1])
    return Quantile(_first(curve.times_s, curve.survival, level), low, _first(curve.times_s, curve.high, level))


def bound(drives: Drives, share: float) -> Bounds:
    """Return the bounds of the quantile that hold whatever became of those who were censored."""
    total = max(1, len(drives.times_s))
    now = 1 - np.arange(1, len(drives.times_s) + 1) / total
    never = 1 - np.cumsum(drives.is_end) / total
    return Bounds(_first(drives.times_s, now, 1 - share), _first(drives.times_s, never, 1 - share))


def share_no_search(drives: Drives) -> float | None:
    """Return the share of the population that found a place at once, None of nobody."""
    return float(np.mean(drives.times_s == 0)) if len(drives.times_s) else None


def failed_search_rate(parked: int, gave_up: int) -> float | None:
    """Return the share that gave up of searchers (SEARCHER_S and more) whose end is known, None of nobody."""
    return gave_up / (parked + gave_up) if parked + gave_up else None


def _first(times_s: Floats, falling: Floats, level: float) -> float | None:
    reached = np.flatnonzero(falling <= level + _ROUNDING)
    return float(times_s[reached[0]]) if len(reached) else None
