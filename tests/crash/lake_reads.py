"""Read a lake by its bare glob, again and again, while days are written and every job of upkeep replaces them.

    python -m tests.crash.lake_reads --reads 100000

Compaction, erasure, retention and rebuild run all the time, each in a process of its own. Each read is compared with
what was published before it began, row for row. Loud errors, files that vanished between
listing and opening, are counted, and the read is done once more. Nothing is killed here; `tests.crash.lake_jobs` does.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.lake.exchange import swaps
from tests.crash.lake_rows import PARTS
from tests.crash.lake_world import READERS, World, start

PACE_S: Final = 0.6
"""Longest rest of a writer between epochs, so that compaction keeps up and a read is of few files."""


def watch(folder: Path, reads: int, seed: int) -> dict[str, int]:
    """Read until there were enough reads; return all counts."""
    world = World(folder, PACE_S)
    jobs = (world.compact, world.retain, world.erase, world.rebuild)
    _ended_well(start(world.create))
    choice = random.Random(seed)
    readers = [start(lambda reader=reader: world.look(reader)) for reader in range(READERS)]  # type: ignore[misc]
    others = [start(lambda part=part: world.write(part, choice.randrange(1 << 30))) for part in range(PARTS)]  # type: ignore[misc]
    others += [start(lambda run=run: _again(world, run)) for run in jobs]  # type: ignore[misc]
    with suppress(KeyboardInterrupt):  # as many as there were
        while world.shared.reads.sum() < reads and not _any_ended([*readers, *others]):
            time.sleep(0.2)
    world.shared.stop[0] = 1
    for process in [*readers, *others]:
        _ended_well(process)
    _ended_well(start(lambda: _check(world)))
    counts = world.shared.counts()
    counts.update(Counter(swap.job for swap in swaps(world.lake)))
    return counts


def _again(world: World, run: Callable[[], None]) -> None:
    while not world.shared.stop[0]:
        run()


def _check(world: World) -> None:
    verdict = world.verdict()
    assert verdict["lost"] == verdict["doubled"] == verdict["problems"] == 0, verdict


def _any_ended(processes: list[int]) -> bool:
    return any(os.waitid(os.P_PID, each, os.WEXITED | os.WNOHANG | os.WNOWAIT) for each in processes)


def _ended_well(process: int) -> None:
    assert os.waitpid(process, 0)[1] == 0, "a process failed by itself"


def main() -> None:
    """Read as often as asked and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--folder", type=Path, help="where the lake is to lie; default: a temporary folder")
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        counts = watch(Path(folder), given.reads, given.seed)
    print(
        f"seed {given.seed}, {time.monotonic() - begun:.0f} s: "
        + ", ".join(f"{n} {name}" for name, n in counts.items())
    )
    sys.exit(bool(counts["wrong"] or counts["backward"]))


if __name__ == "__main__":
    main()
