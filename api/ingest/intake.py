"""What becomes of a batch: its events are stamped, corrected, pseudonymised and judged; nothing is dropped unsaid.

receive_time is stamped once a request, when its headers have come. A phone whose clock is more than 5 s off by
`sent_at` has its event times corrected by the difference; the raw ones stay beside them.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np

from api.ingest.events import Misfit, decode_batch, raw_events
from api.ingest.grouping import Accepted, Refused, Submission
from api.ingest.pseudonyms import Pseudonyms, month_of
from api.ingest.remembered import Remembered
from geo.fix import FIX, FixArray
from geo.validity import IMPOSSIBLE_TIME, MAX_AGE_MS, MAX_AHEAD_MS, RULES, Rule, violations

CLOCK_TOLERANCE_MS: Final = 5_000
MAX_PAYLOAD_BYTES: Final = 65_536

_TOO_OLD: Final = Rule("event_time", "too_old", "event_time is more than 24 h before receive_time")
_AHEAD: Final = Rule("event_time", "ahead_of_time", "event_time is more than 2 min after receive_time")


class Intake(NamedTuple):
    """A batch, judged: what to write, what to answer, and what to remember once it is durable."""

    submission: Submission
    accepted: int
    duplicates: int
    rejected: list[Misfit]
    durable_events: list[tuple[int, bytes]]
    unknown_fields: int
    clock_corrected: bool


def judge_batch(
    body: bytes, device_id: str, receive_time: int, pseudonyms: Pseudonyms, remembered: Remembered
) -> Intake:
    """Judge the inflated body of a request that arrived at `receive_time` (ms UTC). Errors as `decode_batch`."""
    decoded = decode_batch(body)
    events = list(zip(decoded.seqs, decoded.records, strict=True))
    fresh = [i for i, (seq, record) in enumerate(events) if not remembered.has(device_id, seq, record)]
    offset_ms = receive_time - decoded.sent_at
    clock_corrected = abs(offset_ms) > CLOCK_TOLERANCE_MS
    rows = _stamp([decoded.records[i] for i in fresh], receive_time, offset_ms if clock_corrected else 0)
    faults = _judge(rows)
    kept = np.delete(rows, list(faults))
    misfits = [Misfit(decoded.positions[fresh[row]], *rule) for row, rule in faults.items()]
    rejected = sorted(decoded.misfits + misfits)
    refuse = _Refuser(device_id, pseudonyms.pseudonym(device_id, month_of(receive_time)), receive_time)
    return Intake(
        Submission(
            list(_pseudonymise(kept, device_id, pseudonyms)),
            [refuse(misfit, raw) for misfit, raw in _with_raws(rejected, body)],
        ),
        accepted=len(kept),
        duplicates=len(events) - len(fresh),
        rejected=rejected,
        durable_events=[events[i] for row, i in enumerate(fresh) if row not in faults],
        unknown_fields=decoded.unknown_fields,
        clock_corrected=clock_corrected,
    )


def _stamp(records: list[bytes], receive_time: int, correction_ms: int) -> FixArray:
    rows: FixArray = np.frombuffer(bytearray().join(records), FIX)
    rows["receive_time"] = receive_time
    if correction_ms:
        known = rows["event_time"] != IMPOSSIBLE_TIME
        rows["device_time"][known] = rows["event_time"][known]
        rows["event_time"][known] += correction_ms
    return rows


def _judge(rows: FixArray) -> dict[int, Rule]:
    """Find the rows that break a rule of `geo.validity`, then of time."""
    codes = violations(rows)
    age_ms = rows["receive_time"] - rows["event_time"]
    faults = {int(row): _TOO_OLD for row in np.flatnonzero(age_ms > MAX_AGE_MS)}
    faults |= {int(row): _AHEAD for row in np.flatnonzero(age_ms < -MAX_AHEAD_MS)}
    return faults | {int(row): RULES[codes[row]] for row in np.flatnonzero(codes)}


def _pseudonymise(rows: FixArray, device_id: str, pseudonyms: Pseudonyms) -> Iterator[Accepted]:
    """Split rows by the UTC month of their event_time: at most two months, for older events were refused."""
    if not len(rows):
        return
    first, last = (month_of(int(time)) for time in (rows["event_time"].min(), rows["event_time"].max()))
    if first == last:
        yield Accepted(pseudonyms.pseudonym(device_id, first), rows)
        return
    months = np.array([month_of(int(time)) for time in rows["event_time"]])
    for month in np.unique(months):
        yield Accepted(pseudonyms.pseudonym(device_id, str(month)), rows[months == month])


def _with_raws(rejected: list[Misfit], body: bytes) -> Iterator[tuple[Misfit, bytes]]:
    raws = raw_events(body) if rejected else []
    for misfit in rejected:
        yield misfit, bytes(raws[misfit.position])


class _Refuser(NamedTuple):
    """Makes refused events of one request; the device's own id is replaced wherever the phone wrote it."""

    device_id: str
    pseudonym: bytes
    receive_time: int

    def __call__(self, misfit: Misfit, raw: bytes) -> Refused:
        payload = self._without_id(raw)[:MAX_PAYLOAD_BYTES]
        return Refused(self.receive_time, misfit.reason, misfit.detail, self.pseudonym, payload, len(raw))

    def _without_id(self, raw: bytes) -> bytes:
        text = raw
        if b"\\" in raw:  # an escape could spell the id
            try:
                text = msgspec.json.encode(msgspec.json.decode(raw))
            except (msgspec.DecodeError, UnicodeDecodeError):
                return b""
        return re.sub(re.escape(self.device_id.encode()), self.pseudonym, text, flags=re.IGNORECASE)
