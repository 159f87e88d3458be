"""How a device moves, point by point of its track: when a drive begins, and when it last moved as a vehicle does."""

import math

from geo.fix import NULL_TIME
from geo.jit import kernel
from geo.trips import rules
from geo.trips.motion import back_to, net_m, net_mps
from geo.trips.records import DRIVING, Record, Store


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
        leg = net_m(store, slot, device.points - 2) if device.points > 1 else 0.0
        count_fix(device, gap, leg, accuracy_m)
        if half_minute >= rules.VEHICLE_MPS or (own >= rules.OWN_VEHICLE_MPS and half_minute >= rules.NET_MPS):
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
def count_fix(device: Record, gap: int, leg: float, accuracy_m: float) -> None:
    """Count what the quality of a drive is read from."""
    device.distance_m += leg
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
def is_drive(device: Record) -> bool:
    """Tell a vehicle's drive from a bicycle's or a runner's way."""
    return device.is_vehicle == 1 and device.bikes <= device.vehicles + 1
