"""How fast and how far a device moved, from the points of its track."""

import math

import numpy as np
from numpy.typing import NDArray

from geo.boundary import METRES, east_m, lon_step
from geo.jit import kernel
from geo.trips.records import DRIVING, KEPT, POINTS, Records, Store
from geo.trips.rules import PLACE_AFTER_MS, PLACE_BEFORE_MS, SPREAD_M


@kernel
def metres(lat: int, lon: int, to_lat: int, to_lon: int) -> float:
    """Return the distance of two places in microdegrees."""
    return math.hypot((to_lat - lat) * METRES, lon_step(lon, to_lon) * east_m(lat))


@kernel
def push(store: Store, slot: int, time: int, lat: int, lon: int) -> None:
    """Put a point on the device's track, making room on a full one."""
    device, track = store.devices[slot], store.tracks[slot]
    if device.points == POINTS:
        if device.state != DRIVING:
            cut(store, slot, KEPT)
        elif device.first > 0:
            cut(store, slot, POINTS - device.first)
        else:
            thin_out(store, slot)
    point = track[device.points]
    point.time, point.lat, point.lon = time, lat, lon
    device.points += 1


@kernel
def cut(store: Store, slot: int, keep: int) -> None:
    """Leave the device the newest points of its track, at most `keep`."""
    device, track = store.devices[slot], store.tracks[slot]
    gone = max(0, device.points - keep)
    for i in range(gone, device.points):
        to, point = track[i - gone], track[i]
        to.time, to.lat, to.lon = point.time, point.lat, point.lon
    device.points -= gone
    device.first = max(0, device.first - gone)


@kernel
def thin_out(store: Store, slot: int) -> None:
    """Take every second point out of the older half of a full track: a drive is remembered to its beginning."""
    track = store.tracks[slot]
    for i in range(1, POINTS):
        to, point = track[i // 2 if i < POINTS // 2 else i - POINTS // 4], track[i]
        if i >= POINTS // 2 or i % 2 == 0:
            to.time, to.lat, to.lon = point.time, point.lat, point.lon
    store.devices[slot].points = POINTS - POINTS // 4


@kernel
def back_to(store: Store, slot: int, reach_ms: int) -> int:
    """Return the newest point at least so long before the last one, -1 if there is none."""
    track, last = store.tracks[slot], store.devices[slot].points - 1
    i = last - 1
    while i >= 0 and track[last].time - track[i].time < reach_ms:
        i -= 1
    return i


@kernel
def net_m(store: Store, slot: int, since: int) -> float:
    """Return the distance from point `since` of the track to the last one."""
    track, last = store.tracks[slot], store.devices[slot].points - 1
    return metres(track[since].lat, track[since].lon, track[last].lat, track[last].lon)


@kernel
def net_mps(store: Store, slot: int, since: int) -> float:
    """Return the speed from point `since` to the last one, -1 if there is no such point."""
    track, last = store.tracks[slot], store.devices[slot].points - 1
    if since < 0:
        return -1.0
    return net_m(store, slot, since) * 1000 / (track[last].time - track[since].time)


@kernel
def median_place(
    store: Store, slot: int, time: int, lat: int, lon: int, values: NDArray[np.float64]
) -> tuple[int, int]:
    """Return the median place of the points about `time` within SPREAD_M of (lat, lon), that place if there are none.

    values: room for POINTS numbers.
    """
    count = 0
    track, device = store.tracks[slot], store.devices[slot]
    for i in range(device.points):
        if _counts(track, i, time, lat, lon):
            values[count] = track[i].lat
            count += 1
    if count == 0:
        return lat, lon
    middle_lat = median(values, count)
    count = 0
    for i in range(device.points):
        if _counts(track, i, time, lat, lon):
            values[count] = lon + lon_step(lon, track[i].lon)
            count += 1
    return middle_lat, median(values, count)


@kernel
def _counts(track: Records, i: int, time: int, lat: int, lon: int) -> bool:
    point = track[i]
    near_in_time = time - PLACE_BEFORE_MS <= point.time <= time + PLACE_AFTER_MS
    return near_in_time and metres(lat, lon, point.lat, point.lon) < SPREAD_M


@kernel
def median(values: NDArray[np.float64], count: int) -> int:
    """Return the median, rounded down, of the first `count` values, which are sorted in place."""
    for i in range(1, count):
        value, j = values[i], i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    return math.floor((values[(count - 1) // 2] + values[count // 2]) / 2)


@kernel
def keep_few(store: Store, slot: int) -> None:
    """Forget all but the newest points: the drive is over."""
    cut(store, slot, KEPT)
    store.devices[slot].first = 0
