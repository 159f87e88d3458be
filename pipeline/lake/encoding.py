"""Parquet as the sink writes it: small where it is cheap to be small, and a footer that proves what the file holds.

Times, counters, cells and places are differences of their neighbours (DELTA_BINARY_PACKED), texts that repeat are a
dictionary, the rest is left to zstd-1. Compaction sorts and packs tighter; here the CPU time of the flow counts.
"""

from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.lake.commit import Commit, Extent
from pipeline.lake.tables import DEGREES, POSITIONS, REJECTED, TIME, Table

FOOTER: Final = "parkpal"
"""Key of the Parquet key-value metadata that holds a Footer as JSON."""
PROVED: Final = frozenset({POSITIONS.name, REJECTED.name})
"""Tables that together hold every row decoded from the log, so that their footers carry the extents."""

DELTA: Final = (TIME, DEGREES, pa.int64(), pa.int32())
"""Types whose columns are written as differences of neighbours."""
PRUNED: Final = (TIME, DEGREES, pa.int64())
"""Types whose columns have statistics, so that queries pass row groups over."""


_STATISTICS: Final = msgspec.json.Encoder(decimal_format="number")


class Footer(msgspec.Struct, frozen=True, kw_only=True):
    """Which commit a file belongs to; all files of one commit carry the same extents."""

    version: int
    part: int
    seq: int
    extents: tuple[Extent, ...] = ()


def footer_of(commit: Commit, table: str) -> Footer:
    """Return the footer of a commit's file of `table`."""
    extents = commit.extents if table in PROVED else ()
    return Footer(version=commit.version, part=commit.part, seq=commit.seq, extents=extents)


def encode(table: Table, rows: pa.Table, footer: Footer | None = None) -> pa.Buffer:
    """Return the bytes of one Parquet file, a single row group up to a million rows."""
    fields = list(table.schema)
    out = pa.BufferOutputStream()
    with pq.ParquetWriter(
        out,
        table.schema,
        compression="zstd",
        compression_level=1,
        store_decimal_as_integer=True,
        use_dictionary=[field.name for field in fields if repeats(field.type)],
        column_encoding={field.name: "DELTA_BINARY_PACKED" for field in fields if field.type in DELTA},
        write_statistics=[field.name for field in fields if field.type in PRUNED],
    ) as writer:
        if footer is not None:
            writer.add_key_value_metadata({FOOTER: msgspec.json.encode(footer)})
        writer.write_table(rows.unify_dictionaries())
    return out.getvalue()


def statistics(table: Table, rows: pa.Table) -> str:
    """Return what a Delta log says of a file so that queries may pass it over: JSON of counts and ranges."""
    pruned = [name for name in table.schema.names if table.schema.field(name).type in PRUNED]
    ranges = {name: pc.min_max(_comparable(rows[name])).as_py() for name in pruned}
    known = {name: both for name, both in ranges.items() if both["min"] is not None}
    stats = {
        "numRecords": rows.num_rows,
        "minValues": {name: both["min"] for name, both in known.items()},
        "maxValues": {name: both["max"] for name, both in known.items()},
        "nullCount": {name: rows[name].null_count for name in pruned},
    }
    return _STATISTICS.encode(stats).decode()


def read_footer(data: pa.Buffer) -> Footer:
    """Read the footer back from a file's bytes; KeyError if it has none."""
    metadata = pq.read_metadata(pa.BufferReader(data)).metadata or {}
    return msgspec.json.decode(metadata[FOOTER.encode()], type=Footer)


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column in a type that pyarrow can compare."""
    return column.cast(pa.decimal128(9, 6)) if column.type == DEGREES else column


def repeats(kind: pa.DataType) -> bool:
    """Whether a column of this type is written as a dictionary."""
    return pa.types.is_dictionary(kind) or pa.types.is_string(kind)
