"""While it drives: is it probably searching now? A hint may be taken back; a session is judged when the drive is over.

    raised   over the last WINDOW_MS the crow's way was at most STRAIGHT of the way driven, that between MIN_MPS and
             MAX_MPS and all of it within AREA_M of its middle, and the drive is MIN_DRIVE_M long already
    cleared  the drive ends, or over the last WINDOW_MS the way was straighter than CLEARED, over MIN_WAY_M at least

None of it looks at a place: a search ends where nobody knows yet.
"""

import math
from typing import Final

from geo.boundary import METRES, east_m, lon_step
from geo.fix import NULL_TIME
from geo.jit import kernel
from geo.trips.records import HINT, HINT_CLEARED, Record, Records, Store
from geo.trips.sessions import tell

WINDOW_MS: Final = 180_000
"""Over 240 s hints came 106 s after the search began on real drives, over 180 s 72 s, with as many that were wrong."""
STRAIGHT: Final = 0.4
CLEARED: Final = 0.7
MIN_MPS: Final = 2.0
"""A phone on foot, or in a jam, is slower."""
MAX_MPS: Final = 25 / 3.6
AREA_M: Final = 400.0
MIN_DRIVE_M: Final = 800.0
MIN_WAY_M: Final = 100.0


@kernel
def follow(store: Store, slot: int, row: int, out: Records, n: int) -> int:
    """Raise or clear the hint of a device that drives, at the newest point of its track."""
    device, track = store.devices[slot], store.tracks[slot]
    last = device.points - 1
    begin = last
    while begin > device.first and track[last].time - track[begin].time < WINDOW_MS:
        begin -= 1
    elapsed_ms = track[last].time - track[begin].time
    if elapsed_ms < WINDOW_MS:
        return n
    scale = east_m(track[last].lat)
    way, x, y, mid_x, mid_y = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(last, begin - 1, -1):
        to_x = lon_step(track[last].lon, track[i].lon) * scale
        to_y = (track[i].lat - track[last].lat) * METRES
        way += math.hypot(to_x - x, to_y - y)
        x, y, mid_x, mid_y = to_x, to_y, mid_x + to_x, mid_y + to_y
    crow, count = math.hypot(x, y), last - begin + 1
    if device.hint_time != NULL_TIME:
        return clear_hint(out, n, row, device) if crow > max(MIN_WAY_M, CLEARED * way) else n
    searching = MIN_MPS * elapsed_ms <= way * 1000 <= MAX_MPS * elapsed_ms
    if device.distance_m < MIN_DRIVE_M or not searching or crow > STRAIGHT * way:
        return n
    mid_x, mid_y = mid_x / count, mid_y / count
    for i in range(begin, last + 1):
        to_x = lon_step(track[last].lon, track[i].lon) * scale
        to_y = (track[i].lat - track[last].lat) * METRES
        if math.hypot(to_x - mid_x, to_y - mid_y) > AREA_M:
            return n
    device.hint_time, device.hint_since = track[last].time, track[begin].time
    return tell_hint(out, n, HINT, row, device)


@kernel
def clear_hint(out: Records, n: int, row: int, device: Record) -> int:
    """Take the hint back, if one is raised."""
    if device.hint_time == NULL_TIME:
        return n
    n = tell_hint(out, n, HINT_CLEARED, row, device)
    device.hint_time = NULL_TIME
    return n


@kernel
def tell_hint(out: Records, n: int, kind: int, row: int, device: Record) -> int:
    """Write that the hint was raised or cleared, where the device is now."""
    n = tell(out, n, kind, row, device, device.last_time, device.last_lat, device.last_lon)
    event = out[n - 1]
    event.hint_time, event.search_start, event.clock_ms = device.hint_time, device.hint_since, 0
    return n
