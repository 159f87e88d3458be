"""How long a row takes at a steady rate: until the log has it, until it can be read, and until its event is live.

    python -m benchmarks.latency [--rate 20000] [--seconds 30] [--epochs 1 10]

Rows come as from the api: every 50 ms one append with a message for each of 8 partitions, stamped when it is called.
The dataflow runs in a process of its own; a row can be read when its file is in the table's folder, looked at every
10 ms. Beside them ten phones a second push one fix each to a real `parkpal api`, their first and inside a fence: that
is an ENTER, and a follower of /v1/live notes when it comes, from the moment of the POST on. In turn over the embedded
log and over a Kafka broker of its own, all on this machine.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from websockets.sync.client import connect

from deploy.kafka.broker import can_run, temporary_broker
from deploy.server import free_port
from pipeline.batch import encode
from pipeline.batch.rows import blank
from pipeline.log import LIVE, POSITIONS, REJECTED, EventLog, NewMessage
from pipeline.log.open import open_log
from pipeline.partition import hash_ids, partition_of
from pipeline.run import Run, run

PARTITIONS = 8
DEVICES = 5_000
LINGER_S = 0.05
LOOK_EVERY_S = 0.01
PROBES_A_SECOND = 10
LOGS = ("sqlite", "kafka")
START_S = 60
SQUARE = [[121.0, 14.5], [121.01, 14.5], [121.01, 14.51], [121.0, 14.51], [121.0, 14.5]]


class Phones:
    """All phones of a city, each partition's in turn."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)
        ids = [self._random.bytes(16).hex().encode() for _ in range(DEVICES)]
        home = partition_of(hash_ids(ids), PARTITIONS)
        self._ids = [[ids[i] for i in np.flatnonzero(home == p)] for p in range(PARTITIONS)]
        self._seq = 0

    def push(self, rows: int) -> list[NewMessage]:
        """Give one message a partition, received now."""
        self._seq += 1
        return [NewMessage(POSITIONS, p, self._message(p, rows // PARTITIONS)) for p in range(PARTITIONS)]

    def _message(self, partition: int, count: int) -> bytes:
        rows = blank(count)
        rows["device"] = np.arange(count)
        rows["seq"] = self._seq
        rows["receive_time"] = rows["event_time"] = time.time_ns() // 1_000_000
        rows["lat"] = self._random.integers(14_500_000, 14_600_000, count)
        rows["lon"] = self._random.integers(121_000_000, 121_100_000, count)
        ids = self._ids[partition]
        return encode([ids[(self._seq * count + i) % len(ids)] for i in range(count)], rows)


class Lake:
    """The files of `positions` as they become visible, and how old their rows are then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "positions"
        self._seen: set[Path] = set()
        self.ages_s: list[NDArray[np.float64]] = []

    def look(self) -> None:
        """Take the files that are new."""
        now = time.time()
        for path in set(self._folder.rglob("*.parquet")) - self._seen:
            self._seen.add(path)
            received = pq.read_table(path, columns=["receive_time"])["receive_time"].cast("int64").to_numpy()
            self.ages_s.append(now - received / 1_000)


def measure(log_url: str, folder: Path, epoch_s: float, rate: int, seconds: float) -> str:
    """Push at a rate for some seconds beside a running dataflow and api; return a line of figures."""
    log, phones, lake = open_log(log_url), Phones(), Lake(folder / "lake")
    log.create({POSITIONS: PARTITIONS, REJECTED: 1, LIVE: 1})
    run_config = Run(log_url, str(folder / "lake"), write_fences(folder), epoch=timedelta(seconds=epoch_s))
    with running(run_config), serving(log_url, folder) as url:
        until = time.monotonic() + START_S
        while not lake.ages_s and time.monotonic() < until:  # kernels are compiled when the first rows come
            log.append(phones.push(PARTITIONS * 10))
            time.sleep(0.2)
            lake.look()
        probes = Probes(url, key(folder), int(seconds * PROBES_A_SECOND))
        lake.ages_s.clear()
        done = threading.Event()
        with ThreadPoolExecutor(3) as pool:
            watchers = [pool.submit(watch, lake, done), pool.submit(probes.follow, done)]
            pushing = pool.submit(probes.push, seconds)
            appends_s = push_for(log, phones, rate, seconds)
            pushing.result()
            time.sleep(2 * epoch_s + 2)
            done.set()
            for watcher in watchers:
                watcher.result()
    log.close()
    told = {
        "append": (appends_s * 1e3, "ms"),
        "readable row": (np.concatenate(lake.ages_s), "s"),
        "POST answered": (np.array(probes.answers_s) * 1e3, "ms"),
        "live event": (np.array(probes.lives_s) * 1e3, "ms"),
    }
    figures = "; ".join(f"{name} {quantiles(*values)}" for name, values in told.items())
    return f"{figures} ({len(probes.lives_s)} of {probes.count} events)"


class Probes:
    """Phones that push one fix each, inside a fence, and a follower of what is live."""

    def __init__(self, url: str, key: str, count: int) -> None:
        self._url, self._key, self.count = url, key, count
        self._began: dict[int, float] = {}
        self.answers_s: list[float] = []
        self.lives_s: list[float] = []
        with httpx.Client(base_url=url) as http:
            consent = {"consent": {"location_analytics": True}}
            self._tokens = [http.post("/v1/devices", json=consent).json()["token"] for _ in range(count)]

    def push(self, seconds: float) -> None:
        """Push them evenly over some seconds."""
        start = time.monotonic()
        with httpx.Client(base_url=self._url) as http:
            for number, token in enumerate(self._tokens):
                time.sleep(max(0.0, start + seconds * number / self.count - time.monotonic()))
                at = time.time_ns() // 1_000_000
                self._began[at] = began = time.monotonic()
                fix = {"event_time": at, "seq": 0, "lat": 14.505, "lon": 121.005, "accuracy_m": 5}
                body = {"sent_at": at, "events": [fix]}
                http.post("/v1/events", json=body, headers={"Authorization": f"Bearer {token}"}).raise_for_status()
                self.answers_s.append(time.monotonic() - began)

    def follow(self, done: threading.Event) -> None:
        """Note when the event of each comes, told by its time."""
        address = self._url.replace("http", "ws") + "/v1/live"
        with connect(address, additional_headers={"Authorization": f"Bearer {self._key}"}) as socket:
            while not done.is_set():
                with suppress(TimeoutError):
                    message = json.loads(socket.recv(timeout=0.2))
                    came = time.monotonic()
                    if message["type"] != "greeting" and message["table"] == "geofence_events":
                        at = datetime.fromisoformat(message["row"]["event_time"])
                        began = self._began.pop(round(at.timestamp() * 1_000), None)
                        self.lives_s += [] if began is None else [came - began]


@contextmanager
def serving(log_url: str, folder: Path) -> Iterator[str]:
    """Run the api as a user does; yield its address once it is ready."""
    url = f"http://127.0.0.1:{free_port()}"
    environ = os.environ | {
        "PARKPAL_DATA_DIR": str(folder),
        "PARKPAL_LOG_URL": log_url,
        "PARKPAL_REGISTRATIONS_PER_MINUTE": "100000",
    }
    command = [sys.executable, "-m", "parkpal", "api", "--port", url.rpartition(":")[2]]
    with (folder / "api.log").open("wb") as said:
        process = subprocess.Popen(command, env=environ, stdout=said, stderr=said)
    try:
        until = time.monotonic() + START_S
        while not is_ready(url) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    """Tell whether the api takes events."""
    try:
        return httpx.get(f"{url}/health/ready").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def key(folder: Path) -> str:
    """Return the key that the api makes when it first starts."""
    return (folder / "keys" / "first-api-key").read_text().strip()


def push_for(log: EventLog, phones: Phones, rate: int, seconds: float) -> NDArray[np.float64]:
    """Append at the rate; return how long each append took, in seconds."""
    took, start = [], time.monotonic()
    for turn in range(int(seconds / LINGER_S)):
        time.sleep(max(0.0, start + turn * LINGER_S - time.monotonic()))
        messages, at = phones.push(int(rate * LINGER_S)), time.monotonic()
        log.append(messages)
        took.append(time.monotonic() - at)
    return np.array(took)


def watch(lake: Lake, done: threading.Event) -> None:
    """Look at the lake until told to end."""
    while not done.wait(LOOK_EVERY_S):
        lake.look()


def quantiles(values: NDArray[np.float64], unit: str) -> str:
    """Format median and 99th percentile."""
    return "p50 {:.1f} {unit}, p99 {:.1f} {unit}".format(*np.quantile(values, [0.5, 0.99]), unit=unit)


@contextmanager
def running(config: Run) -> Iterator[None]:
    """Run the dataflow in a process."""
    process = multiprocessing.get_context("spawn").Process(target=run, args=(config,))
    process.start()
    try:
        yield
    finally:
        process.terminate()  # SIGTERM, which ends a run in order
        process.join()


def write_fences(folder: Path) -> Path:
    """Write one square."""
    feature = {"type": "Feature", "properties": {"fence_id": "square"}}
    geometry = {"type": "Polygon", "coordinates": [SQUARE]}
    path = folder / "fences.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [{**feature, "geometry": geometry}]}))
    return path


def main() -> None:
    """Print a line for each log and epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=20_000, help="rows a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--epochs", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--logs", choices=LOGS, nargs="+", default=LOGS)
    options = parser.parse_args()
    for epoch_s in options.epochs:
        for log in options.logs:
            if log == "kafka" and not can_run():
                print("there is no Java for a broker: nothing over Kafka")
                continue
            with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
                broker = stack.enter_context(temporary_broker()) if log == "kafka" else None
                url = f"kafka://{broker.bootstrap}/" if broker else f"sqlite://{name}/log.sqlite"
                figures = measure(url, Path(name), epoch_s, options.rate, options.seconds)
            print(f"{log}, epoch {epoch_s:g} s, {options.rate} rows/s: {figures}", flush=True)


if __name__ == "__main__":
    main()
