"""Is a confidence of .8 right in eight of ten cases? Reliability by tenths, and the error over all."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS: Final = 10


class Reliability(NamedTuple):
    """By bin of confidence: how many, what was said, what was so; and the mean gap between the two."""

    number: list[int]
    said: list[float | None]
    so: list[float | None]
    error: float | None


def reliability(confidence: NDArray[np.float64], so: NDArray[np.bool_]) -> Reliability:
    """Return the reliability of confidences in [0, 1] about things that were so or not."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    said, share = (np.bincount(place, weights=values, minlength=BINS) for values in (confidence, so.astype(float)))
    gap = float(np.abs(said - share).sum() / confidence.size) if confidence.size else None
    mean_said, mean_so = (
        [float(s / n) if n else None for s, n in zip(sums, count, strict=True)] for sums in (said, share)
    )
    return Reliability(count.tolist(), mean_said, mean_so, gap)
