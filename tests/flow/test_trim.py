"""A log that is trimmed while it is read gives the same tables, and loses nothing that a lake has not."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from parkpal.cli import main
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.digest import digest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.log import POSITIONS, EventLog, NewMessage
from pipeline.log.open import open_log
from pipeline.run import Run, run
from pipeline.trim import trim
from tests.flow.traffic import fill, messages, traffic, write_fences

FOR_ALL_TIME = 1 << 60
UPLOADS = traffic(11, devices=15)
THIRD = len(UPLOADS) // 3


def url(folder: Path) -> str:
    return f"sqlite://{folder}/log.sqlite"


def flow(folder: Path, **options: bool) -> dict[str, tuple[int, str]]:
    fences = write_fences(folder / "fences.geojson")
    run(Run(url(folder), str(folder / "lake"), fences, epoch=timedelta(milliseconds=50), read_bytes=9_000, **options))
    return {table: digest(Lake.open(str(folder / "lake")), table) for table in TABLES}


def held(log: EventLog) -> int:
    return sum(len(log.read(POSITIONS, p, 0, 1 << 30)) for p in range(log.partitions(POSITIONS)))


def trim_on(folder: Path, stop: threading.Event) -> None:
    """Trim what may be, again and again."""
    lake = Lake.open(str(folder / "lake"))
    with closing(open_log(url(folder))) as log:
        while not stop.wait(0.01):
            trim(log, [lake], FOR_ALL_TIME)


def test_a_log_trimmed_all_the_while_gives_the_tables_of_one_that_was_not(tmp_path: Path) -> None:
    calm, trimmed = tmp_path / "calm", tmp_path / "trimmed"
    calm.mkdir(), trimmed.mkdir()
    fill(url(calm), messages(UPLOADS, 4, seed=1), 4)
    expected = flow(calm, until_end=True)
    Lake.create(str(trimmed / "lake"))
    fill(url(trimmed), messages(UPLOADS[:THIRD], 4, seed=1), 4)
    with closing(open_log(url(trimmed))) as log:
        flow(trimmed, drain=True)
        assert trim(log, [Lake.open(str(trimmed / "lake"))], 0) == 0, "none is so old"
        stop = threading.Event()
        trimming = threading.Thread(target=trim_on, args=(trimmed, stop))
        trimming.start()
        fill(url(trimmed), messages(UPLOADS[THIRD : 2 * THIRD], 4, seed=2), 4)
        flow(trimmed, drain=True)
        fill(url(trimmed), messages(UPLOADS[2 * THIRD :], 4, seed=3), 4)
        found = flow(trimmed, until_end=True)
        stop.set()
        trimming.join()
        trim(log, [Lake.open(str(trimmed / "lake"))], FOR_ALL_TIME)
        assert held(log) == 0
    assert found == expected
    audited = CliRunner().invoke(main, ["lake", "audit", "--lake", str(trimmed / "lake"), "--log", url(trimmed)])
    assert audited.exit_code == 0, audited.output


def test_what_one_of_the_lakes_has_not_stays(tmp_path: Path) -> None:
    fill(url(tmp_path), messages(UPLOADS[:THIRD], 4, seed=1), 4)
    flow(tmp_path, drain=True)
    behind = Lake.create(str(tmp_path / "behind"))
    with closing(open_log(url(tmp_path))) as log:
        before = held(log)
        assert trim(log, [Lake.open(str(tmp_path / "lake")), behind], FOR_ALL_TIME) == 0
        assert held(log) == before > 0


def test_a_lake_of_another_log_is_refused(tmp_path: Path) -> None:
    fill(url(tmp_path), messages(UPLOADS[:5], 4, seed=1), 4)
    flow(tmp_path, drain=True)
    other = tmp_path / "other"
    other.mkdir()
    fill(url(other), messages(UPLOADS[:5], 2, seed=1), 2)
    with closing(open_log(url(other))) as log, pytest.raises(LakeRefusedError, match="was read from another log"):
        trim(log, [Lake.open(str(tmp_path / "lake"))], FOR_ALL_TIME)


def test_trimming_that_is_killed_has_dropped_the_oldest_and_goes_on(tmp_path: Path) -> None:
    with closing(open_log(url(tmp_path))) as log:
        log.create({POSITIONS: 1})
        for first in range(0, 4_000, 500):
            log.append([NewMessage(POSITIONS, 0, b"%d" % n) for n in range(first, first + 500)])
        program = (
            "from pipeline import fault; from pipeline.log.open import open_log; fault.arm('log.trimmed:2'); "
            f"open_log({url(tmp_path)!r}).trim(1 << 60)"
        )
        killed = subprocess.run([sys.executable, "-c", program], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert log.bounds(POSITIONS, 0) == (2_000, 4_000)
        assert [m.payload for m in log.read(POSITIONS, 0, 0, 1 << 20)] == [b"%d" % n for n in range(2_000, 4_000)]
        assert log.append([NewMessage(POSITIONS, 0, b"next")]) == [4_000]
        assert log.trim(FOR_ALL_TIME) == 2_001


def test_a_file_that_is_trimmed_does_not_grow(tmp_path: Path) -> None:
    sizes = []
    with closing(open_log(url(tmp_path))) as log:
        log.create({POSITIONS: 1})
        for _ in range(6):
            log.append([NewMessage(POSITIONS, 0, bytes(2_000)) for _ in range(500)])
            log.trim(FOR_ALL_TIME)
            sizes.append((tmp_path / "log.sqlite").stat().st_size)
    assert sizes[-1] <= sizes[1]


def test_the_command_keeps_a_week_and_never_less_than_adoption_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(url(tmp_path), messages(UPLOADS[:THIRD], 4, seed=1), 4)
    flow(tmp_path, drain=True)
    command = ["log", "trim", "--log", url(tmp_path), "--lake", str(tmp_path / "lake")]
    assert CliRunner().invoke(main, command).output == "0 messages dropped\n"
    too_little = CliRunner().invoke(main, [*command, "--days", "1"])
    assert too_little.exit_code == 2
    with closing(open_log(url(tmp_path))) as log:
        count = held(log)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 8 * 86_400)
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        assert held(log) == 0 < count
