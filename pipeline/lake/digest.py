"""What a table holds, as one hash: two lakes with the same rows have the same digest, however they were written."""

from hashlib import sha256
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds

from pipeline.lake.lake import Lake
from pipeline.lake.tables import DEGREES, ENUM, TABLES

SOURCE: Final = "source_"
"""Columns that begin with this tell where in the log a row lay, not what it is."""


def digest(lake: Lake, table: str) -> tuple[int, str]:
    """Return the number of rows and the SHA-256 of all of them, sorted, without the columns of their source."""
    schema = TABLES[table].schema
    names = [name for name in schema.names if not name.startswith(SOURCE)]
    rows = _dataset(lake, table, schema).to_table(columns=names)
    rows = rows.cast(
        pa.schema([(name, _PLAIN.get(schema.field(name).type, schema.field(name).type)) for name in names])
    )
    rows = rows.sort_by([(name, "ascending") for name in names])
    out = sha256()
    for name in names:
        column = rows.column(name).combine_chunks()
        out.update(name.encode())
        for array in (column.is_null().cast(pa.int8()), column.drop_null()):
            for buffer in array.buffers()[1:]:  # the validity bitmap is the first
                out.update(buffer)
    return rows.num_rows, out.hexdigest()


def _dataset(lake: Lake, table: str, schema: pa.Schema) -> ds.Dataset:
    if lake.place is None:
        return ds.dataset(lake.root / table, schema=schema, format="parquet")
    from pipeline.lake.delta import DeltaCommitter  # noqa: PLC0415 -- an extra, and slow to import

    return DeltaCommitter(lake.place).table(table).to_pyarrow_dataset()


_PLAIN: Final = {ENUM: pa.string(), DEGREES: pa.float64(), pa.bool_(): pa.int8()}
"""Types whose buffers are the same whenever the values are."""
