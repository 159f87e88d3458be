"""Live hints that somebody seems to be searching: raised in time, late, or in vain.

Asked for are true searches of LONG_S; a hint is in vain on a trip without a true search of SEARCH_S. A hint is late by
the time from the true start of the search to when it was raised.
"""

from typing import Final

import numpy as np
import polars as pl

from parkpal.accuracy.matching import SEARCH_S, Figures, ratio

LONG_S: Final = 120.0
NOBODY: Final = pl.DataFrame(schema={"device_id": pl.String, "raised_at": pl.Int64})
"""No table is written where no hint was raised."""


def score(trips: pl.DataFrame, hints: pl.DataFrame | None) -> Figures:
    """Return the figures; trips (device_id, trip_start, trip_end, search_start, search_end, search_s), times in ms."""
    raised = hints.unique("hint_id").select("device_id", "raised_at") if hints is not None else NOBODY
    both = trips.with_row_index("trip").join(raised, on="device_id")
    long = both.filter(pl.col("search_s") >= LONG_S, pl.col("raised_at").is_between("search_start", "search_end"))
    first = long.group_by("trip").agg(late_s=(pl.col("raised_at") - pl.col("search_start")).min() / 1000)
    quiet = pl.col("search_s") < SEARCH_S
    vain = both.filter(quiet, pl.col("raised_at").is_between("trip_start", "trip_end"))["trip"].n_unique()
    return {
        "long_searches": trips.filter(pl.col("search_s") >= LONG_S).height,
        "recall": ratio(first.height, trips.filter(pl.col("search_s") >= LONG_S).height),
        "quiet_trips": trips.filter(quiet).height,
        "in_vain": ratio(vain, trips.filter(quiet).height),
        "late_median_s": float(np.median(first["late_s"].to_numpy())) if first.height else None,
    }
