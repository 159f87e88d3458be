"""The trip machine of one shard: `advance` takes the next events, `expire` closes what has fallen silent.

`geo.trips.rules` says what it decides and why, `geo.trips.search` where a search begins and ends. What comes out is a
function of each device's events alone: however they are cut into batches and devices interleaved, and wherever the
state is saved and loaded, the same parkings and trips come out.

Searches are judged by a `Model`, `MODEL` unless another is given. To fit one, `observe` whole recordings: it runs the
same kernels and also returns what the search saw. Each point of a drive (`points`: `time`, `weight`, `features`) lies
in a true search or does not: that fits `near` (points of drives that parked) and `wander` (its features are the first
WANDER). Observed anew with these, each session before it was judged (`sessions`: `search_start`, `search_end`, `left`,
`features`) is a true search of SEARCH_S or is not: that fits `parked` (`left` = 0) and `left` (`left` = 1), whose
probability is the confidence of the session's row, and the rows want at least `least`.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.fix import NULL_TIME, FixArray
from geo.trips.endings import close_devices
from geo.trips.features import WANDER, scratch
from geo.trips.kernel import advance_rows
from geo.trips.model import MODEL, SEARCH_S, SESSION_FEATURES, Model
from geo.trips.records import (
    DRIVING,
    EVENT,
    FEATURES,
    HINT,
    HINT_CLEARED,
    PARK_END,
    PARK_START,
    PARKED,
    POINT,
    POINTS,
    SEEN_POINT,
    SEEN_SESSION,
    TRIP,
    Records,
    Rows,
    Store,
    Tape,
    adopted,
    no_devices,
    no_tape,
)
from geo.trips.rules import DETECTOR, GAP_MS, OUTCOMES, QUALITIES, START_REACH_MS
from geo.validity import MAX_DELAY_MS

__all__ = [
    "DETECTOR", "EVENT", "FEATURES", "HINT", "HINT_CLEARED", "MODEL", "OUTCOMES", "PARK_END", "PARK_START",
    "QUALITIES", "SEARCH_S", "SESSION_FEATURES", "TRIP", "WANDER", "Model", "Observed", "TripState", "advance",
    "expire", "observe",
]  # fmt: skip

MIN_OUT: Final = 1_024
TAPE_POINTS: Final = 64 * POINTS
TAPE_SESSIONS: Final = 1_024
FOREVER: Final = 2**62


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

    def drive_since(self) -> NDArray[np.int64]:
        """Return, by slot, a time before which no trip that is still to be told begins."""
        devices = self.store.devices
        silent = devices["last_time"] == NULL_TIME
        since = np.where(silent, FOREVER, devices["last_time"] - GAP_MS - START_REACH_MS)
        since = np.where(devices["state"] == PARKED, devices["in_place_time"], since)
        return np.where(devices["state"] == DRIVING, devices["trip_start"], since)

    def to_columns(self) -> dict[str, NDArray[Any]]:
        """Return a copy of what is in use: `slots` int32[k], `devices` DEVICE[k], `points` POINT[m] in their order."""
        slots = np.flatnonzero(self.store.devices["heard_time"] != NULL_TIME).astype(np.int32)
        devices = self.store.devices[slots]
        points = self.store.tracks.reshape(-1)[_used(slots, devices["points"])]
        return {"slots": slots, "devices": devices, "points": points}

    @classmethod
    def from_columns(cls, columns: dict[str, NDArray[Any]]) -> "TripState":
        """Return the state that `to_columns` gave, or an earlier layout of it; ValueError if they do not fit."""
        slots, devices, points = columns["slots"], adopted(columns["devices"]), columns["points"]
        if points.dtype != POINT or len(slots) != len(devices) or int(devices["points"].sum()) != len(points):
            raise ValueError("columns of another layout")
        state = cls(int(slots.max(initial=-1)) + 1)
        state.store.devices[slots] = devices
        state.store.tracks.reshape(-1)[_used(slots, devices["points"])] = points
        return state


def _used(slots: NDArray[np.int32], counts: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return where the first `counts` points of each slot stand among all points."""
    starts = np.repeat(slots.astype(np.int64) * POINTS - np.cumsum(counts) + counts, counts)
    return starts + np.arange(len(starts))


class Observed(NamedTuple):
    """What recordings gave, `row` being the slot in each: EVENT, SEEN_POINT by drive, SEEN_SESSION."""

    events: Records
    points: Records
    sessions: Records


def advance(state: TripState, device: NDArray[np.int32], rows: FixArray, model: Model = MODEL) -> Records:
    """Take the next events of a shard, each device's in order, devices mixed at will; return what is decided.

    device: slots, shape (n,); rows: FIX, shape (n,), places quantised, event times not running back. Gives records of
    dtype EVENT in order of their row. Changes `state`. Raises ValueError for a slot beyond the capacity.
    """
    return _advance(state, device, rows, _checked(model), no_tape()).events


def expire(state: TripState, clock_ms: int, model: Model = MODEL) -> Records:
    """Close the devices whose silence is certain at `clock_ms`: last fix + GAP_MS + MAX_DELAY_MS lies before it.

    Gives records of dtype EVENT, `row` being the slot, just as the device's next event would have. Changes `state`.
    """
    return _expire(state, clock_ms, _checked(model), no_tape()).events


def observe(device: NDArray[np.int32], rows: FixArray, model: Model = MODEL) -> Observed:
    """Return what whole recordings give, every device closed at the end, and what the search saw; args as `advance`."""
    state = TripState(int(device.max(initial=-1)) + 1)
    tape = Tape(np.zeros(TAPE_POINTS, SEEN_POINT), np.zeros(TAPE_SESSIONS, SEEN_SESSION), np.zeros(3, np.int64))
    live = _advance(state, device, rows, _checked(model), tape)
    for seen in live:
        seen["row"] = device[seen["row"]]
    closed = _expire(state, FOREVER, _checked(model), tape)
    return Observed(*(np.concatenate(parts) for parts in zip(live, closed, strict=True)))


def _advance(state: TripState, device: NDArray[np.int32], rows: FixArray, model: Model, tape: Tape) -> Observed:
    if len(device) != len(rows):
        raise ValueError("device and rows differ in length")
    if len(device) and not 0 <= int(device.min()) <= int(device.max()) < state.capacity:
        raise ValueError(f"slot outside 0 .. {state.capacity - 1}")
    names = ("event_time", "receive_time", "lat", "lon", "accuracy_m", "speed_mps", "activity", "activity_confidence")
    columns = Rows(np.array(device, np.int32), *(np.array(rows[name]) for name in names))
    out, plane, blank = np.zeros(MIN_OUT, EVENT), scratch(), no_devices(1)
    parts = [_nothing()]
    row = 0
    while row < len(device):
        row, written = advance_rows(state.store, columns, row, blank, model, plane, tape, out)
        parts.append(_taken(out[:written], tape))
    return Observed(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _expire(state: TripState, clock_ms: int, model: Model, tape: Tape) -> Observed:
    last = state.store.devices["last_time"]
    slots = np.flatnonzero((last != NULL_TIME) & (last < clock_ms - GAP_MS - MAX_DELAY_MS)).astype(np.int32)
    out, plane = np.zeros(MIN_OUT, EVENT), scratch()
    parts = [_nothing()]
    done = 0
    while done < len(slots):
        done, written = close_devices(state.store, slots, done, model, plane, tape, out)
        parts.append(_taken(out[:written], tape))
    return Observed(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _nothing() -> Observed:
    return Observed(np.zeros(0, EVENT), np.zeros(0, SEEN_POINT), np.zeros(0, SEEN_SESSION))


def _taken(events: Records, tape: Tape) -> Observed:
    """Return copies of what was written, and wind the tape back."""
    points, sessions = (int(used) for used in tape.used[:2])
    tape.used[:2] = 0
    return Observed(events.copy(), tape.points[:points].copy(), tape.sessions[:sessions].copy())


def _checked(model: Model) -> Model:
    """Return a model of the right shapes, as kernels take it: they have no bounds checks."""
    gate = 3 * len(SESSION_FEATURES) + 1
    sizes = (FEATURES + 1, 2, WANDER + 1, gate, gate, 2)
    if tuple(len(part) for part in model) != sizes:
        raise ValueError(f"a model of other sizes than {sizes}")
    return Model(*(np.array(part, np.float64) for part in model))
