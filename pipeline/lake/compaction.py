"""Few sorted files in place of many: what a directory of a day holds changes its form, never its rows.

An open day merges the sink's files once there are 64, or the oldest is ten minutes old, and with them every compacted
file that is no larger than what is merged already; so a row is rewritten as often as the day doubles, and a directory
holds a logarithm of its files. A closed day, for which no row can come any more, becomes one run sorted by place and
time. A merge is believed only when the number of rows and the sum of their hashes, read back by another engine, agree.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.encoding import PROVED
from pipeline.lake.exchange import exchanging, recorded
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


@dataclass(frozen=True)
class Merged:
    """What compaction did to a directory."""

    table: str
    day: date
    files: int
    rows: int


def compact(
    lake: Lake, *, files: int = FILES, patience_s: float = PATIENCE_S, told: Callable[[int], None] = lambda _: None
) -> Iterator[Merged | LakeRefusedError]:
    """Merge what is due, a directory at a time; yield what was done, or why a directory could not be.

    `told` hears how many directories are still to be looked at.
    """
    closed = _closed_before(lake)
    found = sorted(_directories(lake))
    for at, (name, day) in enumerate(found):
        told(len(found) - at)
        try:
            paths = list(recorded(lake, TABLES[name], day))
            due = paths if day < closed else _due(paths, files, patience_s)
            if len(due) > 1 or (due and due[0].name.startswith("k")):
                yield _merge(lake, TABLES[name], day, due)
        except LakeRefusedError as error:
            yield error
    told(0)


def sort(table: Table, rows: pa.Table) -> pa.Table:
    """Order rows by cell and time, of a table without cells by time; texts become dictionaries of one chunk."""
    at = rows[table.date_column].cast(pa.int64()).to_numpy()
    if "h3_r9" in rows.schema.names:
        order = np.lexsort((at, rows["h3_r9"].fill_null(NULLS_LAST).to_numpy()))
    else:
        order = np.argsort(at, kind="stable")
    rows, order = rows.unify_dictionaries(), pa.array(order)
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


def _merge(lake: Lake, table: Table, day: date, due: Sequence[Path]) -> Merged:
    with exchanging(lake, table, day, "compact") as draft:
        due = [path for path in due if path in draft.present]  # another job may have been here since
        if not due:
            return Merged(table.name, day, 0, 0)
        rows = read(table, due)
        expected = row_hash(rows, table.schema.names)
        lineage = merge(map(read_lineage, due)) if table.name in PROVED else Lineage()
        path = draft.path()
        write_compacted(path, table, sort(table, rows), pack(lineage))
        if row_hash(path, table.schema.names) != expected:
            raise LakeRefusedError(f"{table.name}, {day}: the merged file holds other rows than what it replaces")
        draft.replace(due)
    return Merged(table.name, day, len(due), rows.num_rows)


def _read_file(table: Table, path: Path) -> pa.Table:
    try:
        metadata = pq.read_metadata(path)
        names = set(metadata.schema.names)
        texts = [field.name for field in table.schema if pa.types.is_string(field.type) and field.name in names]
        rows = pq.ParquetFile(path, metadata=metadata, read_dictionary=texts).read()
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


def _due(paths: Sequence[Path], files: int, patience_s: float) -> list[Path]:
    """Return the files of an open day that are to become one; none if they are gone, for then they just did."""
    try:
        stats = {path: path.stat() for path in paths}
    except FileNotFoundError:
        return []
    due = [path for path in paths if path.name.startswith("k")]
    oldest = min((stats[path].st_mtime for path in due), default=time.time())
    if not due or (len(due) < files and time.time() - oldest < patience_s):
        return []
    total = sum(stats[path].st_size for path in due)
    for path in sorted(set(paths) - set(due), key=lambda path: stats[path].st_size):
        if stats[path].st_size > total:
            break
        due.append(path)
        total += stats[path].st_size
    return due


def _closed_before(lake: Lake) -> date:
    """Return the first day that rows may still come for, by the slowest sink partition; no day is before 1970."""
    committer = lake.committer()
    newest = [committer.published(part) for part in range(lake.format.sink_partitions)]
    times = [commit.receive_time for commit in newest if commit and commit.receive_time is not None]
    return (datetime.fromtimestamp(min(times, default=0) / 1000, UTC) - CLOSED_AFTER).date()


def _directories(lake: Lake) -> Iterator[tuple[str, date]]:
    for name in TABLES:
        for path in (lake.root / name).glob("event_date=*"):
            yield name, date.fromisoformat(path.name.partition("=")[2])
