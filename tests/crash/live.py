"""Kill the api and the dataflow while phones push: no event answered 202 is lost or doubled.

    python -m tests.crash.live --kills 120 --seed 1 [--workers 2] [--kafka]

Phones push over HTTP and keep their own record of what was answered. Some try again until they get an answer, some do
not. The processes are killed at every named fault point in turn and at random moments, and started again. At the end
the log is drained, and the lake is counted against the phones' record:
  answered 202, accepted: once in `positions`;
  answered 202, rejected: once in `rejected`, refused for the same reason;
  never answered: at most once in `positions`.
What a phone pushed again after a lost answer may be in `rejected` as a duplicate besides.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb
import httpx
import psutil

from deploy.kafka.broker import Broker, temporary_broker
from pipeline import fault
from pipeline.lake.lake import SINK_PARTITIONS
from tests.flow.traffic import write_fences

AT_RANDOM: Final = "at random"
API_POINTS: Final = tuple(name for name in fault.POINTS if name.startswith("ingest."))
RUN_POINTS: Final = tuple(name for name in fault.POINTS if not name.startswith("ingest."))
FIRST_LON: Final = 121.0
BROKER_DIES: Final = 0.02
"""Of every half second."""
BAD_EVERY: Final = 17
"""Each so manieth event has a latitude of 91 degrees."""


Counts = dict[tuple[int, int], int]
"""By (phone, seq)."""


@dataclass
class Phone:
    """One phone: pushes batch after batch, and notes each event's fate by its seq."""

    number: int
    stubborn: bool
    url: str
    stop: threading.Event
    accepted: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    unanswered: set[int] = field(default_factory=set)

    def live(self) -> None:
        """Register, then push until told to stop; a stubborn phone tries its last batch for a minute more."""
        dice = random.Random(self.number)
        seq = 0
        with httpx.Client(base_url=self.url, timeout=20) as http:
            token = self._register(http)
            while not self.stop.is_set():
                batch = range(seq, seq + dice.randint(1, 30))
                self._push(http, token, batch)
                seq = batch.stop
                time.sleep(dice.uniform(0.0, 0.1))

    def _register(self, http: httpx.Client) -> str:
        while not self.stop.is_set():
            try:
                answer = http.post("/v1/devices", json={"consent": {"location_analytics": True}})
                if answer.status_code == httpx.codes.CREATED:
                    return str(answer.json()["token"])
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        return ""

    def _push(self, http: httpx.Client, token: str, batch: range) -> None:
        events, started = [self._event(seq) for seq in batch], time.monotonic()
        while True:
            try:
                body = {"sent_at": int(time.time() * 1000), "events": events}
                answer = http.post("/v1/events", json=body, headers={"Authorization": f"Bearer {token}"})
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code == httpx.codes.ACCEPTED:
                bad = {batch[each["index"]] for each in answer.json()["rejected"]}
                self.refused |= bad
                self.accepted |= set(batch) - bad
                return
            if not self.stubborn or (self.stop.is_set() and time.monotonic() > started + 60):
                self.unanswered |= set(batch)
                return
            time.sleep(0.2)

    def _event(self, seq: int) -> dict[str, object]:
        lat = 91.0 if seq % BAD_EVERY == BAD_EVERY - 1 else 14.55
        lon = FIRST_LON + self.number / 1000  # tells the phones apart where their ids are pseudonyms
        return {"event_time": int(time.time() * 1000), "seq": seq, "lat": lat, "lon": lon, "accuracy_m": 8}


@dataclass
class Victim:
    """A process that is started again whenever it is killed, each time with another place to die at."""

    name: str
    command: list[str]
    environ: dict[str, str]
    points: tuple[str, ...]
    folder: Path
    dice: random.Random
    killed: Counter[str] = field(default_factory=Counter)

    def live(self, kills: int, stop: threading.Event) -> None:
        """Live and be killed until there were so many kills; then live on until told to stop."""
        while not stop.is_set():
            place = self._next_place() if self.killed.total() < kills else None
            self._life(place, stop)

    def _next_place(self) -> str:
        """Return the place with the fewest kills."""
        return min([*self.points, AT_RANDOM], key=lambda place: (self.killed[place], self.dice.random()))

    def _life(self, place: str | None, stop: threading.Event) -> None:
        """Start the process with its place to die at, and see it die; a place not passed in time becomes a moment."""
        most = SINK_PARTITIONS if place == "lake.opened" else 12  # a process opens each sink partition once
        at = f"{place}:{self.dice.randint(1, most)}" if place in self.points else ""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            process = psutil.Popen([*self.command, "--fault", at], env=self.environ, stdout=log, stderr=log)
        deadline = time.monotonic() + (self.dice.uniform(2, 8) if place == AT_RANDOM else 20)
        workers: list[psutil.Process] = []
        while process.poll() is None and not stop.is_set() and (place is None or time.monotonic() < deadline):
            time.sleep(0.05)
            workers = workers or _workers(process)
            if place in self.points and any(not worker.is_running() for worker in workers):
                self.killed[place] += 1  # the supervisor starts all again, unarmed: let them live, then kill it
                place, deadline = AT_RANDOM, time.monotonic() + self.dice.uniform(2, 8)
        if process.poll() is None and stop.is_set():
            process.send_signal(signal.SIGTERM)
        elif process.poll() is None:
            place = AT_RANDOM
            _kill(self.dice.choice([process, *_workers(process)]), process)
        code = process.wait(60)
        if code == -signal.SIGKILL and place is not None:
            self.killed[place] += 1
        elif code != 0 and not stop.is_set():  # a young process dies of SIGTERM as any does
            said = (self.folder / f"{self.name}.log").read_text(errors="replace")[-2_000:]
            if code == 1 and "Broker transport failure" in said.rpartition("\nparkpal ")[2]:
                return  # it began while the broker was away, and said so: begin again
            raise AssertionError(f"{self.name} ended by itself with {code}: {said}")


def _workers(process: psutil.Popen) -> list[psutil.Process]:
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


def attack(
    folder: Path, seed: int, kills: int, phones: int = 8, workers: int = 1, broker: Broker | None = None
) -> Counter[str]:
    """Kill so often, then count; AssertionError with the seed if the record and the lake differ.

    With `workers` the dataflow is a cluster of so many processes; with `broker` the log is that Kafka broker, and is
    killed now and then too.
    """
    dice, stop, closing = random.Random(seed), threading.Event(), threading.Event()
    port = dice.randint(20_000, 30_000)  # below the ports that connections are given
    log = f"kafka://{broker.bootstrap}" if broker else f"sqlite://{folder}/log.sqlite"
    environ = os.environ | {"PARKPAL_DATA_DIR": str(folder), "PARKPAL_LOG_URL": log}
    environ["PARKPAL_REGISTRATIONS_PER_MINUTE"] = "100000"
    program, fences = [sys.executable, "-m", "parkpal"], write_fences(folder / "fences.geojson")
    subprocess.run([*program, "log", "create"], env=environ, check=True, stdout=subprocess.DEVNULL)
    run_command = [*program, "run", "--fences", str(fences)]
    serve, flow_on = [*program, "api", "--port", str(port)], [*run_command, "--epoch", "0.2", "--workers", str(workers)]
    api = Victim("api", serve, environ, API_POINTS, folder, random.Random(seed))
    flow = Victim("run", flow_on, environ, RUN_POINTS, folder, random.Random(seed + 1))
    crowd = [Phone(number, number % 2 == 0, f"http://127.0.0.1:{port}", stop) for number in range(phones)]
    share = kills * (len(API_POINTS) + 1) // (len(API_POINTS) + len(RUN_POINTS) + 2)  # all places alike
    with ThreadPoolExecutor(phones + 3) as pool:
        victims = [pool.submit(api.live, share, closing), pool.submit(flow.live, kills - share, closing)]
        pushing = [pool.submit(phone.live) for phone in crowd]
        told, broken = 0, Counter[str]()
        while (api.killed + flow.killed).total() < kills and not any(victim.done() for victim in victims):
            time.sleep(0.5)
            if (api.killed + flow.killed).total() >= told + 10:
                told += 10
                print(f"seed {seed}: {told} kills of {kills}", flush=True)
            if broker is not None and dice.random() < BROKER_DIES:
                broker.kill()
                time.sleep(dice.uniform(0, 5))
                broker.start()
                broken["the broker"] += 1
        stop.set()
        wait(pushing)
        closing.set()
    for victim in victims:
        victim.result()
    subprocess.run([*run_command, "--drain"], env=environ, check=True, capture_output=True)
    audit = [*program, "lake", "audit", "--lake", str(folder / "lake"), "--log", log]
    subprocess.run(audit, check=True, capture_output=True)
    _count(folder, crowd, seed)
    return api.killed + flow.killed + broken


def _count(folder: Path, crowd: list[Phone], seed: int) -> None:
    """Compare the lake with the phones' record."""
    query = f"SELECT round((lon::DOUBLE - {FIRST_LON}) * 1000)::INT, seq, count(*) FROM {{}} GROUP BY ALL"
    positions = f"'{folder}/lake/positions/**/*.parquet'"
    refused = (
        "(SELECT (decode(payload)->>'lon')::DOUBLE AS lon, (decode(payload)->>'seq')::BIGINT AS seq "
        f"FROM '{folder}/lake/rejected/**/*.parquet' WHERE source_stream = 'rejected')"
    )
    facts = {(phone, seq): n for phone, seq, n in duckdb.sql(query.format(positions)).fetchall()}
    rejects = {(phone, seq): n for phone, seq, n in duckdb.sql(query.format(refused)).fetchall()}
    wrong = [wrong for phone in crowd for wrong in _wrongs(phone, facts, rejects)]
    known = {(phone.number, seq) for phone in crowd for seq in phone.accepted | phone.unanswered}
    wrong += [f"{fact}: never pushed" for fact in facts.keys() - known]
    assert not wrong, f"seed {seed}: {len(wrong)} wrong: {wrong[:5]}"
    answered = sum(len(phone.accepted) + len(phone.refused) for phone in crowd)
    unanswered = sum(len(phone.unanswered) for phone in crowd)
    kept = sum((phone.number, seq) in facts for phone in crowd for seq in phone.unanswered)
    print(f"seed {seed}: {answered} events answered, all there once; {unanswered} unanswered, {kept} of them there")


def _wrongs(phone: Phone, facts: Counts, rejects: Counts) -> Iterator[str]:
    """Yield what is not as the phone's record demands."""
    for fate, seqs in (("accepted", phone.accepted), ("refused", phone.refused), ("unanswered", phone.unanswered)):
        for seq in seqs:
            kept, refused = facts.get((phone.number, seq), 0), rejects.get((phone.number, seq), 0)
            right = {
                "accepted": kept == 1,
                "refused": kept == 0 and (refused == 1 or (refused > 1 and phone.stubborn)),
                "unanswered": kept <= 1,
            }
            if not right[fate]:
                yield f"phone {phone.number}, seq {seq}: {fate}, {kept} times in positions, {refused} in rejected"


def main() -> None:
    """Print the kills by place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kafka", action="store_true", help="over a Kafka broker, killed too, instead of SQLite")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(temporary_broker()) if arguments.kafka else None
        killed = attack(folder, arguments.seed, arguments.kills, workers=arguments.workers, broker=broker)
    for place, count in sorted(killed.items()):
        print(f"{count:6d}  {place}")


if __name__ == "__main__":
    main()
