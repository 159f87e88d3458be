"""JSON from other producers: one event object, a list of them, or {"events": [...]}; each event stands on its own.

Bytes that are no such thing are unreadable as a whole; a wrong type spoils its own event only.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec
import numpy as np

from geo.validity import IMPOSSIBLE_TIME, MAX_SEQ
from pipeline.batch import columns
from pipeline.batch.rows import NO_DEVICE, Fault, Foreign, UnreadableError, blank

MAX_BYTES: Final = 4 * 2**20
"""A larger message is unreadable: an element may have 2 bytes, and takes 70 of memory before it is counted."""
MAX_ROWS: Final = 100_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_KNOWN: Final = frozenset(columns.COLUMNS)
_BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Time = int | Annotated[datetime, msgspec.Meta(tz=True)] | None


class Event(msgspec.Struct, frozen=True):
    """One event as other producers write it."""

    device_id: str | None = None
    event_time: Time = None
    receive_time: Time = None
    seq: int | None = None
    lat: float | None = None
    lon: float | None = None
    accuracy_m: float | None = None
    speed_mps: float | None = None
    heading_deg: float | None = None
    activity: str | None = None
    activity_confidence: int | None = None


class _Envelope(msgspec.Struct, frozen=True):
    events: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


_events: Final = msgspec.json.Decoder(list[msgspec.Raw])
_envelope: Final = msgspec.json.Decoder(_Envelope)
_event: Final = msgspec.json.Decoder(Event)
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def split(payload: bytes) -> list[bytes]:
    """Return the bytes of each event, at least one; UnreadableError if there is none or too much."""
    if len(payload) > MAX_BYTES:
        raise UnreadableError(f"JSON of more than {MAX_BYTES} bytes")
    try:
        events = _split(payload)
    except _BROKEN as error:
        raise UnreadableError(str(error)) from error
    if not 1 <= len(events) <= MAX_ROWS:
        raise UnreadableError(f"{len(events)} events: want 1 to {MAX_ROWS}")
    return [bytes(raw) for raw in events]


def decode(events: list[bytes]) -> Foreign:
    """Read the events, each given by its own bytes."""
    faults: dict[int, Fault] = {}
    ignored = 0
    read: list[Event] = []
    for row, raw in enumerate(events):
        try:
            read.append(_event.decode(raw))
            ignored += len(_fields.decode(raw).keys() - _KNOWN)
        except _BROKEN as error:
            read[row:] = [Event()]
            faults[row] = Fault("malformed", str(error))
    return _to_foreign(read, faults, events, ignored)


def _split(payload: bytes) -> list[msgspec.Raw]:
    if payload.lstrip()[:1] == b"[":
        return _events.decode(payload)
    events = _envelope.decode(payload).events
    return [msgspec.Raw(payload)] if events is msgspec.UNSET else events


def _to_foreign(read: list[Event], faults: dict[int, Fault], raw: list[bytes], ignored: int) -> Foreign:
    rows = blank(len(read))
    for name, to_floats in columns.FLOAT_FIELDS.items():
        values = np.array([getattr(event, name) for event in read], np.float64)
        rows[name] = to_floats(values, np.isnan(values))  # JSON has no NaN: here it is null alone
    for name, to_integers in columns.INTEGER_FIELDS.items():
        rows[name] = to_integers(*_integers([getattr(event, name) for event in read]))
    for name in columns.TIME_FIELDS:
        rows[name] = columns.times(*_integers([_to_ms(getattr(event, name)) for event in read]))
    rows["activity"] = [columns.activity_code(event.activity) for event in read]
    table: dict[str, int] = {}
    device = [NO_DEVICE if e.device_id is None else table.setdefault(e.device_id, len(table)) for e in read]
    ids = [device_id.encode() for device_id in table]
    return Foreign(rows, np.array(device, np.int32), ids, faults, raw.__getitem__, ignored)


def _to_ms(time: int | datetime | None) -> int | None:
    return (time - _EPOCH) // _MS if isinstance(time, datetime) else time


def _integers(values: list[int | None]) -> tuple[columns.Integers, columns.Nulls]:
    null = np.array([value is None for value in values])
    held = [value if value is not None and 0 <= value <= MAX_SEQ else IMPOSSIBLE_TIME for value in values]
    return np.array(held, np.int64), null
