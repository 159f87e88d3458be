"""A lake's disk that fills up while the dataflow runs ends it with a sentence; with room again it goes on."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.lake.digest import digest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.log.open import open_log
from pipeline.run import Run, run
from tests.crash.calamities import full, small_disk
from tests.flow.traffic import fill, messages, traffic, write_fences

UPLOADS = traffic(21, devices=12)
HALF = len(UPLOADS) // 2


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as mounted:
        if not mounted:
            pytest.skip("may not mount: needs root")
        yield tmp_path / "disk"


def url(folder: Path) -> str:
    return f"sqlite://{folder}/log.sqlite"


def flow(folder: Path, lake: Path) -> dict[str, tuple[int, str]]:
    fences = write_fences(folder / "fences.geojson")
    run(Run(url(folder), str(lake), fences, epoch=timedelta(milliseconds=50), until_end=True))
    return {table: digest(Lake.open(str(lake)), table) for table in TABLES}


def append_slowly(folder: Path, stop: threading.Event) -> None:
    with closing(open_log(url(folder))) as log:
        for message in messages(UPLOADS[HALF:], 4, seed=2):
            stop.wait(0.02)
            log.append([message])


def test_a_disk_that_fills_up_is_named_and_nothing_is_lost(tmp_path: Path, disk: Path) -> None:
    fill(url(tmp_path), messages(UPLOADS[:HALF], 4, seed=1), 4)
    fences = write_fences(tmp_path / "fences.geojson")
    command = ["run", "--log", url(tmp_path), "--lake", str(disk / "lake"), "--fences", str(fences), "--epoch", "0.1"]
    program = subprocess.Popen([sys.executable, "-m", "parkpal", *command], stderr=subprocess.PIPE, text=True)
    while not any(path.stat().st_size for path in disk.glob("lake/_commits/k*")):
        assert program.poll() is None
        time.sleep(0.05)
    stop = threading.Event()
    appending = threading.Thread(target=append_slowly, args=(tmp_path, stop))
    with full(disk):
        appending.start()
        _, said = program.communicate(timeout=120)
    stop.set()
    appending.join()
    assert (program.returncode, "takes no writes" in said, "Traceback" in said) == (1, True, False), said
    found = flow(tmp_path, disk / "lake")
    assert found == flow(tmp_path, tmp_path / "calm")
