"""The record of one phone event, as every part of ParkPal carries it.

Places are quantised to a millionth of a degree (0.11 m) where an event enters, so that whatever is later recomputed
from the lake starts from exactly the numbers that detection saw.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

NULL_TIME: Final = np.iinfo(np.int64).min
"""Null of event_time, device_time, receive_time and seq."""
NULL_DEGREES: Final = np.iinfo(np.int32).min
"""Null of lat and lon, in microdegrees."""
NULL_CODE: Final = -1
"""Null of activity and activity_confidence."""

ACTIVITIES: Final = ("in_vehicle", "on_bicycle", "on_foot", "walking", "running", "still", "tilting", "unknown")
"""Activity by code: the position in this tuple."""

FIX: Final = np.dtype(
    [
        ("event_time", "<i8"),  # ms UTC, the device's clock, corrected where device_time is set
        ("device_time", "<i8"),  # ms UTC, the raw clock where event_time was corrected, else NULL_TIME
        ("receive_time", "<i8"),  # ms UTC, stamped once by whoever accepted the row
        ("seq", "<i8"),  # the phone's own counter, NULL_TIME for foreign producers without one
        ("lat", "<i4"),  # microdegrees WGS84, NULL_DEGREES for an activity alone
        ("lon", "<i4"),
        ("accuracy_m", "<f4"),  # NaN is null
        ("speed_mps", "<f4"),
        ("heading_deg", "<f4"),
        ("device", "<u2"),  # position in the device table that travels with the records
        ("activity", "i1"),  # code in ACTIVITIES, NULL_CODE for a position alone
        ("activity_confidence", "i1"),  # 0-100 or NULL_CODE
    ]
)
"""One event, 56 bytes, packed, little-endian."""

FixArray = NDArray[np.void]
"""Records of dtype FIX, shape (n,)."""

MICRODEGREES: Final = 1_000_000
