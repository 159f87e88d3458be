"""The result is a function of the log and the fences: cuts, partitions, processes and restarts change no row."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.lake.commit import LakeLockedError
from pipeline.lake.digest import digest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.log import POSITIONS, NewMessage
from pipeline.run import Run, RunRefusedError, StalledError, run
from tests.flow.traffic import Upload, fill, garbage, messages, traffic, write_fences

SEED = 7


@pytest.fixture(scope="module")
def uploads() -> list[Upload]:
    return traffic(SEED)


@pytest.fixture(scope="module")
def fences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fences(tmp_path_factory.mktemp("fences") / "fences.geojson")


def flow(folder: Path, fences: Path, **options: Any) -> None:
    """Run the dataflow over the log and the lake in the folder."""
    run(Run(log_of(folder), str(folder / "lake"), fences, **options))


def log_of(folder: Path) -> str:
    return f"sqlite://{folder}/log.sqlite"


def digests(folder: Path) -> dict[str, tuple[int, str]]:
    return {table: digest(Lake.open(str(folder / "lake")), table) for table in TABLES}


@pytest.fixture(scope="module")
def undisturbed(
    uploads: list[Upload], fences: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[int, str]]:
    """The tables of one process over 8 partitions, straight through."""
    folder = tmp_path_factory.mktemp("undisturbed")
    fill(log_of(folder), messages(uploads, 8, seed=1), 8)
    flow(folder, fences, until_end=True)
    return digests(folder)


def test_every_row_of_the_log_is_in_one_table(uploads: list[Upload], undisturbed: dict[str, tuple[int, str]]) -> None:
    rows = sum(len(upload.rows) for upload in uploads)
    assert undisturbed["positions"][0] + undisturbed["rejected"][0] == rows
    filled = ("positions", "rejected", "geofence_events")
    assert all(undisturbed[table][0] > 100 for table in filled), "the test has something to compare"


@pytest.mark.parametrize(("partitions", "workers", "seed"), [(4, 1, 2), (8, 2, 3), (1, 1, 4)])
def test_cuts_partitions_and_processes_change_no_row(
    uploads: list[Upload],
    fences: Path,
    undisturbed: dict[str, tuple[int, str]],
    tmp_path: Path,
    partitions: int,
    workers: int,
    seed: int,
) -> None:
    fill(log_of(tmp_path), messages(uploads, partitions, seed), partitions)
    flow(tmp_path, fences, until_end=True, workers=workers)
    assert digests(tmp_path) == undisturbed


def test_a_log_drained_in_three_runs_gives_the_same_tables(
    uploads: list[Upload], fences: Path, undisturbed: dict[str, tuple[int, str]], tmp_path: Path
) -> None:
    cuts = [0, len(uploads) // 3, len(uploads) // 2, len(uploads)]
    for first, end in pairwise(cuts):
        fill(log_of(tmp_path), messages(uploads[first:end], 8, seed=first), 8)
        flow(tmp_path, fences, drain=True, epoch=timedelta(milliseconds=20))
    flow(tmp_path, fences, until_end=True)
    assert digests(tmp_path) == undisturbed


def test_an_ended_lake_takes_no_longer_log(uploads: list[Upload], fences: Path, tmp_path: Path) -> None:
    fill(log_of(tmp_path), messages(uploads[:20], 8, seed=1), 8)
    flow(tmp_path, fences, until_end=True)
    before = digests(tmp_path)
    flow(tmp_path, fences, until_end=True)
    assert digests(tmp_path) == before, "the same log again changes nothing"
    fill(log_of(tmp_path), messages(uploads[20:40], 8, seed=1), 8)
    for end in ({"until_end": True}, {"drain": True}):
        with pytest.raises(RunRefusedError, match="new lake"):
            flow(tmp_path, fences, **end)
    assert digests(tmp_path) == before


def test_garbage_is_kept_with_its_reason_and_stops_nothing(uploads: list[Upload], fences: Path, tmp_path: Path) -> None:
    fill(log_of(tmp_path), [*garbage(), *messages(uploads[:50], 2, seed=1)], 2)
    flow(tmp_path, fences, drain=True)
    reasons = duckdb.sql(
        f"SELECT source_stream, reason, count(*) FROM '{tmp_path}/lake/rejected/**/*.parquet' "
        "WHERE reason NOT IN ('duplicate', 'ahead_of_time', 'too_old') GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    positions = sum(count for stream, _, count in reasons if stream == "positions")
    assert positions == 4 + 3, reasons
    assert ("rejected", "malformed", 1) in reasons


def test_a_second_run_on_a_lake_is_refused_and_harms_nothing(
    uploads: list[Upload], fences: Path, undisturbed: dict[str, tuple[int, str]], tmp_path: Path
) -> None:
    fill(log_of(tmp_path), messages(uploads, 8, seed=1), 8)
    command = [sys.executable, "-m", "parkpal", "run", "--log", log_of(tmp_path), "--lake", tmp_path / "lake"]
    first = subprocess.Popen([*command, "--fences", fences, "--epoch", "0.1"])
    try:
        wait_for(lambda: any((tmp_path / "lake" / "_commits").glob("k*.jsonl")))
        for _ in range(2):
            with pytest.raises(LakeLockedError, match="stop it first"):
                flow(tmp_path, fences, drain=True)
    finally:
        first.kill()
        first.wait()
    flow(tmp_path, fences, until_end=True)
    assert digests(tmp_path) == undisturbed


def test_an_until_end_that_was_cut_short_is_finished_and_nothing_else(
    uploads: list[Upload], fences: Path, undisturbed: dict[str, tuple[int, str]], tmp_path: Path
) -> None:
    fill(log_of(tmp_path), messages(uploads, 8, seed=1), 8)
    command = [sys.executable, "-m", "parkpal", "run", "--log", log_of(tmp_path), "--lake", tmp_path / "lake"]
    killed = subprocess.run([*command, "--fences", fences, "--until-end", "--fault", "lake.staged:2"], check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(RunRefusedError, match="cut short"):
        flow(tmp_path, fences, drain=True)
    flow(tmp_path, fences, until_end=True)
    assert digests(tmp_path) == undisturbed


def test_a_newer_message_stops_its_partition_alone_and_keeps_the_lake_open(
    uploads: list[Upload], fences: Path, tmp_path: Path
) -> None:
    newer = NewMessage(POSITIONS, 0, b"PKPL\xff\xff" + bytes(20))
    fill(log_of(tmp_path), [newer, *messages(uploads, 2, seed=1)], 2)
    with pytest.raises(StalledError, match="newer than this reader"):
        flow(tmp_path, fences, until_end=True)
    rows = duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/lake/positions/**/*.parquet'").fetchall()[0][0]
    assert 0 < rows < sum(len(upload.rows) for upload in uploads)
    with pytest.raises(RunRefusedError, match="cut short"):
        flow(tmp_path, fences, drain=True)


def test_rows_received_before_the_clock_are_late_however_the_log_is_cut(
    uploads: list[Upload], fences: Path, tmp_path: Path
) -> None:
    """Two recordings of one day, one after the other, in one log: its receive times run back by an hour."""
    again = [Upload(u.receive_time, u.device_id[::-1], u.rows) for u in uploads]
    found = []
    for name, read_bytes in (("large", 2_000_000), ("small", 9_000)):
        folder = tmp_path / name
        folder.mkdir()
        fill(log_of(folder), messages(uploads, 2, seed=1) + messages(again, 2, seed=1), 2)
        flow(folder, fences, until_end=True, read_bytes=read_bytes)
        found.append(digests(folder))
    assert found[0] == found[1]


def wait_for(happened: Callable[[], bool]) -> None:
    """Wait up to a minute."""
    for _ in range(600):
        if happened():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within a minute")
