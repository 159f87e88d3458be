"""How a drive ends: what settles it, and the rows that are written then, once."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geo.fix import NULL_TIME
from geo.jit import kernel
from geo.trips import rules
from geo.trips.drives import is_drive
from geo.trips.features import Scratch
from geo.trips.hints import clear_hint
from geo.trips.model import Model
from geo.trips.motion import back_to, keep_few, median_place, metres, net_m
from geo.trips.records import DRIVING, PARK_END, PARK_START, PARKED, UNKNOWN, Record, Records, Store, Tape
from geo.trips.sessions import is_full, tell, tell_trip

NOT_YET: Final = 0
BY_FEET: Final = 1
BY_STANDING: Final = 2
BY_SILENCE: Final = 3
"""What settles a parking."""


@kernel
def begin_drive(store: Store, slot: int, time: int, row: int, out: Records, n: int) -> int:
    """Begin a drive, dated back to the parking place or to the first fix of the movement."""
    device = store.devices[slot]
    since = max(0, back_to(store, slot, rules.START_REACH_MS))
    started = store.tracks[slot][since].time
    device.stay_s = -1.0
    if device.state == PARKED:
        started = device.in_place_time
        n = tell(out, n, PARK_END, row, device, started, device.place_lat, device.place_lon)
        out[n - 1].confidence = 1.0
        device.stay_s = (started - device.parked_time) / 1000
    device.state, device.first, device.trip_start = DRIVING, since, started
    device.distance_m = net_m(store, slot, since)
    device.is_vehicle, device.runs, device.feet, device.bikes, device.vehicles = 0, 0, 0, 0, 0
    device.fixes, device.close, device.certain, device.widest_ms = 0, 0, 0, 0
    device.arrival, device.arrival_lat, device.arrival_lon = time, device.last_lat, device.last_lon
    device.stand_time, device.stand_lat, device.stand_lon = time, device.last_lat, device.last_lon
    return n


@kernel
def settle(store: Store, slot: int, time: int) -> int:
    """Return what settles by now that the device has parked, NOT_YET if nothing does."""
    device = store.devices[slot]
    since_arrival = time - device.arrival
    if device.feet >= 2 and since_arrival >= rules.FOOT_TWICE_MS:
        return BY_FEET
    if device.feet >= 1 and time - device.foot_time >= rules.FOOT_ONCE_MS:
        return BY_FEET
    if device.vehicle_time != NULL_TIME and time - device.vehicle_time <= rules.RIDING_MS:
        return NOT_YET
    standing = time - max(device.stand_time, device.arrival)
    idle_ms = rules.IDLE_MS if device.tells_activity == 1 else rules.MUTE_IDLE_MS
    return BY_STANDING if standing >= rules.STAND_MS or since_arrival >= idle_ms else NOT_YET


@kernel
def park(
    store: Store, slot: int, settled: int, row: int, model: Model, plane: Scratch, tape: Tape, out: Records, n: int
) -> int:
    """End the drive in a parking place: `park_start` and the trip."""
    device = store.devices[slot]
    n = clear_hint(out, n, row, device)
    arrived = device.arrival
    if settled == BY_FEET and device.foot_time - arrived > rules.CREEP_MS:
        crept = metres(device.arrival_lat, device.arrival_lon, device.foot_lat, device.foot_lon)
        if crept > rules.CREEP_M:
            arrived = device.foot_time - rules.FOOT_LAG_MS
    arrived = min(arrived + rules.REST_MS, max(device.last_time, device.arrival))
    lat, lon = median_place(store, slot, arrived - rules.REST_MS, device.arrival_lat, device.arrival_lon, plane.x)
    stood = arrived
    arrived = min(stood + linger_ms(store, slot), max(device.last_time, stood))
    n = tell(out, n, PARK_START, row, device, arrived, lat, lon)
    quality = quality_of(device, settled)
    out[n - 1].quality, out[n - 1].confidence = quality, confidence_of(settled)
    n = tell_trip(store, slot, row, stood, arrived, lat, lon, rules.PARKED_OUTCOME, quality, model, plane, tape, out, n)
    device.state, device.place_lat, device.place_lon = PARKED, lat, lon
    device.in_place_time = arrived if settled == BY_FEET else max(arrived, device.last_time)
    faded = 0.0 if device.parked_time == NULL_TIME else math.exp((device.parked_time - arrived) / rules.BUSY_MS)
    device.busy, device.parked_time = device.busy * faded + 1, arrived
    device.runs = 0
    keep_few(store, slot)
    return n


@kernel
def linger_ms(store: Store, slot: int) -> int:
    """Return how long after it came to stand a car counts as parked, by when its phone walked off; 0 if it did not."""
    device, track = store.devices[slot], store.tracks[slot]
    for i in range(device.first, device.points):
        point = track[i]
        away = metres(device.arrival_lat, device.arrival_lon, point.lat, point.lon)
        if point.time > device.arrival and away > rules.WALKED_OFF_M:
            return int(rules.LINGER_SHARE * min(rules.LINGER_MS, point.time - device.arrival))
    return 0


@kernel
def fall_silent(
    store: Store, slot: int, row: int, model: Model, plane: Scratch, tape: Tape, out: Records, n: int
) -> int:
    """Settle what a gap leaves open: a slow car has parked, of a moving one nothing is known."""
    device = store.devices[slot]
    if device.state == DRIVING and is_drive(device):
        stood_ms = device.last_time - device.arrival
        slow = device.speed_mps < rules.SLOW_MPS
        if slow and (device.tells_activity == 0 or stood_ms >= rules.SILENT_MS):
            n = park(store, slot, BY_SILENCE, row, model, plane, tape, out, n)
        else:
            time, lat, lon = device.last_time, device.last_lat, device.last_lon
            outcome, quality = rules.UNKNOWN_OUTCOME, rules.LOW
            n = tell_trip(store, slot, row, time, time, lat, lon, outcome, quality, model, plane, tape, out, n)
    n = clear_hint(out, n, row, device)
    if device.state != PARKED:
        device.state = UNKNOWN
    device.last_time, device.points, device.first, device.runs = NULL_TIME, 0, 0, 0
    device.own_time, device.jumps = NULL_TIME, 0
    return n


@kernel
def close_devices(
    store: Store, slots: NDArray[np.int32], start: int, model: Model, plane: Scratch, tape: Tape, out: Records
) -> tuple[int, int]:
    """Close devices from `slots[start]` on; return the place that found no room (or n) and the events written."""
    n = 0
    for i in range(start, len(slots)):
        if is_full(tape, out, n):
            return i, n
        row = np.int64(slots[i])  # as rows are numbered: the same functions are compiled but once
        n = fall_silent(store, slots[i], row, model, plane, tape, out, n)
    return len(slots), n


@kernel
def quality_of(device: Record, settled: int) -> int:
    """Return how well the phone was heard during the drive."""
    if settled == BY_SILENCE or device.widest_ms > rules.WIDE_MS:
        return rules.LOW
    if 2 * device.close >= device.fixes and 2 * device.certain >= device.fixes:
        return rules.HIGH
    return rules.MEDIUM


@kernel
def confidence_of(settled: int) -> float:
    """Return the share of such parkings that were true ones on simulated drives."""
    if settled == BY_FEET:
        return 0.85
    return 0.88 if settled == BY_STANDING else 0.78
