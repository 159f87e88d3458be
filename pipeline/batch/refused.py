"""The `rejected` stream's message: events refused before the log, each with its reason, as JSON.

Layout: {"refused": [{receive_time, reason, detail, device_id, payload (base64), payload_bytes}, ...]}.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from geo.validity import MAX_AHEAD_MS, MAX_SEQ
from pipeline.batch.rows import MAX_KEPT_BYTES, Malformed, UnreadableError, is_device_id
from pipeline.lake.tables import REASONS
from pipeline.log import Message

_MAX_BYTES: Final = 64 * 2**20
_MAX_COMMAS: Final = 1_000_000  # an element takes 70 bytes of memory before it is counted; base64 has no commas
_MAX_DETAIL: Final = 1_000
_BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Refused(msgspec.Struct, frozen=True):
    """An event refused before the log; `payload` is the event as it came, pseudonymised, `payload_bytes` its size."""

    receive_time: int
    reason: str
    detail: str
    device_id: str | None
    payload: bytes
    payload_bytes: int


class _Envelope(msgspec.Struct, frozen=True):
    refused: list[msgspec.Raw]


_envelope: Final = msgspec.json.Decoder(_Envelope)
_refused: Final = msgspec.json.Decoder(Refused)


def encode_refused(refused: Sequence[Refused]) -> bytes:
    """Write one message of at least one event; of each payload the first 64 KiB are kept.

    ValueError if there is none, or a reason is not on the closed list.
    """
    if not refused or any(event.reason not in REASONS for event in refused):
        raise ValueError(f"want at least one refused event, each with a reason of {', '.join(REASONS)}")
    kept = [msgspec.structs.replace(event, payload=event.payload[:MAX_KEPT_BYTES]) for event in refused]
    return msgspec.json.encode({"refused": kept})


def split(payload: bytes) -> list[bytes]:
    """Return the bytes of each refused event, at least one; UnreadableError if there is none."""
    if len(payload) > _MAX_BYTES or payload.count(b",") > _MAX_COMMAS:
        raise UnreadableError(f"JSON of more than {_MAX_BYTES} bytes or {_MAX_COMMAS} elements")
    try:
        refused = [bytes(raw) for raw in _envelope.decode(payload).refused]
    except _BROKEN as error:
        raise UnreadableError(str(error)) from error
    if not refused:
        raise UnreadableError("holds no rows")
    return refused


def without(raw: bytes, ids: Collection[bytes]) -> tuple[bytes, bool]:
    """Return a refused event's bytes and False; those of an empty one and True where it names one of the devices."""
    try:
        event = _refused.decode(raw)
    except _BROKEN:
        named = any(device_id in raw for device_id in ids)
        return (b"{}" if named else raw), named
    if not any(device_id in text for text in (raw, event.payload) for device_id in ids):
        return raw, False
    return msgspec.json.encode(Refused(event.receive_time, event.reason, "", None, b"", 0)), True


def decode(message: Message, refused: list[bytes]) -> list[Malformed]:
    """Read the refused events, each given by its own bytes; what is none itself is malformed."""
    return [_to_malformed(message, row, raw) for row, raw in enumerate(refused)]


def _to_malformed(message: Message, row: int, raw: bytes) -> Malformed:
    try:
        event = _refused.decode(raw)
    except _BROKEN as error:
        detail = f"refused event: {error}"
        return Malformed(
            message.offset, row, "malformed", detail, None, message.appended_at, raw[:MAX_KEPT_BYTES], len(raw)
        )
    known = event.reason in REASONS
    plausible = 0 <= event.receive_time <= message.appended_at + MAX_AHEAD_MS
    return Malformed(
        message.offset,
        row,
        event.reason if known else "malformed",
        (event.detail if known else f"{event.reason}: {event.detail}")[:_MAX_DETAIL],
        event.device_id if event.device_id is not None and is_device_id(event.device_id.encode()) else None,
        event.receive_time if plausible else message.appended_at,
        event.payload[:MAX_KEPT_BYTES],
        min(max(event.payload_bytes, len(event.payload)), MAX_SEQ),
    )
