"""ParkPal's own message: a header, a table of device ids, and fixed records that many messages join into one array.

Layout, little-endian: magic `PKPL`, version u16, devices u16, rows u32; `devices` lengths u8; the ids, UTF-8, one after
the other; `rows` records of dtype FIX. The lengths must add up to the message: nothing is ever allocated on its word.
A field added to FIX or to the header is a new version; magic and version stay where they are.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geo.fix import FIX, FixArray
from pipeline.batch.rows import BEYOND_TABLE, NewerVersionError, UnreadableError, is_device_id

VERSION: Final = 1
MAX_DEVICES: Final = 65_535

_MAGIC: Final = b"PKPL"
_HEADER: Final = struct.Struct("<4sHHI")
_HEADER_BYTES: Final = _HEADER.size
_FIX_BYTES: Final = FIX.itemsize
_NEWER: Final = 4
_STATES: Final = ("", "magic or version is not ours", "its counts do not add up to its length", "holds no rows")


class Scan(NamedTuple):
    """Where the parts of each of n messages lie in their joined bytes; `rows` is 0 where `state` is not."""

    text: bytes
    state: NDArray[np.int8]  # (n,), 0 where readable, else a position in _STATES
    rows: NDArray[np.int64]  # (n,)
    devices: NDArray[np.int64]  # (n,)
    ids_at: NDArray[np.int64]  # (n,), of the first id's length
    records_at: NDArray[np.int64]  # (n,)

    def detail(self, i: int) -> str:
        """Say why message i is unreadable; empty where it is not."""
        return _STATES[self.state[i]]


def encode(device_ids: Sequence[bytes], fixes: FixArray) -> bytes:
    """Write one message.

    device_ids: 1 to 65,535 ids of 1 to 64 bytes of UTF-8; fixes: dtype FIX, at least one, `device` points into the ids.
    ValueError if any of this does not hold.
    """
    if fixes.dtype != FIX or not len(fixes):
        raise ValueError(f"want at least one record of dtype FIX, got {len(fixes)} of {fixes.dtype}")
    if not 1 <= len(device_ids) <= MAX_DEVICES or not all(map(is_device_id, device_ids)):
        raise ValueError(f"want 1 to {MAX_DEVICES} device ids of 1 to 64 bytes of UTF-8")
    if int(fixes["device"].max()) >= len(device_ids):
        raise ValueError(f"a record's device lies beyond the {len(device_ids)} device ids")
    return put_together(device_ids, fixes)


def put_together(device_ids: Sequence[bytes], fixes: FixArray) -> bytes:
    """Write one message without looking at what is in it."""
    header = _HEADER.pack(_MAGIC, VERSION, len(device_ids), len(fixes))
    return b"".join((header, bytes(map(len, device_ids)), *device_ids, np.ascontiguousarray(fixes).data))


def take_apart(payload: bytes) -> tuple[list[bytes], FixArray]:
    """Return the table of ids and the records, a copy, as they are; UnreadableError, NewerVersionError as `count`."""
    scan = scan_messages([payload])
    if scan.state[0]:
        raise UnreadableError(scan.detail(0))
    rows = np.empty(int(scan.rows[0]), FIX)
    return copy_records(scan, np.zeros(1, np.int64), rows, np.empty(len(rows), np.int32)), rows


def count(payload: bytes) -> int:
    """Return the number of rows; UnreadableError or NewerVersionError if it is no message of ours."""
    scan = scan_messages([payload])
    if scan.state[0]:
        raise UnreadableError(scan.detail(0))
    return int(scan.rows[0])


def scan_messages(payloads: Sequence[bytes]) -> Scan:
    """Find the parts of each message; NewerVersionError, with its position as offset, at the first newer one."""
    n = len(payloads)
    ends = np.cumsum(np.fromiter(map(len, payloads), np.int64, n))
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    places = [np.zeros(n, np.int64) for _ in range(4)]
    scan = Scan(b"".join(payloads), np.zeros(n, np.int8), *places)
    _scan(
        np.frombuffer(scan.text, np.uint8),
        starts,
        ends,
        scan.state,
        scan.rows,
        scan.devices,
        scan.ids_at,
        scan.records_at,
    )
    if (newer := np.flatnonzero(scan.state == _NEWER)).size:
        position = int(newer[0])
        raise NewerVersionError(_HEADER.unpack_from(payloads[position].ljust(_HEADER_BYTES))[1], position)
    return scan


def copy_records(scan: Scan, row_at: NDArray[np.int64], rows: FixArray, device: NDArray[np.int32]) -> list[bytes]:
    """Copy each message's records to `rows[row_at[i]:]` and return the device ids of all messages, one after the other.

    `device` gets positions in that list, BEYOND_TABLE where a record points beyond its own table.
    """
    id_at = np.concatenate((np.zeros(1, np.int64), np.cumsum(scan.devices)))
    starts, ends = np.empty(id_at[-1], np.int64), np.empty(id_at[-1], np.int64)
    if scan.rows.size and int((row_at + scan.rows).max()) > len(rows):
        raise ValueError("the rows do not fit")
    buffer = np.frombuffer(scan.text, np.uint8)
    _copy_records(buffer, scan.rows, scan.records_at, row_at, rows.view(np.uint8))
    _copy_devices(buffer, scan.rows, scan.devices, scan.ids_at, row_at, id_at, rows, device, starts, ends)
    return [scan.text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


@njit(cache=True, nogil=True)
def _scan(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    state: NDArray[np.int8],
    rows: NDArray[np.int64],
    devices: NDArray[np.int64],
    ids_at: NDArray[np.int64],
    records_at: NDArray[np.int64],
) -> None:
    for i in range(len(starts)):
        at, end = starts[i], ends[i]
        state[i] = _magic_state(buffer, at, end)
        if state[i]:
            continue
        count = np.int64(buffer[at + 6]) | np.int64(buffer[at + 7]) << 8
        row_count = np.int64(0)
        for k in range(4):
            row_count |= np.int64(buffer[at + 8 + k]) << (8 * k)
        lengths_at = at + _HEADER_BYTES
        records = lengths_at + count
        for k in range(lengths_at, min(records, end)):
            records += buffer[k]
        if records + row_count * _FIX_BYTES != end:
            state[i] = 2
        elif row_count == 0:
            state[i] = 3
        else:
            rows[i], devices[i], ids_at[i], records_at[i] = row_count, count, lengths_at, records


@njit(cache=True, nogil=True)
def _magic_state(buffer: NDArray[np.uint8], at: int, end: int) -> int:
    if end - at < 6:
        return 1
    for k in range(4):
        if buffer[at + k] != _MAGIC[k]:
            return 1
    version = np.int64(buffer[at + 4]) | np.int64(buffer[at + 5]) << 8
    if version > VERSION:
        return _NEWER
    if version < 1:
        return 1
    return 2 if end - at < _HEADER_BYTES else 0


@njit(cache=True, nogil=True)
def _copy_records(
    buffer: NDArray[np.uint8],
    rows: NDArray[np.int64],
    records_at: NDArray[np.int64],
    row_at: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    for i in range(len(rows)):
        length, to = rows[i] * _FIX_BYTES, row_at[i] * _FIX_BYTES
        out[to : to + length] = buffer[records_at[i] : records_at[i] + length]


@njit(cache=True, nogil=True)
def _copy_devices(
    buffer: NDArray[np.uint8],
    row_counts: NDArray[np.int64],
    devices: NDArray[np.int64],
    ids_at: NDArray[np.int64],
    row_at: NDArray[np.int64],
    id_at: NDArray[np.int64],
    rows: FixArray,
    device: NDArray[np.int32],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> None:
    for i in range(len(row_counts)):
        for k in range(row_at[i], row_at[i] + row_counts[i]):
            local = np.int64(rows[k]["device"])
            device[k] = id_at[i] + local if local < devices[i] else BEYOND_TABLE
        at = ids_at[i] + devices[i]
        for k in range(devices[i]):
            starts[id_at[i] + k] = at
            at += buffer[ids_at[i] + k]
            ends[id_at[i] + k] = at
