"""What the search is judged by: coefficients, fitted to labelled drives, that `advance` and `expire` take as a value.

A model is four logistic regressions. Two judge a point of a drive (`geo.trips.features`): the log-odds that it lies in
the search for the place where the drive ended, and that it lies in a search at all. Two judge a session found, by
`SESSION_FEATURES`: whether a search of SEARCH_S took place that ended by parking, or that was given up. These
probabilities are the sessions' confidence, and a session less likely than `least` is none.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SEARCH_S: Final = 60.0

SESSION_FEATURES: Final = (
    "length",  # log(1 + s / 30)
    "odds",  # log(1 + the sum of its points' log-odds)
    "excess",  # metres beyond the crow's way x 1.3, per 500
    "detour",  # way driven by crow's way
    "slow",  # share of its time below SLOW_MPS
    "turns",  # radians, by 3
    "again",  # share of points within AGAIN_M of the own track of more than 60 s before
    "stops",  # log(1 + stops a kilometre of the drive)
    "drive",  # log(1 + km)
    "hurry",  # 1 if the drive began after a parking of less than 10 min
    "fresh",  # 1 if where the drive began was no known parking
    "busy",  # parkings lately, each fading over an hour
    "direct",  # crow's way by way of the drive up to the session's end
    "pace",  # m/s, by 5
    "reach",  # log(1 + the furthest from its end, per 100 m)
    "arrival",  # m/s of the last legs, by 5
    "stand",  # log(1 + the longest stand within 30 m, per 20 s)
    "onward",  # straightness of the 120 s behind it, 0 if it ended by parking
)

Coefficients = NDArray[np.float64]


class Model(NamedTuple):
    """Coefficients, the intercept first in each."""

    near: Coefficients  # of a point, by FEATURES: it lies in the search for the place where the drive ended
    wander: Coefficients  # of a point, by WANDER: it lies in a search
    parked: Coefficients  # of a session that ended by parking, by SESSION_FEATURES: a search of SEARCH_S took place
    left: Coefficients  # of a session that was left: the same
    least: Coefficients  # the probability that a session needs: parked, left


MODEL: Final = Model(
    near=np.array(
        [
            2.498,
            -0.5993,
            -0.002566,
            -0.1572,
            0.6412,
            -1.898,
            0.09172,
            0.2423,
            -0.4866,
            -0.5259,
            0.7047,
            -0.1099,
            0.06392,
        ]
    ),
    wander=np.array([-0.4712, -0.3736, -0.1205, -0.08467, -0.1371, -2.164, -1.773, 0.3094, -0.2317]),
    parked=np.array(
        [
            -2.192,
            0.7044,
            0.9188,
            -0.8741,
            0.4839,
            -3.083,
            0.04834,
            -0.3697,
            -0.2479,
            0.519,
            -0.5099,
            0.5528,
            -0.5834,
            0.1978,
            0.4408,
            -1.062,
            -1.541,
            -0.6226,
            0.0,
        ]
    ),
    left=np.array(
        [
            -1.879,
            1.266,
            0.3574,
            0.2486,
            0.8065,
            -2.129,
            0.01141,
            -3.461,
            -0.06606,
            -1.583,
            0.8519,
            0.006952,
            -0.4456,
            -0.08352,
            -1.413,
            -0.7142,
            0.7066,
            -1.731,
            0.4899,
        ]
    ),
    least=np.array([0.25, 0.35]),
)
"""Fitted to the real drives of start2park and the simulated ones of two data sets: `geo.trips` says how."""
