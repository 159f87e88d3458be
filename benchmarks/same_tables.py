"""The same events by six ways through the program: every table must have the same SHA-256.

    python -m benchmarks.same_tables [--network FILE] [EVENTS FENCES]

Runs `parkpal replay` and `parkpal run` as a user does. Without EVENTS and FENCES it takes those of $PARKPAL_DATA/sim,
or simulates a city.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from benchmarks.flow import find_events
from pipeline.lake.digest import digest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES

Digests = dict[str, tuple[int, str]]


class Way:
    """One log and one lake in a folder of their own."""

    def __init__(self, folder: Path, events: Path, fences: Path, network: Path | None = None) -> None:
        self.folder, self.events, self.fences, self.network = folder, events, fences, network
        self.log = f"sqlite://{folder}/log.sqlite"

    def parkpal(self, *arguments: object) -> None:
        """Run a command of the program; CalledProcessError if it fails."""
        subprocess.run([sys.executable, "-m", "parkpal", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

    def replay(self, *options: object, partitions: int = 8, events: Path | None = None) -> None:
        self.parkpal("log", "create", "--log", self.log, "--partitions", partitions)
        self.parkpal("replay", events or self.events, "--log", self.log, *options)

    def run(self, *options: object) -> None:
        roads = ("--network", self.network) if self.network else ()
        lake = self.folder / "lake"
        self.parkpal("run", "--log", self.log, "--lake", lake, "--fences", self.fences, *roads, *options)

    def digests(self) -> Digests:
        return {table: digest(Lake.open(str(self.folder / "lake")), table) for table in TABLES}


def straight(way: Way) -> None:
    way.replay()
    way.run("--until-end")


def shuffled(way: Way) -> None:
    way.replay("--batch-rows", "1-700", "--seed", 4)
    way.run("--until-end")


def four_partitions(way: Way) -> None:
    way.replay("--batch-rows", "1-300", partitions=4)
    way.run("--until-end")


def two_processes(way: Way) -> None:
    way.replay()
    way.run("--until-end", "--workers", 2)


def short_epochs(way: Way) -> None:
    way.replay()
    way.run("--until-end", "--epoch", 0.1)


def three_drains(way: Way) -> None:
    """Append a third, drain, and so on; with one, two and one processes."""
    rows = pl.read_parquet(way.events).sort("receive_time", "seq", maintain_order=True)
    third = -(-len(rows) // 3)
    for i, workers in enumerate((1, 2, 1)):
        part = way.folder / f"part-{i}.parquet"
        rows.slice(i * third, third).write_parquet(part)
        way.replay(events=part)
        way.run("--drain", "--workers", workers)
    way.run("--until-end")


WAYS: dict[str, Callable[[Way], None]] = {
    "straight through": straight,
    "batch sizes shuffled": shuffled,
    "4 partitions": four_partitions,
    "2 processes": two_processes,
    "short epochs": short_epochs,
    "3 drains, 1-2-1 processes": three_drains,
}


def main() -> None:
    """Print a line for each way and table; exit status 1 if any differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, help="file of `parkpal network` to measure excess by")
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()
    found: list[Digests] = []
    with tempfile.TemporaryDirectory() as folder:
        files = arguments.files or find_events(Path(folder))
        for number, (name, through) in enumerate(WAYS.items()):
            way = Way(Path(folder) / str(number), *files, arguments.network)
            way.folder.mkdir()
            through(way)
            found.append(way.digests())
            for table, (rows, sha) in found[-1].items():
                print(f"{name:26s} {table:16s} {rows:9d} {sha}", flush=True)
    equal = all(digests == found[0] for digests in found)
    print("all equal" if equal else "NOT EQUAL")
    sys.exit(not equal)


if __name__ == "__main__":
    main()
