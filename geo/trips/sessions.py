"""The rows of a drive that has ended: the search given up on the way, if there was one, and the one at its end."""

import math
from typing import Final

from geo.boundary import HALF_TURN, METRES, east_m, lon_step
from geo.fix import NULL_TIME
from geo.jit import kernel
from geo.trips import rules
from geo.trips.features import Scratch, add_place, lay_out
from geo.trips.model import Model
from geo.trips.motion import metres
from geo.trips.records import POINTS, TRIP, Record, Records, Store, Tape
from geo.trips.search import (
    describe,
    excess_m,
    farthest_m,
    first_near,
    longest_stand_s,
    loop_count,
    middle,
    probability,
    search_begin,
    session_odds,
    wandering,
)

MOST_EVENTS: Final = 10
"""What one row may give: two drives end, each in two trips, a parking and a hint; a departure, a hint."""
NO_FEET_S: Final = 300.0
SEEN_MS: Final = 30_000
UNSEEN_M: Final = 65.0
"""Of who was heard for less than SEEN_MS after parking nobody knows the walk: this is the usual one."""
ANYWHERE: Final = -1.0
PARKED: Final = 0
LEFT: Final = 1


@kernel
def is_full(tape: Tape, out: Records, n: int) -> bool:
    """Tell whether what one more row may give might find no room; a tape of no length wants none."""
    points, sessions = len(tape.points), len(tape.sessions)
    taped = points > 0 and (tape.used[0] + 2 * POINTS > points or tape.used[1] + 4 > sessions)
    return taped or n + MOST_EVENTS > len(out)


@kernel
def tell(out: Records, n: int, kind: int, row: int, device: Record, time: int, lat: int, lon: int) -> int:
    """Write an event, times put right where the device's clock is wrong; return the next place in `out`."""
    event = out[n]
    event.kind, event.row, event.event_time, event.lat, event.lon = kind, row, time, lat, lon
    event.trip_start, event.search_start, event.distance_m = device.trip_start, time, device.distance_m
    event.search_m, event.excess_m, event.loops, event.ordinal, event.hint_time = 0.0, 0.0, 0, 0, NULL_TIME
    event.near_m, event.near_lat, event.near_lon = 0.0, lat, lon
    event.confidence, event.quality, event.outcome = 0.0, rules.MEDIUM, rules.PARKED_OUTCOME
    wrong = device.uploads >= rules.MIN_UPLOADS and abs(device.soonest_ms) > rules.CLOCK_MS
    event.clock_ms = device.soonest_ms if wrong else 0
    return n + 1


@kernel
def tell_trip(
    store: Store,
    slot: int,
    row: int,
    stood: int,
    time: int,
    lat: int,
    lon: int,
    outcome: int,
    quality: int,
    model: Model,
    plane: Scratch,
    tape: Tape,
    out: Records,
    n: int,
) -> int:
    """Write the rows of a drive that ended at (lat, lon): two if a search was given up before."""
    device, track = store.devices[slot], store.tracks[slot]
    end = device.points
    while end > device.first and track[end - 1].time > stood:
        end -= 1
    if end - device.first < 2:
        n = tell(out, n, TRIP, row, device, time, lat, lon)
        out[n - 1].quality, out[n - 1].outcome = quality, outcome
        return n
    count = lay_out(track, device.first, end, plane)
    x = lon_step(track[end - 1].lon, lon) * east_m(track[end - 1].lat)
    y = (lat - track[end - 1].lat) * METRES
    parked = outcome == rules.PARKED_OUTCOME
    told = n
    n, behind = tell_left(device, track, row, count, x, y, parked, time, model, plane, tape, out, n)
    if parked:
        n = tell_end(device, track, row, behind, count, time, lat, lon, x, y, model, plane, tape, out, n)
        out[n - 1].ordinal = n - 1 - told
    elif n == told:
        n = tell(out, n, TRIP, row, device, time, lat, lon)
        out[n - 1].outcome = outcome
    for i in range(told, n):
        out[i].quality = quality
    write_points(tape, track, device.first, count, row, parked, plane)
    return n


@kernel
def tell_end(
    device: Record,
    track: Records,
    row: int,
    begin: int,
    end: int,
    time: int,
    lat: int,
    lon: int,
    x: float,
    y: float,
    model: Model,
    plane: Scratch,
    tape: Tape,
    out: Records,
    n: int,
) -> int:
    """Write the row of a drive that parked, with the search before it since point `begin`."""
    n = tell(out, n, TRIP, row, device, time, lat, lon)
    event = out[n - 1]
    add_place(plane, 0, end, x, y)
    tell_excess(event, track, device.first, plane, begin, end, x, y)
    start, odds = search_begin(plane, begin, end, model.near, model.start)
    since = track[device.first + start].time if start < end else time
    if since >= time:
        return n
    values = plane.session
    describe(plane, start, end, x, y, odds, device.stay_s, busy_of(device), False, values)
    lag_s = (device.foot_time - time) / 1000 if device.feet > 0 else NO_FEET_S
    values[18] = math.log1p(max(0.0, min(NO_FEET_S, lag_s)) / 30)
    seen = device.last_time - time >= SEEN_MS
    walked = metres(lat, lon, device.last_lat, device.last_lon) if seen else UNSEEN_M
    values[19] = min(4.0, walked / 50)
    values[20] = 1.0 - device.tells_activity
    write_session(tape, row, since, time, PARKED, plane)
    likely = probability(session_odds(model.parked, values))
    event.confidence = likely
    if likely >= model.least[PARKED]:
        event.search_start = since
        event.search_m = plane.way[end - 1] - plane.way[start]
        event.loops = loop_count(plane, start, end)
    return n


@kernel
def tell_left(
    device: Record,
    track: Records,
    row: int,
    count: int,
    x: float,
    y: float,
    parked: bool,
    time: int,
    model: Model,
    plane: Scratch,
    tape: Tape,
    out: Records,
    n: int,
) -> tuple[int, int]:
    """Write the row of a search on the way that did not end in parking, if any; and the first point behind it.

    (x, y) is where the drive ended. One that had not left when it fell silent is not known to have given up.
    """
    away_m = rules.ABOUT_M if parked else ANYWHERE
    begin, end, odds = wandering(plane, count, x, y, away_m, model.wander)
    if end - begin < 2:
        return n, 0
    mid_x, mid_y = middle(plane, begin, end)
    gone = farthest_m(plane, end, count, mid_x, mid_y) > rules.LEFT_M
    if parked and math.hypot(mid_x - x, mid_y - y) <= rules.LEFT_M:
        return n, 0
    last = end - 1 if gone else count - 1
    values = plane.session
    describe(plane, begin, last + 1, mid_x, mid_y, odds, device.stay_s, busy_of(device), True, values)
    values[18], values[19], values[20] = 0.0, 0.0, 1.0 - device.tells_activity
    since, until = track[device.first + begin].time, track[device.first + last].time if gone else time
    write_session(tape, row, since, until, LEFT, plane)
    likely = probability(session_odds(model.left, values))
    excess = excess_m(plane, first_near(plane, begin, last + 1, mid_x, mid_y), last + 1, mid_x, mid_y)
    long = until - since >= rules.GIVE_UP_MS or excess > rules.GIVE_UP_M
    searched = likely >= model.least[LEFT] and long
    stood_s = longest_stand_s(plane, begin, last + 1)
    picked_up = gone and device.feet == 0 and rules.PICK_UP_S <= stood_s <= rules.LONG_PICK_UP_S
    if not searched and not picked_up:
        return n, 0
    origin = track[device.first + count - 1]
    lat, lon = origin.lat + round(mid_y / METRES), origin.lon + round(mid_x / east_m(origin.lat))
    n = tell(out, n, TRIP, row, device, until, lat, wrapped(lon))
    event = out[n - 1]
    tell_excess(event, track, device.first, plane, begin, last + 1, mid_x, mid_y)
    event.loops = loop_count(plane, begin, last + 1)
    event.distance_m = min(device.distance_m, plane.way[last])
    event.confidence = likely
    event.outcome = rules.PICKED_UP_OUTCOME
    if searched:
        event.outcome = rules.GAVE_UP_OUTCOME if gone else rules.UNKNOWN_OUTCOME
        event.search_start, event.search_m = since, plane.way[last] - plane.way[begin]
    return n, last + 1


@kernel
def tell_excess(
    event: Record, track: Records, first: int, plane: Scratch, begin: int, end: int, x: float, y: float
) -> None:
    """Write what was driven since first near the place (x, y), and from where."""
    near = first_near(plane, begin, end, x, y)
    event.excess_m = excess_m(plane, near, end, x, y)
    if near < end:
        event.near_m = plane.way[end - 1] - plane.way[near]
        event.near_lat, event.near_lon = track[first + near].lat, track[first + near].lon


@kernel
def wrapped(lon: int) -> int:
    """Return a longitude beyond the antimeridian as it is written."""
    if lon > HALF_TURN:
        return lon - 2 * HALF_TURN
    return lon + 2 * HALF_TURN if lon < -HALF_TURN else lon


@kernel
def busy_of(device: Record) -> float:
    """Return the parkings before this drive, each fading over BUSY_MS."""
    if device.parked_time == NULL_TIME:
        return 0.0
    return device.busy * math.exp((device.parked_time - device.trip_start) / rules.BUSY_MS)


@kernel
def write_points(tape: Tape, track: Records, first: int, count: int, row: int, parked: bool, plane: Scratch) -> None:
    """Put the points of a drive on the tape, and go on to the next drive."""
    if len(tape.points) == 0:
        return
    for i in range(count):
        seen = tape.points[tape.used[0] + i]
        seen.drive, seen.time, seen.weight = tape.used[2], track[first + i].time, plane.weight[i]
        seen.row, seen.parked = row, 1 if parked else 0
        for k in range(plane.features.shape[1]):
            seen.features[k] = plane.features[i, k]
    tape.used[0] += count
    tape.used[2] += 1


@kernel
def write_session(tape: Tape, row: int, since: int, until: int, left: int, plane: Scratch) -> None:
    """Put what a session is judged by on the tape."""
    if len(tape.sessions) == 0:
        return
    seen = tape.sessions[tape.used[1]]
    seen.drive, seen.row, seen.search_start, seen.search_end, seen.left = tape.used[2], row, since, until, left
    for k in range(len(plane.session)):
        seen.features[k] = plane.session[k]
    tape.used[1] += 1
