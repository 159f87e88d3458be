"""How the api's rows reach the event log: one message a partition, and one for what was refused, in one append."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from api.ingest.grouping import Accepted, Refused, WriterUnavailableError
from geo.fix import FixArray
from pipeline import batch, fault
from pipeline.log import POSITIONS, REFUSED, REJECTED, EventLog, LogUnavailableError, NewMessage
from pipeline.partition import hash_ids, partition_of

MAX_MESSAGE_ROWS: Final = 10_000
"""A message is cut behind the request that reaches this."""
MAX_REFUSED: Final = 500
"""Refused events in one message: each may carry 64 KiB, and a reader takes messages of up to 64 MiB."""


class LogWriter:
    """Appends to the streams of a log that exists; LookupError where it does not."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._partitions = log.partitions(POSITIONS)
        self._rejected_partitions = log.partitions(REJECTED)
        self._turn = 0
        hash_ids([b"warm"])  # compiled now, not under the first phone's request

    def append(self, accepted: Sequence[Accepted], refused: Sequence[Refused]) -> None:
        """Append all; WriterUnavailableError when the log gives up."""
        messages = [*self._positions(accepted), *self._rejected(refused)]
        fault.point("ingest.grouped")
        try:
            self._log.append(messages)
        except LogUnavailableError as error:
            raise WriterUnavailableError(str(error)) from error
        fault.point("ingest.appended")

    def check(self) -> None:
        """Read a bound; WriterUnavailableError when the log does not answer."""
        try:
            self._log.bounds(POSITIONS, 0)
        except LogUnavailableError as error:
            raise WriterUnavailableError(str(error)) from error

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _positions(self, accepted: Sequence[Accepted]) -> Iterator[NewMessage]:
        places = partition_of(hash_ids([part.device_id for part in accepted]), self._partitions)
        for partition in np.unique(places):
            parts = [accepted[int(i)] for i in np.flatnonzero(places == partition)]
            sizes = np.array([len(part.rows) for part in parts])
            rows_before = np.cumsum(sizes) - sizes
            for message in np.unique(rows_before // MAX_MESSAGE_ROWS):
                chosen = [parts[i] for i in np.flatnonzero(rows_before // MAX_MESSAGE_ROWS == message)]
                yield NewMessage(POSITIONS, int(partition), _encode(chosen))

    def _rejected(self, refused: Sequence[Refused]) -> Iterator[NewMessage]:
        for start in range(0, len(refused), MAX_REFUSED):
            events = [
                batch.Refused(
                    receive_time=event.receive_time,
                    reason=event.reason,
                    detail=event.detail,
                    device_id=event.device_id.decode(),
                    payload=event.payload,
                    payload_bytes=event.payload_bytes,
                )
                for event in refused[start : start + MAX_REFUSED]
            ]
            partition = self._turn = (self._turn + 1) % self._rejected_partitions
            yield NewMessage(REJECTED, partition, batch.encode_refused(events), REFUSED)


def _encode(parts: Sequence[Accepted]) -> bytes:
    places = {device_id: place for place, device_id in enumerate(dict.fromkeys(part.device_id for part in parts))}
    rows: FixArray = np.concatenate([part.rows for part in parts])
    rows["device"] = np.repeat([places[part.device_id] for part in parts], [len(part.rows) for part in parts])
    return batch.encode(list(places), rows)
