"""Arrow IPC streams from other producers: read only after their own headers show that they stay within bounds.

A buffer of a compressed stream states its inflated size and a record batch its rows; both are summed up before Arrow
allocates anything. Column types that could still grow when read (views are measured, nested and run-end types are not
taken) leave nothing else to trust.
"""

import struct
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geo.validity import IMPOSSIBLE_TIME
from pipeline.batch import columns
from pipeline.batch.arrow_sizes import stated_sizes
from pipeline.batch.rows import NO_DEVICE, Foreign, UnreadableError, blank, plain_number

MAX_BYTES: Final = 16 * 2**20
MAX_INFLATED_BYTES: Final = 64 * 2**20
MAX_ROWS: Final = 100_000

_BROKEN: Final = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, struct.error)
_MS_PER: Final = {"s": (1_000, 1), "ms": (1, 1), "us": (1, 1_000), "ns": (1, 1_000_000)}


def read(payload: bytes) -> tuple[pa.Table, int]:
    """Return the known columns, at least one row, and the number of unknown columns.

    UnreadableError if the bytes are no such stream, lie about their sizes, or a column's type cannot hold its values.
    """
    try:
        _check_sizes(payload)
        table, extra = _read(payload)
    except _BROKEN as error:
        raise UnreadableError(f"no Arrow stream that can be read: {error}") from error
    if not table.num_rows:
        raise UnreadableError("holds no rows")
    return table, extra


def to_columns(table: pa.Table) -> pa.Table:
    """Turn the text columns of a table of known columns into one dictionary each.

    UnreadableError if a column has a type that cannot hold its values.
    """
    _check_types(table.schema)
    for i, field in enumerate(table.schema):
        if field.name in _TEXTS:
            table = table.set_column(i, field.name, _encoded(table[field.name]))
    return table


def decode(table: pa.Table, unknown: int) -> Foreign:
    """Turn what `to_columns` gave into records; a column that is not there is null."""
    rows = blank(table.num_rows)
    names = set(table.column_names)
    for name, to_floats in columns.FLOAT_FIELDS.items():
        if name in names:
            column = table[name].cast(pa.float64())
            rows[name] = to_floats(column.fill_null(0).to_numpy(), _nulls(column))
    for name, to_integers in columns.INTEGER_FIELDS.items():
        if name in names:
            rows[name] = to_integers(_values(table[name].cast(pa.int64(), safe=False)), _nulls(table[name]))
    for name in columns.TIME_FIELDS:
        if name in names:
            rows[name] = columns.times(_to_ms(table[name]), _nulls(table[name]))
    if "activity" in names:
        codes, texts = _texts(table["activity"])
        rows["activity"] = np.array([columns.activity_code(text) for text in texts], np.int8)[codes]
    device, device_ids = np.full(len(rows), NO_DEVICE, np.int32), list[bytes]()
    if "device_id" in names:
        codes, texts = _texts(table["device_id"])
        device = np.array([NO_DEVICE if text is None else i for i, text in enumerate(texts)], np.int32)[codes]
        device_ids = [(text or "").encode() for text in texts]
    return Foreign(rows, device, device_ids, {}, lambda row: row_to_json(table, row), unknown * len(rows))


def row_to_json(table: pa.Table, row: int) -> bytes:
    """Write one row with its column names, nulls left out."""
    values = {name: _plain(table[name][row]) for name in table.column_names}
    return msgspec.json.encode({name: value for name, value in values.items() if value is not None})


def _texts(column: pa.ChunkedArray) -> tuple[columns.Integers, list[str | None]]:
    """Return each row's position among the distinct texts, the last of which is null, and the texts."""
    array = column.combine_chunks()
    return _codes(array), [*array.dictionary.to_pylist(), None]


def _plain(scalar: pa.Scalar) -> object:
    if isinstance(scalar, pa.TimestampScalar):
        return scalar.value
    value = scalar.as_py()
    return plain_number(value) if isinstance(value, float) else value


def _read(payload: bytes) -> tuple[pa.Table, int]:
    with pa.ipc.open_stream(payload) as reader:
        names = reader.schema.names
    known = [i for i, name in enumerate(names) if name in columns.COLUMNS]
    if not known or len({names[i] for i in known}) < len(known):
        raise UnreadableError("has no column of an event, or has one twice")
    with pa.ipc.open_stream(payload, options=pa.ipc.IpcReadOptions(included_fields=known)) as reader:
        table = reader.read_all()
    _check_types(table.schema)
    table.validate()
    _check_views(table)
    table.validate(full=True)  # reads every text as often as a view points to it
    table = to_columns(table)
    for array in (table[name].combine_chunks() for name in _TEXTS if name in table.column_names):
        lengths = pc.binary_length(array.dictionary).fill_null(0).to_numpy(zero_copy_only=False)
        _check_text_bytes(np.append(lengths, 0)[_codes(array)])
    return table, len(names) - len(known)


def _values(column: pa.ChunkedArray) -> columns.Integers:
    return column.fill_null(0).to_numpy()


def _nulls(column: pa.ChunkedArray) -> columns.Nulls:
    return column.is_null().to_numpy()


def _to_ms(column: pa.ChunkedArray) -> columns.Integers:
    raw = _values(column.cast(pa.int64(), safe=False))
    if not pa.types.is_timestamp(column.type):
        return raw
    times, per = _MS_PER[column.type.unit]
    most = np.iinfo(np.int64).max // times
    return np.where((raw < 0) | (raw > most), IMPOSSIBLE_TIME, raw * times // per)


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    chunks = [_encoded_chunk(chunk) for chunk in column.chunks]
    return pa.chunked_array(chunks).unify_dictionaries().combine_chunks()


def _encoded_chunk(chunk: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(chunk.type):
        return pa.DictionaryArray.from_arrays(chunk.indices.cast(pa.int32()), chunk.dictionary.cast(pa.large_string()))
    return chunk.cast(pa.large_string()).dictionary_encode()


def _check_types(schema: pa.Schema) -> None:
    for field in schema:
        if not any(fits(field.type) for fits in (pa.types.is_null, *_FITTING[field.name])):
            raise UnreadableError(f"column {field.name} has type {field.type}")


def _check_views(table: pa.Table) -> None:
    for chunk in (chunk for column in table.columns for chunk in column.chunks):
        texts = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
        if pa.types.is_string_view(texts.type):  # a view is four int32, the first its length
            lengths = np.frombuffer(texts.buffers()[1], np.int32)[::4]
            _check_text_bytes(lengths[texts.offset : texts.offset + len(texts)])


def _check_text_bytes(lengths: NDArray[np.int32]) -> None:
    if lengths.sum(dtype=np.int64) > MAX_INFLATED_BYTES:
        raise UnreadableError(f"texts of more than {MAX_INFLATED_BYTES} bytes")


def _codes(array: pa.DictionaryArray) -> columns.Integers:
    """Return each row's position in the dictionary, -1 (its end, when texts are followed by a null) for null."""
    return array.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)


def _is_text(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(fits(plain) for fits in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


_TEXTS: Final = ("device_id", "activity")
_NUMBERS: Final = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal)
_FITTING: Final = {
    **dict.fromkeys(_TEXTS, (_is_text,)),
    **dict.fromkeys(columns.TIME_FIELDS, (pa.types.is_integer, pa.types.is_timestamp)),
    **dict.fromkeys(columns.FLOAT_FIELDS, _NUMBERS),
    **dict.fromkeys(columns.INTEGER_FIELDS, (pa.types.is_integer,)),
}


def _check_sizes(payload: bytes) -> None:
    if len(payload) > MAX_BYTES:
        raise UnreadableError(f"Arrow stream of more than {MAX_BYTES} bytes")
    sizes = stated_sizes(payload)
    if sizes.rows > MAX_ROWS or sizes.inflated > MAX_INFLATED_BYTES:
        raise UnreadableError(f"states {sizes.rows} rows and {sizes.inflated} bytes inflated")
