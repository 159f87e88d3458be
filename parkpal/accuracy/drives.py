"""Real drives whose drivers pressed a button when they began to search and when they had parked.

start2park, "Park-and-Visit" (ReLUT, Frankfurt UAS, BSD-3): trips.csv and waypoints.csv. Times are local and taken for
UTC. The true place is the waypoint nearest in time to the end of the search.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geo.fix import MICRODEGREES, FixArray
from parkpal.accuracy.detect import Seen
from parkpal.accuracy.matching import METRES_PER_DEGREE, Figures, apart_m, hits, ratio
from pipeline.batch.rows import blank

FILES: Final = ("waypoints.csv", "trips.csv")
TYPES: Final = {"TripID": pl.String, "speed_kmh": pl.Float64}
WALK_FIXES: Final = 3
"""A trace with fewer fixes on foot ends where the car parks, and so gives the park time away."""
LONG_S: Final = 120.0
NEAR_S: Final = 60.0
SPARSE_S: Final = 15
AFOOT_MS: Final = 600_000
AFOOT_MPS: Final = 1.3
STEP_MS: Final = 6_000
NOISE_M: Final = 15.0
ACCURACY_PER_SIGMA: Final = 1.515
UPLOAD_MS: Final = 1_000


class Drives(NamedTuple):
    """Waypoints (trip_id, time, lat, lon, speed_mps, accuracy_m) and the truth, a row a trip, in one order of trips."""

    points: pl.DataFrame
    truth: pl.DataFrame  # trip_id, search_start, park_time (ms), search_s, lat, lon, walk, published_s


def read_drives(folder: Path) -> Drives:
    """Read start2park."""
    points, trips = (pl.read_csv(folder / name, schema_overrides=TYPES, try_parse_dates=True) for name in FILES)
    points = points.select(
        "lat",
        "lon",
        "label",
        trip_id="TripID",
        time=pl.col("time").dt.epoch("ms"),
        speed_mps=pl.col("speed_kmh") / 3.6,
        accuracy_m=pl.lit(None, pl.Float64),
    ).sort("trip_id", "time")
    truth = trips.select(
        trip_id="TripID",
        search_start=pl.col("ParkingSearch_StartingTime").dt.epoch("ms"),
        park_time=pl.col("ParkingSearch_EndingTime").dt.epoch("ms"),
        search_s=pl.col("Parking_Search_Duration_min") * 60,
        published_s=pl.col("Parking_Search_Duration_min_Predicted") * 60,
    ).sort("trip_id")
    return Drives(points.drop("label"), truth.join(_last_seen(points, truth), on="trip_id", maintain_order="left"))


def _last_seen(points: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """Return where each trip parked, and whether the trace goes on on foot."""
    apart = (pl.col("time") - pl.col("park_time")).abs()
    place = pl.col("lat", "lon").sort_by(apart).first()
    walk = (pl.col("label") == "walking").sum() >= WALK_FIXES
    return points.join(truth, on="trip_id").group_by("trip_id").agg(place, walk=walk)


def degrade(drives: Drives, seed: int) -> Drives:
    """Return the drives as a worse phone tells them: a fix every 15 s, 15 m of noise, no speed of its own."""
    rng = np.random.default_rng(seed)
    kept = np.concatenate([_thinned(trip["time"].to_numpy()) for trip in drives.points.partition_by("trip_id")])
    points = drives.points.filter(pl.Series(kept))
    north, east = rng.normal(0, NOISE_M, (2, points.height)) / 111_320
    return drives._replace(
        points=points.with_columns(
            lat=pl.col("lat") + north,
            lon=pl.col("lon") + pl.Series(east) / np.cos(np.radians(points["lat"])),
            speed_mps=pl.lit(None, pl.Float64),
            accuracy_m=pl.lit(NOISE_M * ACCURACY_PER_SIGMA),
        )
    )


def tell_park(drives: Drives) -> Drives:
    """Return the drives as if the phone knew the place: at the true park somebody gets out and walks off northwards.

    A phone that lies still there is told less: it looks like one of a car that waits.
    """
    after = pl.int_ranges(0, AFOOT_MS, STEP_MS).alias("after")
    walked_m = AFOOT_MPS * pl.col("after") / 1000
    walks = (
        drives.truth.select("trip_id", "park_time", "lat", "lon", after)
        .explode("after")
        .select(
            "lon",
            "trip_id",
            lat=pl.col("lat") + walked_m / METRES_PER_DEGREE,
            time=pl.col("park_time") + pl.col("after"),
            speed_mps=pl.lit(AFOOT_MPS),
            accuracy_m=pl.lit(None, pl.Float64),
        )
    )
    parks = drives.truth.select("trip_id", "park_time")
    driven = drives.points.join(parks, on="trip_id").filter(pl.col("time") < pl.col("park_time"))
    points = pl.concat([driven.select(walks.columns), walks]).sort("trip_id", "time")
    return drives._replace(points=points)


def _thinned(time: NDArray[np.int64]) -> NDArray[np.bool_]:
    kept, last = np.zeros(time.size, np.bool_), -np.inf
    for i, now in enumerate(time):
        if now - last >= SPARSE_S * 1000:
            kept[i], last = True, now
    return kept


def to_seen(drives: Drives) -> Seen:
    """Return the drives as rows that detection sees, each trip a device of its own."""
    points, ids = drives.points, drives.truth["trip_id"]
    slot = ids.to_frame().with_row_index("slot").join(points, on="trip_id", maintain_order="right")["slot"]
    return Seen(_fixes(points), slot.to_numpy().astype(np.int32), [trip.encode() for trip in ids])


def _fixes(points: pl.DataFrame) -> FixArray:
    rows = blank(points.height)
    rows["event_time"] = points["time"]
    rows["receive_time"] = points["time"] + UPLOAD_MS
    rows["seq"] = np.arange(points.height)
    for name in ("lat", "lon"):
        rows[name] = np.round(points[name].to_numpy() * MICRODEGREES)
    for name in ("accuracy_m", "speed_mps"):
        rows[name] = points[name].fill_null(float("nan"))
    return rows


def find(drives: Drives, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Return what was found of each drive, in the order of the truth: park_time (ms), lat, lon, search_s, confidence.

    The found search is the session that ends at the trip's last park_start; without one search_s is 0.
    """
    parks = tables["park_events"].filter(pl.col("kind").cast(pl.String) == "park_start")
    last = parks.group_by("device_id").agg(pl.col("event_time", "lat", "lon").sort_by("event_time").last())
    ends = tables["trips"].rename({"trip_end": "event_time"}).select("trip_id", "device_id", "event_time")
    sessions = tables["circling_sessions"].select("search_s", "confidence", trip_id="session_id")
    found = last.join(ends, on=["device_id", "event_time"], how="left").join(sessions, on="trip_id", how="left")
    found = found.select("lat", "lon", "search_s", "confidence", trip_id="device_id", park_time="event_time")
    return (
        drives.truth.select("trip_id")
        .join(found, on="trip_id", how="left", maintain_order="left")
        .with_columns(pl.col("search_s", "confidence").fill_null(0.0))
    )


def errors_s(truth: pl.DataFrame, search_s: pl.Series) -> NDArray[np.float64]:
    """Return the absolute error of each search's duration, in seconds."""
    off_s: NDArray[np.float64] = np.abs(search_s.to_numpy() - truth["search_s"].to_numpy())
    return off_s


def score(truth: pl.DataFrame, found: pl.DataFrame) -> Figures:
    """Return the figures over these drives; a drive without a park is a miss for time and place."""
    off_s = (found["park_time"] - truth["park_time"]).cast(pl.Float64).abs().fill_null(np.inf).to_numpy() / 1000
    start = found["park_time"] - 1000 * found["search_s"] - truth["search_start"]
    start_off_s = start.cast(pl.Float64).abs().fill_null(np.inf).to_numpy() / 1000
    searched = truth["search_s"].to_numpy() > 0
    long, found_long = truth["search_s"].to_numpy() >= LONG_S, found["search_s"].to_numpy() >= LONG_S
    both = int(np.sum(long & found_long))
    long_hits = hits(both, int(np.sum(found_long)) - both, int(np.sum(long)) - both)
    return {
        "n": truth.height,
        "search_mae_s": float(errors_s(truth, found["search_s"]).mean()),
        "start_60s": float(np.mean(start_off_s <= NEAR_S)),
        "start_60s_searched": ratio(float(np.sum(start_off_s[searched] <= NEAR_S)), float(np.sum(searched))),
        **{f"long_{name}": long_hits[name] for name in ("precision", "recall", "f1")},
        "park_60s": float(np.mean(off_s <= NEAR_S)),
        "park_median_s": float(np.median(off_s)),
        "place_p90_m": float(np.quantile(np.nan_to_num(apart_m(found, truth), nan=np.inf), 0.9, method="higher")),
    }
