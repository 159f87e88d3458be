"""Kill and pause api, dataflow and broker while phones push: no event answered 202 is lost or doubled.

    python -m tests.crash.live --kills 150 --each 10 --seed 1 [--workers 2] [--apis 4] [--kafka] [--calamities 2]
                               [--folder DIR]

Phones push over HTTP and keep their own record (`tests.crash.phones` says what must be found of it). The processes
are killed at every named fault point in turn and at random moments, now and then stopped for some seconds, and
started again; so is the broker. Between two lives of the dataflow calamities happen (`tests.crash.calamities`), so
many a round. It goes in rounds, each with a new log and lake: at its end the log is drained and the lake counted. It
ends when there were so many kills, and at each named point so many of them. With --folder each round is noted there,
and the same command goes on behind the last one.
"""

import argparse
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import psutil

from deploy.kafka.broker import Broker, temporary_broker
from deploy.server import ServerError
from pipeline import fault
from pipeline.lake.lake import SINK_PARTITIONS
from tests.crash.calamities import PROGRAM, Calamities, Scene, clear, small_disk
from tests.crash.phones import Phone, count, write_fence
from tests.crash.victims import IsUp, Victim, listens, pause, writes

API_POINTS: Final = tuple(name for name in fault.POINTS if name.startswith(("ingest.", "log.sending")))
RUN_POINTS: Final = tuple(name for name in fault.POINTS if name.startswith(("flow.", "lake.", "log.sending")))
NAMED: Final = frozenset({*(f"api: {point}" for point in API_POINTS), *(f"run: {point}" for point in RUN_POINTS)})
ROUND: Final = 30
"""Kills in a round."""
BROKER_DIES: Final = 0.005
"""Of every half second: it takes a while to be back, and meanwhile nothing else is killed."""
PAUSES: Final = 0.01
LONGEST_PAUSE_S: Final = 8.0
STARTS: Final = 4


@dataclass(frozen=True)
class Attack:
    """What is attacked: with `workers` the dataflow is a cluster, with `apis` so many api processes write one log."""

    seed: int
    phones: int = 8
    workers: int = 1
    apis: int = 1
    kafka: bool = False
    calamities: int = 0

    @property
    def name(self) -> str:
        """Return what tells one attack from another."""
        log = "kafka" if self.kafka else "sqlite"
        return f"seed-{self.seed}-{log}-{self.workers}-{self.apis}-{self.phones}-{self.calamities}"


class Round(msgspec.Struct, frozen=True):
    """One round that held: what was killed where, what else happened, and what was counted."""

    number: int
    killed: dict[str, int]
    others: dict[str, int]
    found: str


class Tally:
    """What happened in rounds, added up."""

    def __init__(self, rounds: Iterable[Round] = ()) -> None:
        self.rounds = 0
        self.killed, self.others = Counter[str](), Counter[str]()
        for each in rounds:
            self.add(each)

    def add(self, this: Round) -> None:
        """Add a round."""
        self.rounds += 1
        self.killed += Counter(this.killed)
        self.others += Counter(this.others)

    def missing(self, kills: int, each: int) -> int:
        """Return how many kills are missing to so many in all, and at each named point to so many."""
        at_points = sum(max(0, each - self.killed[point]) for point in NAMED)
        return max(kills - self.killed.total(), at_points, 0)


def attack(folder: Path, what: Attack, kills: int, before: Tally | None = None) -> Round:
    """Fight one round; AssertionError with seed and round if the record and the lake differ.

    `before` is what happened in earlier rounds: what happened least is next.
    """
    before = before or Tally()
    try:
        with ExitStack() as stack:
            broker = stack.enter_context(temporary_broker()) if what.kafka else None
            disks = [stack.enter_context(small_disk(folder / name)) for name in ("log-disk", "lake-disk")]
            return _Fight(folder, what, before, broker, disks=all(disks)).to_the_end(kills)
    except Exception as error:
        error.add_note(f"{what.name}, round {before.rounds}")
        raise


class _Fight:
    """One round: phones, victims, and who kills them."""

    def __init__(self, folder: Path, what: Attack, before: Tally, broker: Broker | None, *, disks: bool) -> None:
        self._folder, self._what, self._before, self._broker = folder, what, before, broker
        self._dice = random.Random(f"{what.seed}-{before.rounds}")
        self._stop, self._closing = threading.Event(), threading.Event()
        self._lake = folder / "lake-disk" / "lake"
        file = None if broker else folder / "log-disk" / "log.sqlite"
        self._log = f"kafka://{broker.bootstrap}" if broker else f"sqlite://{file}"
        own = {"DATA_DIR": folder, "LOG_URL": self._log, "LAKE_URL": f"file://{self._lake}"}
        own["REGISTRATIONS_PER_MINUTE"] = 100_000
        self._environ = os.environ | {f"PARKPAL_{name}": str(value) for name, value in own.items()}
        self._fences = ["--fences", str(write_fence(folder / "fences.geojson"))]
        first = self._dice.randint(20_000, 29_000)  # below the ports that connections are given
        ports = range(first, first + what.apis)
        self._apis = [
            self._victim(f"api{n}", ["api", "--port", str(port)], API_POINTS, listens(port))
            for n, port in enumerate(ports)
        ]
        run = ["run", *self._fences, "--epoch", "0.2", "--workers", str(what.workers)]
        self._flow = self._victim("run", run, RUN_POINTS, writes(self._lake))
        self._flow.cluster = what.workers > 1
        few = {"lake.opened": SINK_PARTITIONS // what.workers, "log.sending": 1}  # it seldom has something to send
        self._flow.passes = lambda point: few.get(point, 12)
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        self._crowd = [Phone(number, number % 2 == 0, urls, self._stop) for number in range(what.phones)]
        backups = folder / "backups"
        log = None if file is None else file.parent
        scene = Scene(run, self._environ, self._lake, log, backups, self._crowd, self._dice, disks)
        self._calamities = Calamities(scene, what.calamities, before.others)
        self._flow.between = self._calamities.befall
        self._broker_had = Counter[str]()

    def _victim(self, name: str, command: list[str], points: tuple[str, ...], is_up: IsUp) -> Victim:
        dice = random.Random(self._dice.random())
        kind = _kind(name) + ": "
        before = {place.removeprefix(kind): n for place, n in self._before.killed.items() if place.startswith(kind)}
        return Victim(name, [*PROGRAM, *command], self._environ, points, self._folder, dice, is_up, Counter(before))

    def to_the_end(self, kills: int) -> Round:
        """Kill so often, drain, audit, count."""
        self._run("log", "create")
        places = len(API_POINTS) + len(RUN_POINTS) + 2  # all places alike
        share = max(1, round(kills * (len(API_POINTS) + 1) / places / len(self._apis)))
        with ThreadPoolExecutor(len(self._crowd) + len(self._apis) + 1) as pool:
            victims = [pool.submit(api.live, share, self._closing) for api in self._apis]
            victims.append(pool.submit(self._flow.live, kills - share * len(self._apis), self._closing))
            pushing = [pool.submit(phone.live) for phone in self._crowd]
            try:
                while self._killed().total() < kills and not any(victim.done() for victim in victims):
                    time.sleep(0.5)
                    self._trouble()
            finally:
                self._stop.set()
                wait(pushing)
                self._closing.set()
        for victim in victims:
            victim.result()
        self._run("run", *self._fences, "--drain")
        self._run("lake", "audit", "--lake", str(self._lake), "--log", self._log)
        found = count(self._lake, self._log, self._crowd)
        others = self._told("others") + self._broker_had + self._calamities.happened
        return Round(self._before.rounds, dict(self._killed()), dict(others), found)

    def _killed(self) -> Counter[str]:
        return self._told("killed")

    def _told(self, what: str) -> Counter[str]:
        """Add up a count of all victims, by their kind."""
        total = Counter[str]()
        for victim in (*self._apis, self._flow):
            total.update({f"{_kind(victim.name)}: {place}": n for place, n in getattr(victim, what).items()})
        return total

    def _trouble(self) -> None:
        """Now and then kill or stop the broker, or stop a victim."""
        if self._broker is not None and self._dice.random() < BROKER_DIES:
            self._broker.kill()
            time.sleep(self._dice.uniform(0, 5))
            self._broker_had["broker: killed"] += 1
            _start(self._broker)
        if self._dice.random() < PAUSES:
            seconds = self._dice.uniform(0.5, LONGEST_PAUSE_S)
            victim = self._dice.choice([*self._apis, self._flow, *([self._broker] if self._broker else [])])
            if isinstance(victim, Victim):
                victim.pause(seconds)
            elif victim.pid is not None:
                pause(psutil.Process(victim.pid), seconds)
                self._broker_had["broker: paused"] += 1

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([*PROGRAM, *arguments], env=self._environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"


def fight(folder: Path, what: Attack, kills: int, each: int, minutes: float) -> Tally:
    """Fight rounds until there were so many kills, those noted in the folder included; return what happened.

    None is begun after so many minutes.
    """
    until = time.monotonic() + 60 * minutes
    journal = folder / f"{what.name}.jsonl"
    journal.touch()
    done = Tally(msgspec.json.decode(line, type=Round) for line in journal.read_bytes().splitlines())
    while (missing := done.missing(kills, each)) and time.monotonic() < until:
        arena = folder / f"{what.name}-round"
        clear(arena)
        this = attack(arena, what, min(ROUND, missing), done)
        shutil.rmtree(arena)
        with journal.open("ab") as lines:
            lines.write(msgspec.json.encode(this) + b"\n")
        done.add(this)
        print(f"{what.name}, round {this.number}: {this.found}; {done.killed.total()} kills", flush=True)
    return done


def _start(broker: Broker) -> None:
    """Start it, however slow the machine is."""
    for _ in range(STARTS):
        with suppress(ServerError):
            broker.start()
            return
    broker.start()


def _kind(name: str) -> str:
    """Return the name of a victim without its number."""
    return name.rstrip("0123456789")


def main() -> None:
    """Print the kills by place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=150)
    parser.add_argument("--each", type=int, default=0, help="kills at each named point, at least")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--apis", type=int, default=1)
    parser.add_argument("--kafka", action="store_true", help="over a Kafka broker, killed too, instead of SQLite")
    parser.add_argument("--calamities", type=int, default=0, help="in a round, at most")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no round after so many")
    parser.add_argument("--folder", type=Path, help="where rounds are noted, to go on from")
    options = parser.parse_args()
    what = Attack(
        options.seed,
        workers=options.workers,
        apis=options.apis,
        kafka=options.kafka,
        calamities=options.calamities,
    )
    print(what.name, flush=True)
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        done = fight(folder.absolute(), what, options.kills, options.each, options.minutes)
    for title, counts in (("kills", done.killed), ("beside them", done.others)):
        print(f"{counts.total()} {title}")
        for place, times in sorted(counts.items()):
            print(f"{times:6d}  {place}")


if __name__ == "__main__":
    main()
