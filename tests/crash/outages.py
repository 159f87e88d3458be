"""What phones, operator and dataflow see when the log on Kafka fails, each case enacted on real brokers.

    python -m tests.crash.outages [--away 300] [--case NAME ...]

A broker is killed and stays away; of two brokers the one that leads half of the partitions is; a message of a newer
version comes; a log has fewer partitions than the lake was read from. Phones push all the while and keep their own
record; at the end it is counted against the lake, as in `tests.crash.live`.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import duckdb
import httpx
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.kafka.broker import Broker, temporary_broker
from deploy.server import free_port
from pipeline.batch.rows import blank
from pipeline.log import POSITIONS, NewMessage
from pipeline.log.kafka.topics import SETTINGS
from pipeline.log.open import open_log
from pipeline.partition import hash_ids, partition_of
from tests.crash.phones import FIRST_LON, Phone, count, write_fence

PROGRAM: Final = (sys.executable, "-m", "parkpal")
PHONES: Final = 8
CALM_S: Final = 10.0
UP_S: Final = 600.0
_WORDS: Final = re.compile(r"(WARNING|ERROR) [\w.]+: (.*)|^(parkpal \w+: .*)", re.MULTILINE)


class SecondBroker(Broker):
    """A broker that joins the cluster of another; it is no controller."""

    def __init__(self, folder: Path, first: Broker) -> None:
        super().__init__(folder, 0)
        self._first = first

    def _configure(self) -> Path:
        told = (self._first.folder / "server.properties").read_text()
        changes = {
            "process.roles=broker,controller": "process.roles=broker",
            "node.id=1": "node.id=2",
            f"PLAINTEXT://127.0.0.1:{self._first.port},": f"PLAINTEXT://127.0.0.1:{self.port}",
            f"{self._first.folder}/data": f"{self.folder}/data",
        }
        for old, new in changes.items():
            told = told.replace(old, new)
        told = re.sub(rf"(listeners=PLAINTEXT://127.0.0.1:{self.port})CONTROLLER://\S+", r"\1", told)
        settings = self.folder / "server.properties"
        settings.write_text(told)
        if (self.folder / "data" / "meta.properties").exists():
            return settings
        identity = (self._first.folder / "data" / "meta.properties").read_text()
        cluster = re.search(r"cluster.id=(\S+)", identity)
        assert cluster is not None
        command = self._java("kafka.tools.StorageTool", "format", "-t", cluster[1], "-c", str(settings))
        subprocess.run(command, check=True, capture_output=True)
        return settings


class Stage:
    """Api, dataflow and phones over a log."""

    def __init__(self, folder: Path, log_url: str) -> None:
        self.folder, self.log_url = folder, log_url
        self.lake = folder / "lake"
        self.api, self.metrics = free_port(), free_port()
        own = {"DATA_DIR": folder, "LOG_URL": log_url, "METRICS_PORT": self.metrics}
        own["REGISTRATIONS_PER_MINUTE"] = 100_000
        self.environ = os.environ | {f"PARKPAL_{name}": str(value) for name, value in own.items()}
        self.run = ("run", "--fences", str(write_fence(folder / "fences.geojson")), "--epoch", "1")
        self.stop = threading.Event()
        urls = [f"http://127.0.0.1:{self.api}"]
        self.crowd = [Phone(number, number % 2 == 0, urls, self.stop) for number in range(PHONES)]

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Run everything while the block runs, then let the phones finish."""
        with ExitStack() as stack:
            flow = stack.enter_context(self._process("run", *self.run))
            stack.enter_context(self._process("api", "api", "--port", str(self.api)))
            pool = stack.enter_context(ThreadPoolExecutor(PHONES))
            stack.callback(self.stop.set)
            self._await(lambda: self.ready() == "200")
            pushing = [pool.submit(phone.live) for phone in self.crowd]
            self._await(lambda: any((self.lake / "positions").rglob("*.parquet")))
            yield
            self.stop.set()
            for phone in pushing:
                phone.result()
            print(f"  dataflow: {'the same process all the while' if flow.poll() is None else 'ended'}")

    def parkpal(self, *arguments: str) -> str:
        """Run a command; return its status and what it said last."""
        command = [*PROGRAM, *arguments]
        environ = self.environ | {"PARKPAL_METRICS_PORT": "0"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("parkpal", "exactly"))]
        return f"exit {done.returncode}: {' '.join(said[-1:])}"

    def ready(self) -> str:
        """Return what /health/ready answers."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.api}/health/ready", timeout=20)
        except httpx.HTTPError as error:
            return type(error).__name__
        if answer.status_code == httpx.codes.OK:
            return "200"
        return f"{answer.status_code} {answer.text}"

    def told(self, name: str) -> str:
        """Return the lines of a metric of api or dataflow, its labels and value."""
        found = []
        for port in (self.api, self.metrics):
            text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=20).text
            found += re.findall(rf"^{name}(.*)$", text, re.MULTILINE)
        return ", ".join(line.strip() for line in found)

    def answers(self) -> Counter[str]:
        """Add up what the phones were answered, 202 apart."""
        total = Counter[str]()
        for phone in self.crowd:
            for (status, retry_after), times in list(phone.turned_away.items()):
                total[f"{status} Retry-After {retry_after}"] += times
        return total

    def said(self, name: str) -> Counter[str]:
        """Count the warnings and errors of a process, numbers apart."""
        text = (self.folder / f"{name}.log").read_text(errors="replace")
        lines = (level + sentence for _, level, sentence in _WORDS.findall(text))
        return Counter(re.sub(r"\b\d{4,}\b", "N", line)[:240] for line in lines)

    def rows(self) -> int:
        """Return the rows in `positions`."""
        ((rows,),) = duckdb.sql(f"SELECT count(*) FROM '{self.lake}/positions/**/*.parquet'").fetchall()
        return int(rows)

    def behind_s(self) -> float:
        """Return the lag in seconds, of the partition that has most."""
        return max(float(line.split()[-1]) for line in self.told("parkpal_lag_seconds").split(", "))

    def finish(self) -> None:
        """Drain, audit, count."""
        print(f"  drained: {self.parkpal(*self.run, '--drain')}")
        print(f"  audit: {self.parkpal('lake', 'audit', '--lake', str(self.lake), '--log', self.log_url)}")
        print(f"  counted: {count(self.lake, self.log_url, self.crowd)}", flush=True)

    def _await(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + UP_S
        while not holds():
            assert time.monotonic() < deadline, f"not within {UP_S:.0f} s"
            time.sleep(0.2)

    @contextmanager
    def _process(self, name: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([*PROGRAM, *arguments], env=self.environ, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def away(folder: Path, seconds: float) -> None:
    """Kill the only broker, and start it again after so long."""
    with temporary_broker() as broker:
        stage = Stage(folder, f"kafka://{broker.bootstrap}")
        stage.parkpal("log", "create")
        with stage.playing():
            time.sleep(CALM_S)
            calm = stage.answers()
            broker.kill()
            gone = time.monotonic()
            rows = stage.rows()
            watch(stage, gone, seconds, rows)
            print(f"  a run started meanwhile: {stage.parkpal(*stage.run)}")
            time.sleep(max(0.0, gone + seconds - time.monotonic()))
            print(f"  phones while it was away: {dict(stage.answers() - calm)}")
            broker.start()
            back = time.monotonic()
            until_back(stage, back)
            time.sleep(CALM_S)
        told(stage)
        stage.finish()


def watch(stage: Stage, gone: float, seconds: float, rows: int) -> None:
    """Print what an operator sees, four times."""
    for part in (0.05, 0.25, 0.5, 0.85):
        time.sleep(max(0.0, gone + part * seconds - time.monotonic()))
        print(
            f"  after {time.monotonic() - gone:.0f} s: ready {stage.ready()}; log available "
            f"{stage.told('parkpal_log_available')}; append failures {stage.told('parkpal_append_failures_total')}; "
            f"{stage.rows() - rows} more rows in the lake",
            flush=True,
        )


def until_back(stage: Stage, back: float) -> None:
    """Print how long it takes until all is as before."""
    stage._await(lambda: stage.ready() == "200")
    print(f"  back: ready after {time.monotonic() - back:.1f} s", flush=True)
    rows = stage.rows()
    stage._await(lambda: stage.rows() > rows)
    print(f"  back: new rows in the lake after {time.monotonic() - back:.1f} s", flush=True)


def told(stage: Stage) -> None:
    """Print what the dataflow said, and how often."""
    for line, times in stage.said("run").most_common(6):
        print(f"  dataflow said {times} times: {line}")


def half(folder: Path, seconds: float) -> None:
    """Kill the one of two brokers that leads partitions 4 to 7."""
    with temporary_broker() as first, ExitStack() as stack:
        second = SecondBroker(folder / "second", first)
        second.start()
        stack.callback(second.kill)
        stage = Stage(folder, f"kafka://{first.bootstrap}")
        create_split(first)
        with stage.playing():
            time.sleep(CALM_S)
            calm = {phone.number: len(phone.accepted) for phone in stage.crowd}
            turned = stage.answers()
            second.kill()
            gone, rows = time.monotonic(), stage.rows()
            watch(stage, gone, seconds, rows)
            time.sleep(max(0.0, gone + seconds - time.monotonic()))
            lags = stage.told("parkpal_lag_seconds")
            answered = {phone.number: len(phone.accepted) - calm[phone.number] for phone in stage.crowd}
            print(f"  phones while it was away, turned away: {dict(stage.answers() - turned)}")
            print(f"  lag in seconds: {lags}")
            second.start()
            until_back(stage, time.monotonic())
            time.sleep(CALM_S)
        home = homes(stage.lake)
        for place, ours in (("led by the broker that stayed", range(4)), ("led by the other", range(4, 8))):
            events = [answered[phone] for phone, partition in home.items() if partition in ours]
            print(f"  phones of partitions {place}: {len(events)}, events answered 202 meanwhile: {sum(events)}")
        told(stage)
        stage.finish()


def create_split(first: Broker) -> None:
    """Create the log's topics: the partitions 4 to 7 of positions on the second broker, all else on the first."""
    admin = AdminClient({"bootstrap.servers": first.bootstrap})
    while len(admin.list_topics(timeout=10).brokers) < 2:
        time.sleep(0.2)
    assigned = {"positions": [[1]] * 4 + [[2]] * 4, "rejected": [[1]], "live": [[1]]}
    new = [
        NewTopic(f"parkpal.{name}", len(on), replica_assignment=on, config=SETTINGS) for name, on in assigned.items()
    ]
    for made in admin.create_topics(new).values():
        made.result()
    time.sleep(2)


def homes(lake: Path) -> dict[int, int]:
    """Return the partition of each phone."""
    phone = f"round((lon::DOUBLE - {FIRST_LON}) * 1000)::INT"
    found = duckdb.sql(f"SELECT DISTINCT {phone}, device_id FROM '{lake}/positions/**/*.parquet'").fetchall()
    places = partition_of(hash_ids([device_id.encode() for _, device_id in found]), 8)
    return {phone: int(place) for (phone, _), place in zip(found, places, strict=True)}


def newer(folder: Path, seconds: float) -> None:
    """Append a message of a version that this program does not know to partition 3."""
    with temporary_broker() as broker:
        stage = Stage(folder, f"kafka://{broker.bootstrap}")
        stage.parkpal("log", "create")
        with stage.playing():
            time.sleep(CALM_S)
            with closing(open_log(stage.log_url)) as log:
                log.append([NewMessage(POSITIONS, 3, b"PKPL\xff\xff" + blank(1).tobytes())])
            rows = stage.rows()
            time.sleep(seconds)
            print(f"  phones: {dict(stage.answers()) or 'all answered 202'}")
            print(f"  ready {stage.ready()}; {stage.rows() - rows} more rows in the lake")
            print(f"  lag in seconds: {stage.told('parkpal_lag_seconds')}")
        told(stage)
        print(f"  drained: {stage.parkpal(*stage.run, '--drain')}", flush=True)


def fewer(folder: Path, _: float) -> None:
    """Run over a topic with fewer partitions than the lake was read from."""
    with temporary_broker() as broker:
        stage = Stage(folder, f"kafka://{broker.bootstrap}")
        few = f"kafka://{broker.bootstrap}/few."
        stage.parkpal("log", "create")
        stage.parkpal("log", "create", "--log", few, "--partitions", "4")
        print(f"  parkpal run: {stage.parkpal(*stage.run, '--drain')}")
        print(f"  parkpal run over fewer: {stage.parkpal(*stage.run, '--drain', '--log', few)}")
        print(f"  parkpal log create --partitions 8: {stage.parkpal('log', 'create', '--log', few)}")
        print(
            f"  parkpal log trim: {stage.parkpal('log', 'trim', '--log', few, '--lake', str(stage.lake))}", flush=True
        )


CASES: Final[dict[str, Callable[[Path, float], None]]] = {"away": away, "half": half, "newer": newer, "fewer": fewer}


def main() -> None:
    """Enact the cases and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--away", type=float, default=300, help="seconds that the broker is away")
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    options = parser.parse_args()
    for name in options.case or CASES:
        print(f"{name}: {(CASES[name].__doc__ or '').splitlines()[0]}", flush=True)
        with tempfile.TemporaryDirectory(prefix="parkpal-outage-") as folder:
            CASES[name](Path(folder), options.away if name == "away" else min(options.away, 60.0))


if __name__ == "__main__":
    main()
