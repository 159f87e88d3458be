"""Simulated cities with exact truth: searches, parkings and search minutes per cell, as an operator would buy them.

A true search counts from SEARCH_S on. A session of that length that matches none is false, unless more than half of it
lies in a search that is shorter, or that the truth calls ambiguous. False sessions are counted per 100 trips on which
nobody searched. Delivery stops are neither right nor wrong as parkings.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import h3
import numpy as np
import polars as pl
from numpy.typing import NDArray

from geo.fence_index import FenceIndex, build_index
from geo.fences import versions_from_geojson
from parkpal.accuracy.detect import Seen, see
from parkpal.accuracy.matching import (
    SEARCH_S,
    Figures,
    Pairs,
    apart_m,
    errors,
    hits,
    match_ends,
    match_searches,
    match_times,
    ratio,
)
from pipeline.events_file import read_events
from pipeline.replay import arrange

ON_FOOT: Final = ("pedestrian", "pedestrian_loop", "jogger_loop", "cyclist", "bike_courier", "bike_loop")
NO_PARK: Final = ("delivery_stop", "long_stop_in_car")
MARGIN_MS: Final = 60_000
"""A short or ambiguous search excuses sessions this far around it."""
CELL_RESOLUTION: Final = 8
HINT_SEARCH_S: Final = 120.0
"""A hint should be raised inside searches of this length."""


class City(NamedTuple):
    """What phones told, the fences, and the truth, of the phones that are judged."""

    seen: Seen
    fences: FenceIndex
    searches: pl.DataFrame
    parks: pl.DataFrame
    judged: list[str]


def read_city(folder: Path) -> City:
    """Read a folder of `parkpal simulate`; phones with a wrong clock are not judged."""
    devices = pl.read_parquet(folder / "truth_devices.parquet")
    right = devices.filter(pl.col("clock_kind") == "none").select("device_id", "sampling")
    truth = [pl.read_parquet(folder / f"truth_{name}.parquet") for name in ("search", "parks")]
    searches, parks = (table.join(right, on="device_id", maintain_order="left") for table in truth)
    versions = versions_from_geojson((folder / "fences.geojson").read_text(encoding="utf-8"))
    recording = arrange(read_events(folder / "events.parquet"), 0)
    return City(see(recording), build_index(versions), searches, parks, right["device_id"].to_list())


def judged(city: City, table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of phones that are judged."""
    return table.filter(pl.col("device_id").is_in(city.judged))


class Outcome(NamedTuple):
    """Sessions beside true searches: who matched whom, and which sessions are false."""

    true: pl.DataFrame  # true searches of SEARCH_S and more
    found: pl.DataFrame  # sessions with a search
    pairs: Pairs
    false: pl.DataFrame


def compare(searches: pl.DataFrame, sessions: pl.DataFrame) -> Outcome:
    """Match sessions (rows of circling_sessions, times in ms) with the true searches by overlap."""
    true = true_searches(searches)
    found = sessions.filter(pl.col("search_s") > 0)
    pairs = match_searches(true, found)
    return Outcome(true, found, pairs, _false_ones(searches, found, pairs))


def true_searches(searches: pl.DataFrame) -> pl.DataFrame:
    """Return the searches that count."""
    return searches.filter("searched", pl.col("duration_s") >= SEARCH_S)


def _false_ones(searches: pl.DataFrame, found: pl.DataFrame, pairs: Pairs) -> pl.DataFrame:
    numbered = found.with_row_index("number")
    loose = ~pl.col("number").is_in(pairs.found) & (pl.col("search_s") >= SEARCH_S)
    return numbered.filter(loose, ~pl.col("number").is_in(excused(searches, found).implode())).drop("number")


def excused(searches: pl.DataFrame, sessions: pl.DataFrame) -> pl.Series:
    """Return the places of the sessions of which more than half lies in a short or ambiguous search."""
    starts = ("search_start", "search_start_firstfull", "search_start_vicinity", "search_end")
    spans = searches.filter(
        pl.col("searched") | pl.col("ambiguous_soft_search"),
        ~(pl.col("searched") & (pl.col("duration_s") >= SEARCH_S)),
    ).select("device_id", since=pl.min_horizontal(*starts) - MARGIN_MS, until=pl.col("search_end") + MARGIN_MS)
    both = sessions.with_row_index("number").join(spans, on="device_id")
    inside = pl.min_horizontal("until", "search_end") - pl.max_horizontal("since", "search_start")
    return both.filter(inside > 0.5 * (pl.col("search_end") - pl.col("search_start")))["number"].unique()


def within_search(searches: pl.DataFrame, sessions: pl.DataFrame) -> NDArray[np.bool_]:
    """Return which sessions meet a true search of SEARCH_S and more."""
    numbered = sessions.with_row_index("number").select("number", "device_id", since="search_start", until="search_end")
    both = numbered.join(true_searches(searches), on="device_id")
    meet = both.filter(pl.col("since") < pl.col("search_end"), pl.col("until") > pl.col("search_start"))
    return np.isin(np.arange(sessions.height), meet["number"].to_numpy())


def score_searches(searches: pl.DataFrame, sessions: pl.DataFrame) -> dict[str, Any]:
    """Return every figure on searches; both tables are those of judged phones."""
    got = compare(searches, sessions)
    by_end = match_ends(got.true, got.found)
    false_by_end = _false_ones(searches, got.found, by_end).height
    pairs = pl.concat(
        [got.found[got.pairs.found].select(pl.all().name.prefix("found_")), got.true[got.pairs.true]], how="horizontal"
    )
    missed = got.true.height - len(got.pairs.true)
    return {
        "iou": hits(len(got.pairs.true), got.false.height, missed),
        "end": hits(len(by_end.true), false_by_end, got.true.height - len(by_end.true)),
        "search_s": errors(pairs["found_search_s"] - pairs["duration_s"]),
        "start_s": errors((pairs["found_search_start"] - pairs["search_start"]) / 1000),
        "outcome_right": ratio(int((pairs["found_outcome"].cast(pl.String) == pairs["outcome"]).sum()), pairs.height),
        "recall_by": _recall_by(got),
        "false_per_100": _false_per_100(searches, got.false),
        "minutes_per_cell": minutes_per_cell(searches, got.found),
    }


def _recall_by(got: Outcome) -> dict[str, tuple[int, int]]:
    length = pl.when(pl.col("duration_s") < 120).then(pl.lit("60-120 s")).when(pl.col("duration_s") < 300)
    groups = {
        "length": length.then(pl.lit("120-300 s")).otherwise(pl.lit("300 s and more")),
        "outcome": pl.col("outcome"),
        "label": pl.col("label"),
        "sampling": pl.col("sampling"),
    }
    hit = pl.Series("hit", np.isin(np.arange(got.true.height), got.pairs.true))
    out: dict[str, tuple[int, int]] = {}
    for name, group in groups.items():
        table = got.true.select(group.alias("group"), hit).group_by("group").agg(pl.col("hit").sum(), pl.len())
        out |= {f"{name}: {group}": (hit, of) for group, hit, of in table.sort("group").iter_rows()}
    return out


def _false_per_100(searches: pl.DataFrame, false: pl.DataFrame) -> dict[str, Any]:
    """Count false sessions by the trip they lie in most, on trips on which nobody searched."""
    trips = searches.with_row_index("trip")
    inside = pl.min_horizontal("trip_end", "search_end_false") - pl.max_horizontal("trip_start", "search_start_false")
    at = (
        false.with_row_index("false")
        .select("device_id", "false", search_start_false="search_start", search_end_false="search_end")
        .join(trips, on="device_id")
        .filter(inside > 0)
        .sort("false", inside, "trip", descending=[False, True, False])
        .unique("false", keep="first")
    )
    quiet = ~pl.col("searched") & ~pl.col("ambiguous_soft_search")
    of = Counter(trips.filter(quiet)["label"].to_list())
    count = Counter(at.filter(quiet)["label"].to_list())
    motor = [label for label in of if label not in ON_FOOT]
    return {
        "all": _per_100(count, of, list(of)),
        "motor": _per_100(count, of, motor),
        "by_label": {label: (count[label], of[label]) for label in sorted(of)},
    }


def _per_100(count: Counter[str], of: Counter[str], labels: Sequence[str]) -> float | None:
    return ratio(100 * sum(count[label] for label in labels), sum(of[label] for label in labels))


def minutes_per_cell(searches: pl.DataFrame, found: pl.DataFrame) -> Figures:
    """Compare search minutes per H3 cell, where the search ended."""
    true = searches.filter("searched").select(lat="end_lat", lon="end_lon", minutes=pl.col("duration_s") / 60)
    mine = found.drop_nulls("lat").select("lat", "lon", minutes=pl.col("search_s") / 60)
    both = _cell_minutes(true).join(_cell_minutes(mine), on="cell", how="full", coalesce=True).fill_null(0.0)
    t, m = both["minutes"].to_numpy(), both["minutes_right"].to_numpy()
    return {
        "cells": both.height,
        "true_min": float(t.sum()),
        "found_min": float(m.sum()),
        "bias_pct": 100 * float(m.sum() / max(t.sum(), 1e-9) - 1),
        "wape_pct": 100 * float(np.abs(m - t).sum() / max(t.sum(), 1e-9)),
    }


def _cell_minutes(ends: pl.DataFrame) -> pl.DataFrame:
    cells = [h3.latlng_to_cell(lat, lon, CELL_RESOLUTION) for lat, lon in ends.select("lat", "lon").iter_rows()]
    return ends.with_columns(pl.Series("cell", cells, pl.String)).group_by("cell").agg(pl.col("minutes").sum())


def score_parks(parks: pl.DataFrame, found: pl.DataFrame) -> dict[str, Any]:
    """Return the figures on parkings and departures; both tables are those of judged phones."""
    out: dict[str, Any] = {}
    for kind, true_kind in (("park_start", "park"), ("park_end", "unpark")):
        mine = found.filter(pl.col("kind").cast(pl.String) == kind)
        real = parks.filter(pl.col("kind") == true_kind)
        excused = real.filter(pl.col("place").is_in(NO_PARK))
        real = real.filter(~pl.col("place").is_in(NO_PARK))
        for within_s in (60, 180):
            pairs = match_times(real, mine, within_s)
            rest = mine.with_row_index("n").filter(~pl.col("n").is_in(pairs.found))
            ignored = len(match_times(excused, rest.drop("n"), within_s).found)
            counted = hits(len(pairs.true), rest.height - ignored, real.height - len(pairs.true))
            out[f"{kind}_{within_s}s"] = counted | {
                "time_s": errors((mine[pairs.found]["event_time"] - real[pairs.true]["time"]) / 1000),
                "place_m": errors(apart_m(mine[pairs.found], real[pairs.true])),
            }
    return out
