"""The geofence machine of one shard: `advance` takes the next fixes, `expire` closes what has fallen silent.

`geo.geofence.rules` says what it decides and why. Events are a function of each device's fixes and the fence history
alone: however the fixes are cut into batches and devices interleaved, and wherever the state is saved and loaded, the
same events come out.
"""

from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from geo.fence_index import FenceIndex
from geo.fix import NULL_TIME
from geo.geofence.kernel import EVENTS, PAIRS, advance_rows, close_devices, forget_devices
from geo.geofence.records import DEVICE, EVENT, NONE, PAIR, Fixes, Records, Scratch, Store, pack_pairs
from geo.geofence.rules import DETECTOR, ENTER, GAP_MS, KINDS, VERDICTS
from geo.validity import MAX_DELAY_MS

__all__ = ["DETECTOR", "ENTER", "EVENT", "KINDS", "VERDICTS", "Advance", "GeofenceState", "advance", "expire"]

FIRST_PAIRS: Final = 256
MIN_OUT: Final = 1_024
MAX_LAT: Final = 90_000_000
MAX_LON: Final = 180_000_000


class Advance(NamedTuple):
    """What a batch gave: `events` of dtype EVENT, by row and then event_time, and the fixes counted by VERDICTS."""

    events: Records
    verdicts: NDArray[np.int64]


class GeofenceState:
    """What a shard knows of its devices, which are slots 0 .. capacity - 1 as the caller numbers them."""

    def __init__(self, capacity: int = 0) -> None:
        """Begin with `capacity` devices, all UNKNOWN."""
        self.store = Store(_devices(capacity), np.zeros(0, PAIR), np.array([NONE, 0], np.int64))

    @property
    def capacity(self) -> int:
        """The number of slots."""
        return len(self.store.devices)

    def grow(self, capacity: int) -> None:
        """Make room for slots up to `capacity`; never less than there is."""
        new = _devices(max(0, capacity - self.capacity))
        self.store = self.store._replace(devices=np.concatenate([self.store.devices, new]))

    def forget(self, slots: NDArray[np.int32]) -> None:
        """Make the slots UNKNOWN without an event. After `expire` closed them this changes nothing that follows."""
        forget_devices(self.store, _slots(slots, self.capacity))

    def to_columns(self) -> dict[str, NDArray[np.generic]]:
        """Return a copy of what is in use: `slots` int32[k], `devices` DEVICE[k], `pairs` PAIR[m].

        Equal states give equal bytes. Fences stand in it by key, so it may be loaded beside any index.
        """
        store = self.store
        slots = np.flatnonzero(store.devices["last_time"] != NULL_TIME).astype(np.int32)
        devices, pairs = store.devices[slots], np.zeros(len(store.pairs) - int(store.free[1]), PAIR)
        pack_pairs(store, slots, devices, pairs)
        return {"slots": slots, "devices": devices, "pairs": pairs}

    @classmethod
    def from_columns(cls, columns: dict[str, NDArray[np.generic]]) -> "GeofenceState":
        """Return the state that `to_columns` gave, with capacity for its last slot.

        Raises ValueError if the columns do not belong together.
        """
        slots = columns["slots"]
        devices, pairs = cast("Records", columns["devices"]), cast("Records", columns["pairs"])
        if devices.dtype != DEVICE or pairs.dtype != PAIR or len(slots) != len(devices):
            raise ValueError("columns of another layout")
        state = cls(int(slots.max(initial=-1)) + 1)
        links = np.concatenate([devices["first_pair"], pairs["next"]])
        if ((links < NONE) | (links >= len(pairs))).any() or not np.isin(pairs["device"], slots).all():
            raise ValueError("pairs without their device")
        state.store.devices[_slots(slots, state.capacity)] = devices
        state.store = state.store._replace(pairs=pairs.copy())
        return state

    def add_pairs(self) -> None:
        """Double the pool of pairs."""
        store, old = self.store, len(self.store.pairs)
        new = np.zeros(max(FIRST_PAIRS, old), PAIR)
        new["next"] = np.arange(old + 1, old + len(new) + 1)
        new["next"][-1] = store.free[0]
        free = np.array([old, int(store.free[1]) + len(new)], np.int64)
        self.store = store._replace(pairs=np.concatenate([store.pairs, new]), free=free)


def advance(
    state: GeofenceState,
    index: FenceIndex,
    device: NDArray[np.int32],
    event_time: NDArray[np.int64],
    lat: NDArray[np.int32],
    lon: NDArray[np.int32],
    accuracy_m: NDArray[np.float32],
) -> Advance:
    """Take the next fixes of a shard, each device's in order of event_time, devices mixed at will.

    device: slots; event_time: ms UTC; lat, lon: microdegrees, none null; accuracy_m: NaN is null; shape (n,) each.
    Changes `state`. Raises ValueError for columns of different length, a slot beyond the capacity, or a place off the
    earth, before anything changed.
    """
    fixes = _fixes(state, device, event_time, lat, lon, accuracy_m)
    size = len(index.versions)
    scratch = Scratch(np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int64))
    verdicts = np.zeros(len(VERDICTS), np.int64)
    out = np.zeros(MIN_OUT + len(device) // 8, EVENT)
    parts: list[Records] = []
    row, lack = 0, EVENTS
    while lack:
        scratch.seen.fill(-1)
        row, written, lack = advance_rows(index.columns, state.store, fixes, row, scratch, out, verdicts)
        parts.append(out[:written].copy())
        if lack == PAIRS:
            state.add_pairs()
        elif not written:
            out = np.zeros(2 * len(out), EVENT)
    return Advance(_in_order(parts), verdicts)


def expire(state: GeofenceState, index: FenceIndex, clock_ms: int) -> Records:
    """Close the devices whose silence is certain at `clock_ms`: last fix + GAP_MS + MAX_DELAY_MS lies before it.

    Gives events of dtype EVENT, `row` being the slot, just as the device's next fix would have. Changes `state`.
    """
    last = state.store.devices["last_time"]
    silent = (last != NULL_TIME) & (last < clock_ms - GAP_MS - MAX_DELAY_MS)
    slots = np.flatnonzero(silent).astype(np.int32)
    out = np.zeros(MIN_OUT, EVENT)
    parts: list[Records] = []
    done = 0
    while done < len(slots):
        done, written = close_devices(index.columns, state.store, slots, done, out)
        parts.append(out[:written].copy())
        if not written:
            out = np.zeros(2 * len(out), EVENT)
    return _in_order(parts)


def _in_order(parts: list[Records]) -> Records:
    """Put events in an order that no layout of state or index decides: row, event_time, fence, kind."""
    events = np.concatenate([np.zeros(0, EVENT), *parts])
    return events[np.lexsort((events["kind"], events["version"], events["event_time"], events["row"]))]


def _devices(count: int) -> Records:
    devices = np.zeros(count, DEVICE)
    devices["last_time"], devices["first_pair"], devices["noise"] = NULL_TIME, NONE, 1.0
    return devices


def _slots(slots: NDArray[np.generic], capacity: int) -> NDArray[np.int32]:
    """Return the slots as int32, none beyond the capacity: kernels have no bounds checks."""
    if len(slots) and not (int(slots.min()) >= 0 and int(slots.max()) < capacity):
        raise ValueError(f"slot outside 0 .. {capacity - 1}")
    return np.array(slots, np.int32)


def _fixes(
    state: GeofenceState,
    device: NDArray[np.int32],
    event_time: NDArray[np.int64],
    lat: NDArray[np.int32],
    lon: NDArray[np.int32],
    accuracy_m: NDArray[np.float32],
) -> Fixes:
    """Check the columns and copy them: kernels are compiled anew for arrays that are strided or may not be written."""
    if not len(device) == len(event_time) == len(lat) == len(lon) == len(accuracy_m):
        raise ValueError("columns differ in length")
    for degrees, limit in ((lat, MAX_LAT), (lon, MAX_LON)):
        if len(degrees) and not -limit <= int(degrees.min()) <= int(degrees.max()) <= limit:
            raise ValueError("a place that is null or off the earth")
    return Fixes(
        _slots(device, state.capacity),
        np.array(event_time, np.int64),
        np.array(lat, np.int32),
        np.array(lon, np.int32),
        np.array(accuracy_m, np.float32),
    )
