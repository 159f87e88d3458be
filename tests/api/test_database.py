"""The migration runner and the embedded server."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from api.database import Migration, MigrationError, load_migrations, load_queries, migrate, pending
from api.embedded_postgres import EMBEDDED_SCHEME, open_database

FIRST = Migration("0001_first.sql", "CREATE TABLE first (n int)")
SECOND = Migration("0002_second.sql", "CREATE TABLE second (n int); INSERT INTO second VALUES (1)")
USER = """
import sys
from api.embedded_postgres import open_database

with open_database(sys.argv[1]) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def empty_url(database_url: str) -> str:
    """A database without any schema of ours."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return database_url


def test_migrations_run_once_and_in_order(empty_url: str) -> None:
    assert pending(empty_url, [FIRST, SECOND]) == [FIRST.name, SECOND.name]
    assert migrate(empty_url, [FIRST]) == [FIRST.name]
    assert migrate(empty_url, [FIRST, SECOND]) == [SECOND.name]
    assert migrate(empty_url, [FIRST, SECOND]) == []
    assert pending(empty_url, [FIRST, SECOND]) == []


def test_four_processes_that_migrate_at_once_apply_each_file_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda _: migrate(empty_url, load_migrations()), range(4)))
    assert sorted(name for names in applied for name in names) == [each.name for each in load_migrations()]


def test_a_failing_migration_leaves_nothing_of_itself(empty_url: str) -> None:
    broken = Migration("0002_broken.sql", "CREATE TABLE half (n int); SELECT 1 / 0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_url, [FIRST, broken])
    assert migrate(empty_url, [FIRST, SECOND]) == [SECOND.name]
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([FIRST._replace(text="CREATE TABLE other (n int)"), SECOND], "changed after it ran"),
        ([FIRST], "does not know"),
        ([FIRST, Migration("0001_late.sql", "SELECT 1"), SECOND], "new number"),
    ],
)
def test_a_changed_history_is_refused(empty_url: str, files: list[Migration], message: str) -> None:
    migrate(empty_url, [FIRST, SECOND])
    with pytest.raises(MigrationError, match=message):
        migrate(empty_url, sorted(files))


def test_a_query_file_gives_its_blocks_by_name() -> None:
    assert load_queries("api", "limiter.sql").keys() == {"take", "clean"}


def test_a_url_of_a_server_is_passed_on_unchanged() -> None:
    with open_database("postgresql://someone@example.org/parkpal") as url:
        assert url == "postgresql://someone@example.org/parkpal"


def test_processes_that_begin_at_once_in_an_empty_folder_share_one_server(server_folder: Path) -> None:
    """The wheel alone reads the folder's version while another process may be writing it, and fails."""
    setting = f"{EMBEDDED_SCHEME}:///{server_folder / 'new'}"
    begun = [
        subprocess.Popen([sys.executable, "-c", USER, setting], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [process.communicate()[0] for process in begun]
    assert said[0]
    assert set(said) == {said[0]}


def test_the_embedded_server_runs_until_its_last_user_leaves(server_folder: Path) -> None:
    """A second process uses it while the first leaves; after the second it is stopped."""
    setting = f"{EMBEDDED_SCHEME}:///{server_folder / 'other'}"
    with open_database(setting) as url:
        other = subprocess.Popen([sys.executable, "-c", USER, setting], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert other.stdout is not None
        assert other.stdout.readline().decode().strip() == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    other.communicate()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
