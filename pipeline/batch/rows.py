"""What a decoder gives: each row is a record, or stands among the malformed with its reason. Nothing in between."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from geo.fix import ACTIVITIES, FIX, NULL_CODE, NULL_DEGREES, NULL_TIME, FixArray
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
    codes = np.empty(len(device_ids), np.int32)
    for i, device_id in enumerate(device_ids):
        code = table.get(device_id)
        if code is None:
            code = table.setdefault(device_id, len(table)) if is_device_id(device_id) else BAD_DEVICE
        codes[i] = code
    return codes


def is_device_id(device_id: bytes) -> bool:
    """Tell whether the bytes are 1 to 64 bytes of UTF-8."""
    if not 1 <= len(device_id) <= MAX_DEVICE_ID_BYTES:
        return False
    try:
        device_id.decode()
    except UnicodeDecodeError:
        return False
    return True


def event_to_json(row: np.void, device_id: str | None) -> bytes:
    """Write a record with the contract's names, nulls left out: how a binary row stands in `rejected`."""
    event: dict[str, object] = {"device_id": device_id}
    for name in ("event_time", "device_time", "receive_time", "seq"):
        event[name] = None if row[name] == NULL_TIME else int(row[name])
    for name in ("lat", "lon"):
        event[name] = None if row[name] == NULL_DEGREES else int(row[name]) / 1e6
    for name in ("accuracy_m", "speed_mps", "heading_deg"):
        event[name] = None if np.isnan(row[name]) else plain_number(float(row[name]))
    code = int(row["activity"])
    if code != NULL_CODE:
        event["activity"] = ACTIVITIES[code] if 0 <= code < len(ACTIVITIES) else code
    if row["activity_confidence"] != NULL_CODE:
        event["activity_confidence"] = int(row["activity_confidence"])
    return msgspec.json.encode({name: value for name, value in event.items() if value is not None})


def plain_number(value: float) -> float | str:
    """Return the number, or its name where JSON has none for it."""
    return value if np.isfinite(value) else str(value)
