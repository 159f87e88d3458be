"""Processes that are started again whenever they are killed, each time with another place to die at."""

import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from pipeline.lake.folder import LOCKS
from pipeline.lake.lake import SINK_PARTITIONS

AT_RANDOM: Final = "at random"
KILLED_YOUNG: Final = 0.2
"""Of those killed at random: while they start. The others are let up first, however slow the machine is."""

IsUp = Callable[[psutil.Popen], bool]


def listens(port: int) -> IsUp:
    """Tell that a server takes connections at the port."""

    def is_up(_: psutil.Popen) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return is_up


def writes(lake: Path) -> IsUp:
    """Tell that a process, or one of its cluster, has the lake open."""

    def is_up(process: psutil.Popen) -> bool:
        with suppress(OSError, ValueError):
            return int((lake / LOCKS / "k0.lock").read_text()) in {process.pid, *(w.pid for w in workers_of(process))}
        return False

    return is_up


def pause(process: psutil.Process, seconds: float) -> None:
    """Stop a process and let it go on after a while."""
    process.suspend()
    try:
        time.sleep(seconds)
    finally:
        process.resume()


@dataclass
class Victim:
    """A command, and how often it was killed where; `before` counts kills of earlier rounds."""

    name: str
    command: list[str]
    environ: dict[str, str]
    points: tuple[str, ...]
    folder: Path
    dice: random.Random
    is_up: IsUp
    before: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    pauses: int = 0
    process: psutil.Popen | None = None

    def live(self, kills: int, stop: threading.Event) -> None:
        """Live and be killed until there were so many kills; then live on until told to stop."""
        while not stop.is_set():
            place = self._next_place() if self.killed.total() < kills else None
            self._life(place, stop)

    def pause(self, seconds: float) -> None:
        """Stop the process, or one of its cluster, and let it go on after a while."""
        with suppress(psutil.Error):
            if self.process is None:
                return
            pause(self.dice.choice([self.process, *workers_of(self.process)]), seconds)
            self.pauses += 1

    def _next_place(self) -> str:
        """Return the place with the fewest kills."""
        counts = self.before + self.killed
        return min([*self.points, AT_RANDOM], key=lambda place: (counts[place], self.dice.random()))

    def _life(self, place: str | None, stop: threading.Event) -> None:
        """Start the process with its place to die at, and see it die; a place not passed in time becomes a moment."""
        most = SINK_PARTITIONS if place == "lake.opened" else 12  # a process opens each sink partition once
        at = f"{place}:{self.dice.randint(1, most)}" if place in self.points else ""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            process = psutil.Popen([*self.command, "--fault", at], env=self.environ, stdout=log, stderr=log)
        self.process = process
        young = self.dice.random() < KILLED_YOUNG
        while not young and process.poll() is None and not stop.is_set() and not self.is_up(process):
            time.sleep(0.05)
        deadline = time.monotonic() + (self.dice.uniform(0, 6) if place == AT_RANDOM else 20)
        workers: list[psutil.Process] = []
        while process.poll() is None and not stop.is_set() and (place is None or time.monotonic() < deadline):
            time.sleep(0.05)
            workers = workers or workers_of(process)
            if place in self.points and any(not worker.is_running() for worker in workers):
                self.killed[place] += 1  # the supervisor starts all again, unarmed: let them live, then kill it
                place, deadline = AT_RANDOM, time.monotonic() + self.dice.uniform(2, 8)
        if process.poll() is None and stop.is_set():
            process.send_signal(signal.SIGTERM)
        elif process.poll() is None:
            place = AT_RANDOM
            _kill(self.dice.choice([process, *workers_of(process)]), process)
        self._bury(process, place, stop)

    def _bury(self, process: psutil.Popen, place: str | None, stop: threading.Event) -> None:
        """Wait for its end and count it; AssertionError if it ended by itself."""
        code = process.wait(60)
        if code == -signal.SIGKILL and place is not None:
            self.killed[place] += 1
        elif code != 0 and not stop.is_set():  # a young process dies of SIGTERM as any does
            said = (self.folder / f"{self.name}.log").read_text(errors="replace")[-2_000:]
            if code == 1 and "Broker transport failure" in said.rpartition("\nparkpal ")[2]:
                return  # it began while the broker was away, and said so: begin again
            raise AssertionError(f"{self.name} ended by itself with {code}: {said}")


def workers_of(process: psutil.Popen) -> list[psutil.Process]:
    """Return the processes of a cluster, none where the process is alone."""
    try:
        return [child for child in process.children() if "multiprocessing.spawn" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def _kill(victim: psutil.Process, process: psutil.Popen) -> None:
    """Kill the process or one of its cluster; of the latter the others die and start again, and then it ends."""
    victim.kill()
    if victim.pid != process.pid:
        time.sleep(3)
        process.kill()
