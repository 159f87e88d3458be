"""Tables of an object store as they lie in a folder: what reads a folder's tables then reads both kinds of lake."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from pipeline.lake.encoding import encode
from pipeline.lake.exchange import listing
from pipeline.lake.lake import Lake
from pipeline.lake.tables import Table


@contextmanager
def days_at_hand(lake: Lake, tables: Iterable[Table], first: date, last: date) -> Iterator[Path]:
    """Give a folder with at least these days of the tables: the lake itself, or copies of the files that readers see.

    Of each table there is the file without rows, so that a glob finds one and every column.
    """
    if lake.place is None:
        yield lake.root
        return
    tables = list(tables)
    paths = [path for table in tables for path in _paths(lake, table, first, last)]
    with lake.at_hand(paths) as root:
        for table in tables:
            schema = root / table.name / "event_date=1970-01-01" / "schema.parquet"
            schema.parent.mkdir(parents=True, exist_ok=True)
            schema.write_bytes(encode(table, table.schema.empty_table()))
        yield root


def _paths(lake: Lake, table: Table, first: date, last: date) -> Iterator[str]:
    for day, files in listing(lake, table).items():
        if first <= day <= last:
            yield from (f"{table.name}/event_date={day}/{file.name}" for file in files)
