"""Questions to the lake: named SQL texts with parameters, a few at a time, each within its time.

Never SQL from outside: no setting of DuckDB keeps a text it runs from writing files.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple

import duckdb

from pipeline.lake.catalog import define, define_over
from pipeline.lake.freshness import newest_receive_time, rolled_up
from pipeline.lake.lake import Lake, LakeMissingError
from pipeline.lake.tables import TABLES, Table
from pipeline.lake.vanished import AGAIN_S, has_vanished

TIMEOUT_S: Final = 10.0
MEMORY: Final = "1GB"
STORED: Final = "stored_"
"""Before its name: a table of an object store, as the library that reads its log hands it over."""


class LakeBusyError(Exception):
    """As many queries run as are admitted, and none ended in time: ask again later."""


class LakeTimeoutError(Exception):
    """The query took longer than it may."""


class DayFiles(NamedTuple):
    """A parameter that stands for the paths of a table's files of these days, as they are when the query runs.

    Among them is the one without rows, so that there is always one, and every column.
    """

    table: Table
    first: date
    last: date


class Reader:
    """Answers named queries over one lake from any thread; `admitted` at once, each on `threads` threads.

    It sees the folder itself, not lake.duckdb, so no other reader's lock on that file matters. The lake may be created
    after the reader: it is looked for when it is asked.
    """

    def __init__(self, url: str, *, admitted: int = 2, threads: int = 2, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._threads = threads
        self._admitted = threading.BoundedSemaphore(admitted)
        self._timeout_s = timeout_s
        self._opening = threading.Lock()
        self._opened: tuple[Lake, duckdb.DuckDBPyConnection] | None = None

    def query(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run one SELECT with `$name` parameters and return all rows; times are aware, in UTC.

        A file that vanished under the query (compaction, retention) is looked for once more. Raises LakeMissingError,
        LakeBusyError, LakeTimeoutError and duckdb.Error.
        """
        lake, connection = self._open()
        with self._admit(), connection.cursor() as cursor, _limited(cursor, self._timeout_s):
            try:
                return _run(lake, cursor, sql, parameters)
            except (duckdb.Error, FileNotFoundError) as error:
                if not has_vanished(error):
                    raise
                time.sleep(AGAIN_S)
                return _run(lake, cursor, sql, parameters)

    def freshness(self) -> datetime | None:
        """Return the newest receive_time that queries see, None while there is none; it reads four small tails."""
        try:
            lake, _ = self._open()
        except LakeMissingError:
            return None
        return _to_datetime(newest_receive_time(lake))

    def rolled_up(self) -> datetime | None:
        """Return the newest receive_time that the roll-ups know, None before there are any."""
        try:
            lake, _ = self._open()
        except LakeMissingError:
            return None
        return _to_datetime(rolled_up(lake))

    def close(self) -> None:
        """Close the connection; queries that still run end with an error."""
        if self._opened:
            self._opened[1].close()

    def _open(self) -> tuple[Lake, duckdb.DuckDBPyConnection]:
        with self._opening:
            if self._opened is None:
                lake = Lake.open(self._url)
                config = {
                    "threads": self._threads,
                    "memory_limit": MEMORY,
                    "parquet_metadata_cache": True,  # a file never changes under its name
                    "lock_configuration": True,
                }
                self._opened = lake, connect(lake, config)
            return self._opened

    @contextmanager
    def _admit(self) -> Iterator[None]:
        if not self._admitted.acquire(timeout=self._timeout_s):
            raise LakeBusyError(f"no query ended within {self._timeout_s:g} s")
        try:
            yield
        finally:
            self._admitted.release()


def _to_datetime(time_ms: int | None) -> datetime | None:
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC)


def connect(lake: Lake, config: Mapping[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB connection in memory whose views and macros are the lake's."""
    connection = duckdb.connect()
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("SET autoinstall_known_extensions = false; SET allow_community_extensions = false")
    if lake.place is None:
        define(connection, lake.root, lake.format.time_zone)
    else:
        _register(lake, connection, TABLES)
        define_over(connection, TABLES.values(), lambda table: STORED + table.name, lake.format.time_zone)
    for name, value in (config or {}).items():
        connection.execute(f"SET GLOBAL {name} = '{value}'")
    return connection


def _register(lake: Lake, connection: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> None:
    """Give the connection tables of an object store as they stand now."""
    from pipeline.lake.delta import DeltaCommitter  # noqa: PLC0415 -- an extra, and slow to import

    if lake.place is not None:
        committer = DeltaCommitter(lake.place)
        for name in tables:
            connection.register(STORED + name, committer.table(name).to_pyarrow_dataset())


def _run(
    lake: Lake, cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    if lake.place is not None:
        _register(lake, cursor, [name for name in TABLES if name in sql])
    values = {name: _paths(lake, value) if isinstance(value, DayFiles) else value for name, value in parameters.items()}
    return cursor.execute(sql, values).fetchall()


def _paths(lake: Lake, files: DayFiles) -> list[str]:
    days = (files.first + timedelta(days=n) for n in range((files.last - files.first).days + 1))
    folders = (lake.root / files.table.name / f"event_date={day}" for day in (date(1970, 1, 1), *days))
    return [str(path) for folder in folders for path in sorted(folder.glob("*.parquet"))]


@contextmanager
def _limited(cursor: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt the cursor after `seconds`; max_execution_time would do, but DuckDB 1.5 has none."""
    timer = threading.Timer(seconds, cursor.interrupt)
    timer.start()
    try:
        yield
    except duckdb.InterruptException:
        raise LakeTimeoutError(f"the query took longer than {seconds:g} s") from None
    finally:
        timer.cancel()
