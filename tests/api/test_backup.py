"""A backup, restored into an empty database, holds the same rows, rights and rules."""

import stat
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from api.backup import CONTENTS, DUMP, BackupError, back_up, restore
from api.database import load_migrations, pending
from tests.api.conftest import _other_database

pytestmark = pytest.mark.postgres


@pytest.fixture
def filled_url(database_url: str) -> str:
    """A database with two people, one of whom has a car."""
    with psycopg.connect(database_url) as connection:
        ana, ben = uuid4(), uuid4()
        for person, email in ((ana, "ana@example.ph"), (ben, "ben@example.ph")):
            connection.execute(
                "INSERT INTO people (person_id, email, password_hash, name) VALUES (%s, %s, 'x', 'N')", [person, email]
            )
        connection.execute("INSERT INTO vehicles (person_id, plate, kind) VALUES (%s, 'ABC123', 'car')", [ana])
    return database_url


@pytest.fixture
def empty_url(template_url: str) -> Iterator[str]:
    """A new database of the same server."""
    name = f"restored_{uuid4().hex}"
    server = _other_database(template_url, "postgres")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield _other_database(template_url, name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_what_is_restored_is_what_was_there(filled_url: str, empty_url: str, tmp_path: Path) -> None:
    contents = back_up(filled_url, tmp_path / "backup")
    assert (contents.tables["people"].rows, contents.tables["vehicles"].rows) == (2, 1)
    assert restore(empty_url, tmp_path / "backup") == contents
    assert pending(empty_url, load_migrations()) == []
    with psycopg.connect(empty_url) as connection:
        connection.execute("SET LOCAL ROLE parkpal_app")
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (0,), "rows hide as before"


def test_a_backup_is_for_its_owner_alone_and_never_written_over(filled_url: str, tmp_path: Path) -> None:
    back_up(filled_url, tmp_path / "backup")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    with pytest.raises(BackupError, match="never written over"):
        back_up(filled_url, tmp_path / "backup")


def test_a_database_with_tables_is_not_restored_into(filled_url: str, tmp_path: Path) -> None:
    back_up(filled_url, tmp_path / "backup")
    with pytest.raises(BackupError, match="is not empty"):
        restore(filled_url, tmp_path / "backup")


def test_a_damaged_backup_leaves_an_empty_database(filled_url: str, empty_url: str, tmp_path: Path) -> None:
    back_up(filled_url, tmp_path / "backup")
    dump = tmp_path / "backup" / DUMP
    dump.write_bytes(dump.read_bytes()[:-2000])
    with pytest.raises(BackupError, match="pg_restore"):
        restore(empty_url, tmp_path / "backup")
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT to_regclass('people')").fetchone() == (None,)


def test_rows_that_differ_from_what_the_backup_says_are_told(filled_url: str, empty_url: str, tmp_path: Path) -> None:
    back_up(filled_url, tmp_path / "backup")
    contents = tmp_path / "backup" / CONTENTS
    contents.write_text(contents.read_text().replace('"people":{"rows":2', '"people":{"rows":3'))
    with pytest.raises(BackupError, match="people hold other rows"):
        restore(empty_url, tmp_path / "backup")


def test_a_folder_without_a_backup_is_refused(empty_url: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no whole backup"):
        restore(empty_url, tmp_path)
