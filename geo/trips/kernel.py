"""One pass over the events of phones: a row is either taken whole or not begun.

The kernel stops before a row that might find no room for what it gives.
"""

from typing import Final

from geo.fix import NULL_DEGREES, NULL_TIME
from geo.jit import kernel
from geo.trips import rules
from geo.trips.drives import begins_drive, is_drive, measure_speed
from geo.trips.endings import NOT_YET, begin_drive, fall_silent, park, settle
from geo.trips.features import Scratch
from geo.trips.hints import follow
from geo.trips.model import Model
from geo.trips.motion import metres, push
from geo.trips.records import DRIVING, PARKED, Record, Records, Rows, Store, Tape
from geo.trips.sessions import is_full

IN_VEHICLE: Final = 0
ON_BICYCLE: Final = 1
ON_FOOT: Final = 2
WALKING: Final = 3
RUNNING: Final = 4
STILL: Final = 5


@kernel
def advance_rows(
    store: Store, rows: Rows, start: int, blank: Records, model: Model, plane: Scratch, tape: Tape, out: Records
) -> tuple[int, int]:
    """Go on from row `start`; return the row not taken (or n) and the number of events written.

    blank: the state of one device that nothing is known of.
    """
    n = 0
    for row in range(start, len(rows.device)):
        if is_full(tape, out, n):
            return row, n
        slot, time = rows.device[row], rows.event_time[row]
        device = store.devices[slot]
        if device.last_time != NULL_TIME and time - device.last_time > rules.GAP_MS:
            n = fall_silent(store, slot, row, model, plane, tape, out, n)
        hear(store, slot, time, rows.receive_time[row], blank)
        if rows.lat[row] == NULL_DEGREES:
            hear_activity(device, time, rows.activity[row], rows.confidence[row])
        elif take_fix(store, slot, rows, row):
            if begins_drive(store, slot, time):
                n = begin_drive(store, slot, time, row, out, n)
            elif device.state == DRIVING and is_drive(device):
                n = follow(store, slot, row, out, n)
        if device.state == DRIVING and is_drive(device):
            settled = settle(store, slot, time)
            if settled != NOT_YET:
                n = park(store, slot, settled, row, model, plane, tape, out, n)
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
    if device.state == PARKED:
        stay_in_place(device, gap, metres(device.place_lat, device.place_lon, before_lat, before_lon), lat, lon)
    if not known or metres(device.stand_lat, device.stand_lon, lat, lon) > rules.STAND_M:
        device.stand_time, device.stand_lat, device.stand_lon = time, lat, lon
    if device.points > 0 and time - store.tracks[slot][device.points - 1].time < rules.STEP_MS:
        return False
    push(store, slot, time, lat, lon)
    measure_speed(store, slot, gap, step, rows.accuracy_m[row], rows.speed_mps[row], before_lat, before_lon)
    return True


@kernel
def stay_in_place(device: Record, gap: int, before_m: float, lat: int, lon: int) -> None:
    """Learn how long the car has been at its place; before_m: metres from it to the fix before, `gap` ms ago."""
    away_m = metres(device.place_lat, device.place_lon, lat, lon)
    if away_m < rules.PLACE_M:
        device.in_place_time = device.last_time
    elif gap >= rules.WIDE_MS and before_m < rules.LOST_M:
        driven_ms = rules.DEPART_MS + int(away_m * 1000 / rules.ARRIVE_MPS)
        device.in_place_time = device.last_time - min(gap, driven_ms)
