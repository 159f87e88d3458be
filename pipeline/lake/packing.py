"""Parquet as compaction writes it: what counts is bytes and what a query may skip, for the rows are written once.

Sorted rows, row groups of one page, zstd-3, dictionaries of texts and of floats (phones round them), differences for
the rest as in the sink's files, and a bloom filter of the devices, so that the files of one person are found.
"""

from base64 import b64encode
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.lake.encoding import DELTA, FOOTER, PRUNED, repeats
from pipeline.lake.tables import Table

ROW_GROUP: Final = 122_880
"""Rows of a row group: what one thread of DuckDB takes at a time."""
DEVICE: Final = "device_id"
FALSE_POSITIVES: Final = 0.01
"""Share of row groups that the bloom filter names though they do not hold the device."""

FEW: Final = 64
"""Entries of a dictionary that may as well be in every row group."""

_WHOLE: Final = 1 << 28
"""Bytes that no page of a row group reaches."""


def write_compacted(path: Path, table: Table, rows: pa.Table, footer: bytes) -> None:
    """Write sorted rows as a compacted file; columns of text may come as dictionaries."""
    fields = list(table.schema)
    with pq.ParquetWriter(
        path,
        rows.schema,
        compression="zstd",
        compression_level=3,
        store_decimal_as_integer=True,
        use_dictionary=[field.name for field in fields if repeats(field.type) or pa.types.is_floating(field.type)],
        dictionary_pagesize_limit=_WHOLE,
        data_page_size=_WHOLE,
        max_rows_per_page=ROW_GROUP,
        column_encoding={field.name: "DELTA_BINARY_PACKED" for field in fields if field.type in DELTA},
        write_statistics=[field.name for field in fields if field.type in PRUNED],
        bloom_filter_options=_bloom_filter(rows),
        store_schema=False,
    ) as writer:
        # A reader is told the table's types, whatever form the columns had when they were written.
        schema = b64encode(table.schema.serialize().to_pybytes())
        writer.add_key_value_metadata({FOOTER: footer, "ARROW:schema": schema})
        for first in range(0, rows.num_rows, ROW_GROUP):
            writer.write_table(_only_used(rows.slice(first, ROW_GROUP)))


def _bloom_filter(rows: pa.Table) -> dict[str, dict[str, float]] | None:
    """Return the filter of the devices, sized for as many as a row group can hold."""
    if DEVICE not in rows.schema.names:
        return None
    most = len(rows[DEVICE].combine_chunks().unique().drop_null())
    return {DEVICE: {"ndv": min(most, ROW_GROUP), "fpp": FALSE_POSITIVES}} if most else None


def _only_used(rows: pa.Table) -> pa.Table:
    """Leave out of each dictionary what no row uses: a row group would carry all of it."""
    for at, name in enumerate(rows.schema.names):
        if pa.types.is_dictionary(rows.schema.field(at).type):
            column = rows[name].combine_chunks()
            if len(column.dictionary) > FEW:
                rows = rows.set_column(at, rows.schema.field(at), _compacted(column))
    return rows


def _compacted(column: pa.DictionaryArray) -> pa.DictionaryArray:
    used = np.zeros(len(column.dictionary), bool)
    indices = column.indices.drop_null() if column.indices.null_count else column.indices
    used[indices.to_numpy()] = True
    place = (np.cumsum(used) - 1).astype(column.indices.type.to_pandas_dtype())
    indices = pa.array(place).take(column.indices)
    return pa.DictionaryArray.from_arrays(indices, column.dictionary.filter(pa.array(used)))
