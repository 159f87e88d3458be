"""Kill the lake's writers and every job of its upkeep, thousands of times, while readers loop over the bare glob.

    python -m tests.crash.lake_jobs --kills 10000 --seed 1 [--rounds FILE]

A round is a new lake. Its processes are killed by SIGKILL, each at a named fault point or at a random moment, and
begin again. In the middle of a round all writers are killed at once and the lake is adopted, as if its recovery store
were lost. When there were enough kills they end calmly, and the lake is audited and compared with what was written.
FILE keeps a line a round: a run that was stopped goes on behind the last one. What is killed where follows from the
seed, the moments do not.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from pipeline import fault
from tests.crash.lake_rows import MESSAGES_A_DAY, PARTS
from tests.crash.lake_world import READERS, World, start

ROUND_KILLS: Final = 250
CALM_MESSAGES: Final = 4 * MESSAGES_A_DAY
"""Of each sink partition before the first kill, so that there are days to be dropped, rebuilt and erased from."""
AT_RANDOM: Final = "at random"
LIFE_S: Final = 0.2
"""Longest life of a process that is killed at a random moment."""
WRITER_POINTS: Final = tuple(name for name in fault.POINTS if name.startswith("lake."))
JOB_POINTS: Final = ("lake.written", *(name for name in fault.POINTS if name.startswith("exchange.")))

JOBS: Final[tuple[tuple[str, Callable[[World], None]], ...]] = (
    ("compact", World.compact),
    ("retain", World.retain),
    ("erase", World.erase),
    ("rebuild", World.rebuild),
)
"""Every job of upkeep, by name; each runs again and again, in a process of its own."""
ADOPT_POINTS: Final = ("lake.renamed", "lake.placed", "lake.recorded", "adopt.noted")


@dataclass
class Slot:
    """A process that is begun again whenever it ends, and where its present life is to end."""

    name: str
    run: Callable[[int], None]
    points: tuple[str, ...]
    process: int = 0  # none lives
    place: str = ""
    until: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)

    def begin(self, choice: random.Random) -> None:
        """Begin a life that ends at a place drawn by `choice`."""
        self.place = choice.choice([*self.points, *[AT_RANDOM] * len(self.points)])
        spec = "" if self.place == AT_RANDOM else f"{self.place}:{choice.choice([1, 1, 1, 2, 3])}"
        self.until = time.monotonic() + (choice.random() * LIFE_S if self.place == AT_RANDOM else 60)
        seed = choice.randrange(1 << 30)
        self.process = start(lambda: self.run(seed), spec)

    def has_ended(self, *, wait: bool = False) -> bool:
        """Kill the process if its time has come; return whether it has ended, and count it if it was killed."""
        if not wait and time.monotonic() > self.until:
            os.kill(self.process, signal.SIGKILL)
        process, status = os.waitpid(self.process, 0 if wait else os.WNOHANG)
        if not process:
            return False
        self.process = 0
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self.kills[self.place] += 1
        elif status:
            raise AssertionError(f"{self.name} failed by itself at {self.place}")
        return True

    def kill(self) -> None:
        """Kill the process wherever it is."""
        self.place = AT_RANDOM
        os.kill(self.process, signal.SIGKILL)
        self.has_ended(wait=True)

    def live_once(self, choice: random.Random) -> None:
        """Begin again until a life ends well."""
        before = -1
        while before != (before := self.kills.total()):
            self.begin(choice)
            while not self.has_ended():
                time.sleep(0.002)


def play(folder: Path, seed: str, kills: int) -> dict[str, int]:
    """Play one round in an empty folder; return kills by process and place, and everything that was counted."""
    choice, world = random.Random(seed), World(folder)
    _wait(start(world.create))
    readers = [start(lambda reader=reader: world.look(reader, pause_s=0.02)) for reader in range(READERS)]  # type: ignore[misc]
    slots, adopter = list(_slots(world)), Slot("adopt", lambda _: world.adopt(), ADOPT_POINTS)
    try:
        _live_calmly(world)
        for slot in slots:
            slot.begin(choice)
        _run(slots, choice, kills // 2)
        _adopt([slot for slot in slots if slot.name == "writer"], adopter, choice)
        _run(slots, choice, kills - adopter.kills.total())
        world.shared.stop[0] = 1
        for slot in slots:
            slot.has_ended(wait=True)
        while readers:
            _wait(readers.pop())
    finally:
        for process in [*readers, *(slot.process for slot in [*slots, adopter])]:
            if process:
                os.kill(process, signal.SIGKILL)
    for part in range(PARTS):  # a life that opens, settles and ends calmly
        _wait(start(lambda part=part: world.write(part, 0)))  # type: ignore[misc]
    counts = _verdict(world) | world.shared.counts()
    for slot in [*slots, adopter]:
        for place, n in slot.kills.items():
            name = f"kills {slot.name} {place}"
            counts[name] = counts.get(name, 0) + n
    return counts


def _live_calmly(world: World) -> None:
    writers = [start(lambda part=part: world.write(part, part, CALM_MESSAGES)) for part in range(PARTS)]  # type: ignore[misc]
    for process in writers:
        _wait(process)


def _run(slots: Sequence[Slot], choice: random.Random, kills: int) -> None:
    """Begin whatever ends again until there were so many kills in all."""
    while sum(slot.kills.total() for slot in slots) < kills:
        for slot in slots:
            if slot.has_ended():
                slot.begin(choice)
        time.sleep(0.002)


def _adopt(writers: Sequence[Slot], adopter: Slot, choice: random.Random) -> None:
    """Let the recovery stores be lost while upkeep goes on."""
    for writer in writers:
        writer.kill()
    adopter.live_once(choice)
    for writer in writers:
        writer.begin(choice)


def _slots(world: World) -> Iterator[Slot]:
    for part in range(PARTS):
        yield Slot("writer", lambda seed, part=part: world.write(part, seed), WRITER_POINTS)  # type: ignore[misc]
    for name, run in JOBS:
        yield Slot(name, lambda _, run=run: run(world), points_of(name))  # type: ignore[misc]


def points_of(job: str) -> tuple[str, ...]:
    """Return the named points that a job of upkeep passes, each of which not in every life."""
    return (*JOB_POINTS, *(point for point in fault.POINTS if point.startswith(f"{job}.")))


def _verdict(world: World) -> dict[str, int]:
    path = world.folder / "verdict.json"
    _wait(start(lambda: path.write_text(json.dumps(world.verdict())) and None))
    found: dict[str, int] = json.loads(path.read_text())
    return found


def _wait(process: int) -> None:
    assert os.waitpid(process, 0)[1] == 0, "a process failed by itself"


def attack(kills: int, seed: int, folder: Path | None = None, rounds: Path | None = None) -> Counter[str]:
    """Play rounds until there were enough kills, those of `rounds` counted; return the sum of all counts."""
    total: Counter[str] = Counter()
    lines = rounds.read_text().splitlines() if rounds and rounds.exists() else []
    for line in lines:
        total.update(json.loads(line))
    number = len(lines)
    while (left := kills - killed(total)) > 0:
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:
            counts = play(Path(place), f"{seed}:{number}", min(left, ROUND_KILLS))
        if rounds:
            with rounds.open("a") as file:
                file.write(json.dumps(counts) + "\n")
        total.update(counts)
        number += 1
        print(f"round {number}: {killed(total)} kills, {total['reads']} reads, {wrong(total)} wrong", flush=True)
    return total


def killed(total: Counter[str]) -> int:
    """Return the number of all kills."""
    return sum(n for name, n in total.items() if name.startswith("kills "))


def wrong(total: Counter[str]) -> int:
    """Return how often anything was what must never be."""
    return sum(total[name] for name in ("lost", "doubled", "problems", "wrong", "backward"))


def print_table(total: Counter[str], seed: int) -> None:
    """Print kills by process and place, and what came of them."""
    table = Table("process", "place", "kills", title=f"seed {seed}")
    places = {"writer": WRITER_POINTS, "adopt": ADOPT_POINTS} | {name: points_of(name) for name, _ in JOBS}
    for name, points in places.items():
        for place in (*points, AT_RANDOM):
            table.add_row(name, place, str(total[f"kills {name} {place}"]))
    console = Console()
    console.print(table)
    tries = total["reads"] + total["loud"]
    console.print(
        f"{killed(total)} kills, {total['rows']} rows left to compare, {total['erased']} erased: {total['lost']} lost, "
        f"{total['doubled']} doubled, {total['problems']} problems of the audit"
    )
    console.print(
        f"{total['reads']} reads: {total['wrong']} wrong, {total['backward']} backward, "
        f"{total['loud']} loud errors ({100 * total['loud'] / max(1, tries):.2f} %), {total['again']} of them twice"
    )


def main() -> None:
    """Attack as long as asked and print a table; exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--folder", type=Path, help="where the lakes are to lie; default: a temporary folder")
    parser.add_argument("--rounds", type=Path, help="file of the rounds played so far")
    given = parser.parse_args()
    with suppress(KeyboardInterrupt):
        total = attack(given.kills, given.seed, given.folder, given.rounds)
        print_table(total, given.seed)
        raise SystemExit(bool(wrong(total)))


if __name__ == "__main__":
    main()
