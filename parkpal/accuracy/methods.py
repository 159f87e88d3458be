"""The rules to be beaten, each by its name, fitted to drives where something in it was chosen by looking at labels."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple

import numpy as np

from parkpal.accuracy import logistic
from parkpal.accuracy.baselines import always_zero, excess, near_and_slow, slow_samples, within_radius
from parkpal.accuracy.folds import Numbers
from parkpal.accuracy.ways import Floats, Way, durations

Rule = Callable[[Way], float]
Ways = Sequence[Way | None]
Fit = Callable[[Ways, Floats], Rule]

NEAR_M: Final = (100, 150, 200, 250, 300, 400)
FAST_KMH: Final = (15, 20, 25, 30, 35)


class Fitted(NamedTuple):
    """One rule fitted to all drives, and one for each fold without the drives that it judges."""

    in_sample: Rule
    in_fold: list[tuple[Numbers, Rule]]

    def judge(self, ways: Ways) -> Floats:
        """Return the seconds of search of each drive by the rule that has not seen it."""
        out = np.empty(len(ways))
        for judged, rule in self.in_fold:
            out[judged] = durations(rule, [ways[i] for i in judged])
        return out


def fit_in_folds(fit: Fit, ways: Ways, search_s: Floats, folds: Sequence[tuple[Numbers, Numbers]]) -> Fitted:
    """Fit a method to the ways to the true parks, whole and fold by fold."""
    in_fold = [(judged, fit([ways[i] for i in learnt], search_s[learnt])) for learnt, judged in folds]
    return Fitted(fit(ways, search_s), in_fold)


def _as_published(rule: Rule) -> Fit:
    return lambda _ways, _search_s: rule


def _fit_near_and_slow(ways: Ways, search_s: Floats) -> Rule:
    rules = [_near_and_slow(*pair) for pair in product(NEAR_M, FAST_KMH)]
    return min(rules, key=lambda rule: float(np.abs(durations(rule, ways) - search_s).mean()))


def _near_and_slow(near_m: float, fast_kmh: float) -> Rule:
    return lambda way: near_and_slow(way, near_m, fast_kmh)


METHODS: Final[Mapping[str, Fit]] = {
    "always zero": _as_published(always_zero),
    "400 m radius": _as_published(within_radius),
    "speed rule": _as_published(slow_samples),
    "excess rule": _as_published(excess),
    "simple rule": _fit_near_and_slow,
    "logistic": logistic.fit,
}
