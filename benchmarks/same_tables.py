"""The same events by eight ways through the program: every table must have the same SHA-256.

    python -m benchmarks.same_tables [--network FILE] [--kafka HOST:PORT] [EVENTS FENCES]

Runs `parkpal replay` and `parkpal run` as a user does, over the embedded log and over Kafka: the broker that is named,
or one of its own; where there is no Java it says so and leaves those ways out. Without EVENTS and FENCES it takes those
of $PARKPAL_DATA/sim, or simulates a city.
"""

import argparse
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from benchmarks.flow import find_events
from deploy.kafka.broker import can_run, temporary_broker
from pipeline.lake.digest import digest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES

Digests = dict[str, tuple[int, str]]


class Way:
    """One log and one lake in a folder of their own."""

    def __init__(self, folder: Path, events: Path, fences: Path, network: Path | None, log: str) -> None:
        self.folder, self.events, self.fences, self.network, self.log = folder, events, fences, network, log

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
KAFKA_WAYS: dict[str, Callable[[Way], None]] = {
    "Kafka": straight,
    "Kafka, 3 drains, 1-2-1": three_drains,
}


def main() -> None:
    """Print a line for each way and table; exit status 1 if any differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, help="file of `parkpal network` to measure excess by")
    parser.add_argument("--kafka", help="HOST:PORT of a broker; default: one of its own")
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()
    found: list[Digests] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        files = arguments.files or find_events(folder)
        for number, (way, log) in enumerate(logs(folder, arguments.kafka, stack)):
            found.append(digests_by(way, folder / str(number), *files, arguments.network, log))
    equal = all(digests == found[0] for digests in found)
    print("all equal" if equal else "NOT EQUAL")
    sys.exit(not equal)


def logs(folder: Path, kafka: str | None, stack: ExitStack) -> Iterator[tuple[str, str]]:
    """Yield each way with a log of its own."""
    for number, way in enumerate(WAYS):
        yield way, f"sqlite://{folder}/{number}/log.sqlite"
    if kafka is None and not can_run():
        print("there is no Java for a broker: nothing over Kafka")
        return
    kafka = kafka or stack.enter_context(temporary_broker()).bootstrap
    for way in KAFKA_WAYS:
        yield way, f"kafka://{kafka}/{uuid.uuid4().hex[:12]}."


def digests_by(name: str, folder: Path, events: Path, fences: Path, network: Path | None, log: str) -> Digests:
    """Go one way, and print and return what it gives."""
    way = Way(folder, events, fences, network, log)
    folder.mkdir()
    (WAYS | KAFKA_WAYS)[name](way)
    digests = way.digests()
    for table, (rows, sha) in digests.items():
        print(f"{name:26s} {table:16s} {rows:9d} {sha}", flush=True)
    return digests


if __name__ == "__main__":
    main()
