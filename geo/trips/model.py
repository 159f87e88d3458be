"""What the search is judged by: coefficients, fitted to labelled drives, that `advance` and `expire` take as a value.

A model is four logistic regressions and two numbers. Two regressions judge a point of a drive (`geo.trips.features`):
the log-odds that it lies in the search for the place where the drive ended, and that it lies in a search at all;
`start` says what the former tell of where that search began. Two judge a session found, by `SESSION_FEATURES`, each of
which counts by one slope up to its bend and by another beyond it: whether a search of SEARCH_S took place that ended by
parking, or that was given up. These probabilities are the sessions' confidence; one less likely than `least` is none.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SEARCH_S: Final = 60.0

SESSION_FEATURES: Final = (
    "length",  # log(1 + s / 30)
    "odds",  # log(1 + the sum of its points' log-odds)
    "excess",  # log(1 + metres beyond the crow's way x 1.3, per 200)
    "detour",  # way driven by crow's way
    "slow",  # share of its time below SLOW_MPS
    "turns",  # log(1 + radians)
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
    start: Coefficients  # of where the search for the place began: what a log-odds counts, and those of no search
    wander: Coefficients  # of a point, by WANDER: it lies in a search
    parked: Coefficients  # of a session that ended by parking: a search of SEARCH_S took place; and behind the slopes
    # by SESSION_FEATURES, how much steeper each is beyond its bend, and where the bends are
    left: Coefficients  # of a session that was left: the same
    least: Coefficients  # the probability that a session needs: parked, left


# fmt: off
MODEL: Final = Model(
    near=np.array([
        2.913, -0.1143, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.7691, -0.09599, -0.5046, 0.7634, -0.3432, 0.03907,
    ]),
    start=np.array([
        0.1, 1.0,
    ]),
    wander=np.array([
        1.389, -0.3937, -0.1659, -0.1227, -0.1218, -2.2, -1.149, -1.334, 0.3074, -0.2583, 0.1317,
    ]),
    parked=np.array([
        -5.896, 0.3359, 0.3949, -0.7575, 0.2153, -0.2408, 0.9356, 0.3226, -0.2765, 0.2227, -0.4934, -0.05436,
        -0.2681, 2.2, 0.6724, 0.8798, 0.2348, -0.2948, 0.0, 0.4391, 0.3516, 1.101, -0.02805, 0.1249, -0.7817,
        0.2394, -0.2408, 0.5184, 0.3226, -0.09138, -0.4433, -0.4934, 0.0, -0.2681, -5.014, -0.5978, -2.396,
        -0.7024, -0.7239, 0.0, -1.639, 0.7699, 1.101, 0.6414, 0.8992, 0.02392, 1.234, 0.0, 0.8497, 0.0, 0.5263,
        1.271, 0.0, 1.0, 0.0, 0.4298, 0.6622, 0.7702, 1.202, 0.2624, 0.0, 1.162, 1.094, 0.0,
    ]),
    left=np.array([
        -3.761, 0.4751, 0.3093, 0.3032, 0.2923, -0.8076, 0.3027, -0.6429, -0.375, -0.1221, -0.1214, 0.02954,
        -0.2318, 1.042, -0.4956, 0.09464, -0.04019, -0.481, 0.6606, 0.0, 0.0, 0.1436, 0.1157, 0.176, 0.03114, 0.0,
        0.07247, 0.0941, -3.322, -0.2059, -1.981, -0.1214, 0.0, -0.2318, -0.1244, -1.849, -0.7398, 0.0317,
        -0.9531, -1.284, 0.0, 0.0, 0.1436, 1.833, 2.811, 1.43, 5.0, 0.1142, 2.276, 0.5, 0.5703, 1.463, 0.0, 1.0,
        0.0, 0.2134, 0.9846, 1.147, 1.156, 0.7068, 0.5495, 0.0, 0.0, 0.0,
    ]),
    least=np.array([
        0.42, 0.32,
    ]),
)
# fmt: on
"""As `parkpal accuracy --fit` prints it: real drives of start2park (Frankfurt) and a simulated city (Dublin)."""
