"""Judge rejected rows again, with the rules of today, from what was kept of them. No log, no lake, no clock.

A row keeps the receive_time that it was rejected with: it is judged as of when it came. Its device is the one that
`rejected` tells, which for a phone is its token's; what a payload says of itself counts only where no device is known
and the row came from a producer's own message.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from geo.fix import NULL_TIME, FixArray
from geo.validity import MAX_AGE_MS, MAX_AHEAD_MS
from pipeline.batch import MAX_KEPT_BYTES, Decoded, decode
from pipeline.log import JSON, POSITIONS, REJECTED, Message

FINAL: Final = MappingProxyType(
    {
        "duplicate": "the event is a fact already",
        "erased": "nothing of the row is kept",
        "late": "a late row is a fact, in positions",
        "seq_conflict": "the first row of this device and seq stays",
        "too_old": "time does not run back",
    }
)
"""Why rows of these reasons cannot be mended; `late` is none, but asked for."""

CUT_SHORT: Final = "cut short"
NO_SEQ: Final = "no seq"
OTHER_MONTH: Final = "other month"
"""Of the event, than that whose key made the device's pseudonym."""

_BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Reject(NamedTuple):
    """A row of `rejected`, as far as it counts here; receive_time in ms UTC."""

    reason: str
    receive_time: int
    device_id: str | None
    source_stream: str
    payload: bytes
    payload_bytes: int


class Mended(NamedTuple):
    """Rows that keep every rule now, in order of (receive_time, seq); `was` is each one's old reason.

    `left` counts the others by (old reason, why not).
    """

    rows: FixArray  # (n,)
    device: NDArray[np.int32]  # (n,), position in device_ids
    device_ids: list[bytes]
    was: list[str]
    left: Counter[tuple[str, str]]

    def events(self) -> list[tuple[str, int]]:
        """Return device and seq of each row: what makes it that event."""
        names = [device_id.decode() for device_id in self.device_ids]
        pairs = zip(self.device.tolist(), self.rows["seq"].tolist(), strict=True)
        return [(names[code], seq) for code, seq in pairs]

    def without(self, reasons: Sequence[str]) -> "Mended":
        """Leave out the rows that have a reason against them, "" for none; (n,)."""
        against = zip(self.was, reasons, strict=True)
        left = self.left + Counter((was, reason) for was, reason in against if reason)
        good = [i for i, reason in enumerate(reasons) if not reason]
        return Mended(self.rows[good], self.device[good], self.device_ids, [self.was[i] for i in good], left)


def mend(rejects: Sequence[Reject]) -> Mended:
    """Judge rejects again; a payload is read as JSON, for of what type its message was is not kept."""
    left = Counter[tuple[str, str]]()
    messages: list[Message] = []
    for place, reject in enumerate(rejects):
        if len(reject.payload) == MAX_KEPT_BYTES < reject.payload_bytes:
            left[reject.reason, CUT_SHORT] += 1
        elif (payload := _addressed(reject)) is None:
            left[reject.reason, "malformed"] += 1
        else:
            messages.append(Message(place, reject.receive_time, JSON, payload))
    decoded = decode(messages)
    left.update((rejects[row.offset].reason, row.reason) for row in decoded.malformed)
    return _in_order(decoded, rejects, left)


def _addressed(reject: Reject) -> bytes | None:
    """Return the payload with the device that is known, None where it is no single event and has to be one.

    It goes on as a list of one: an object of `events` would be taken apart, and each could name a device of its own.
    """
    if reject.device_id is None and reject.source_stream == POSITIONS:
        return reject.payload
    try:
        fields: dict[str, object] = dict(_fields.decode(reject.payload))
    except _BROKEN:
        return None
    if reject.device_id is not None:
        fields["device_id"] = reject.device_id
    return msgspec.json.encode([fields])


def _in_order(decoded: Decoded, rejects: Sequence[Reject], left: Counter[tuple[str, str]]) -> Mended:
    of = [rejects[place] for place in decoded.offset.tolist()]
    rows = decoded.rows
    rows["receive_time"] = np.array([reject.receive_time for reject in of], np.int64)
    order = np.lexsort((rows["seq"], rows["receive_time"]))
    was = [of[i].reason for i in order]
    mended = Mended(rows[order], decoded.device[order], decoded.device_ids, was, left)
    return mended.without(list(_faults(mended.rows, [of[i] for i in order])))


def _faults(rows: FixArray, rejects: Sequence[Reject]) -> Iterator[str]:
    """Yield what stands against each row beyond the rules of a message, "" for nothing.

    The flow would reject a wrong time again; without a seq nothing would tell the row from its repeat.
    """
    age = rows["receive_time"] - rows["event_time"]
    months = [rows[name].astype("datetime64[ms]").astype("datetime64[M]") for name in ("receive_time", "event_time")]
    for i, reject in enumerate(rejects):
        if age[i] < -MAX_AHEAD_MS:
            yield "ahead_of_time"
        elif age[i] > MAX_AGE_MS:
            yield "too_old"
        elif rows["seq"][i] == NULL_TIME:
            yield NO_SEQ
        elif reject.source_stream == REJECTED and months[0][i] != months[1][i]:
            yield OTHER_MONTH
        else:
            yield ""
