"""State and output of the trip machine as records: nothing here knows a rule. Places are microdegrees, times ms UTC.

Records are aligned and have no padding: kernels read them with whole loads, and equal states are equal bytes.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.fix import NULL_TIME
from geo.trips.model import SESSION_FEATURES

UNKNOWN: Final = 0
DRIVING: Final = 1
PARKED: Final = 2

FEATURES: Final = 14
POINTS: Final = 256
"""A track holds this many points. One that is full gives up every second point of its older half."""
KEPT: Final = 16
"""Of a phone that has parked only so many are remembered."""

POINT: Final = np.dtype([("time", "<i8"), ("lat", "<i4"), ("lon", "<i4")], align=True)

DEVICE: Final = np.dtype(
    [
        ("heard_time", "<i8"),  # the last event, NULL_TIME without one
        ("last_time", "<i8"),  # the last accepted fix, NULL_TIME without one
        ("own_time", "<i8"),  # when the phone last told its speed
        ("run_time", "<i8"),  # first of the unbroken fixes at START_MPS
        ("arrival", "<i8"),  # the last time it moved as a vehicle
        ("foot_time", "<i8"),  # first word of feet since
        ("vehicle_time", "<i8"),  # last word of a vehicle
        ("stand_time", "<i8"),  # since when it is within STAND_M of one place
        ("in_place_time", "<i8"),  # last seen at the parking place
        ("trip_start", "<i8"),
        ("widest_ms", "<i8"),  # longest gap of the drive
        ("upload_time", "<i8"),  # receive_time of the last row
        ("soonest_ms", "<i8"),  # least receive_time - event_time so far
        ("hint_time", "<i8"),  # when it was last hinted that it searches, NULL_TIME if it is not
        ("hint_since", "<i8"),
        ("parked_time", "<i8"),  # the last parking, NULL_TIME without one
        ("busy", "<f8"),  # parkings up to parked_time, each fading over BUSY_MS
        ("distance_m", "<f8"),
        ("own_mps", "<f4"),
        ("speed_mps", "<f4"),  # by its own word, else by its last steps
        ("stay_s", "<f4"),  # how long it was parked before this drive, -1 if it is not known to have been
        ("last_lat", "<i4"),
        ("last_lon", "<i4"),
        ("arrival_lat", "<i4"),
        ("arrival_lon", "<i4"),
        ("foot_lat", "<i4"),
        ("foot_lon", "<i4"),
        ("stand_lat", "<i4"),
        ("stand_lon", "<i4"),
        ("place_lat", "<i4"),
        ("place_lon", "<i4"),
        ("points", "<i4"),  # in use on its track
        ("first", "<i4"),  # of them, the first of the drive
        ("fixes", "<i4"),  # of the drive
        ("close", "<i4"),  # of them, soon after the one before
        ("certain", "<i4"),  # of them, as certain as CERTAIN_M
        ("uploads", "<i4"),
        ("runs", "<i4"),  # unbroken fixes at START_MPS
        ("feet", "<i4"),
        ("bikes", "<i4"),
        ("vehicles", "<i4"),
        ("jumps", "<i1"),
        ("state", "<i1"),
        ("is_vehicle", "<i1"),
        ("tells_activity", "<i1"),
    ],
    align=True,
)
"""State of a device."""

PARK_START: Final = 0
PARK_END: Final = 1
TRIP: Final = 2
HINT: Final = 3
HINT_CLEARED: Final = 4

EVENT: Final = np.dtype(
    [
        ("event_time", "<i8"),  # of a trip: its end
        ("trip_start", "<i8"),
        ("search_start", "<i8"),  # event_time where there was no search
        ("hint_time", "<i8"),  # of a hint: when it was raised
        ("distance_m", "<f8"),
        ("search_m", "<f8"),
        ("excess_m", "<f8"),  # beyond the crow's way x DETOUR
        ("near_m", "<f8"),  # driven since it first came near the place, from (near_lat, near_lon); 0 if it did not
        ("confidence", "<f4"),
        ("row", "<i4"),  # row of the batch, or the device in what `expire` gives
        ("ordinal", "<i4"),  # of a trip: which row of its drive
        ("near_lat", "<i4"),
        ("near_lon", "<i4"),
        ("lat", "<i4"),
        ("lon", "<i4"),
        ("loops", "<i4"),
        ("clock_ms", "<i4"),  # by how much the device's clock was corrected
        ("kind", "<i4"),
        ("outcome", "<i4"),
        ("quality", "<i4"),
    ],
    align=True,
)
"""What is decided."""

SEEN_POINT: Final = np.dtype(
    [
        ("drive", "<i8"),  # running number of the drive that ended
        ("time", "<i8"),
        ("weight", "<f8"),
        ("features", "<f8", (FEATURES,)),  # those of the place only where `parked` is set
        ("row", "<i4"),
        ("parked", "<i4"),
    ],
    align=True,
)
"""A point of a drive as the search saw it."""

SEEN_SESSION: Final = np.dtype(
    [
        ("drive", "<i8"),
        ("search_start", "<i8"),
        ("search_end", "<i8"),
        ("features", "<f8", (len(SESSION_FEATURES),)),
        ("row", "<i4"),
        ("left", "<i4"),
    ],
    align=True,
)
"""A session before its probability was asked for; `left` is 1 if it did not end by parking."""

Records = NDArray[np.void]
Record = Any
"""One of them, as a kernel sees it: a view whose fields are attributes."""


class Store(NamedTuple):
    """State of a shard: DEVICE by slot, and POINT by slot and place on the track."""

    devices: Records
    tracks: Records


class Tape(NamedTuple):
    """What the search saw, written down where there is room: SEEN_POINT, SEEN_SESSION, and how many of each, drives."""

    points: Records
    sessions: Records
    used: NDArray[np.int64]  # (3,)


class Rows(NamedTuple):
    """Events of phones as the kernel reads them, each device's in order; lat is NULL_DEGREES for an activity alone."""

    device: NDArray[np.int32]
    event_time: NDArray[np.int64]
    receive_time: NDArray[np.int64]
    lat: NDArray[np.int32]
    lon: NDArray[np.int32]
    accuracy_m: NDArray[np.float32]
    speed_mps: NDArray[np.float32]
    activity: NDArray[np.int8]
    confidence: NDArray[np.int8]


NULL_AT_FIRST: Final = (
    "heard_time", "last_time", "own_time", "foot_time", "vehicle_time", "upload_time", "parked_time", "hint_time",
)  # fmt: skip


def no_devices(count: int) -> Records:
    """Return the state of devices that nothing is known of."""
    devices = np.zeros(count, DEVICE)
    for name in (
        "heard_time",
        "last_time",
        "own_time",
        "foot_time",
        "vehicle_time",
        "upload_time",
        "parked_time",
        "hint_time",
    ):
        devices[name] = NULL_TIME
    devices["stay_s"] = -1.0
    return devices


def adopted(devices: Records) -> Records:
    """Return devices of an earlier layout, which had some of the fields, in this one; ValueError if it is no such."""
    if devices.dtype == DEVICE:
        return devices
    known = no_devices(len(devices))
    names = devices.dtype.names or ()
    if not names or not set(names) <= set(DEVICE.names or ()):
        raise ValueError("devices of another layout: run the version that wrote them, or begin a new recovery store")
    for name in names:
        known[name] = devices[name]
    return known


def no_tape() -> Tape:
    """Return a tape without room."""
    return Tape(np.zeros(0, SEEN_POINT), np.zeros(0, SEEN_SESSION), np.zeros(3, np.int64))
