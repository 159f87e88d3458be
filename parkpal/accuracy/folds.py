"""Whatever is chosen by looking at labels is chosen without the drives it is judged on; intervals come from resampling.

Drives are the unit of both: a drive is in one fold, and methods are compared drive by drive.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

FOLDS: Final = 10
RESAMPLES: Final = 4_000
LEVEL: Final = 0.95

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


def numbers(count: int, seed: int) -> Numbers:
    """Return the fold of each of `count` drives or devices."""
    return np.random.default_rng(seed).permutation(count) % FOLDS


def split(count: int, seed: int) -> list[tuple[Numbers, Numbers]]:
    """Return for each fold the drives to learn from and those to judge; every drive is judged once."""
    fold = numbers(count, seed)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(min(FOLDS, count))]


def interval(values: Floats, seed: int) -> tuple[float, float, float]:
    """Return the mean of one figure a drive, and the bounds of its bootstrap interval."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(values.size, size=(RESAMPLES, values.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(values.mean()), float(low), float(high)
