"""What a perfect phone would have seen: place and activity, once a second, from the first leg to the last."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.fix import ACTIVITIES
from parkpal.simulate.city import Floats
from parkpal.simulate.people import Leg, Person

ROUNDING_S: Final = 3
"""Corners and starts are rounded over this many seconds, as mass does."""


class Track(NamedTuple):
    """One row per second: `time_s` int64 seconds of the simulation, `x` and `y` metres, codes of ACTIVITIES."""

    time_s: NDArray[np.int64]
    x: Floats
    y: Floats
    activity: NDArray[np.int8]
    covered: NDArray[np.bool_]

    def rows(self, time_s: Floats | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row in force at each time, clipped to the track."""
        offset = np.asarray(time_s, dtype=np.int64) - int(self.time_s[0])
        rows: NDArray[np.int64] = np.minimum(np.maximum(offset, 0), self.time_s.size - 1)
        return rows


def trace(person: Person, origin: tuple[float, float]) -> Track:
    """Lay a person's legs out from where they began, second by second."""
    legs: Sequence[Leg] = person.legs
    ends = person.start_s + np.cumsum([leg.seconds for leg in legs])
    knots = np.concatenate(([person.start_s], ends))
    time_s = np.arange(np.ceil(person.start_s), np.floor(ends[-1]) + 1, dtype=np.int64)
    x = np.interp(time_s, knots, [origin[0], *(leg.x for leg in legs)])
    y = np.interp(time_s, knots, [origin[1], *(leg.y for leg in legs)])
    row = np.minimum(np.searchsorted(ends, time_s, side="left"), len(legs) - 1)
    activity = np.array([ACTIVITIES.index(each.activity) for each in legs], dtype=np.int8)
    covered = np.array([each.covered for each in legs])
    return Track(time_s, _rounded(x), _rounded(y), activity[row], covered[row])


def _rounded(values: Floats) -> Floats:
    padded = np.pad(values, ROUNDING_S // 2, mode="edge")
    return np.convolve(padded, np.full(ROUNDING_S, 1 / ROUNDING_S), mode="valid")
