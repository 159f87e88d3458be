"""What only the embedded log promises: clear outages, and a URL that names a file."""

import fcntl
import sqlite3
from pathlib import Path

import pytest

from pipeline.log import LogUnavailableError, NewMessage, sqlite
from pipeline.log.open import open_log
from pipeline.log.sqlite import SqliteLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.mark.parametrize("url", ["kafka://broker", "log.sqlite", "sqlite:///", "sqlite://host/path"])
def test_a_url_that_no_adapter_takes_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="log URL"):
        open_log(url)


def test_a_path_with_blanks_and_percent_signs_is_found(tmp_path: Path) -> None:
    log = open_log(f"sqlite:///{tmp_path}/a%20b.sqlite")
    log.create({"positions": 1})
    log.close()
    assert (tmp_path / "a b.sqlite").exists()


def test_a_log_locked_for_too_long_is_unavailable_and_lives_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqliteLog(path)
    log.create({"positions": 1})
    monkeypatch.setattr(sqlite, "_PATIENCE_S", 0.05)
    with Path(f"{path}-lock").open("r") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LogUnavailableError, match="was locked for"):
            log.append([NewMessage("positions", 0, b"a")])
    assert log.append([NewMessage("positions", 0, b"a")]) == [0]
    log.close()


def test_a_full_disk_is_unavailable_and_nothing_of_the_call_is_kept(path: Path) -> None:
    log = SqliteLog(path)
    log.create({"positions": 1})
    with log._writer.use() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 4}")  # SQLite's own way to meet SQLITE_FULL
    with pytest.raises(LogUnavailableError, match="full"):
        log.append([NewMessage("positions", 0, b"a"), NewMessage("positions", 0, b"b" * 100_000)])
    assert log.bounds("positions", 0) == (0, 0)
    assert log.append([NewMessage("positions", 0, b"c")]) == [0]
    log.close()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnavailableError):
        SqliteLog(tmp_path / "file" / "log.sqlite").create({"positions": 1})


def test_a_database_that_is_no_log_is_told(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(LookupError, match="holds no log"):
        SqliteLog(path).partitions("positions")


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database " * 100)
    with pytest.raises(LookupError, match="no log but a file of another kind"):
        SqliteLog(path).partitions("positions")


def test_a_clock_set_back_does_not_turn_the_order_of_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqliteLog(path)
    log.create({"positions": 1})
    for now in (5_000, 3_000, 6_000):
        monkeypatch.setattr(sqlite.time, "time_ns", lambda now=now: now * 1_000_000)
        log.append([NewMessage("positions", 0, b"a")])
    assert [m.appended_at for m in log.read("positions", 0, 0, 100)] == [5_000, 5_000, 6_000]
    log.close()


def test_nothing_of_a_rewritten_payload_is_left_in_the_files(path: Path) -> None:
    log = SqliteLog(path)
    log.create({"positions": 1})
    log.append([NewMessage("positions", 0, b"secret" * 2_000), NewMessage("positions", 0, b"kept")])
    assert log.rewrite("positions", 0, {0: b"blank"})
    left = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert b"secret" not in left
    assert b"kept" in left
    log.close()
