"""Few sorted files in place of many: what a directory of a day holds changes its form, never its rows.

An open day merges the sink's files once there are 64, or the oldest is ten minutes old, and with them every compacted
file that is no larger than what is merged already; so a row is rewritten as often as the day doubles, and a directory
holds a logarithm of its files. A closed day, for which no row can come any more, becomes one run sorted by place and
time. A merge is believed only when the number of rows and the sum of their hashes, read back by another engine, agree.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.encoding import PROVED
from pipeline.lake.exchange import Seen, exchanging, listing, settle_all
from pipeline.lake.folder import writing
from pipeline.lake.jobs import Job, recording
from pipeline.lake.lake import Lake
from pipeline.lake.lineage import Lineage, merge, pack, read_lineage
from pipeline.lake.packing import write_compacted
from pipeline.lake.tables import TABLES, Table

FILES: Final = 64
"""An open day is merged once it holds so many files of the sink."""
PATIENCE_S: Final = 600.0
"""Or once the oldest of them is so old."""
CLOSED_AFTER: Final = timedelta(hours=24)
"""The flow takes no row this long after its day ended: it is `too_old`."""
NULLS_LAST: Final = np.iinfo(np.int64).max
TIME_BITS: Final = 27
TIME_OF_DAY: Final = (1 << TIME_BITS) - 1
"""Longer than a day, in ms."""
CELL_REST: Final = 18
CELL_DIGITS: Final = (1 << 34) - 1
CELL_R9: Final = (0x89 << 52) | ((1 << CELL_REST) - 1)
"""A cell of resolution 9: these bits are the same in all, and the 34 between them tell which it is."""


class Due(NamedTuple):
    """Files of a table's day that are to become one."""

    table: Table
    day: date
    files: list[str]
    """Their names."""


def compact(
    lake: Lake,
    *,
    files: int = FILES,
    patience_s: float = PATIENCE_S,
    track: Callable[[list[Due]], Iterable[Due]] = iter,
) -> Job:
    """Merge what is due, a directory at a time; one that cannot be merged is left, and the reason is in the job."""
    settle_all(lake)
    with recording(lake, "compact") as job:
        for due in track(find_due(lake, files=files, patience_s=patience_s)):
            try:
                if rows := _merge(lake, due):
                    job.count(rows)
            except LakeRefusedError as error:
                job.refused.append(str(error))
    return job


def find_due(lake: Lake, *, files: int = FILES, patience_s: float = PATIENCE_S) -> list[Due]:
    """List what is to be merged now."""
    closed = _closed_before(lake)
    found = []
    for table in sorted(TABLES.values(), key=lambda table: table.name):
        for day, seen in sorted(listing(lake, table).items()):
            due = seen if day < closed else _due(seen, files, patience_s)
            if len(due) > 1 or (due and due[0].name.startswith("k")):
                found.append(Due(table, day, [file.name for file in due]))
    return found


def lake_clock(lake: Lake) -> datetime | None:
    """Return the newest receive_time that the slowest of the sink partitions has committed, None before the first."""
    committer = lake.committer()
    newest = [committer.published(part) for part in range(lake.format.sink_partitions)]
    times = [commit.receive_time for commit in newest if commit and commit.receive_time is not None]
    return datetime.fromtimestamp(min(times) / 1000, UTC) if times else None


def sort(table: Table, rows: pa.Table) -> pa.Table:
    """Order rows by cell and time, of a table without cells by time; texts become dictionaries of one chunk."""
    at = rows[table.date_column].cast(pa.int64()).to_numpy()
    if "h3_r9" in rows.schema.names:
        found = _by_place(rows["h3_r9"].fill_null(NULLS_LAST).to_numpy(), at)
    else:
        found = np.argsort(at, kind="stable")
    rows, order = rows.unify_dictionaries(), pa.array(found)
    return pa.table({name: rows[name].combine_chunks().take(order) for name in rows.schema.names})


def read(table: Table, paths: Sequence[Path]) -> pa.Table:
    """Read files in the table's columns, texts as dictionaries; a column that an older file lacks is null.

    Raises LakeRefusedError that names a file that cannot be read.
    """
    return pa.concat_tables([_read_file(table, path) for path in paths]).unify_dictionaries()


def row_hash(source: pa.Table | Path, names: Sequence[str]) -> tuple[int, int]:
    """Return the number of rows and the sum of their hashes, whatever their order; sums of parts add up."""
    columns = ", ".join(names)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        relation = (
            connection.from_arrow(source) if isinstance(source, pa.Table) else connection.read_parquet(str(source))
        )
        found = relation.aggregate(f"count(*), sum(hash({columns})::HUGEINT)").fetchall()
    count, total = found[0]
    return count, total or 0


def _merge(lake: Lake, due: Due) -> int:
    """Replace the files by one and return its rows; 0 if another job came first."""
    table = due.table
    with exchanging(lake, table, due.day, "compact") as draft:
        files = [path for path in draft.present if path.name in due.files]
        if not files:
            return 0
        rows = read(table, files)
        expected = row_hash(rows, table.schema.names)
        lineage = merge(map(read_lineage, files)) if table.name in PROVED else Lineage()
        with writing(lake.root):
            path = draft.path()
            write_compacted(path, table, sort(table, rows), pack(lineage))
        if row_hash(path, table.schema.names) != expected:
            raise LakeRefusedError(f"{table.name}, {due.day}: the merged file holds other rows than what it replaces")
        draft.replace(files)
    return rows.num_rows


def _by_place(cell: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order by cell and time; where both fit in one key, a sort takes half as long."""
    first = at.min() if len(at) else 0
    digits = (cell >> CELL_REST) & CELL_DIGITS
    if (at - first > TIME_OF_DAY).any() or ((digits << CELL_REST | CELL_R9) != cell)[cell != NULLS_LAST].any():
        return np.lexsort((at, cell))
    key = np.where(cell == NULLS_LAST, NULLS_LAST - TIME_OF_DAY, digits << TIME_BITS) + (at - first)
    return np.argsort(key, kind="stable")


def _read_file(table: Table, path: Path) -> pa.Table:
    try:
        data = pa.BufferReader(path.read_bytes())
        metadata = pq.read_metadata(data)
        names = set(metadata.schema.names)
        texts = [field.name for field in table.schema if pa.types.is_string(field.type) and field.name in names]
        # Files are small and many, so what threads and reading ahead cost is more than they save.
        file = pq.ParquetFile(data, metadata=metadata, read_dictionary=texts, pre_buffer=False)
        rows = file.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise LakeRefusedError(f"{path} cannot be read ({error}): run parkpal lake audit, which says more") from error
    return pa.table(
        {
            field.name: rows[field.name] if field.name in names else _nulls(field, rows.num_rows)
            for field in table.schema
        }
    )


def _nulls(field: pa.Field, rows: int) -> pa.Array:
    kind = pa.dictionary(pa.int32(), pa.string()) if pa.types.is_string(field.type) else field.type
    return pa.nulls(rows, kind)


def _due(seen: Sequence[Seen], files: int, patience_s: float) -> list[Seen]:
    """Return the files of an open day that are to become one."""
    due = [file for file in seen if file.name.startswith("k")]
    oldest = min((file.added_s for file in due), default=time.time())
    if not due or (len(due) < files and time.time() - oldest < patience_s):
        return []
    total = sum(file.bytes for file in due)
    for file in sorted(set(seen) - set(due), key=lambda file: file.bytes):
        if file.bytes > total:
            break
        due.append(file)
        total += file.bytes
    return due


def _closed_before(lake: Lake) -> date:
    """Return the first day that rows may still come for."""
    clock = lake_clock(lake)
    return (clock - CLOSED_AFTER).date() if clock else date.min
