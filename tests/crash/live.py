"""Kill and pause api, dataflow and broker while phones push: no event answered 202 is lost or doubled.

    python -m tests.crash.live --kills 150 --seed 1 [--workers 2] [--apis 4] [--kafka] [--folder DIR]

Phones push over HTTP and keep their own record (`tests.crash.phones` says what must be found of it). The processes
are killed at every named fault point in turn and at random moments, now and then stopped for some seconds, and
started again; so is the broker. It goes in rounds, each with a new log and lake: at its end the log is drained and
the lake counted. With --folder each round is noted there, and the same command goes on behind the last one.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import psutil

from deploy.kafka.broker import Broker, temporary_broker
from pipeline import fault
from tests.crash.phones import Phone, count, write_fence
from tests.crash.victims import IsUp, Victim, listens, pause, writes

API_POINTS: Final = tuple(name for name in fault.POINTS if name.startswith("ingest."))
RUN_POINTS: Final = tuple(name for name in fault.POINTS if name.startswith(("flow.", "lake.")))
ROUND: Final = 30
"""Kills in a round."""
BROKER_DIES: Final = 0.02
"""Of every half second; and so for pauses."""
PAUSES: Final = 0.02
LONGEST_PAUSE_S: Final = 8.0
PROGRAM: Final = [sys.executable, "-m", "parkpal"]


@dataclass(frozen=True)
class Attack:
    """What is attacked: with `workers` the dataflow is a cluster, with `apis` so many api processes write one log."""

    seed: int
    phones: int = 8
    workers: int = 1
    apis: int = 1
    kafka: bool = False

    @property
    def name(self) -> str:
        """Return what tells one attack from another."""
        return f"seed-{self.seed}-{'kafka' if self.kafka else 'sqlite'}-{self.workers}-{self.apis}-{self.phones}"


class Round(msgspec.Struct, frozen=True):
    """One round that held: what was killed where, and what was counted."""

    number: int
    killed: dict[str, int]
    found: str


def attack(folder: Path, what: Attack, kills: int, number: int = 0, before: Counter[str] | None = None) -> Round:
    """Fight one round; AssertionError with seed and round if the record and the lake differ.

    `before` are the kills of earlier rounds: the places with the fewest are next.
    """
    try:
        with ExitStack() as stack:
            broker = stack.enter_context(temporary_broker()) if what.kafka else None
            return _Fight(folder, what, number, before or Counter(), broker).to_the_end(kills)
    except Exception as error:
        error.add_note(f"{what.name}, round {number}")
        raise


class _Fight:
    """One round: phones, victims, and who kills them."""

    def __init__(self, folder: Path, what: Attack, number: int, before: Counter[str], broker: Broker | None) -> None:
        self._folder, self._what, self._number, self._broker = folder, what, number, broker
        self._dice = random.Random(f"{what.seed}-{number}")
        self._stop, self._closing = threading.Event(), threading.Event()
        self._log = f"kafka://{broker.bootstrap}" if broker else f"sqlite://{folder}/log.sqlite"
        self._environ = os.environ | {"PARKPAL_DATA_DIR": str(folder), "PARKPAL_LOG_URL": self._log}
        self._environ["PARKPAL_REGISTRATIONS_PER_MINUTE"] = "100000"
        self._fences = ["--fences", str(write_fence(folder / "fences.geojson"))]
        first = self._dice.randint(20_000, 29_000)  # below the ports that connections are given
        ports = range(first, first + what.apis)
        self._apis = [
            self._victim(f"api{n}", ["api", "--port", str(port)], API_POINTS, before, listens(port))
            for n, port in enumerate(ports)
        ]
        run = ["run", *self._fences, "--epoch", "0.2", "--workers", str(what.workers)]
        self._flow = self._victim("run", run, RUN_POINTS, before, writes(folder / "lake"))
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        self._crowd = [Phone(number, number % 2 == 0, urls, self._stop) for number in range(what.phones)]

    def _victim(
        self, name: str, command: list[str], points: tuple[str, ...], before: Counter[str], is_up: IsUp
    ) -> Victim:
        dice = random.Random(self._dice.random())
        return Victim(name, [*PROGRAM, *command], self._environ, points, self._folder, dice, is_up, before)

    def to_the_end(self, kills: int) -> Round:
        """Kill so often, drain, audit, count."""
        self._run("log", "create")
        places = len(API_POINTS) + len(RUN_POINTS) + 2  # all places alike
        share = max(1, round(kills * (len(API_POINTS) + 1) / places / len(self._apis)))
        others = Counter[str]()
        with ThreadPoolExecutor(len(self._crowd) + len(self._apis) + 1) as pool:
            victims = [pool.submit(api.live, share, self._closing) for api in self._apis]
            victims.append(pool.submit(self._flow.live, kills - share * len(self._apis), self._closing))
            pushing = [pool.submit(phone.live) for phone in self._crowd]
            while self._killed().total() < kills and not any(victim.done() for victim in victims):
                time.sleep(0.5)
                others += self._trouble()
            self._stop.set()
            wait(pushing)
            self._closing.set()
        for victim in victims:
            victim.result()
        self._run("run", *self._fences, "--drain")
        self._run("lake", "audit", "--lake", str(self._folder / "lake"), "--log", self._log)
        found = count(self._folder / "lake", self._log, self._crowd)
        pauses = Counter({f"{victim.name} paused": victim.pauses for victim in (*self._apis, self._flow)})
        return Round(self._number, dict(self._killed() + pauses + others), found)

    def _killed(self) -> Counter[str]:
        return sum((victim.killed for victim in (*self._apis, self._flow)), Counter[str]())

    def _trouble(self) -> Counter[str]:
        """Now and then kill or stop the broker, or stop a victim; say what was done."""
        if self._broker is not None and self._dice.random() < BROKER_DIES:
            self._broker.kill()
            time.sleep(self._dice.uniform(0, 5))
            self._broker.start()
            return Counter(["broker killed"])
        if self._dice.random() < PAUSES:
            seconds = self._dice.uniform(0.5, LONGEST_PAUSE_S)
            victim = self._dice.choice([*self._apis, self._flow, *([self._broker] if self._broker else [])])
            if isinstance(victim, Victim):
                victim.pause(seconds)
            elif victim.pid is not None:
                pause(psutil.Process(victim.pid), seconds)
                return Counter(["broker paused"])
        return Counter()

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([*PROGRAM, *arguments], env=self._environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"


def rounds(journal: Path) -> list[Round]:
    """Read the rounds that were fought."""
    return [msgspec.json.decode(line, type=Round) for line in journal.read_bytes().splitlines()]


def fight(folder: Path, what: Attack, kills: int) -> Counter[str]:
    """Fight rounds until there were so many kills, those noted in the folder included; return all by place."""
    journal = folder / f"{what.name}.jsonl"
    journal.touch()
    done = rounds(journal)
    killed = sum((Counter(each.killed) for each in done), Counter[str]())
    while _deaths(killed) < kills:
        arena = folder / f"{what.name}-round"
        shutil.rmtree(arena, ignore_errors=True)
        arena.mkdir()
        this = attack(arena, what, min(ROUND, kills - _deaths(killed)), len(done), killed)
        shutil.rmtree(arena)
        with journal.open("ab") as lines:
            lines.write(msgspec.json.encode(this) + b"\n")
        done.append(this)
        killed += Counter(this.killed)
        print(f"{what.name}, round {this.number}: {this.found}; {_deaths(killed)} kills of {kills}", flush=True)
    return killed


def _deaths(killed: Counter[str]) -> int:
    return sum(count for place, count in killed.items() if not place.endswith((" paused", "broker killed")))


def main() -> None:
    """Print the kills by place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=150)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--apis", type=int, default=1)
    parser.add_argument("--kafka", action="store_true", help="over a Kafka broker, killed too, instead of SQLite")
    parser.add_argument("--folder", type=Path, help="where rounds are noted, to go on from")
    options = parser.parse_args()
    what = Attack(options.seed, workers=options.workers, apis=options.apis, kafka=options.kafka)
    print(what.name, flush=True)
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        killed = fight(folder.absolute(), what, options.kills)
    for place, times in sorted(killed.items()):
        print(f"{times:6d}  {place}")


if __name__ == "__main__":
    main()
