"""What a decoder gives: each row is a record, or stands among the malformed with its reason. Nothing in between."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from math import isfinite, isnan
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from geo.fix import ACTIVITIES, FIX, MICRODEGREES, NULL_CODE, NULL_DEGREES, NULL_TIME, FixArray
from geo.validity import MAX_DEVICE_ID_BYTES

MAX_KEPT_BYTES: Final = 65_536
"""Of the payload of a rejected row, this much is kept."""


class NewerVersionError(Exception):
    """The message at `offset` is of a version newer than this reader: upgrade readers before writers."""

    def __init__(self, version: int, offset: int | None = None) -> None:
        super().__init__(f"message of version {version} at offset {offset} is newer than this reader")
        self.version = version
        self.offset = offset


class UnreadableError(Exception):
    """Bytes that hold no rows at all; the message says why. They count as one malformed row."""


class Fault(NamedTuple):
    """Why a row is no record: a reason of `rejected`, and the field and rule in words."""

    reason: str
    detail: str


class Malformed(NamedTuple):
    """A row that cannot become a record; `payload` is the row as it came, cut to MAX_KEPT_BYTES of `payload_bytes`."""

    offset: int
    row: int
    reason: str
    detail: str
    device_id: str | None
    receive_time: int
    payload: bytes
    payload_bytes: int


@dataclass(frozen=True)
class Decoded:
    """The rows of a series of messages, in order of (offset, row).

    `device` is the position in `device_ids`, which are distinct; the field `device` of `rows` means nothing any more.
    `ignored` counts the fields that no column takes.
    """

    rows: FixArray  # (n,)
    device: NDArray[np.int32]  # (n,)
    device_ids: list[bytes]
    offset: NDArray[np.int64]  # (n,)
    row: NDArray[np.int32]  # (n,), within its message
    malformed: list[Malformed]
    ignored: int


class Foreign(NamedTuple):
    """The rows of one message of another producer; `faults` names rows whose values have the wrong type."""

    rows: FixArray  # (n,)
    device: NDArray[np.int32]  # (n,), position in device_ids or NO_DEVICE
    device_ids: list[bytes]
    faults: dict[int, Fault]
    payload_of: Callable[[int], bytes]
    ignored: int


NO_DEVICE: Final = -1
BAD_DEVICE: Final = -2
BEYOND_TABLE: Final = -3
DEVICE_FAULTS: Final = {
    NO_DEVICE: Fault("missing", "device_id is required"),
    BAD_DEVICE: Fault("out_of_range", f"device_id has 1 to {MAX_DEVICE_ID_BYTES} bytes of UTF-8"),
    BEYOND_TABLE: Fault("malformed", "device lies beyond the device table"),
}


def blank(n: int) -> FixArray:
    """Return n records with every field null."""
    rows = np.zeros(n, FIX)
    for name in ("event_time", "device_time", "receive_time", "seq"):
        rows[name] = NULL_TIME
    for name in ("lat", "lon"):
        rows[name] = NULL_DEGREES
    for name in ("accuracy_m", "speed_mps", "heading_deg"):
        rows[name] = np.nan
    for name in ("activity", "activity_confidence"):
        rows[name] = NULL_CODE
    return rows


def intern(device_ids: list[bytes], table: dict[bytes, int]) -> NDArray[np.int32]:
    """Return each id's position in `table`, which takes up those not yet there; BAD_DEVICE for what is no id."""
    for device_id in dict.fromkeys(device_ids):
        if device_id not in table and is_device_id(device_id):
            table[device_id] = len(table)
    return np.fromiter(map(table.get, device_ids, repeat(BAD_DEVICE)), np.int32, len(device_ids))


def is_device_id(device_id: bytes) -> bool:
    """Tell whether the bytes are 1 to 64 bytes of UTF-8."""
    if not 1 <= len(device_id) <= MAX_DEVICE_ID_BYTES:
        return False
    try:
        device_id.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Event(msgspec.Struct, omit_defaults=True):
    """An event with the contract's names, nulls left out."""

    device_id: str | None = None
    event_time: int | None = None
    device_time: int | None = None
    receive_time: int | None = None
    seq: int | None = None
    lat: float | None = None
    lon: float | None = None
    accuracy_m: float | str | None = None
    speed_mps: float | str | None = None
    heading_deg: float | str | None = None
    activity: str | int | None = None
    activity_confidence: int | None = None


def events_to_json(rows: FixArray, device_ids: Iterable[str | None]) -> list[bytes]:
    """Write records as JSON objects: how a binary row stands in `rejected`. rows (n,), a device id for each."""
    columns = [
        *([None if value == NULL_TIME else value for value in rows[name].tolist()] for name in _TIMES),
        *([None if v == NULL_DEGREES else v / MICRODEGREES for v in rows[name].tolist()] for name in _PLACES),
        *([None if isnan(value) else plain_number(value) for value in rows[name].tolist()] for name in _NUMBERS),
        [_activity_name(code) for code in rows["activity"].tolist()],
        [None if value == NULL_CODE else value for value in rows["activity_confidence"].tolist()],
    ]
    return [msgspec.json.encode(_Event(*values)) for values in zip(device_ids, *columns, strict=True)]


def _activity_name(code: int) -> str | int | None:
    if code == NULL_CODE:
        return None
    return ACTIVITIES[code] if 0 <= code < len(ACTIVITIES) else code


def plain_number(value: float) -> float | str:
    """Return the number, or its name where JSON has none for it."""
    return value if isfinite(value) else str(value)


_TIMES: Final = ("event_time", "device_time", "receive_time", "seq")
_PLACES: Final = ("lat", "lon")
_NUMBERS: Final = ("accuracy_m", "speed_mps", "heading_deg")
