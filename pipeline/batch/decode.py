"""Many messages to one array of records: a bad row or message is set apart with its reason, and never stops the others.

Rows are judged together, after all messages are joined, by geo.validity and by their device; good rows meet no loop.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.fix import FIX, NULL_TIME, FixArray
from geo.validity import MAX_AHEAD_MS, MAX_TIME_MS, RULES, violations
from pipeline.batch import arrow_events, columns, json_events, message, refused
from pipeline.batch.message import Scan
from pipeline.batch.rows import (
    BAD_DEVICE,
    BEYOND_TABLE,
    DEVICE_FAULTS,
    MAX_KEPT_BYTES,
    NO_DEVICE,
    Decoded,
    Fault,
    Foreign,
    Malformed,
    NewerVersionError,
    UnreadableError,
    events_to_json,
    intern,
)
from pipeline.log import ARROW, BATCH, JSON, REFUSED, Message

_AFTER_THE_LOG: Final = Fault("out_of_range", "receive_time lies after the log's own time")
_NO_CODES: Final = np.array([BEYOND_TABLE, BAD_DEVICE, NO_DEVICE], np.int32)  # each at its own place from the end


class _Joined(NamedTuple):
    """The rows of all messages; `which` is each row's message, `device` negative where it has none."""

    rows: FixArray
    device: NDArray[np.int32]
    device_ids: list[bytes]
    which: NDArray[np.int64]
    row: NDArray[np.int32]


def decode(messages: Sequence[Message]) -> Decoded:
    """Decode messages, given in order of offset.

    Raises NewerVersionError, with the offset, at the first of our messages that is newer than this reader; those
    before it can be decoded without it.
    """
    own = [i for i, held in enumerate(messages) if held.content_type == BATCH]
    scan = _scan(messages, own)
    malformed = [_unreadable(messages[own[k]], scan.detail(k)) for k in np.flatnonzero(scan.state).tolist()]
    foreign = _read_foreign(messages, malformed) if len(own) < len(messages) else {}
    joined = _join(len(messages), own, scan, foreign)
    bad = _bad_rows(joined, foreign)
    malformed += [_to_malformed(messages, joined, foreign, k) for k in np.flatnonzero(bad).tolist()]
    if malformed:
        malformed.sort(key=lambda one: one[:2])
        joined = joined._replace(**{name: getattr(joined, name)[~bad] for name in ("rows", "device", "which", "row")})
    offset = np.fromiter((held.offset for held in messages), np.int64, len(messages))[joined.which]
    ignored = sum(part.ignored for part in foreign.values())
    return Decoded(joined.rows, joined.device, joined.device_ids, offset, joined.row, malformed, ignored)


def decode_refused(messages: Sequence[Message]) -> list[Malformed]:
    """Decode messages of the `rejected` stream, where even an event that keeps every rule is malformed."""
    decoded = decode(messages)
    appended_at = {held.offset: held.appended_at for held in messages}
    astray = []
    for k, (offset, row) in enumerate(zip(decoded.offset.tolist(), decoded.row.tolist(), strict=True)):
        device_id = decoded.device_ids[decoded.device[k]].decode()
        fault = Fault("malformed", "an event in the stream of refused events")
        payload = events_to_json(decoded.rows[k : k + 1], [device_id])[0]
        astray.append(_set_apart(offset, row, fault, device_id, appended_at[offset], payload))
    return sorted(decoded.malformed + astray, key=lambda one: one[:2])


def count_rows(content_type: str, payload: bytes) -> int:
    """Count the rows, records or malformed, that `decode` makes of a message; NewerVersionError as there."""
    try:
        if content_type == BATCH:
            return message.count(payload)
        if content_type == ARROW:
            return int(arrow_events.read(payload)[0].num_rows)
        if content_type == JSON:
            return len(json_events.split(payload))
        if content_type == REFUSED:
            return len(refused.split(payload))
    except UnreadableError:
        pass
    return 1


def _scan(messages: Sequence[Message], own: list[int]) -> Scan:
    try:
        return message.scan_messages([messages[i].payload for i in own])
    except NewerVersionError as error:
        position = error.offset or 0
        raise NewerVersionError(error.version, messages[own[position]].offset) from None


def _read_foreign(messages: Sequence[Message], malformed: list[Malformed]) -> dict[int, Foreign]:
    """Read the messages that are not our own, by position; what holds no rows that can be read goes to `malformed`."""
    foreign = {}
    for i, held in enumerate(messages):
        try:
            if held.content_type == ARROW:
                foreign[i] = arrow_events.decode(*arrow_events.read(held.payload))
            elif held.content_type == JSON:
                foreign[i] = json_events.decode(json_events.split(held.payload))
            elif held.content_type == REFUSED:
                malformed += refused.decode(held, refused.split(held.payload))
            elif held.content_type != BATCH:
                malformed.append(_unreadable(held, f"content type {held.content_type!r} is unknown"))
        except UnreadableError as error:
            malformed.append(_unreadable(held, str(error)))
        if i in foreign:
            _stamp(foreign[i], held.appended_at)
    return foreign


def _stamp(part: Foreign, appended_at: int) -> None:
    """Give rows the log's time where they bring no receive_time, or one that would run ahead of the log's clock."""
    receive_time = part.rows["receive_time"]
    receive_time[receive_time == NULL_TIME] = appended_at
    late = receive_time > appended_at + MAX_AHEAD_MS
    for row in np.flatnonzero(late).tolist():
        part.faults.setdefault(row, _AFTER_THE_LOG)
    receive_time[late] = appended_at


def _join(n: int, own: list[int], scan: Scan, foreign: dict[int, Foreign]) -> _Joined:
    counts = np.zeros(n, np.int64)
    counts[own] = scan.rows
    for i, part in foreign.items():
        counts[i] = len(part.rows)
    starts, total = np.cumsum(counts) - counts, int(counts.sum())
    rows, device, table = np.empty(total, FIX), np.full(total, NO_DEVICE, np.int32), dict[bytes, int]()
    own_ids = message.copy_records(scan, starts[own], rows, device)
    device = np.concatenate((intern(own_ids, table), _NO_CODES))[device]
    for i, part in foreign.items():
        held = slice(int(starts[i]), int(starts[i] + counts[i]))
        rows[held] = part.rows
        device[held] = np.concatenate((intern(part.device_ids, table), _NO_CODES))[part.device]
    columns.turn_north(rows)
    which = np.repeat(np.arange(n), counts)
    return _Joined(rows, device, list(table), which, (np.arange(total) - starts[which]).astype(np.int32))


def _bad_rows(joined: _Joined, foreign: dict[int, Foreign]) -> NDArray[np.bool_]:
    bad = (violations(joined.rows) != 0) | (joined.device < 0)
    for i, part in foreign.items():
        start = np.searchsorted(joined.which, i)
        bad[[start + row for row in part.faults]] = True
    return bad


def _to_malformed(messages: Sequence[Message], joined: _Joined, foreign: dict[int, Foreign], k: int) -> Malformed:
    i, row, code = int(joined.which[k]), int(joined.row[k]), int(joined.device[k])
    device_id = joined.device_ids[code].decode() if code >= 0 else None
    rule = RULES[violations(joined.rows[k : k + 1])[0]]
    fault = DEVICE_FAULTS.get(code, Fault(rule.reason, rule.text))
    payload = events_to_json(joined.rows[k : k + 1], [device_id])[0]
    if i in foreign:
        fault = foreign[i].faults.get(row, fault)
        payload = foreign[i].payload_of(row)
    receive_time = int(joined.rows[k]["receive_time"])
    if not 0 <= receive_time <= MAX_TIME_MS:
        receive_time = messages[i].appended_at
    return _set_apart(messages[i].offset, row, fault, device_id, receive_time, payload)


def _unreadable(held: Message, detail: str) -> Malformed:
    return _set_apart(held.offset, 0, Fault("malformed", detail), None, held.appended_at, held.payload)


def _set_apart(
    offset: int, row: int, fault: Fault, device_id: str | None, receive_time: int, payload: bytes
) -> Malformed:
    kept = payload[:MAX_KEPT_BYTES]
    return Malformed(offset, row, fault.reason, fault.detail, device_id, receive_time, kept, len(payload))
