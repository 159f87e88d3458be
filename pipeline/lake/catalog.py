"""The tables by name: what turns the folder into views with comments and H3 macros, in any DuckDB connection.

Views name their columns, so that a column added later appears when this program adds it and not before. `local_date` is
the day in the lake's own time zone; `event_date`, a UTC day, is what prunes files.
"""

import os
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path

import duckdb

from pipeline.lake.encoding import FOOTER, PROVED
from pipeline.lake.tables import ROLLUPS, TABLES, Table

DATABASE = "lake.duckdb"
STORAGE_VERSION = "v1.5.0"
"""Storage format of lake.duckdb: the oldest DuckDB that is to open it."""
EXTENTS_COMMENT = "Footers: offsets [first, next) of the log in each commit, the rows they gave, and the rows it holds"


def define(connection: duckdb.DuckDBPyConnection, root: Path, time_zone: str) -> None:
    """Create the views over the folder and the macros in the connection's current database.

    A table that the lake has only from its next run on, since it was written by an earlier program, has no view yet.
    """
    there = [table for table in (TABLES | ROLLUPS).values() if any((root / table.name).glob("*/*.parquet"))]
    define_over(connection, there, lambda table: _files(root, table), time_zone)
    connection.execute(_extents(root))


def define_over(
    connection: duckdb.DuckDBPyConnection, tables: Iterable[Table], source: Callable[[Table], str], time_zone: str
) -> None:
    """Create the views and the macros; `source` gives what stands behind FROM for the rows of a table."""
    define_macros(connection)
    for table in tables:
        connection.execute(_view(table, source(table), time_zone))


def define_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the H3 macros in the connection's current database."""
    for name in ("macros.sql", "h3_places.sql"):
        connection.execute(files(__package__).joinpath(name).read_text())


def build(root: Path, time_zone: str) -> None:
    """Write lake.duckdb: views, macros and comments. It is replaced as a whole, so an open reader keeps the old one."""
    draft = root / f"_{DATABASE}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH {quote(draft)} AS lake (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE lake")
        define(connection, root, time_zone)
        for table in (TABLES | ROLLUPS).values():
            connection.execute(_comments(table))
        connection.execute(f"COMMENT ON VIEW extents IS {quote(EXTENTS_COMMENT)}")
        connection.execute("USE memory")
        connection.execute("DETACH lake")
    draft.replace(root / DATABASE)


def quote(text: object) -> str:
    """Return an SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def _view(table: Table, source: str, time_zone: str) -> str:
    columns = ", ".join(table.schema.names)
    return f"""
        CREATE OR REPLACE VIEW {table.name} AS
        SELECT {columns}, event_date, CAST({table.date_column} AT TIME ZONE {quote(time_zone)} AS DATE) AS local_date
        FROM {source}
    """  # noqa: S608 -- names come from tables.py, the source is the program's own


def _files(root: Path, table: Table) -> str:
    pattern = quote(root / table.name / "**" / "*.parquet")
    options = "union_by_name = true, hive_partitioning = true, hive_types = {'event_date': DATE}"
    return f"read_parquet({pattern}, {options})"


def _extents(root: Path) -> str:
    """Return the view of the footers: which offsets of the log each commit holds, and how many rows it has."""
    folders = ", ".join(quote(root / table / "**" / "*.parquet") for table in sorted(PROVED))
    text = files(__package__).joinpath("extents.sql").read_text()
    return text.replace("$files", folders).replace("$key", quote(FOOTER))


def _comments(table: Table) -> str:
    texts = table.comments | {
        "event_date": f"UTC date of {table.date_column}: the folder; a condition on it prunes files",
        "local_date": f"date of {table.date_column} in the lake's time zone",
    }
    columns = [f"COMMENT ON COLUMN {table.name}.{name} IS {quote(text)}" for name, text in texts.items()]
    return ";\n".join([f"COMMENT ON VIEW {table.name} IS {quote(table.comment)}", *columns])
