"""The database in a folder, and back into an empty database, compared row by row.

A backup is what one transaction saw: PostgreSQL's own dump, and of each table the number of rows and a sum of their
hashes. Restoring computes both again and says so if they differ. A dump holds everything about everybody: its folder is
for the owner's eyes alone. The keys (`parkpal settings`, keys_dir) are not in it, and without them it opens no account.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.database import load_queries
from api.embedded_postgres import find_tool

DUMP: Final = "database.dump"
CONTENTS: Final = "contents.json"

_SQL: Final = load_queries("api", "backup.sql")


class BackupError(Exception):
    """The backup cannot be made or restored; the message says why and what to do."""


class Held(msgspec.Struct, frozen=True):
    """What a table holds: rows, and the sum of their hashes."""

    rows: int
    digest: int


class Contents(msgspec.Struct, frozen=True):
    """What a backup holds: the server's major version it came from, roles its rights name, tables by name."""

    server: int
    roles: list[str]
    tables: dict[str, Held]


def back_up(url: str, folder: Path) -> Contents:
    """Write the database into a new folder; BackupError, psycopg.Error."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise BackupError(f"{folder} is there already: a backup is never written over another") from None
    with _reading(url) as connection:
        snapshot = _one(connection, _SQL["export_snapshot"])
        contents = _look(connection)
        _run("pg_dump", contents.server, url, ["--format=custom", f"--snapshot={snapshot}", f"--file={folder / DUMP}"])
    _write(folder / CONTENTS, msgspec.json.encode(contents))
    return contents


def restore(url: str, folder: Path) -> Contents:
    """Read a backup into an empty database and compare; BackupError, psycopg.Error."""
    try:
        contents = msgspec.json.decode((folder / CONTENTS).read_bytes(), type=Contents)
    except (OSError, msgspec.MsgspecError) as error:
        raise BackupError(f"{folder} holds no whole backup ({error})") from error
    with psycopg.connect(url, autocommit=True) as connection:
        if _one(connection, _SQL["count_tables"]):
            raise BackupError("the database is not empty: restore into a new one, then let the settings name it")
        server = connection.info.server_version // 10_000
        for role in contents.roles:
            connection.execute(_named("make_role", role=role))
    _run("pg_restore", server, url, ["--no-owner", "--exit-on-error", "--single-transaction", str(folder / DUMP)])
    with _reading(url) as connection:
        _compare(contents.tables, _look(connection).tables)
    return contents


def _compare(expected: dict[str, Held], found: dict[str, Held]) -> None:
    other = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if other:
        raise BackupError(f"restored, but {', '.join(other)} hold other rows than the backup says: do not use it")


@contextmanager
def _reading(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection that sees one moment, and rows as text of one form."""
    with psycopg.connect(url, options="-c timezone=UTC -c datestyle=ISO -c row_security=off") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection


def _look(connection: psycopg.Connection[Any]) -> Contents:
    tables = {}
    for (name,) in connection.execute(_SQL["tables"]).fetchall():
        rows, digest = connection.execute(_named("digest", table=name)).fetchall()[0]
        tables[name] = Held(rows, int(digest))
    roles = [role for (role,) in connection.execute(_SQL["roles"]).fetchall()]
    return Contents(connection.info.server_version // 10_000, roles, tables)


def _named(query: str, **names: str) -> sql.Composed:
    return sql.SQL(_SQL[query].decode()).format(**{key: sql.Identifier(name) for key, name in names.items()})


def _run(tool: str, server: int, url: str, arguments: Sequence[str]) -> None:
    """Run a tool of PostgreSQL that fits a server of this major version; everybody may read its command line."""
    program = find_tool(tool, server)
    if program is None:
        raise BackupError(f"no {tool} here knows PostgreSQL {server}: update ParkPal, or use the server's own tools")
    place = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    environment = {**os.environ, "PGPASSWORD": place.pop("password", os.environ.get("PGPASSWORD", ""))}
    command = [str(program), f"--dbname={make_conninfo(**place)}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  our own
    if done.returncode:
        raise BackupError(f"{tool}: {done.stderr.strip()[-1000:]}")


def _one(connection: psycopg.Connection[Any], query: bytes) -> Any:  # noqa: ANN401  # whatever the query gives
    return connection.execute(query).fetchall()[0][0]


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
