"""One pass over fixes: a row is either taken whole or not begun.

Before a row changes anything, the kernel counts the events and pairs that it could need, and returns the row if there
is no room for them.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from geo.boundary import east_m
from geo.fence_index import FenceColumns, holding
from geo.fix import NULL_TIME
from geo.geofence.crossings import cross, crossings
from geo.geofence.motion import gate, is_moving, remember, reset, sigma_of
from geo.geofence.records import NONE, Fixes, Records, Scratch, Store, pairs_of, release
from geo.geofence.rules import ACCEPTED, CROSS_MS, GAP_MS
from geo.geofence.visits import close, leave, visit_held
from geo.jit import kernel

NOTHING: Final = 0
"""What the kernel lacked to go on."""
EVENTS: Final = 1
PAIRS: Final = 2


@kernel
def advance_rows(
    fences: FenceColumns,
    store: Store,
    fixes: Fixes,
    start: int,
    scratch: Scratch,
    out: Records,
    verdicts: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Go on from row `start`; return the row not taken (or n), the number of events written, and what was lacking."""
    n = 0
    for row in range(start, len(fixes.device)):
        slot, time, lat, lon = fixes.device[row], fixes.event_time[row], fixes.lat[row], fixes.lon[row]
        scale = east_m(lat)
        verdict = gate(store.devices, slot, time, lat, lon, scale, fixes.accuracy_m[row])
        if verdict != ACCEPTED:
            verdicts[verdict] += 1
            continue
        device = store.devices[slot]
        stated = sigma_of(fixes.accuracy_m[row])
        sigma = stated * device.noise
        silent = device.last_time != NULL_TIME and time - device.last_time > GAP_MS
        known = device.last_time != NULL_TIME and not silent
        moving = known and is_moving(store.devices, slot, time, lat, lon, scale, sigma)
        n_held = holding(fences, lat, lon, time, scratch.held, 0)
        n_crossed = 0
        if moving and time - device.last_time <= CROSS_MS:
            n_crossed = crossings(fences, store, fixes, row, sigma, n_held, scratch)
        if n + 2 * (pairs_of(store, slot) + n_held) + n_crossed > len(out):
            return row, n, EVENTS
        if n_held > store.free[1]:
            return row, n, PAIRS
        if silent:
            n = close(fences, store, slot, out, n, row)
            sigma = stated
        for i in range(n_crossed):
            n = cross(fences, store, scratch.crossed[i], fixes, row, sigma, out, n)
        n = leave(fences, store, scratch.held, n_held, fixes, row, sigma, moving, out, n)
        for i in range(n_held):
            n = visit_held(fences, store, scratch.held[i], fixes, row, sigma, moving, known, out, n)
        verdicts[ACCEPTED] += 1
        remember(store.devices, slot, time, lat, lon, scale, stated)
    return len(fixes.device), n, NOTHING


@kernel
def close_devices(
    fences: FenceColumns, store: Store, slots: NDArray[np.int32], start: int, out: Records
) -> tuple[int, int]:
    """Close devices from `slots[start]` on; return the place that found no room (or n) and the events written."""
    n = 0
    for i in range(start, len(slots)):
        if n + 2 * pairs_of(store, slots[i]) > len(out):
            return i, n
        n = close(fences, store, slots[i], out, n, slots[i])
    return len(slots), n


@kernel
def forget_devices(store: Store, slots: NDArray[np.int32]) -> None:
    """Free the devices' pairs and make them UNKNOWN, silently."""
    for slot in slots:
        while store.devices[slot].first_pair != NONE:
            release(store, slot, NONE, store.devices[slot].first_pair)
        reset(store.devices, slot)
