"""The machine's state and output as records, and the pool of pairs: nothing here knows a rule.

Records have no padding, so equal states are equal bytes.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.fix import NULL_TIME
from geo.jit import inlined, kernel

TRAIL: Final = 10
"""Places on a device's trail: ten, TRAIL_MS apart at least, reach over MOVING_MS."""
NONE: Final = -1
"""No pair."""
OUTSIDE: Final = 0
INSIDE: Final = 1

DEVICE: Final = np.dtype(
    [
        ("last_time", "<i8"),  # the last accepted fix, NULL_TIME: UNKNOWN
        ("still_since", "<i8"),
        ("trail_count", "<i8"),  # fixes ever put on the trail
        ("still_lat", "<f8"),  # mean place of the stay, microdegrees
        ("still_lon", "<f8"),
        ("still_sum", "<f8"),  # squared deviations from it in units of sigma, per axis
        ("noise", "<f8"),  # how much larger than stated the scatter is, 1 to MAX_NOISE
        ("last_lat", "<i4"),
        ("last_lon", "<i4"),
        ("still_count", "<i4"),
        ("first_pair", "<i4"),
        ("trail_time", "<i8", (TRAIL,)),
        ("trail_lat", "<i4", (TRAIL,)),
        ("trail_lon", "<i4", (TRAIL,)),
    ]
)
"""State of a device, 232 bytes, no padding."""

PAIR: Final = np.dtype(
    [
        ("fence", "<i8"),
        ("entered", "<i8"),  # event_time of the ENTER
        ("dwell_due", "<i8"),  # NULL_TIME once emitted
        ("cut_time", "<i8"),  # where the track left the side it is held to be on; NULL_TIME while it is there
        ("evidence_since", "<i8"),  # first of the unbroken fixes that speak for the other side
        ("cut_lat", "<i4"),
        ("cut_lon", "<i4"),
        ("device", "<i4"),
        ("next", "<i4"),
        ("side", "<i4"),
        ("confidence", "<f4"),  # of the ENTER
    ]
)
"""State of a device at a fence it is inside of, or may be entering, 64 bytes, no padding."""

EVENT: Final = np.dtype(
    [
        ("event_time", "<i8"),  # ms UTC
        ("dwell_s", "<f8"),  # s, NaN is null
        ("row", "<i4"),  # row of the batch, or the device in what `expire` gives
        ("version", "<i4"),  # row of FenceIndex.versions
        ("kind", "<i4"),  # position in KINDS
        ("lat", "<i4"),  # microdegrees
        ("lon", "<i4"),
        ("confidence", "<f4"),  # probability of the stated side
    ]
)
"""An event of a geofence, 40 bytes, no padding."""

Records = NDArray[np.void]


class Store(NamedTuple):
    """State of a shard: DEVICE records by slot, PAIR records, and free[0]: the first free pair, free[1]: how many."""

    devices: Records
    pairs: Records
    free: NDArray[np.int64]


class Fixes(NamedTuple):
    """The batch, column by column."""

    device: NDArray[np.int32]
    event_time: NDArray[np.int64]
    lat: NDArray[np.int32]
    lon: NDArray[np.int32]
    accuracy_m: NDArray[np.float32]


class Scratch(NamedTuple):
    """Room for one row: versions that hold the place, versions crossed, and the last row that looked at a version."""

    held: NDArray[np.int32]
    crossed: NDArray[np.int32]
    seen: NDArray[np.int64]


@kernel
def release(store: Store, slot: int, before: int, pair: int) -> int:
    """Take a pair off the device's list, `before` being the one before it or NONE; return the next one."""
    following = store.pairs[pair].next
    if before == NONE:
        store.devices[slot].first_pair = following
    else:
        store.pairs[before].next = following
    store.pairs[pair].next = store.free[0]
    store.free[0] = pair
    store.free[1] += 1
    return following


@inlined
def pair_of(store: Store, slot: int, fence: int) -> int:
    """Return the device's pair with a fence, or NONE."""
    pair = store.devices[slot].first_pair
    while pair != NONE and store.pairs[pair].fence != fence:
        pair = store.pairs[pair].next
    return pair


@inlined
def pairs_of(store: Store, slot: int) -> int:
    """Return the number of the device's pairs."""
    count, pair = 0, store.devices[slot].first_pair
    while pair != NONE:
        count, pair = count + 1, store.pairs[pair].next
    return count


@kernel
def new_pair(store: Store, slot: int, fence: int) -> int:
    """Put a pair, still outside, at the head of the device's list; the caller saw that one is free."""
    pair = store.free[0]
    record = store.pairs[pair]
    store.free[0] = record.next
    store.free[1] -= 1
    record.fence, record.device, record.side = fence, slot, OUTSIDE
    record.entered, record.dwell_due, record.cut_time = NULL_TIME, NULL_TIME, NULL_TIME
    record.evidence_since, record.cut_lat, record.cut_lon, record.confidence = NULL_TIME, 0, 0, 0.0
    record.next = store.devices[slot].first_pair
    store.devices[slot].first_pair = pair
    return pair


@kernel
def pack_pairs(store: Store, slots: NDArray[np.int32], devices: Records, pairs: Records) -> int:
    """Copy the devices' pairs in the order of their lists; link the copies; return how many."""
    n = 0
    for i in range(len(slots)):
        pair = store.devices[slots[i]].first_pair
        devices[i].first_pair = NONE if pair == NONE else n
        while pair != NONE:
            pairs[n] = store.pairs[pair]
            pair = store.pairs[pair].next
            pairs[n].next = NONE if pair == NONE else n + 1
            n += 1
    return n
