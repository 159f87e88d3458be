"""How good a fix is and whether its device moves: the gate, the two regimes' test, and the noise learned at rest."""

import math

from geo.boundary import METRES, lon_step
from geo.fix import NULL_TIME
from geo.geofence.records import NONE, TRAIL, Records
from geo.geofence.rules import (
    ACCEPTED,
    GAP_MS,
    IMPLAUSIBLE,
    INACCURATE,
    MAX_ACCURACY_M,
    MAX_NOISE,
    MAX_SPEED_MPS,
    MIN_ACCURACY_M,
    MOVING_MS,
    MOVING_SIGMAS,
    REPEATED,
    SIGMAS_PER_ACCURACY,
    STILL_MS,
    STILL_SIGMAS,
    TRAIL_MS,
    UNKNOWN_ACCURACY_M,
)
from geo.jit import inlined, kernel


@kernel
def probability(sigmas: float) -> float:
    """Return the probability that a normal deviate lies below `sigmas`."""
    return 0.5 * math.erfc(-sigmas * math.sqrt(0.5))


@kernel
def sigma_of(accuracy_m: float) -> float:
    """Return the stated standard deviation per axis in metres."""
    known = UNKNOWN_ACCURACY_M if math.isnan(accuracy_m) else accuracy_m
    return max(known, MIN_ACCURACY_M) / SIGMAS_PER_ACCURACY


@kernel
def metres_between(lat: float, lon: float, to_lat: float, to_lon: float, scale: float) -> float:
    """Return the distance of two near places; `scale` = east_m at one of them, as in all of this module."""
    north, east = (to_lat - lat) * METRES, lon_step(lon, to_lon) * scale
    return math.sqrt(north * north + east * east)


@inlined
def gate(devices: Records, slot: int, event_time: int, lat: int, lon: int, scale: float, accuracy_m: float) -> int:
    """Return ACCEPTED or why this fix decides nothing."""
    if accuracy_m > MAX_ACCURACY_M:
        return INACCURATE
    device = devices[slot]
    elapsed = event_time - device.last_time
    if device.last_time == NULL_TIME or elapsed > GAP_MS:
        return ACCEPTED
    distance = metres_between(lat, lon, device.last_lat, device.last_lon, scale)
    if elapsed == 0 and distance == 0.0:
        return REPEATED
    return IMPLAUSIBLE if distance > MAX_SPEED_MPS * elapsed / 1000 else ACCEPTED


@inlined
def is_moving(devices: Records, slot: int, event_time: int, lat: int, lon: int, scale: float, sigma: float) -> bool:
    """Return whether the device was more than MOVING_SIGMAS away at some time of the last MOVING_MS."""
    device = devices[slot]
    for i in range(min(device.trail_count, TRAIL)):
        if event_time - device.trail_time[i] <= MOVING_MS:
            away = metres_between(lat, lon, device.trail_lat[i], device.trail_lon[i], scale)
            if away > MOVING_SIGMAS * sigma:
                return True
    return False


@inlined
def remember(devices: Records, slot: int, event_time: int, lat: int, lon: int, scale: float, sigma: float) -> None:
    """Make this fix the device's last; every TRAIL_MS put it on the trail and learn from it how noisy the phone is."""
    device = devices[slot]
    device.last_time, device.last_lat, device.last_lon = event_time, lat, lon
    newest = (device.trail_count - 1) % TRAIL
    if device.trail_count > 0 and event_time - device.trail_time[newest] < TRAIL_MS:
        return
    place = device.trail_count % TRAIL
    device.trail_time[place], device.trail_lat[place], device.trail_lon[place] = event_time, lat, lon
    device.trail_count += 1
    away = metres_between(device.still_lat, device.still_lon, lat, lon, scale)
    if device.still_count == 0 or away > STILL_SIGMAS * sigma:
        device.still_since, device.still_lat, device.still_lon = event_time, lat, lon
        device.still_sum, device.still_count, device.noise = 0.0, 1, 1.0
        return
    # Welford's recurrence for the mean and the squared deviations, both axes together.
    device.still_count += 1
    north, east = lat - device.still_lat, lon_step(device.still_lon, lon)
    device.still_lat += north / device.still_count
    device.still_lon += east / device.still_count
    kept = 1.0 - 1.0 / device.still_count
    north_m, east_m = north * METRES, east * scale
    device.still_sum += kept * (north_m * north_m + east_m * east_m) / (2.0 * sigma * sigma)
    if event_time - device.still_since >= STILL_MS:
        device.noise = min(MAX_NOISE, max(1.0, math.sqrt(device.still_sum / device.still_count)))


@kernel
def reset(devices: Records, slot: int) -> None:
    """Make the device UNKNOWN; its pairs are freed before."""
    device = devices[slot]
    device.last_time, device.trail_count, device.still_count = NULL_TIME, 0, 0
    device.first_pair, device.noise = NONE, 1.0
