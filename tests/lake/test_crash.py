"""Killed anywhere, as often as you like: each row is in the lake once, and no reader ever sees anything else."""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import fault
from pipeline.lake.audit import LogPartition, audit
from pipeline.lake.lake import Lake
from tests.lake import epochs
from tests.lake.build import MESSAGE_ROWS
from tests.lake.stores import LAKES, seen

POINTS = tuple(name for name in fault.POINTS if name.startswith("lake."))
PASSES = {"lake.opened": epochs.PARTS}
"""Points that a start passes less than four times."""


class Watch:
    """Reads the lake in a loop as analysts do and keeps what must never be: fewer rows than before, or a repeat."""

    def __init__(self, lake: Lake) -> None:
        self.reads = 0
        self.wrong: list[str] = []
        self._lake = lake
        self._stop = threading.Event()

    def look(self) -> None:
        before = 0
        while not self._stop.is_set():
            found = seen(self._lake, "positions")
            if len(found) < before or len(found) != len(set(found)):
                self.wrong.append(f"{len(found)} rows, {len(set(found))} distinct, after {before}")
            before = len(found)
            self.reads += 1
            self._stop.wait(0.01)

    @contextmanager
    def looking(self) -> Iterator[None]:
        thread = threading.Thread(target=self.look)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def run_until_done(home: Path, store: Path, seed: int, deaths: list[str]) -> int:
    """Start the writer again after each death, first those of `deaths`, then none; return how often it died."""
    choice = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.lake.epochs"])
    died = 0
    for spec in [*deaths, ""]:
        process = context.Process(
            target=epochs.write,
            args=(
                home,
                store,
                epochs.resume(store, choice),
                choice.randrange(1 << 30),
                spec.partition("@")[0],
            ),
        )
        process.start()
        if spec.startswith("@"):
            time.sleep(float(spec[1:]))
            process.kill()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL), f"{spec}: exit {process.exitcode}"
        died += process.exitcode != 0
    return died


@pytest.mark.parametrize("seed", range(1, 1 + int(os.environ.get("PARKPAL_TEST_CRASH_SEEDS", "1"))))
@pytest.mark.parametrize("kind", LAKES)
def test_each_row_is_there_once_and_readers_never_see_it_otherwise(tmp_path: Path, seed: int, kind: str) -> None:
    choice = random.Random(seed)
    deaths = [f"{name}:{choice.randint(1, PASSES.get(name, 4))}" for name in choice.sample(POINTS, len(POINTS))]
    deaths += [f"@{choice.random() * 0.1:.3f}" for _ in range(3)]
    lake = LAKES[kind](tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    watch = Watch(lake)
    with watch.looking():
        died = run_until_done(tmp_path, store, seed, deaths)
    assert died >= len(POINTS), f"seed {seed}: {deaths}"
    assert watch.wrong == [], f"seed {seed}: {deaths}"
    assert watch.reads > 0
    expected = [(f"device-{part}", seq) for part in range(epochs.PARTS) for seq in range(2 * epochs.MESSAGES)]
    assert seen(lake, "positions") == expected, f"seed {seed}: {deaths}"
    log = [
        LogPartition("positions", part, 0, epochs.MESSAGES, [(at, MESSAGE_ROWS) for at in range(epochs.MESSAGES)])
        for part in range(epochs.PARTS)
    ]
    report = audit(lake, log)
    assert report.problems == [], f"seed {seed}: {deaths}"
    assert {source: (count.rows, count.compared_rows) for source, count in report.sources.items()} == {
        ("positions", part): (epochs.MESSAGES * MESSAGE_ROWS, epochs.MESSAGES * MESSAGE_ROWS)
        for part in range(epochs.PARTS)
    }
