"""The trip machine of one shard: `advance` takes the next events, `expire` closes what has fallen silent.

`geo.trips.rules` says what it decides and why, `geo.trips.search` where a search begins. What comes out is a function
of each device's events alone: however they are cut into batches and devices interleaved, and wherever the state is
saved and loaded, the same parkings and trips come out.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from geo.fix import NULL_TIME, FixArray
from geo.trips.kernel import advance_rows, close_devices
from geo.trips.records import DEVICE, EVENT, PARK_END, PARK_START, POINT, POINTS, TRIP, Records, Rows, Store, no_devices
from geo.trips.rules import DETECTOR, GAP_MS, OUTCOMES, QUALITIES
from geo.trips.search import scratch
from geo.validity import MAX_DELAY_MS

__all__ = [
    "DETECTOR", "EVENT", "OUTCOMES", "PARK_END", "PARK_START", "QUALITIES", "TRIP", "TripState", "advance", "expire",
]  # fmt: skip

MIN_OUT: Final = 1_024


class TripState:
    """What a shard knows of its devices, which are slots 0 .. capacity - 1 as the caller numbers them."""

    def __init__(self, capacity: int = 0) -> None:
        """Begin with `capacity` devices, all UNKNOWN."""
        self.store = Store(no_devices(capacity), np.zeros((capacity, POINTS), POINT))

    @property
    def capacity(self) -> int:
        """The number of slots."""
        return len(self.store.devices)

    def grow(self, capacity: int) -> None:
        """Make room for slots up to `capacity`; never less than there is."""
        more = max(0, capacity - self.capacity)
        devices = np.concatenate([self.store.devices, no_devices(more)])
        self.store = Store(devices, np.concatenate([self.store.tracks, np.zeros((more, POINTS), POINT)]))

    def forget(self, slots: NDArray[np.int32]) -> None:
        """Make the slots UNKNOWN without an event."""
        self.store.devices[slots] = no_devices(len(slots))

    def to_columns(self) -> dict[str, NDArray[Any]]:
        """Return a copy of what is in use: `slots` int32[k], `devices` DEVICE[k], `points` POINT[m] in their order."""
        slots = np.flatnonzero(self.store.devices["heard_time"] != NULL_TIME).astype(np.int32)
        devices = self.store.devices[slots]
        points = self.store.tracks.reshape(-1)[_used(slots, devices["points"])]
        return {"slots": slots, "devices": devices, "points": points}

    @classmethod
    def from_columns(cls, columns: dict[str, NDArray[Any]]) -> "TripState":
        """Return the state that `to_columns` gave; ValueError if the columns do not belong together."""
        slots, devices, points = columns["slots"], columns["devices"], columns["points"]
        fit = devices.dtype == DEVICE and points.dtype == POINT and len(slots) == len(devices)
        if not fit or int(devices["points"].sum()) != len(points):
            raise ValueError("columns of another layout")
        state = cls(int(slots.max(initial=-1)) + 1)
        state.store.devices[slots] = devices
        state.store.tracks.reshape(-1)[_used(slots, devices["points"])] = points
        return state


def _used(slots: NDArray[np.int32], counts: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return where the first `counts` points of each slot stand among all points."""
    starts = np.repeat(slots.astype(np.int64) * POINTS - np.cumsum(counts) + counts, counts)
    return starts + np.arange(len(starts))


def advance(state: TripState, device: NDArray[np.int32], rows: FixArray) -> Records:
    """Take the next events of a shard, each device's in order, devices mixed at will; return what is decided.

    device: slots, shape (n,); rows: FIX, shape (n,), places quantised, event times not running back. Gives records of
    dtype EVENT in order of their row. Changes `state`. Raises ValueError for a slot beyond the capacity.
    """
    if len(device) != len(rows):
        raise ValueError("device and rows differ in length")
    if len(device) and not 0 <= int(device.min()) <= int(device.max()) < state.capacity:
        raise ValueError(f"slot outside 0 .. {state.capacity - 1}")
    names = ("event_time", "receive_time", "lat", "lon", "accuracy_m", "speed_mps", "activity", "activity_confidence")
    columns = Rows(np.array(device, np.int32), *(np.array(rows[name]) for name in names))
    out, (x, y) = np.zeros(MIN_OUT, EVENT), scratch()
    parts: list[Records] = []
    row = 0
    while row < len(device):
        row, written = advance_rows(state.store, columns, row, no_devices(1), x, y, out)
        parts.append(out[:written].copy())
    return np.concatenate([np.zeros(0, EVENT), *parts])


def expire(state: TripState, clock_ms: int) -> Records:
    """Close the devices whose silence is certain at `clock_ms`: last fix + GAP_MS + MAX_DELAY_MS lies before it.

    Gives records of dtype EVENT, `row` being the slot, just as the device's next event would have. Changes `state`.
    """
    last = state.store.devices["last_time"]
    slots = np.flatnonzero((last != NULL_TIME) & (last < clock_ms - GAP_MS - MAX_DELAY_MS)).astype(np.int32)
    out, (x, y) = np.zeros(MIN_OUT, EVENT), scratch()
    parts: list[Records] = []
    done = 0
    while done < len(slots):
        done, written = close_devices(state.store, slots, done, x, y, out)
        parts.append(out[:written].copy())
    return np.concatenate([np.zeros(0, EVENT), *parts])
