"""What an unfinished execution left of epochs that run again is deleted, and nothing else; a broken store is named."""

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from bytewax.recovery import init_db_dir

from pipeline.recovery import StoreBrokenError, forget_ghosts


@pytest.fixture
def store(tmp_path: Path) -> Path:
    init_db_dir(tmp_path, 2)
    return tmp_path


def write(store: Path, part: int, statement: str, *rows: tuple[object, ...]) -> None:
    with closing(sqlite3.connect(store / f"part-{part}.sqlite3")) as connection, connection:
        connection.executemany(statement, rows)


def execution(store: Path, part: int, number: int, workers: int, resume: int) -> None:
    write(
        store, part, "INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (?, ?, ?)", (number, workers, resume)
    )


def front(store: Path, part: int, number: int, worker: int, epoch: int) -> None:
    statement = "INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (?, ?, ?)"
    write(store, part, statement, (number, worker, epoch))


def snaps(store: Path, part: int, *epochs: int) -> None:
    statement = "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('detect', '00', ?, x'')"
    write(store, part, statement, *((epoch,) for epoch in epochs))


def left(store: Path, part: int) -> list[int]:
    with closing(sqlite3.connect(store / f"part-{part}.sqlite3")) as connection:
        return [epoch for (epoch,) in connection.execute("SELECT snap_epoch FROM snaps ORDER BY snap_epoch")]


def test_a_store_that_never_ran_has_no_ghosts(store: Path) -> None:
    assert forget_ghosts(store) == 0


def test_snapshots_from_the_slowest_workers_epoch_on_are_deleted(store: Path) -> None:
    execution(store, 0, 1, 2, 1)
    front(store, 0, 1, 0, 7)
    front(store, 1, 1, 1, 5)
    snaps(store, 0, 3, 4, 5)
    snaps(store, 1, 4, 6)
    assert forget_ghosts(store) == 2
    assert (left(store, 0), left(store, 1)) == ([3, 4], [4])


def test_a_worker_that_finished_no_epoch_stands_where_the_execution_began(store: Path) -> None:
    execution(store, 0, 1, 1, 1)
    front(store, 0, 1, 0, 9)
    execution(store, 1, 2, 2, 8)
    front(store, 1, 2, 0, 10)
    snaps(store, 0, 7, 8, 9)
    assert forget_ghosts(store) == 2
    assert left(store, 0) == [7]


@pytest.mark.parametrize("kept", [0, 1, 50, 5_000])
def test_a_file_that_was_cut_short_is_named_with_the_way_out(store: Path, kept: int) -> None:
    os.truncate(store / "part-1.sqlite3", kept)
    with pytest.raises(StoreBrokenError, match=r"part-1\.sqlite3 is broken: .*parkpal lake adopt"):
        forget_ghosts(store)


def test_a_file_of_noise_is_named(store: Path) -> None:
    execution(store, 0, 1, 1, 1)
    path = store / "part-0.sqlite3"
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))
    with pytest.raises(StoreBrokenError, match=r"part-0\.sqlite3 is broken"):
        forget_ghosts(store)


def test_a_file_that_is_missing_is_missed(store: Path) -> None:
    (store / "part-1.sqlite3").unlink()
    with pytest.raises(StoreBrokenError, match="of its files there are 1"):
        forget_ghosts(store)
