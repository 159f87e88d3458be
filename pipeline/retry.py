"""Append rejected rows that are mended to the log again, as new rows, each event once however often this is done.

The flow's memory of repeats does not reach back for ever, so an event is left out that is a fact of the lake, or waits
in the log behind it. A retried row has the receive_time of its reject: only such rows of the log can be meant.
"""

import fcntl
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.batch import decode
from pipeline.lake.folder import locked
from pipeline.lake.lake import Lake
from pipeline.lake.named_sql import load_named
from pipeline.lake.reader import connect
from pipeline.lake.tombstones import ERASED, Tombstones
from pipeline.layout import Part
from pipeline.log import POSITIONS, EventLog, Message
from pipeline.mend import Mended, Reject, mend
from pipeline.replay import Recording, Sizes, append
from pipeline.trim import held

APPENDED: Final = "appended"
DUPLICATE: Final = "duplicate"

_ROWS: Final = 1_000  # of at most 64 KiB each at once
_READ_BYTES: Final = 8 * 2**20
_SIZES: Final = Sizes(500, 500)
_LOCK: Final = "retry"


class Asked(NamedTuple):
    """Which rejects: of these reasons, received from `since` on and before `until` (RFC 3339, or 'infinity')."""

    reasons: Sequence[str]
    since: str = "-infinity"
    until: str = "infinity"


def retry(lake: Lake, log: EventLog, asked: Asked) -> Counter[tuple[str, str]]:
    """Append what is mended; count all rows by (reason before, reason now or APPENDED).

    Safe beside a running flow. Raises LakeRefusedError for a log that the lake was not read from, LookupError for one
    that was not created, LogUnavailableError, NewerVersionError, duckdb.Error.
    """
    counts = Counter[tuple[str, str]]()
    tombstones = Tombstones(lake)
    with locked(lake.root, _LOCK, fcntl.LOCK_EX), connect(lake) as connection:
        known = _waiting(lake, log, _times(connection, asked))
        for rejects in _read(connection, asked):
            mended = mend(rejects)
            with tombstones.held() as erased:  # else an erasure could pass through the log before these rows come
                known |= _facts(connection, mended)
                fresh = _fresh(mended, known, erased)
                recording = Recording(fresh.rows, fresh.device, fresh.device_ids, refused=[])
                append(log, recording, _SIZES, speed=None, told=lambda _: None)
            known |= set(fresh.events())
            counts += fresh.left + Counter((was, APPENDED) for was in fresh.was)
    return counts


def _times(connection: duckdb.DuckDBPyConnection, asked: Asked) -> NDArray[np.int64]:
    return connection.execute(_SQL["times"], _parameters(asked)).fetchnumpy()["ms"].astype(np.int64)


def _read(connection: duckdb.DuckDBPyConnection, asked: Asked) -> Iterator[list[Reject]]:
    with connection.cursor() as cursor:
        cursor.execute(_SQL["rejects"], _parameters(asked))
        while found := cursor.fetchmany(_ROWS):
            yield [Reject(*row) for row in found]


def _parameters(asked: Asked) -> Mapping[str, Any]:
    return {"reasons": list(asked.reasons), "since": asked.since, "until": asked.until}


def _waiting(lake: Lake, log: EventLog, times: NDArray[np.int64]) -> set[tuple[str, int]]:
    """Return device and seq of the rows received at these times that the log has and the lake has not."""
    found = set[tuple[str, int]]()
    for part, committed in held(log, lake).items():
        if part.stream == POSITIONS:
            found.update(key for messages in _messages(log, part, committed) for key in _received_at(messages, times))
    return found


def _messages(log: EventLog, part: Part, offset: int) -> Iterator[list[Message]]:
    while messages := log.read(*part, offset, _READ_BYTES):
        yield messages
        offset = messages[-1].offset + 1


def _received_at(messages: Sequence[Message], times: NDArray[np.int64]) -> Iterator[tuple[str, int]]:
    decoded = decode(messages)
    which = np.isin(decoded.rows["receive_time"], times)
    for code, seq in zip(decoded.device[which].tolist(), decoded.rows["seq"][which].tolist(), strict=True):
        yield decoded.device_ids[code].decode(), seq


def _facts(connection: duckdb.DuckDBPyConnection, mended: Mended) -> set[tuple[str, int]]:
    """Return device and seq of those that the lake has."""
    if not mended.was:
        return set()
    devices, seqs = zip(*mended.events(), strict=True)
    times = mended.rows["event_time"]
    with connection.cursor() as cursor:
        cursor.register("wanted", pa.table({"device_id": pa.array(devices), "seq": pa.array(seqs, pa.int64())}))
        span = {"first": int(times.min()), "last": int(times.max())}
        return set(cursor.execute(_SQL["facts"], span).fetchall())


def _fresh(mended: Mended, known: set[tuple[str, int]], erased: frozenset[str]) -> Mended:
    """Leave out rows of erased devices, and events that are known or come a second time here."""
    reasons, seen = [], set[tuple[str, int]]()
    for key in mended.events():
        reasons.append(ERASED if key[0] in erased else DUPLICATE if key in known or key in seen else "")
        seen.add(key)
    return mended.without(reasons)


_SQL: Final = load_named("pipeline", "retry.sql")
