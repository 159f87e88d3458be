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
    "lag",  # log(1 + s from parking until the phone speaks of feet, per 30 s), of 300 s if it does not; 0 if left
    "walked",  # metres from the place when that was settled, per 50; 0 if left
    "mute",  # 1 if the phone tells no activities: a passenger cannot be told from a driver
)

Coefficients = NDArray[np.float64]


class Model(NamedTuple):
    """Coefficients, the intercept first in each."""

    near: Coefficients  # of a point, by FEATURES: it lies in the search for the place where the drive ended
    wander: Coefficients  # of a point, by WANDER: it lies in a search
    parked: Coefficients  # of a session that ended by parking, by SESSION_FEATURES: a search of SEARCH_S took place
    left: Coefficients  # of a session that was left: the same
    least: Coefficients  # the probability that a session needs: parked, left


# fmt: off
MODEL: Final = Model(
    near=np.array([
        2.733, -0.627, -0.004188, -0.06481, 0.6948, -1.984, -0.6081, 1.252, 0.2481, -0.4966, -0.1267, -0.5324,
        0.7265, -0.2379, 0.03869,
    ]),
    wander=np.array([
        1.389, -0.3937, -0.1659, -0.1227, -0.1218, -2.2, -1.149, -1.334, 0.3074, -0.2583, 0.1317,
    ]),
    parked=np.array([
        -2.519, 0.4193, 0.7693, -0.642, 0.5064, -2.6, 0.04928, 0.6407, -0.4385, 0.2362, -0.5749, 0.1545,
        -0.6481, -0.3971, 0.3458, -1.175, -0.628, -0.6699, 0.0, -0.529, 0.8883, 1.918,
    ]),
    left=np.array([
        -3.123, 0.618, 0.5384, 0.08781, 0.4295, -1.303, 0.01538, -1.619, -0.4183, -0.7413, -0.1741, 0.1026,
        -0.3395, 1.307, -1.039, -0.09401, -0.1067, -0.8924, 0.5638, 0.0, 0.0, 0.029,
    ]),
    least=np.array([
        0.4, 0.32,
    ]),
)
# fmt: on
"""As `parkpal accuracy --fit` prints it: real drives of start2park (Frankfurt) and a simulated city (Dublin)."""
