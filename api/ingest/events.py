"""Turn the JSON of a batch into rows of FIX, one error for each event that cannot become one.

The whole batch is decoded straight into structs. Only where that fails, or carries fields that nobody knows, is it
taken apart event by event. Ranges are judged by `geo.validity`, as for every other producer.
"""

import math
import re
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, NamedTuple

import msgspec

from api.errors import FieldError, InvalidBatchError, NotJsonError, TooManyEventsError
from geo.fix import ACTIVITIES, FIX, MICRODEGREES, NULL_CODE, NULL_DEGREES, NULL_TIME
from geo.validity import (
    FULL_CIRCLE_DEG,
    IMPOSSIBLE_CODE,
    IMPOSSIBLE_DEGREES,
    IMPOSSIBLE_TIME,
    MAX_SEQ,
    MAX_TIME_MS,
)

MAX_EVENTS: Final = 1_000

Instant = int | Annotated[datetime, msgspec.Meta(tz=True)]
"""Integer ms UTC, or RFC 3339 with an offset."""


class Event(msgspec.Struct, gc=False):
    """One event of a phone: a position fix, an activity, or both."""

    event_time: Instant
    seq: int
    lat: float | None = None
    lon: float | None = None
    accuracy_m: float | None = None
    speed_mps: float | None = None
    heading_deg: float | None = None
    activity: str | None = None
    activity_confidence: int | None = None


class Batch(msgspec.Struct, gc=False):
    """What a phone sends: the instant of sending by its own clock, and its events."""

    sent_at: Instant
    events: Annotated[list[Event], msgspec.Meta(max_length=MAX_EVENTS)]


class _KnownEvent(Event, forbid_unknown_fields=True, gc=False):
    pass


class _KnownBatch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    sent_at: Instant
    events: Annotated[list[_KnownEvent], msgspec.Meta(max_length=MAX_EVENTS)]


class _Parts(msgspec.Struct):
    sent_at: Instant
    events: list[msgspec.Raw]


class Misfit(NamedTuple):
    """An event that cannot become a row: its place in the batch, and why."""

    position: int
    field: str
    reason: str
    detail: str


class Decoded(NamedTuple):
    """A batch taken apart: `records[i]` is the event at `positions[i]` as bytes of FIX, without any time of ours."""

    sent_at: int
    records: list[bytes]
    seqs: list[int]
    positions: Sequence[int]
    misfits: list[Misfit]
    unknown_fields: int


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MAX_FLOAT32: Final = 3.4028234663852886e38
_CODES: Final = {name: code for code, name in enumerate(ACTIVITIES)}
_RECORD: Final = struct.Struct("<qqqqiifffHbb")
if _RECORD.size != FIX.itemsize:
    raise ImportError("geo.fix.FIX has changed: change the layout of _RECORD with it")

_KNOWN_BATCH: Final = msgspec.json.Decoder(_KnownBatch)
_PARTS: Final = msgspec.json.Decoder(_Parts)
_KNOWN_EVENT: Final = msgspec.json.Decoder(_KnownEvent)
_EVENT: Final = msgspec.json.Decoder(Event)
_ANY_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PATH: Final = re.compile(r" - at `\$\.?(?P<field>\w*).*`$")
_MISSING: Final = re.compile(r"Object missing required field `(?P<field>\w+)`|got `null`")


def decode_batch(body: bytes) -> Decoded:
    """Decode a batch.

    NotJsonError for what is no JSON at all, InvalidBatchError for JSON of another shape, TooManyEventsError.
    """
    try:
        batch = _KNOWN_BATCH.decode(body)
    except msgspec.ValidationError:
        return _decode_parts(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotJsonError from None
    records = [_record(event) for event in batch.events]
    seqs = [event.seq for event in batch.events]
    return Decoded(_sent_at(batch.sent_at), records, seqs, range(len(records)), [], 0)


def raw_events(body: bytes) -> list[msgspec.Raw]:
    """Return the events of a batch as they came, for keeping those that are refused."""
    return _parts(body).events


def _decode_parts(body: bytes) -> Decoded:
    parts = _parts(body)
    decoded = Decoded(_sent_at(parts.sent_at), [], [], positions := [], [], 0)
    unknown_fields = _unknown(body, _Parts)
    for position, raw in enumerate(parts.events):
        try:
            event, unknown = _decode_event(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            decoded.misfits.append(_misfit(position, str(error)))
            continue
        decoded.records.append(_record(event))
        decoded.seqs.append(event.seq)
        positions.append(position)
        unknown_fields += unknown
    return decoded._replace(unknown_fields=unknown_fields)


def _parts(body: bytes) -> _Parts:
    try:
        parts = _PARTS.decode(body)
    except msgspec.ValidationError as error:
        misfit = _misfit(0, str(error))
        raise InvalidBatchError(
            errors=[FieldError(misfit.field, misfit.detail.removeprefix(f"{misfit.field}: "))]
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotJsonError from None
    if len(parts.events) > MAX_EVENTS:
        raise TooManyEventsError(f"At most {MAX_EVENTS} events, not {len(parts.events)}.")
    return parts


def _decode_event(raw: msgspec.Raw) -> tuple[Event, int]:
    try:
        return _KNOWN_EVENT.decode(raw), 0
    except msgspec.ValidationError:
        return _EVENT.decode(raw), _unknown(bytes(raw), Event)


def _unknown(text: bytes, known: type[msgspec.Struct]) -> int:
    return len(_ANY_FIELDS.decode(text).keys() - set(known.__struct_fields__))


def _misfit(position: int, message: str) -> Misfit:
    """Read field and reason off the decoder's message, which names the path and the rule."""
    path = _PATH.search(message)
    detail = message[: path.start()] if path else message
    missing = _MISSING.search(detail)
    field = (missing.group("field") if missing else None) or (path.group("field") if path else "")
    reason = "missing" if missing else "out_of_range" if detail == "Number out of range" else "malformed"
    return Misfit(position, field, reason, f"{field}: {detail}" if field else detail)


def _sent_at(instant: Instant) -> int:
    sent_at = _to_ms(instant)
    if sent_at == IMPOSSIBLE_TIME:
        raise InvalidBatchError(errors=[FieldError("sent_at", "lies in the years 1970 to 9999")])
    return sent_at


def _record(event: Event) -> bytes:
    heading_deg = _number(event.heading_deg)
    return _RECORD.pack(
        _to_ms(event.event_time),
        NULL_TIME,
        NULL_TIME,
        event.seq if 0 <= event.seq <= MAX_SEQ else IMPOSSIBLE_TIME,
        _microdegrees(event.lat),
        _microdegrees(event.lon),
        _number(event.accuracy_m),
        _number(event.speed_mps),
        0.0 if heading_deg == FULL_CIRCLE_DEG else heading_deg,
        0,
        NULL_CODE if event.activity is None else _CODES.get(event.activity.lower(), IMPOSSIBLE_CODE),
        _confidence(event.activity_confidence),
    )


def _to_ms(instant: Instant) -> int:
    ms = instant if isinstance(instant, int) else (instant - _EPOCH) // _MILLISECOND
    return ms if 0 <= ms <= MAX_TIME_MS else IMPOSSIBLE_TIME


def _microdegrees(degrees: float | None) -> int:
    if degrees is None:
        return NULL_DEGREES
    return round(degrees * MICRODEGREES) if -360.0 <= degrees <= 360.0 else IMPOSSIBLE_DEGREES


def _number(value: float | None) -> float:
    if value is None:
        return math.nan
    return value if -_MAX_FLOAT32 <= value <= _MAX_FLOAT32 else math.inf


def _confidence(value: int | None) -> int:
    if value is None:
        return NULL_CODE
    return value if 0 <= value <= 100 else IMPOSSIBLE_CODE
