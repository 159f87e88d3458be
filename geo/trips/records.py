"""State and output of the trip machine as records: nothing here knows a rule. Places are microdegrees, times ms UTC."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.fix import NULL_TIME

UNKNOWN: Final = 0
DRIVING: Final = 1
PARKED: Final = 2

POINTS: Final = 256
"""A track holds this many points, the newest: over half an hour of a fix every 7 s."""
KEPT: Final = 16
"""Of a phone that has parked only so many are remembered."""

POINT: Final = np.dtype([("time", "<i8"), ("lat", "<i4"), ("lon", "<i4")])

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
        ("distance_m", "<f8"),
        ("own_mps", "<f4"),
        ("speed_mps", "<f4"),  # by its own word, else by its last steps
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
    ]
)
"""State of a device, no padding."""

PARK_START: Final = 0
PARK_END: Final = 1
TRIP: Final = 2

EVENT: Final = np.dtype(
    [
        ("event_time", "<i8"),  # of a trip: its end
        ("trip_start", "<i8"),
        ("search_start", "<i8"),  # event_time where there was no search
        ("distance_m", "<f8"),
        ("search_m", "<f8"),
        ("excess_m", "<f8"),
        ("confidence", "<f4"),
        ("row", "<i4"),  # row of the batch, or the device in what `expire` gives
        ("lat", "<i4"),
        ("lon", "<i4"),
        ("loops", "<i4"),
        ("clock_ms", "<i4"),  # by how much the device's clock was corrected
        ("kind", "<i1"),
        ("outcome", "<i1"),
        ("quality", "<i1"),
    ]
)
"""What is decided, no padding."""

Records = NDArray[np.void]
Record = Any
"""One of them, as a kernel sees it: a view whose fields are attributes."""


class Store(NamedTuple):
    """State of a shard: DEVICE by slot, and POINT by slot and place on the track."""

    devices: Records
    tracks: Records


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


def no_devices(count: int) -> Records:
    """Return the state of devices that nothing is known of."""
    devices = np.zeros(count, DEVICE)
    for name in ("heard_time", "last_time", "own_time", "foot_time", "vehicle_time", "upload_time"):
        devices[name] = NULL_TIME
    return devices
