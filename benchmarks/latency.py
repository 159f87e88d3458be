"""How long a row takes at a steady rate: until the log has it durably, and until it can be read in the lake.

    python -m benchmarks.latency [--rate 20000] [--seconds 30] [--epochs 1 10]

Rows come as from the api: every 50 ms one append with a message for each of 8 partitions, stamped when it is called.
The dataflow runs in a process of its own; a row can be read when its file is in the table's folder, looked at every
10 ms. In turn over the embedded log and over a Kafka broker of its own, all on this machine.
"""

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deploy.kafka.broker import can_run, temporary_broker
from pipeline.batch import encode
from pipeline.batch.rows import blank
from pipeline.log import POSITIONS, REJECTED, EventLog, NewMessage
from pipeline.log.open import open_log
from pipeline.partition import hash_ids, partition_of
from pipeline.run import Run, run

PARTITIONS = 8
DEVICES = 5_000
LINGER_S = 0.05
LOOK_EVERY_S = 0.01
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
    """Push at a rate for some seconds beside a running dataflow; return a line of figures."""
    log, phones, lake = open_log(log_url), Phones(), Lake(folder / "lake")
    log.create({POSITIONS: PARTITIONS, REJECTED: 1})
    with running(Run(log_url, str(folder / "lake"), write_fences(folder), epoch=timedelta(seconds=epoch_s))):
        until = time.monotonic() + START_S
        while not lake.ages_s and time.monotonic() < until:  # kernels are compiled when the first rows come
            log.append(phones.push(PARTITIONS * 10))
            time.sleep(0.2)
            lake.look()
        lake.ages_s.clear()
        done = threading.Event()
        watching = threading.Thread(target=watch, args=(lake, done))
        watching.start()
        appends_s = push_for(log, phones, rate, seconds)
        time.sleep(2 * epoch_s + 2)
        done.set()
        watching.join()
    log.close()
    return f"append {quantiles(appends_s * 1e3, 'ms')}; readable row {quantiles(np.concatenate(lake.ages_s), 's')}"


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
    options = parser.parse_args()
    for epoch_s in options.epochs:
        with tempfile.TemporaryDirectory() as name:
            figures = measure(f"sqlite://{name}/log.sqlite", Path(name), epoch_s, options.rate, options.seconds)
        print(f"sqlite, epoch {epoch_s:g} s, {options.rate} rows/s: {figures}", flush=True)
        if not can_run():
            continue
        with tempfile.TemporaryDirectory() as name, temporary_broker() as broker:
            figures = measure(f"kafka://{broker.bootstrap}/", Path(name), epoch_s, options.rate, options.seconds)
        print(f"kafka,  epoch {epoch_s:g} s, {options.rate} rows/s: {figures}", flush=True)


if __name__ == "__main__":
    main()
