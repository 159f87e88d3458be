"""What there is to be found, exactly: trips, searches, parks and fence crossings of the noise-free tracks."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from parkpal.simulate.city import to_degrees
from parkpal.simulate.drivers import VICINITY_M
from parkpal.simulate.fences import Fence, holds
from parkpal.simulate.people import Person, Trip
from parkpal.simulate.phones import Phone
from parkpal.simulate.track import Track
from parkpal.simulate.uploads import Carrier

SCENARIO: Final = "grid"
OBSERVED_WITHIN_S: Final = 60
_MS: Final = pl.Int64
_PLACE: Final = ("lat", "lon")
SEARCH: Final = {
    "scenario": pl.String, "device_id": pl.String, "trip_no": pl.Int64, "mode": pl.String, "label": pl.String,
    "trip_start": _MS, "trip_end": _MS, "searched": pl.Boolean, "search_start": _MS, "search_start_vicinity": _MS,
    "search_start_firstfull": _MS, "search_end": _MS, "outcome": pl.String, "duration_s": pl.Float64,
    "distance_m": pl.Float64, "distance_vicinity_m": pl.Float64, "park_time": _MS, "park_lat": pl.Float64,
    "park_lon": pl.Float64, "place": pl.String, "dest_lat": pl.Float64, "dest_lon": pl.Float64,
    "end_lat": pl.Float64, "end_lon": pl.Float64, "walk_m": pl.Float64, "ambiguous_soft_search": pl.Boolean,
    "observed_start": pl.Boolean, "clock_skew_s": pl.Float64,
}  # fmt: skip
PARKS: Final = {
    "scenario": pl.String, "device_id": pl.String, "trip_no": pl.Int64, "kind": pl.String, "time": _MS,
    "lat": pl.Float64, "lon": pl.Float64, "place": pl.String,
}  # fmt: skip
FENCES: Final = {
    "scenario": pl.String, "device_id": pl.String, "fence_id": pl.String, "kind": pl.String, "time": _MS,
    "initial": pl.Boolean, "dwell_s": pl.Float32,
}  # fmt: skip
DEVICES: Final = {
    "device_id": pl.String, "scenario": pl.String, "label": pl.String, "mode": pl.String, "t_first": pl.Float64,
    "t_last": pl.Float64, "sampling": pl.String, "gps_sigma": pl.Float64, "clock_skew_s": pl.Float64,
    "clock_kind": pl.String, "offline_s": pl.Float64, "flush_s": pl.Float64, "ar_broken": pl.Boolean,
    "n_events": pl.Int64,
}  # fmt: skip


class Life(NamedTuple):
    """One device through the simulation: who had it, where it truly was, how it was made, when it saw fixes."""

    device_id: str
    person: Person
    track: Track
    phone: Phone
    carrier: Carrier
    fix_s: NDArray[np.int64]
    events: int


def search_truth(lives: Sequence[Life], start_ms: int) -> pl.DataFrame:
    """Return one row per trip; times in ms UTC."""
    rows = [_trip_row(life, trip, start_ms) for life in lives for trip in life.person.trips]
    return pl.DataFrame(rows, schema=SEARCH)


def _trip_row(life: Life, trip: Trip, start_ms: int) -> dict[str, object]:
    near_s = _vicinity_s(life.track, trip)
    searched = trip.search_start_s is not None
    row: dict[str, object] = {
        "scenario": SCENARIO,
        "device_id": life.device_id,
        "trip_no": trip.number,
        "mode": life.person.mode,
        "label": trip.label,
        "trip_start": _ms(trip.start_s, start_ms),
        "trip_end": _ms(trip.end_s, start_ms),
        "searched": searched,
        "search_start": _ms(trip.search_start_s, start_ms),
        "search_start_vicinity": _ms(near_s, start_ms),
        "search_start_firstfull": _ms(trip.first_full_s, start_ms),
        "search_end": _ms(trip.search_end_s, start_ms),
        "outcome": trip.outcome,
        "duration_s": (trip.search_end_s or 0.0) - trip.search_start_s if trip.search_start_s is not None else 0.0,
        "distance_m": _driven_m(life.track, trip.search_start_s, trip.search_end_s),
        "distance_vicinity_m": _driven_m(life.track, near_s, trip.search_end_s),
        "park_time": _ms(trip.park_s, start_ms),
        "place": trip.place,
        "walk_m": trip.walk_m,
        "ambiguous_soft_search": trip.first_full_s is not None and not searched,
        "observed_start": _seen(life, trip.start_s),
        "clock_skew_s": life.carrier.clock_skew_s,
    }
    looked_for = trip.search_end_s is not None
    row |= _degrees("park", trip.end if trip.park_s is not None else None)
    row |= _degrees("dest", trip.destination if looked_for else None)
    return row | _degrees("end", trip.end if looked_for else None)


def _ms(seconds: float | None, start_ms: int) -> int | None:
    return None if seconds is None else start_ms + round(seconds * 1000)


def _degrees(prefix: str, place: tuple[float, float] | None) -> dict[str, object]:
    if place is None:
        return {f"{prefix}_{axis}": None for axis in _PLACE}
    lat, lon = to_degrees(np.array(place[0]), np.array(place[1]))
    return {f"{prefix}_lat": float(lat), f"{prefix}_lon": float(lon)}


def _vicinity_s(track: Track, trip: Trip) -> float | None:
    """Return when the trip first came within VICINITY_M of a destination where a place was looked for."""
    if trip.destination is None or trip.search_end_s is None:
        return None
    first, last = track.rows(np.array([trip.start_s, trip.search_end_s]))
    x, y = trip.destination
    near = np.hypot(track.x[first:last] - x, track.y[first:last] - y) < VICINITY_M
    return float(track.time_s[first + int(np.argmax(near))]) if near.any() else None


def _driven_m(track: Track, from_s: float | None, to_s: float | None) -> float:
    if from_s is None or to_s is None:
        return 0.0
    first, last = track.rows(np.array([from_s, to_s]))
    span = slice(first, last + 1)
    return float(np.hypot(np.diff(track.x[span]), np.diff(track.y[span])).sum())


def _seen(life: Life, time_s: float) -> bool:
    i = int(np.searchsorted(life.fix_s, time_s))
    return i < life.fix_s.size and bool(life.fix_s[i] <= time_s + OBSERVED_WITHIN_S)


def park_truth(lives: Sequence[Life], start_ms: int) -> pl.DataFrame:
    """Return one row per vehicle that came to rest or left; times in ms UTC."""
    stands = [(life.device_id, stand) for life in lives for stand in life.person.stands]
    lat, lon = to_degrees(np.array([s.x for _, s in stands]), np.array([s.y for _, s in stands]))
    rows = [
        (SCENARIO, device, s.trip, s.kind, _ms(s.time_s, start_ms), float(a), float(o), s.place)
        for (device, s), a, o in zip(stands, lat, lon, strict=True)
    ]
    return pl.DataFrame(rows, schema=PARKS, orient="row")


def device_truth(lives: Sequence[Life]) -> pl.DataFrame:
    """Return one row per phone: what it was. Never an input of anything."""
    rows = [
        (
            life.device_id, SCENARIO, life.person.label, life.person.mode,
            float(life.track.time_s[0]), float(life.track.time_s[-1]),
            life.phone.sampling, life.phone.gps_sigma, life.carrier.clock_skew_s, life.carrier.clock_kind,
            life.carrier.offline_s, life.carrier.flush_s, life.phone.ar_broken, life.events,
        )
        for life in lives
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=DEVICES, orient="row")


def fence_truth(lives: Sequence[Life], fences: Sequence[Fence], start_ms: int) -> pl.DataFrame:
    """Return one row per entry and exit, half-way between the last second on one side and the first on the other."""
    x, y = (np.concatenate([getattr(life.track, axis) for life in lives]) for axis in "xy")
    time_s = np.concatenate([life.track.time_s for life in lives])
    device = np.repeat(np.arange(len(lives)), [life.track.time_s.size for life in lives])
    ids = pl.Series([life.device_id for life in lives])
    tables = []
    for fence in fences:
        rows = np.flatnonzero(holds(fence, x, y))
        if rows.size == 0:
            continue
        starts = np.flatnonzero((np.diff(rows, prepend=-2) > 1) | (np.diff(device[rows], prepend=-1) > 0))
        first, last = rows[starts], rows[np.append(starts[1:], rows.size) - 1]
        begun = (first == 0) | (device[first - 1] != device[first])
        ended = device[np.minimum(last + 1, device.size - 1)] == device[last]
        ended &= last + 1 < device.size
        enter_s, exit_s = time_s[first] - np.where(begun, 0, 0.5), time_s[last] + np.where(ended, 0.5, 0)
        visits = pl.DataFrame(
            {"device_id": ids[device[first]], "enter": enter_s, "exit": exit_s, "initial": begun, "ended": ended}
        )
        tables.append(_crossings(visits, fence.fence_id, start_ms))
    return pl.concat(tables).select(pl.col(name).cast(kind) for name, kind in FENCES.items())


def _crossings(visits: pl.DataFrame, fence_id: str, start_ms: int) -> pl.DataFrame:
    visits = visits.with_columns(
        scenario=pl.lit(SCENARIO), fence_id=pl.lit(fence_id), dwell_s=pl.col("exit") - pl.col("enter")
    )
    enters = visits.with_columns(time="enter", kind=pl.lit("enter"))
    exits = visits.filter("ended").with_columns(time="exit", kind=pl.lit("exit"), initial=pl.lit(value=False))
    return pl.concat([enters, exits]).with_columns(time=start_ms + (pl.col("time") * 1000).cast(pl.Int64))
