"""Do the simulator's drivers search as long as real ones? Of all who parked: the share without search, p50 and p90."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from parkpal.accuracy.folds import Floats
from parkpal.simulate.simulation import simulate

SEED: Final = 1
DEVICES: Final = 1_000
HOURS: Final = 1.0
START_MS: Final = 1_772_582_400_000


class Searches(NamedTuple):
    """How long people searched who parked."""

    parked: int
    share_no_search: float
    p50_s: float
    p90_s: float
    p50_of_searchers_s: float
    p90_of_searchers_s: float


def searches(search_s: Floats) -> Searches:
    """Summarise seconds of search, 0 for who did not."""
    some = search_s[search_s > 0]
    quantiles = [float(np.quantile(of, q)) if of.size else 0.0 for of in (search_s, some) for q in (0.5, 0.9)]
    return Searches(search_s.size, float(np.mean(search_s == 0)), *quantiles)


def simulated() -> Searches:
    """Simulate the city that `parkpal simulate` makes unless told otherwise, and summarise who came to park in it."""
    trips = simulate(SEED, DEVICES, HOURS, START_MS).truth["search"]
    came = trips.filter(pl.col("label") == "parker", pl.col("outcome") == "parked")
    return searches(came["duration_s"].to_numpy())
