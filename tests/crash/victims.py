"""Processes that are started again whenever they are killed, each life with other places to die at.

The places that a victim dies at least often come next. A cluster's supervisor outlives its processes, so there a life
is given several places, one for each time that they all start. A process that dies at a named point says so, and only
that counts; the moments in between are random.
"""

import random
import re
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

AT_RANDOM: Final = "at random"
KILLED_YOUNG: Final = 0.2
"""Of those killed at random: while they start. The others are let up first, however slow the machine is."""
DEATHS_A_LIFE: Final = 4
"""Of a cluster, at named points: its supervisor gives up behind the fifth."""
PATIENCE_S: Final = 120.0
"""A point that is not passed for so long becomes a random moment."""
LONGEST_LIFE_S: Final = 6.0
"""Of those killed at random, once they are up."""
_AWAY: Final = re.compile(r"(ERROR pipeline\.cluster|parkpal \w+): the log at .*: ")
_DIED: Final = re.compile(rb"killed at ([\w.]+) in ")

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
    """A command, and how often it was killed where; `before` counts kills of earlier rounds.

    `passes` says up to which pass of a point it may live on; `between` is done while it is dead.
    """

    name: str
    command: list[str]
    environ: dict[str, str]
    points: tuple[str, ...]
    folder: Path
    dice: random.Random
    is_up: IsUp
    before: Counter[str]
    cluster: bool = False
    passes: Callable[[str], int] = lambda _: 12
    between: Callable[[], None] = lambda: None
    killed: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    process: psutil.Popen | None = None
    _read: int = 0

    def live(self, kills: int, stop: threading.Event) -> None:
        """Live and be killed until there were so many kills; then live on until told to stop."""
        while not stop.is_set():
            left = kills - self.killed.total()
            self._life(self._next_places(left) if left > 0 else [], stop, endless=left <= 0)
            if not stop.is_set():
                self.between()

    def pause(self, seconds: float) -> None:
        """Stop the process, or one of its cluster, and let it go on after a while."""
        with suppress(psutil.Error):
            if self.process is None:
                return
            pause(self.dice.choice([self.process, *workers_of(self.process)]), seconds)
            self.others["paused"] += 1

    def said(self) -> str:
        """Return the end of what it said."""
        return self._log().read_text(errors="replace")[-2_000:]

    def _log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def _next_places(self, most: int) -> list[str]:
        """Return the places with the fewest kills, none if a random moment is one of them."""
        counts, places = self.before + self.killed, list[str]()
        for _ in range(min(most, DEATHS_A_LIFE if self.cluster else 1)):
            place = min([*self.points, AT_RANDOM], key=lambda place: (counts[place], self.dice.random()))
            if place == AT_RANDOM:
                return places
            places.append(place)
            counts[place] += 1
        return places

    def _life(self, places: list[str], stop: threading.Event, *, endless: bool) -> None:
        """Start the process, see it die, and count where; AssertionError if it ends by itself."""
        armed = ";".join(f"{place}:{self.dice.randint(1, self.passes(place))}" for place in places)
        with self._log().open("ab") as log:
            self._read = log.tell()
            process = psutil.Popen([*self.command, "--fault", armed], env=self.environ, stdout=log, stderr=log)
        self.process = process
        if places:
            self._await_deaths(process, places, stop)
            if self.cluster and process.poll() is None and not stop.is_set():
                self._end_in_order(process)
                return
        elif not endless:
            self._await_moment(process, stop)
        while endless and process.poll() is None and not stop.is_set():
            time.sleep(0.05)
        if process.poll() is None and stop.is_set():
            process.send_signal(signal.SIGTERM)
        elif process.poll() is None:
            self.killed[AT_RANDOM] += 1
            _kill(self.dice.choice([process, *workers_of(process)]), process)
        self._bury(process, stop)

    def _await_deaths(self, process: psutil.Popen, places: list[str], stop: threading.Event) -> None:
        """Wait until it died at each of the places; count that, and when one is not passed."""
        left, deadline = set(places), time.monotonic() + PATIENCE_S
        while left and not stop.is_set() and time.monotonic() < deadline:
            alive = process.poll() is None
            if died := left & self._deaths():
                left, deadline = left - died, time.monotonic() + PATIENCE_S
                self.killed.update(died)
            if not alive:
                return
            time.sleep(0.05)
        self.others["was not where it was to die"] += not stop.is_set() and bool(left)

    def _deaths(self) -> set[str]:
        """Return the named points that it said to die at since the last call; of a cluster all may die at one."""
        with self._log().open("rb") as log:
            log.seek(self._read)
            lines = log.read().rpartition(b"\n")[0]
        self._read += len(lines)
        return {place.decode() for place in _DIED.findall(lines)}

    def _await_moment(self, process: psutil.Popen, stop: threading.Event) -> None:
        young = self.dice.random() < KILLED_YOUNG
        while not young and process.poll() is None and not stop.is_set() and not self.is_up(process):
            time.sleep(0.05)
        deadline = time.monotonic() + self.dice.uniform(0, LONGEST_LIFE_S)
        while process.poll() is None and not stop.is_set() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _end_in_order(self, process: psutil.Popen) -> None:
        """End a cluster that died at all its points as an operator does, soon or when it is up."""
        time.sleep(self.dice.uniform(0, LONGEST_LIFE_S))
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE_S)
        assert code == 0, f"{self.name} ended with {code} when told to: {self.said()}"
        self.others["ended in order"] += 1

    def _bury(self, process: psutil.Popen, stop: threading.Event) -> None:
        """Wait for its end; AssertionError if it ended by itself."""
        code = process.wait(60)
        if code != -signal.SIGKILL and not stop.is_set():  # a young process dies of SIGTERM as any does
            said = self.said()
            if code == 1 and _AWAY.search(said.rstrip().rpartition("start again\n")[2]):
                self.others["began while the log was away, and said so"] += 1
                return
            raise AssertionError(f"{self.name} ended by itself with {code}: {said}")


def workers_of(process: psutil.Popen) -> list[psutil.Process]:
    """Return the processes of a cluster, none where the process is alone."""
    try:
        return [child for child in process.children() if "multiprocessing.spawn" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def _kill(victim: psutil.Process, process: psutil.Popen) -> None:
    """Kill the process or one of its cluster; of the latter the others die and start again, and then it ends."""
    with suppress(psutil.NoSuchProcess):
        victim.kill()
    if victim.pid != process.pid:
        time.sleep(3)
        process.kill()
