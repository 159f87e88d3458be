"""Kill the dataflow over a log that does not change, again and again: at the end its tables are those of a calm run.

    python -m tests.crash.fixed_log --kills 50 --seed 1

A kill comes at a named fault point or at a random moment. When the log is drained the lake is closed and compared, and
a new one is begun, until there were enough kills.
"""

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from pipeline import fault
from pipeline.lake.digest import digest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.run import Run, run
from tests.flow.traffic import fill, messages, traffic, write_fences

POINTS: Final = tuple(name for name in fault.POINTS if name.startswith(("flow.", "lake.")))
AT_RANDOM: Final = "at random"

# A fork server has loaded everything once, so that a life costs its work and not its start.
_processes: Final = multiprocessing.get_context("forkserver")


class FixedLog:
    """A log, and what a calm run makes of it."""

    def __init__(self, folder: Path, seed: int, devices: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        log = f"sqlite://{folder}/log.sqlite"
        fill(log, messages(traffic(seed, devices), 4, seed), 4)
        self.config = Run(
            log,
            str(folder / "calm"),
            write_fences(folder / "fences.geojson"),
            epoch=timedelta(milliseconds=20),
            read_bytes=6_000,
        )
        self.calm = self.tables(replace(self.config, until_end=True))
        self.killed: Counter[str] = Counter()

    def tables(self, config: Run) -> dict[str, tuple[int, str]]:
        """Run to the end and return the digest of each table."""
        run(config)
        return {table: digest(Lake.open(config.lake_url), table) for table in TABLES}

    def lake(self, number: int, kills: int) -> dict[str, tuple[int, str]]:
        """Drain the log into a new lake with up to so many kills on the way; return its tables."""
        config = replace(self.config, lake_url=str(self.folder / f"lake-{number}"), drain=True)
        while self.killed.total() < kills and self._life(config) is None:
            pass
        return self.tables(replace(config, drain=False, until_end=True))

    def _life(self, config: Run) -> int | None:
        """Let one process live until it is killed, None, or the log is drained."""
        place = self.random.choice([*POINTS, AT_RANDOM, AT_RANDOM, AT_RANDOM])
        if place != AT_RANDOM:
            config = replace(config, fault=f"{place}:{self.random.choice([1, 2, 5, 20, 60])}")
        process = _processes.Process(target=run, args=(config,))
        process.start()
        process.join(self.random.uniform(0.1, 1.5) if place == AT_RANDOM else 60)
        if process.is_alive():
            process.kill()
            process.join()
        if process.exitcode == -signal.SIGKILL:
            self.killed[place] += 1
            return None
        assert process.exitcode == 0, f"the run failed by itself, with {process.exitcode}"
        return 0


def attack(folder: Path, seed: int, kills: int, devices: int = 60) -> Counter[str]:
    """Kill as often as asked; AssertionError with the seed if any table differs. Returns the kills by place."""
    log = FixedLog(folder, seed, devices)
    number = 0
    while log.killed.total() < kills:
        found = log.lake(number, kills)
        assert found == log.calm, f"seed {seed}, lake {number}: {found} is not {log.calm}"
        number += 1
        print(f"seed {seed}: {number} lakes, {log.killed.total()} kills, all tables equal", flush=True)
    return log.killed


def main() -> None:
    """Print the kills by place and the digests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        killed = attack(Path(folder), arguments.seed, arguments.kills)
    for place, count in sorted(killed.items()):
        print(f"{count:6d}  {place}")


if __name__ == "__main__":
    main()
