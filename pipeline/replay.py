"""Recorded events into the log, in the total order of (receive_time, seq, place in the file).

What cannot be a record goes to the `rejected` stream with its reason, after the others. How rows are cut into messages
changes nothing that the dataflow makes of them.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.fix import FixArray
from geo.validity import MAX_TIME_MS, RULES, violations
from pipeline.batch import MAX_KEPT_BYTES, Refused, encode, encode_refused
from pipeline.batch.rows import BAD_DEVICE, DEVICE_FAULTS, NO_DEVICE, Fault, Foreign, is_device_id
from pipeline.log import POSITIONS, REFUSED, REJECTED, EventLog, NewMessage
from pipeline.partition import hash_ids, partition_of

_SLAB_ROWS: Final = 50_000  # appended in one call
_REFUSED_ROWS: Final = 500  # of at most 64 KiB each in one message


class Recording(NamedTuple):
    """Events in the order of replay, and those that cannot be replayed."""

    rows: FixArray  # (n,), sorted
    device: NDArray[np.int32]  # (n,), position in device_ids
    device_ids: list[bytes]
    refused: list[Refused]


class Sizes(NamedTuple):
    """Rows of a message: from `least` to `most`, drawn by `seed` where they differ."""

    least: int
    most: int
    seed: int = 0


def arrange(events: Foreign, now: int) -> Recording:
    """Put events in the order of replay; one without a receive_time of its own is refused as of `now` (ms UTC)."""
    known = np.array([is_device_id(device_id) for device_id in events.device_ids] + [False])
    bad = (violations(events.rows) != 0) | ~known[events.device]
    bad[list(events.faults)] = True
    refused = [_refuse(events, known, row, now) for row in np.flatnonzero(bad).tolist()]
    good = np.flatnonzero(~bad)
    order = good[np.lexsort((events.rows["seq"][good], events.rows["receive_time"][good]))]
    return Recording(events.rows[order], events.device[order], events.device_ids, refused)


def append(
    log: EventLog, recording: Recording, sizes: Sizes, *, speed: float | None, told: Callable[[int], None]
) -> None:
    """Append the recording, `speed` times as fast as it was received, or at once where that is None.

    `told` gets the number of events after each append.
    """
    partitions = log.partitions(POSITIONS)
    places = partition_of(hash_ids(recording.device_ids), partitions)[recording.device]
    counts = _draw(sizes)
    for start, end in _slabs(recording.rows["receive_time"], speed):
        log.append(list(_messages(recording, places, slice(start, end), counts)))
        told(end - start)
    for start in range(0, len(recording.refused), _REFUSED_ROWS):
        refused = recording.refused[start : start + _REFUSED_ROWS]
        log.append([NewMessage(REJECTED, 0, encode_refused(refused), REFUSED)])
        told(len(refused))


def _refuse(events: Foreign, known: NDArray[np.bool_], row: int, now: int) -> Refused:
    code = int(events.device[row])
    device_id = events.device_ids[code].decode() if known[code] else None
    rule = RULES[violations(events.rows[row : row + 1])[0]]
    fault = Fault(rule.reason, rule.text)
    if device_id is None:
        fault = DEVICE_FAULTS[NO_DEVICE if code == NO_DEVICE else BAD_DEVICE]
    fault = events.faults.get(row, fault)
    received = int(events.rows[row]["receive_time"])
    payload = events.payload_of(row)
    receive_time = received if 0 <= received <= MAX_TIME_MS else now
    return Refused(receive_time, *fault, device_id, payload[:MAX_KEPT_BYTES], len(payload))


def _slabs(receive_time: NDArray[np.int64], speed: float | None) -> Iterator[tuple[int, int]]:
    """Yield intervals of rows, each once its last row is due."""
    started, start, n = time.monotonic(), 0, len(receive_time)
    while start < n:
        due = n
        if speed is not None:
            wait = (int(receive_time[start]) - int(receive_time[0])) / 1_000 / speed - (time.monotonic() - started)
            time.sleep(max(wait, 0))
            passed = int((time.monotonic() - started) * speed * 1_000)
            due = int(np.searchsorted(receive_time, receive_time[0] + passed, side="right"))
        end = max(min(due, start + _SLAB_ROWS), start + 1)
        yield start, end
        start = end


def _messages(
    recording: Recording, places: NDArray[np.int32], slab: slice, counts: Iterator[int]
) -> Iterator[NewMessage]:
    order = np.argsort(places[slab], kind="stable")
    rows, device, place = recording.rows[slab][order], recording.device[slab][order], places[slab][order]
    start = 0
    for partition, total in zip(*np.unique(place, return_counts=True), strict=True):
        last = start + int(total)
        while start < last:
            end = min(start + next(counts), last)
            yield NewMessage(
                POSITIONS, int(partition), _encode(recording.device_ids, device[start:end], rows[start:end])
            )
            start = end


def _encode(device_ids: list[bytes], device: NDArray[np.int32], rows: FixArray) -> bytes:
    codes, rows["device"] = np.unique(device, return_inverse=True)
    return encode([device_ids[code] for code in codes], rows)


def _draw(sizes: Sizes) -> Iterator[int]:
    rng = np.random.default_rng(sizes.seed)
    while True:
        yield from rng.integers(sizes.least, sizes.most, 1_000, endpoint=True).tolist()
