"""Rows for the lake, made from their numbers, so that a test can say which rows must be there."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from geo.fix import ACTIVITIES, NULL_DEGREES, NULL_TIME
from pipeline.lake.commit import Extent
from pipeline.lake.tables import POSITIONS, REASONS, REJECTED, degrees, enum, floats, integers, times
from pipeline.lake.writer import PartitionWriter

NOON = 1_772_884_800_000
"""2026-03-07 12:00 UTC, in ms."""
MINUTE = 60_000
CELL = 0x89608B0A8C3FFFF


def positions(device: str, seqs: Sequence[int], *, event_time: Sequence[int] | None = None) -> pa.RecordBatch:
    """Build one fix a seq, a minute apart from NOON on unless `event_time` is given."""
    seq = np.array(seqs, np.int64)
    n = len(seq)
    at = NOON + seq * MINUTE if event_time is None else np.array(event_time, np.int64)
    columns = {
        "device_id": pa.array([device] * n, pa.string()),
        "event_time": times(at, NULL_TIME),
        "device_time": times(np.full(n, NULL_TIME), NULL_TIME),
        "receive_time": times(at + 5_000, NULL_TIME),
        "seq": integers(seq, NULL_TIME),
        "lat": degrees(np.full(n, 14_554_729, np.int32), NULL_DEGREES),
        "lon": degrees(np.where(seq % 5 == 0, NULL_DEGREES, 121_024_445).astype(np.int32), NULL_DEGREES),
        "accuracy_m": floats(np.where(seq % 3 == 0, np.nan, 9.5).astype(np.float32)),
        "speed_mps": floats(np.zeros(n, np.float32)),
        "heading_deg": floats(np.full(n, np.nan, np.float32)),
        "activity": enum((seq % 9 - 1).astype(np.int8), ACTIVITIES),
        "activity_confidence": integers(np.full(n, 80, np.int8), -1),
        "h3_r9": integers(np.full(n, CELL), NULL_TIME),
        "late": pa.array(np.zeros(n, bool)),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in POSITIONS.schema.names], schema=POSITIONS.schema)


def rejected(partition: int, offset: int, rows: int, *, receive_time: int = NOON) -> pa.RecordBatch:
    """Build `rows` rejects of one message."""
    columns = {
        "receive_time": times(np.full(rows, receive_time), NULL_TIME),
        "reason": enum(np.zeros(rows, np.int8), REASONS),
        "detail": pa.array(["lat: above 90"] * rows),
        "device_id": pa.nulls(rows, pa.string()),
        "source_stream": enum(np.zeros(rows, np.int8), ("positions", "rejected")),
        "source_partition": pa.array(np.full(rows, partition, np.int32)),
        "source_offset": pa.array(np.full(rows, offset, np.int64)),
        "source_row": pa.array(np.arange(rows, dtype=np.int32)),
        "payload": pa.array([b"{}"] * rows, pa.binary()),
        "payload_bytes": pa.array(np.full(rows, 2, np.int64)),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in REJECTED.schema.names], schema=REJECTED.schema)


MESSAGE_ROWS = 3
"""Rows of a message of `write_messages`: two positions and one reject."""


def write_messages(writer: PartitionWriter, partition: int, first: int, following: int) -> None:
    """Append what the messages [first, following) of a log partition decode to, and their extents."""
    for offset in range(first, following):
        at = [NOON + offset * 10 * MINUTE + partition, NOON - offset * MINUTE + partition]
        writer.append("positions", positions(f"device-{partition}", [2 * offset, 2 * offset + 1], event_time=at))
        writer.append("rejected", rejected(partition, offset, 1))
        writer.extend(Extent("positions", partition, offset, offset + 1, MESSAGE_ROWS))
