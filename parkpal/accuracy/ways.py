"""The way to a parking place as simple rules see it: seconds and metres, from the first fix of a drive to the park."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geo import trips
from geo.fix import MICRODEGREES, NULL_DEGREES
from geo.trips.rules import MAX_ACCURACY_M, OUTCOMES, STEP_MS
from parkpal.accuracy.detect import Decided, Seen
from parkpal.accuracy.drives import Drives
from parkpal.accuracy.matching import METRES_PER_DEGREE

Floats = NDArray[np.float64]

LEAST_FIXES: Final = 2


class Way(NamedTuple):
    """Fixes up to the park, in order, at least STEP_MS apart; `since_s` is negative: seconds before the park."""

    since_s: Floats
    east_m: Floats  # from the parking place
    north_m: Floats
    away_m: Floats


def build_way(time: NDArray[np.int64], lat: Floats, lon: Floats, park_time: float, park: tuple[float, float]) -> Way:
    """Build the way to a park from fixes in order (ms UTC, degrees)."""
    before = np.flatnonzero(time <= park_time)
    kept = before[_apart(time[before])]
    north = METRES_PER_DEGREE * (lat[kept] - park[0])
    east = METRES_PER_DEGREE * np.cos(np.radians(park[0])) * (lon[kept] - park[1])
    return Way((time[kept] - park_time) / 1000, east, north, np.hypot(east, north))


def _apart(time: NDArray[np.int64]) -> NDArray[np.int64]:
    kept, last = [], -np.inf
    for i, now in enumerate(time.tolist()):
        if now - last >= STEP_MS:
            kept.append(i)
            last = now
    return np.array(kept, np.int64)


def of_drives(drives: Drives, parks: pl.DataFrame) -> list[Way | None]:
    """Return the way to each park (park_time, lat, lon), in the order of the truth; None without a park."""
    ways: list[Way | None] = []
    points = drives.points.partition_by("trip_id", as_dict=True)
    for trip, park_time, lat, lon in parks.select("trip_id", "park_time", "lat", "lon").iter_rows():
        time, to_lat, to_lon = (points[(trip,)][name].to_numpy() for name in ("time", "lat", "lon"))
        ways.append(None if park_time is None else build_way(time, to_lat, to_lon, park_time, (lat, lon)))
    return ways


def of_trips(seen: Seen, decided: Decided) -> list[Way | None]:
    """Return the way of each trip decided, in their order; None unless it parked."""
    rows, slot = seen.rows, seen.slot
    usable = (rows["lat"] != NULL_DEGREES) & ~(rows["accuracy_m"] > MAX_ACCURACY_M)
    rows, slot = rows[usable], slot[usable]
    by_device = np.argsort(slot, kind="stable")
    rows, slot = rows[by_device], slot[by_device]
    time = rows["event_time"]
    lat, lon = (rows[name] / MICRODEGREES for name in ("lat", "lon"))
    bounds = np.searchsorted(slot, np.arange(len(seen.device_ids) + 1))
    ended = decided.events["kind"] == trips.TRIP
    ways: list[Way | None] = []
    for event, device in zip(decided.events[ended], decided.slot[ended], strict=True):
        first = bounds[device] + np.searchsorted(time[bounds[device] : bounds[device + 1]], event["trip_start"])
        own = slice(int(first), int(bounds[device + 1]))
        place = float(event["lat"]) / MICRODEGREES, float(event["lon"]) / MICRODEGREES
        parked = OUTCOMES[event["outcome"]] == "parked"
        ways.append(build_way(time[own], lat[own], lon[own], float(event["event_time"]), place) if parked else None)
    return ways


def durations(rule: Callable[[Way], float], ways: Sequence[Way | None]) -> Floats:
    """Return the seconds of search that a rule finds on each way, 0 without one."""
    return np.array([0.0 if way is None or way.since_s.size < LEAST_FIXES else rule(way) for way in ways])
