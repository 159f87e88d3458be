"""PostgreSQL decides races. Queries live in named SQL files beside what uses them; the schema moves by numbered files.

A migration runs once, in one transaction, in order, under one advisory lock; its text is remembered by checksum, so
that a file changed after it ran is refused instead of leaving two installations with one name for two schemas.
"""

import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import namedtuple_row
from psycopg_pool import AsyncConnectionPool

from pipeline.lake.named_sql import load_named

Connection = psycopg.AsyncConnection[Any]
Pool = AsyncConnectionPool[Connection]
"""Connections in autocommit, rows as named tuples; `connection.transaction()` where statements belong together."""

_MIGRATION_LOCK: Final = 0x7061726B70616C  # "parkpal"
_FILE_NAME: Final = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_HISTORY: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""


class MigrationError(Exception):
    """The schema's history and the files of this version disagree."""


class Migration(NamedTuple):
    """One step of the schema."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_queries(package: str, file: str) -> dict[str, bytes]:
    """Read the blocks of an SQL file that start with `-- name: word`; ValueError where a name stands twice."""
    return {name: text.encode() for name, text in load_named(package, file).items()}


def load_migrations() -> list[Migration]:
    """Read the numbered files of `api/migrations` in order."""
    folder = resources.files("api").joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if _FILE_NAME.fullmatch(file.name)), key=lambda file: file.name)
    return [Migration(file.name, file.read_text("utf-8")) for file in files]


def migrate(url: str, migrations: list[Migration]) -> list[str]:
    """Bring the schema up to date; return the names that were applied now.

    Safe to call from several processes at once. MigrationError if the database has another history.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        connection.execute(_HISTORY)
        missing = _missing(connection, migrations)
        for migration in missing:
            with connection.transaction():
                connection.execute(migration.text.encode())
                connection.execute(
                    "INSERT INTO schema_migrations (name, checksum) VALUES (%s, %s)",
                    [migration.name, migration.checksum],
                )
        return [migration.name for migration in missing]


def pending(url: str, migrations: list[Migration]) -> list[str]:
    """Return the names of migrations not yet applied, changing nothing; MigrationError as `migrate`."""
    with psycopg.connect(url, autocommit=True) as connection:
        known = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()
        missing = _missing(connection, migrations) if known == (True,) else migrations
        return [migration.name for migration in missing]


def _missing(connection: psycopg.Connection, migrations: list[Migration]) -> list[Migration]:
    applied: dict[str, str] = dict(connection.execute("SELECT name, checksum FROM schema_migrations").fetchall())
    known = {migration.name: migration for migration in migrations}
    for name, checksum in applied.items():
        if name not in known:
            raise MigrationError(f"the database has {name}, which this version does not know: run a newer version")
        if known[name].checksum != checksum:
            raise MigrationError(f"{name} was changed after it ran: undo the change and add a new file")
    missing = [migration for migration in migrations if migration.name not in applied]
    if missing and applied and missing[0].name < max(applied):
        raise MigrationError(f"{missing[0].name} comes before {max(applied)}, which ran already: give it a new number")
    return missing


async def fetch_row(connection: Connection, query: bytes, parameters: Mapping[str, object]) -> Any:  # noqa: ANN401  # a named tuple
    """Run a query that always gives a row, and return it."""
    row = await (await connection.execute(query, parameters)).fetchone()
    if row is None:
        raise LookupError("a query that always gives a row gave none")
    return row


def build_pool(url: str, *, max_size: int) -> Pool:
    """Describe a pool; nothing is opened before `await pool.open()`. Waits at most 5 s for a free connection."""
    return AsyncConnectionPool(
        url,
        connection_class=Connection,
        kwargs={
            "autocommit": True,
            "row_factory": namedtuple_row,
            "options": "-c statement_timeout=10s -c timezone=UTC",
        },
        min_size=1,
        max_size=max_size,
        timeout=5,
        open=False,
    )
