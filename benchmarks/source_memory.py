"""What the flow's source holds in memory over Kafka while every partition has a long backlog.

    python -m benchmarks.source_memory [--partitions 16] [--backlog-mb 80]

A broker of its own is filled with messages of 30 rows. Then a new process opens every partition, as a worker of the
flow does, and reads them in turn to the end, each chunk dropped at once. The figure is the most memory the process had
during this, less what it had when everything was imported and the log was not open yet.
"""

import argparse
import multiprocessing
import resource
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from deploy.kafka.broker import temporary_broker
from geo.fix import FixArray
from pipeline.batch import encode
from pipeline.batch.rows import blank
from pipeline.connectors import LogSource
from pipeline.lake.lake import SINK_PARTITIONS
from pipeline.layout import Layout
from pipeline.log import POSITIONS, REJECTED, NewMessage
from pipeline.log.open import open_log

ROWS_A_MESSAGE = 30
DIFFERENT = 2_000  # messages: more than a compressed batch holds
MB = 1_000_000


def build_payloads(random: np.random.Generator) -> list[bytes]:
    """Build messages of our own format."""
    return [encode([random.bytes(16).hex().encode()], build_rows(random)) for _ in range(DIFFERENT)]


def build_rows(random: np.random.Generator) -> FixArray:
    """Build a drive of one device, a fix a second."""
    rows = blank(ROWS_A_MESSAGE)
    rows["seq"] = np.arange(ROWS_A_MESSAGE)
    rows["event_time"] = 1_772_881_121_201 + 1_000 * np.arange(ROWS_A_MESSAGE)
    rows["receive_time"] = rows["event_time"][-1] + 900
    for name, middle in (("lat", 14_550_000), ("lon", 121_030_000)):
        rows[name] = middle + random.integers(-9_000, 9_000, ROWS_A_MESSAGE)
    for name in ("accuracy_m", "speed_mps", "heading_deg"):
        rows[name] = random.uniform(1, 30, ROWS_A_MESSAGE)
    return rows


def fill(url: str, partitions: int, backlog_bytes: int) -> None:
    """Create the log and give every partition its backlog."""
    payloads = build_payloads(np.random.default_rng(1))
    log = open_log(url)
    log.create({POSITIONS: partitions, REJECTED: 1})
    size = sum(map(len, payloads))
    for _ in range(-(-backlog_bytes // size)):
        for partition in range(partitions):
            log.append([NewMessage(POSITIONS, partition, payload) for payload in payloads])
    log.close()


def read_all(url: str, results: Connection) -> None:
    """Read every partition in turn to its end; send seconds, rows, and kB more than before."""
    before, started = current_kb(), time.monotonic()
    log = open_log(url)
    parts = Layout.of(log, SINK_PARTITIONS).parts
    source = LogSource(log, threading.Event(), parts, {part: log.bounds(*part)[1] for part in parts})
    readers = [source.build_part("log", str(part), None) for part in parts]
    while readers:
        for reader in list(readers):
            try:
                reader.next_batch()
                reader.snapshot()
            except StopIteration:
                readers.remove(reader)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    log.close()
    results.send((seconds, source.rows.total(), peak - before, before))


def current_kb() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1_024


def main() -> None:
    """Print the memory and the speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--backlog-mb", type=int, default=80)
    options = parser.parse_args()
    with temporary_broker() as broker:
        url = f"kafka://{broker.bootstrap}/"
        fill(url, options.partitions, options.backlog_mb * MB)
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=read_all, args=(url, theirs))
        process.start()
        seconds, rows, more, before = ours.recv()
        process.join()
    print(f"{options.partitions} partitions with {options.backlog_mb} MB each:")
    print(f"  {more / 1_024:.0f} MB more than the {before / 1_024:.0f} MB of the process before")
    print(f"  {rows:,} rows in {seconds:.1f} s, {rows / seconds:,.0f} a second")


if __name__ == "__main__":
    main()
