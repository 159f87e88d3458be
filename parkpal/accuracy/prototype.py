"""The rule of ParkPal's first prototype, end to end: a score says parked, circling is zone entry to park.

score = 0.4 x share of STILL and ON_FOOT in 3 min + 0.3 x (moved < 10 m in 60 s) + 0.3 x (still >= 45 s), parked at
0.75. Without any activity the other two terms carry the whole weight, else nothing would ever park. It had zones drawn
by hand; here the zone is the H3 cell of resolution 8 that holds the place. Abandoned searches are dropped.
"""

from typing import Final

import h3
import numpy as np
import polars as pl
from numpy.typing import NDArray

from geo.fix import ACTIVITIES, MICRODEGREES, NULL_CODE, NULL_DEGREES, FixArray
from parkpal.accuracy.detect import Seen
from parkpal.accuracy.matching import METRES_PER_DEGREE
from parkpal.accuracy.ways import Floats

PARKED: Final = 0.75
WEIGHTS: Final = (0.4, 0.3, 0.3)
SHARE_MS: Final = 180_000
MOVED_MS: Final = 60_000
MOVED_M: Final = 10.0
STILL_MS: Final = 45_000
STILL_MPS: Final = 1.0
LEFT_M: Final = 100.0
"""Who is this far from where they parked has left."""
RESTING: Final = [ACTIVITIES.index(name) for name in ("still", "on_foot", "walking")]
RESOLUTION: Final = 8
COLUMNS: Final = {
    "device_id": pl.String, "search_start": pl.Int64, "search_end": pl.Int64, "search_s": pl.Float64,
    "outcome": pl.String, "lat": pl.Float64, "lon": pl.Float64,
}  # fmt: skip


def detect(seen: Seen) -> pl.DataFrame:
    """Return the sessions that the rule finds, a row a park, as far as they are scored."""
    order = np.argsort(seen.slot, kind="stable")
    bounds = np.searchsorted(seen.slot[order], np.arange(len(seen.device_ids) + 1))
    found = [
        (device.decode(), start, end, (end - start) / 1000, "parked", lat, lon)
        for i, device in enumerate(seen.device_ids)
        for start, end, lat, lon in _sessions(seen.rows[order[bounds[i] : bounds[i + 1]]])
    ]
    return pl.DataFrame(found, schema=COLUMNS, orient="row")


def _sessions(rows: FixArray) -> list[tuple[int, int, float, float]]:
    fixes = rows[rows["lat"] != NULL_DEGREES]
    lat, lon = (fixes[name] / MICRODEGREES for name in ("lat", "lon"))
    north, east = METRES_PER_DEGREE * lat, METRES_PER_DEGREE * np.cos(np.radians(lat)) * lon
    resting = scores(rows, fixes["event_time"], north, east) >= PARKED
    out, i = [], 0
    while i < len(fixes):
        if not resting[i]:
            i += 1
            continue
        out.append(
            (_entry(fixes["event_time"], lat, lon, i), int(fixes["event_time"][i]), float(lat[i]), float(lon[i]))
        )
        gone = np.flatnonzero(np.hypot(north[i:] - north[i], east[i:] - east[i]) > LEFT_M)
        i = i + int(gone[0]) if gone.size else len(fixes)
    return out


def _entry(time: NDArray[np.int64], lat: Floats, lon: Floats, park: int) -> int:
    """Return when the device last came into the zone of the place."""
    zone, i = h3.latlng_to_cell(lat[park], lon[park], RESOLUTION), park
    while i > 0 and h3.latlng_to_cell(lat[i - 1], lon[i - 1], RESOLUTION) == zone:
        i -= 1
    return int(time[i])


def scores(rows: FixArray, time: NDArray[np.int64], north: Floats, east: Floats) -> Floats:
    """Return the score at each fix of one device."""
    if not time.size:
        return np.zeros(0)
    said = rows[rows["activity"] != NULL_CODE]
    back = np.maximum(np.searchsorted(time, time - MOVED_MS, side="right") - 1, 0)
    unmoved = (time - time[back] >= MOVED_MS) & (np.hypot(north - north[back], east - east[back]) < MOVED_M)
    step_m = np.hypot(np.diff(north, prepend=north[0]), np.diff(east, prepend=east[0]))
    moving = step_m * 1000 > STILL_MPS * np.diff(time, prepend=time[0])
    last_moving = np.maximum.accumulate(np.where(moving, time, time[0]))
    still = time - last_moving >= STILL_MS
    rest: Floats = WEIGHTS[1] * unmoved + WEIGHTS[2] * still
    if not said.size:
        return rest / (WEIGHTS[1] + WEIGHTS[2])
    heard = np.concatenate(([0], np.cumsum(np.isin(said["activity"], RESTING))))
    first, end = (np.searchsorted(said["event_time"], time - back, side="right") for back in (SHARE_MS, 0))
    share: Floats = (heard[end] - heard[first]) / np.maximum(end - first, 1)
    return WEIGHTS[0] * share + rest
