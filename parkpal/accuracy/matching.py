"""What counts as found: one to one, best first; a ratio without a denominator is None."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

Figures = dict[str, float | int | None]

SEARCH_S: Final = 60.0
"""A true search counts from this length on."""
OVERLAP: Final = 0.3
"""A found search is the true one if their intersection over their union is at least this."""
ENDS_MS: Final = 60_000
METRES_PER_DEGREE: Final = 111_320.0


class Pairs(NamedTuple):
    """Places of matched rows in both tables, best first."""

    found: list[int]
    true: list[int]


def one_to_one(pairs: pl.DataFrame) -> Pairs:
    """Choose among candidate pairs (score, found, true) so that no row is used twice, highest score first."""
    chosen, used_found, used_true = Pairs([], []), set(), set()
    for _, found, true in pairs.sort("score", "found", "true", descending=True).iter_rows():
        if found not in used_found and true not in used_true:
            used_found.add(found)
            used_true.add(true)
            chosen.found.append(found)
            chosen.true.append(true)
    return chosen


def match_searches(true: pl.DataFrame, found: pl.DataFrame, start: str = "search_start") -> Pairs:
    """Match sessions with true searches by overlap; both have device_id, search_start and search_end in ms."""
    true_start = pl.coalesce(start, "search_start").alias("true_start")
    return one_to_one(
        side_by_side(true.with_columns(true_start), found)
        .with_columns(score=overlap_ms() / span_ms())
        .filter(pl.col("score") >= OVERLAP)
        .select("score", "found", "true")
    )


def match_ends(true: pl.DataFrame, found: pl.DataFrame) -> Pairs:
    """Match sessions with true searches that end within a minute of each other."""
    apart = (pl.col("search_end_found") - pl.col("search_end")).abs()
    both = side_by_side(true.with_columns(true_start="search_start"), found).with_columns(score=-apart)
    return one_to_one(both.filter(pl.col("score") >= -ENDS_MS).select("score", "found", "true"))


def match_times(true: pl.DataFrame, found: pl.DataFrame, within_s: float) -> Pairs:
    """Match rows of one device, nearest in time; true has `time` and found `event_time` in ms."""
    both = side_by_side(true, found)
    apart = (pl.col("event_time") - pl.col("time")).abs()
    near = both.with_columns(score=-apart).filter(apart <= 1000 * within_s)
    return one_to_one(near.select("score", "found", "true"))


def side_by_side(true: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Pair every row with every row of the same device; `found` and `true` are their places in the tables."""
    return true.with_row_index("true").join(found.with_row_index("found"), on="device_id", suffix="_found")


def overlap_ms() -> pl.Expr:
    """Return how long a pair's searches are under way at once; the true one begins at `true_start`."""
    ends = pl.min_horizontal("search_end", "search_end_found")
    return pl.max_horizontal(0, ends - pl.max_horizontal("true_start", "search_start_found"))


def span_ms() -> pl.Expr:
    """Return the time from the earlier start of a pair's searches to the later end."""
    return pl.max_horizontal("search_end", "search_end_found") - pl.min_horizontal("true_start", "search_start_found")


def ratio(part: float, whole: float) -> float | None:
    """Return part / whole."""
    return part / whole if whole else None


def hits(found: int, false: int, missed: int) -> Figures:
    """Return precision, recall and F1 with the counts they come from."""
    return {
        "tp": found,
        "fp": false,
        "fn": missed,
        "precision": ratio(found, found + false),
        "recall": ratio(found, found + missed),
        "f1": ratio(2 * found, 2 * found + false + missed),
    }


def errors(values: ArrayLike) -> Figures:
    """Return how far values lie from zero."""
    off = np.asarray(values, float)
    if not off.size:
        return {"n": 0}
    size = np.abs(off)
    return {
        "n": off.size,
        "mae": float(size.mean()),
        "median_abs": float(np.median(size)),
        "p90_abs": float(np.quantile(size, 0.9)),
        "bias": float(off.mean()),
        "median": float(np.median(off)),
    }


def apart_m(one: pl.DataFrame, other: pl.DataFrame) -> NDArray[np.float64]:
    """Return the metres between places (lat, lon) of two tables, row by row; NaN where either has none."""
    lat = other["lat"].to_numpy()
    north, east = (one["lat"].to_numpy() - lat), (one["lon"].to_numpy() - other["lon"].to_numpy())
    apart: NDArray[np.float64] = METRES_PER_DEGREE * np.hypot(north, east * np.cos(np.radians(lat)))
    return apart
