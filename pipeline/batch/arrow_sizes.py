"""What an Arrow IPC stream says of its own size, read without letting Arrow allocate anything.

Only the few FlatBuffers fields that state rows and buffers are followed; an offset that leads outside raises
struct.error. Formats: the Arrow columnar specification ("Encapsulated message format", Message.fbs) and the
FlatBuffers binary layout (tables, vtables, vectors).
"""

import struct
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3
_UNCOMPRESSED: Final = -1


class Sizes(NamedTuple):
    """Rows of all record batches and dictionaries, and bytes that compressed buffers will take."""

    rows: int
    inflated: int


def stated_sizes(payload: bytes) -> Sizes:
    """Sum up what the messages of a stream state; struct.error, ArrowException or OSError if they cannot be read."""
    rows = inflated = 0
    with pa.BufferReader(payload) as source:
        messages = pa.ipc.MessageReader.open_stream(source)
        while (message := _next(messages)) is not None:
            metadata = message.metadata.to_pybytes()
            batch = _batch(metadata)
            if batch is not None:
                rows += _rows(metadata, batch)
                inflated += _inflated(metadata, batch, message.body)
    return Sizes(rows, inflated)


def _next(messages: pa.ipc.MessageReader) -> pa.ipc.Message | None:
    try:
        return messages.read_next_message()
    except StopIteration:
        return None


def _batch(metadata: bytes) -> int | None:
    """Return where the RecordBatch table of a message lies, None if it holds none."""
    message = _follow(metadata, 0)
    kind_at, header_at = _field(metadata, message, 1), _field(metadata, message, 2)
    kind = metadata[kind_at] if kind_at else 0
    if kind not in (_RECORD_BATCH, _DICTIONARY_BATCH):
        return None
    header = _follow(metadata, header_at)
    return header if kind == _RECORD_BATCH else _follow(metadata, _field(metadata, header, 1))


def _rows(metadata: bytes, batch: int) -> int:
    at = _field(metadata, batch, 0)
    rows: int = struct.unpack_from("<q", metadata, at)[0] if at else 0
    if rows < 0:
        raise struct.error("negative number of rows")
    return rows


def _inflated(metadata: bytes, batch: int, body: pa.Buffer) -> int:
    if not _field(metadata, batch, 3):
        return 0
    vector = _follow(metadata, _field(metadata, batch, 2))
    (count,) = struct.unpack_from("<I", metadata, vector)
    total = 0
    for offset, length in np.frombuffer(metadata, "<i8", 2 * count, vector + 4).reshape(-1, 2).tolist():
        if length:
            (size,) = struct.unpack_from("<q", body, offset)
            total += length if size == _UNCOMPRESSED else max(size, 0)
    return total


def _follow(metadata: bytes, at: int) -> int:
    """Return where the offset at `at` points to."""
    target: int = at + struct.unpack_from("<I", metadata, at)[0]
    return target


def _field(metadata: bytes, table: int, index: int) -> int:
    """Return where field `index` of a table lies, 0 if the table has none."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    (size,) = struct.unpack_from("<H", metadata, vtable)
    slot = 4 + 2 * index
    if slot >= size:
        return 0
    (offset,) = struct.unpack_from("<H", metadata, vtable + slot)
    return table + offset if offset else 0
