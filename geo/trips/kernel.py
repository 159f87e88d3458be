"""One pass over the events of phones: a row is either taken whole or not begun.

No row gives more than MOST_EVENTS, so the kernel stops before a row that might find no room.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geo.fix import NULL_DEGREES, NULL_TIME
from geo.jit import kernel
from geo.trips import rules
from geo.trips.motion import back_to, keep_few, median_place, metres, net_m, net_mps, push
from geo.trips.records import DRIVING, PARK_END, PARK_START, PARKED, TRIP, UNKNOWN, Record, Records, Rows, Store
from geo.trips.search import (
    COEFFICIENTS,
    confidence_of_search,
    excess_m,
    loop_count,
    path_m,
    search_start,
    to_plane,
)

MOST_EVENTS: Final = 5

IN_VEHICLE: Final = 0
ON_BICYCLE: Final = 1
ON_FOOT: Final = 2
WALKING: Final = 3
RUNNING: Final = 4
STILL: Final = 5

NOT_YET: Final = 0
BY_FEET: Final = 1
BY_STANDING: Final = 2
BY_SILENCE: Final = 3
"""What settles a parking."""

Metres = NDArray[np.float64]


@kernel
def advance_rows(
    store: Store, rows: Rows, start: int, blank: Records, x: Metres, y: Metres, out: Records
) -> tuple[int, int]:
    """Go on from row `start`; return the row not taken (or n) and the number of events written.

    blank: the state of one device that nothing is known of.
    """
    n = 0
    for row in range(start, len(rows.device)):
        if n + MOST_EVENTS > len(out):
            return row, n
        slot, time = rows.device[row], rows.event_time[row]
        device = store.devices[slot]
        if device.last_time != NULL_TIME and time - device.last_time > rules.GAP_MS:
            n = fall_silent(store, slot, row, x, y, out, n)
        hear(store, slot, time, rows.receive_time[row], blank)
        if rows.lat[row] == NULL_DEGREES:
            hear_activity(device, time, rows.activity[row], rows.confidence[row])
        elif take_fix(store, slot, rows, row) and begins_drive(store, slot, time):
            n = begin_drive(store, slot, time, row, out, n)
        if device.state == DRIVING and is_drive(device):
            settled = settle(store, slot, time)
            if settled != NOT_YET:
                n = park(store, slot, settled, row, x, y, out, n)
    return len(rows.device), n


@kernel
def hear(store: Store, slot: int, time: int, receive_time: int, blank: Records) -> None:
    """Learn how soon after it was said to happen anything of this device arrives; begin anew after a long silence."""
    device = store.devices[slot]
    if device.heard_time != NULL_TIME and time - device.heard_time > rules.MEMORY_MS:
        store.devices[slot] = blank[0]
    device.heard_time = time
    soonest = receive_time - time
    device.soonest_ms = soonest if device.upload_time == NULL_TIME else min(device.soonest_ms, soonest)
    if receive_time != device.upload_time:
        device.uploads += 1
        device.upload_time = receive_time


@kernel
def hear_activity(device: Record, time: int, activity: int, confidence: int) -> None:
    """Take the phone's word for what its owner does, as far as it goes."""
    if activity < 0 or activity > STILL or confidence < rules.FOOT_CONFIDENCE:
        return
    device.tells_activity = 1
    driving = device.state == DRIVING
    if activity == IN_VEHICLE:
        device.vehicle_time = time
        device.vehicles += 1
        if driving and confidence >= rules.VEHICLE_CONFIDENCE:
            device.is_vehicle = 1
        if device.feet == 1:
            device.feet = 0
    if activity in (ON_BICYCLE, RUNNING):
        device.bikes += 1
    if driving and activity in (ON_FOOT, WALKING, RUNNING) and time > device.arrival + rules.FOOT_AFTER_MS:
        if device.feet == 0:
            device.foot_time, device.foot_lat, device.foot_lon = time, device.last_lat, device.last_lon
        device.feet += 1


@kernel
def take_fix(store: Store, slot: int, rows: Rows, row: int) -> bool:
    """Let a fix move the device; return whether it made a new point of the track."""
    device = store.devices[slot]
    time, lat, lon = rows.event_time[row], rows.lat[row], rows.lon[row]
    if rows.accuracy_m[row] > rules.MAX_ACCURACY_M:
        return False
    known = device.last_time != NULL_TIME
    gap, step = 0, 0.0
    if known:
        gap = time - device.last_time
        step = metres(device.last_lat, device.last_lon, lat, lon)
        if step > rules.MAX_MPS * max(gap / 1000, 1.0) and device.jumps < rules.MAX_JUMPS:
            device.jumps += 1
            return False
    before_lat, before_lon = device.last_lat, device.last_lon
    device.jumps, device.last_time, device.last_lat, device.last_lon = 0, time, lat, lon
    if device.state == PARKED and metres(device.place_lat, device.place_lon, lat, lon) < rules.PLACE_M:
        device.in_place_time = time
    if not known or metres(device.stand_lat, device.stand_lon, lat, lon) > rules.STAND_M:
        device.stand_time, device.stand_lat, device.stand_lon = time, lat, lon
    if device.points > 0 and time - store.tracks[slot][device.points - 1].time < rules.STEP_MS:
        return False
    push(store, slot, time, lat, lon)
    measure_speed(store, slot, gap, step, rows.accuracy_m[row], rows.speed_mps[row], before_lat, before_lon)
    return True


@kernel
def measure_speed(
    store: Store, slot: int, gap: int, step: float, accuracy_m: float, own: float, before_lat: int, before_lon: int
) -> None:
    """Learn how fast the device moved to the newest point of its track, and what that says of a drive."""
    device = store.devices[slot]
    half_minute = net_mps(store, slot, back_to(store, slot, rules.SPEED_MS))
    burst = burst_mps(store, slot)
    if not math.isnan(own):
        device.speed_mps, device.own_mps, device.own_time = own, own, device.last_time
    elif burst >= 0:
        device.speed_mps = burst * rules.NO_SPEED_FACTOR
    if device.state == DRIVING:
        count_fix(device, gap, step, accuracy_m)
        if half_minute >= rules.VEHICLE_MPS or (own >= rules.OWN_VEHICLE_MPS and half_minute >= rules.START_MPS):
            device.is_vehicle = 1
        move_on(device, gap, step, half_minute, burst, own, before_lat, before_lon)


@kernel
def burst_mps(store: Store, slot: int) -> float:
    """Return the net speed over the last seconds, over two steps at least where fixes are sparse."""
    device, track = store.devices[slot], store.tracks[slot]
    since, last = back_to(store, slot, rules.BURST_MS), device.points - 1
    if last >= 2:
        step = track[last].time - track[last - 1].time
        if rules.COARSE_MS < step < rules.TOO_COARSE_MS:
            since = min(since, last - 2)
    return net_mps(store, slot, since)


@kernel
def count_fix(device: Record, gap: int, step: float, accuracy_m: float) -> None:
    """Count what the quality of a drive is read from."""
    device.distance_m += step
    device.fixes += 1
    device.widest_ms = max(device.widest_ms, gap)
    if gap <= rules.SPARSE_MS:
        device.close += 1
    if accuracy_m <= rules.CERTAIN_M:
        device.certain += 1


@kernel
def move_on(
    device: Record,
    gap: int,
    step: float,
    half_minute: float,
    burst: float,
    own: float,
    before_lat: int,
    before_lon: int,
) -> None:
    """Put the arrival off if the device still moves as a vehicle does, or guess it inside a gap."""
    time = device.last_time
    if not math.isnan(own):
        fast = own >= rules.OWN_MPS and half_minute >= rules.NET_MPS
    elif device.own_time != NULL_TIME and time - device.own_time < rules.OWN_LASTS_MS:
        fast = device.own_mps >= rules.OWN_MPS and half_minute >= rules.NET_MPS
    else:
        fast = burst >= rules.BURST_MPS and half_minute >= rules.NET_MPS
    lat, lon = device.last_lat, device.last_lon
    if gap >= rules.HOLE_MS:
        crossed = step * 1000 / gap
        across = rules.ARRIVE_MS + int(step * 1000 / rules.ARRIVE_MPS)
        slowly = crossed < rules.SLOW_MPS
        arrived_before = device.arrival < time - gap - rules.SPEED_MS and step <= rules.MOVED_M
        if slowly and device.feet == 0 and not fast and not arrived_before:
            near = step < rules.NEAR_M
            device.arrival = time - gap + min(gap // 2, across)
            device.arrival_lat, device.arrival_lon = (before_lat, before_lon) if near else (lat, lon)
        elif not slowly and crossed < rules.TOWN_MPS and not own >= rules.OWN_MPS and device.feet == 0:
            fast = False
            device.arrival = time - gap + min(4 * gap // 5, across)
            device.arrival_lat, device.arrival_lon = lat, lon
        elif not slowly:
            fast = True
    if fast and (device.feet == 0 or half_minute >= rules.RESUME_MPS):
        device.arrival, device.arrival_lat, device.arrival_lon, device.feet = time, lat, lon, 0


@kernel
def begins_drive(store: Store, slot: int, time: int) -> bool:
    """Tell whether the device has begun to drive, counting the unbroken fixes that say so."""
    device = store.devices[slot]
    if device.state == DRIVING:
        return False
    since = back_to(store, slot, rules.SPEED_MS)
    if net_mps(store, slot, since) < rules.START_MPS:
        device.runs = 0
        return False
    if device.runs == 0:
        device.run_time = time
    device.runs += 1
    far = back_to(store, slot, rules.START_REACH_MS)
    enough = device.runs >= 2 and time - device.run_time >= rules.START_MS
    return enough and net_m(store, slot, far if far >= 0 else since) >= rules.START_METRES


@kernel
def begin_drive(store: Store, slot: int, time: int, row: int, out: Records, n: int) -> int:
    """Begin a drive, dated back to the parking place or to the first fix of the movement."""
    device = store.devices[slot]
    since = max(0, back_to(store, slot, rules.START_REACH_MS))
    started = store.tracks[slot][since].time
    if device.state == PARKED:
        started = device.in_place_time
        n = tell(out, n, PARK_END, row, device, started, device.place_lat, device.place_lon)
    device.state, device.first, device.trip_start = DRIVING, since, started
    device.distance_m = net_m(store, slot, since)
    device.is_vehicle, device.runs, device.feet, device.bikes, device.vehicles = 0, 0, 0, 0, 0
    device.fixes, device.close, device.certain, device.widest_ms = 0, 0, 0, 0
    device.arrival, device.arrival_lat, device.arrival_lon = time, device.last_lat, device.last_lon
    device.stand_time, device.stand_lat, device.stand_lon = time, device.last_lat, device.last_lon
    return n


@kernel
def is_drive(device: Record) -> bool:
    """Tell a vehicle's drive from a bicycle's or a runner's way."""
    return device.is_vehicle == 1 and device.bikes <= device.vehicles


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
    return BY_STANDING if standing >= rules.STAND_MS or since_arrival >= rules.IDLE_MS else NOT_YET


@kernel
def park(store: Store, slot: int, settled: int, row: int, x: Metres, y: Metres, out: Records, n: int) -> int:
    """End the drive in a parking place: `park_start` and the trip."""
    device = store.devices[slot]
    arrived = device.arrival
    if settled == BY_FEET and device.foot_time - arrived > rules.CREEP_MS:
        crept = metres(device.arrival_lat, device.arrival_lon, device.foot_lat, device.foot_lon)
        if crept > rules.CREEP_M:
            arrived = device.foot_time - rules.FOOT_LAG_MS
    arrived = min(arrived + rules.REST_MS, max(device.last_time, device.arrival))
    lat, lon = median_place(store, slot, arrived - rules.REST_MS, device.arrival_lat, device.arrival_lon, x)
    n = tell(out, n, PARK_START, row, device, arrived, lat, lon)
    quality = quality_of(device, settled)
    out[n - 1].quality, out[n - 1].confidence = quality, confidence_of(settled)
    n = tell(out, n, TRIP, row, device, arrived, lat, lon)
    out[n - 1].quality, out[n - 1].outcome = quality, rules.PARKED_OUTCOME
    measure_search(store, slot, arrived, lat, lon, x, y, out, n - 1)
    device.state, device.place_lat, device.place_lon = PARKED, lat, lon
    device.in_place_time = arrived if settled == BY_FEET else max(arrived, device.last_time)
    device.runs = 0
    keep_few(store, slot)
    return n


@kernel
def measure_search(
    store: Store, slot: int, arrived: int, lat: int, lon: int, x: Metres, y: Metres, out: Records, at: int
) -> None:
    """Find where the search for the place began, and measure it."""
    device, track, event = store.devices[slot], store.tracks[slot], out[at]
    end = device.points
    while end > device.first and track[end - 1].time > arrived:
        end -= 1
    to_plane(track, device.first, end, lat, lon, x, y)
    count = end - device.first
    begin = search_start(track, device.first, end, x, y, COEFFICIENTS)
    event.excess_m = excess_m(count, x, y)
    if begin < end and track[begin].time < arrived:
        event.search_start = track[begin].time
        event.search_m = path_m(begin - device.first, count, x, y)
        event.loops = loop_count(track, device.first, begin - device.first, count, x, y)
    event.confidence = confidence_of_search((arrived - event.search_start) / 1000)


@kernel
def fall_silent(store: Store, slot: int, row: int, x: Metres, y: Metres, out: Records, n: int) -> int:
    """Settle what a gap leaves open: a slow car has parked, of a moving one nothing is known."""
    device = store.devices[slot]
    if device.state == DRIVING and is_drive(device):
        stood_ms = device.last_time - device.arrival
        slow = device.speed_mps < rules.SLOW_MPS
        if slow and (device.tells_activity == 0 or stood_ms >= rules.SILENT_MS):
            n = park(store, slot, BY_SILENCE, row, x, y, out, n)
        else:
            n = tell(out, n, TRIP, row, device, device.last_time, device.last_lat, device.last_lon)
            out[n - 1].quality, out[n - 1].outcome = rules.LOW, rules.UNKNOWN_OUTCOME
    if device.state != PARKED:
        device.state = UNKNOWN
    device.last_time, device.points, device.first, device.runs = NULL_TIME, 0, 0, 0
    device.own_time, device.jumps = NULL_TIME, 0
    return n


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


@kernel
def tell(out: Records, n: int, kind: int, row: int, device: Record, time: int, lat: int, lon: int) -> int:
    """Write an event, times put right where the device's clock is wrong; return the next place in `out`."""
    event = out[n]
    event.kind, event.row, event.event_time, event.lat, event.lon = kind, row, time, lat, lon
    event.trip_start, event.search_start, event.distance_m = device.trip_start, time, device.distance_m
    event.search_m, event.excess_m, event.loops = 0.0, 0.0, 0
    event.confidence, event.quality, event.outcome = 1.0, rules.MEDIUM, rules.PARKED_OUTCOME
    wrong = device.uploads >= rules.MIN_UPLOADS and abs(device.soonest_ms) > rules.CLOCK_MS
    event.clock_ms = device.soonest_ms if wrong else 0
    return n + 1


@kernel
def close_devices(
    store: Store, slots: NDArray[np.int32], start: int, x: Metres, y: Metres, out: Records
) -> tuple[int, int]:
    """Close devices from `slots[start]` on; return the place that found no room (or n) and the events written."""
    n = 0
    for i in range(start, len(slots)):
        if n + MOST_EVENTS > len(out):
            return i, n
        n = fall_silent(store, slots[i], slots[i], x, y, out, n)
    return len(slots), n
