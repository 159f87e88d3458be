"""Run the dataflow: one process, or a cluster of them that lives and dies as one.

A run is a function of the log and the fences. `drain` stops at the log's present end and keeps what is open;
`until_end` closes what is open too, which ends the lake: a later run on a longer log refuses.
"""

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import msgspec
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

from pipeline import fault
from pipeline.connectors import READ_BYTES, LakeSink, LogSource, Part, log_parts
from pipeline.fences import DatabaseFences, FileFences
from pipeline.flow import build_flow
from pipeline.lake.lake import Lake
from pipeline.lake.writer import publish_pending
from pipeline.log.open import open_log
from pipeline.recovery import forget_ghosts
from pipeline.shard import Fences

RECOVERY_PARTITIONS: Final = 4
PROGRESS_EVERY_S: Final = 5.0
GIVE_UP_AFTER: Final = 5
"""A cluster that dies this often in a row without running for a minute is left dead."""

_log: Final = logging.getLogger(__name__)


class RunRefusedError(Exception):
    """The run cannot go on as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Run:
    """What to run. Fences come from a file or, without one, from the database."""

    log_url: str
    lake_url: str
    fences: Path | None = None
    database: str | None = None
    workers: int = 1
    epoch: timedelta = timedelta(seconds=10)
    drain: bool = False
    until_end: bool = False
    read_bytes: int = READ_BYTES
    fault: str = ""


def run(config: Run) -> None:
    """Run until the end asked for, or until SIGTERM or SIGINT; RunRefusedError or LakeRefusedError if it cannot."""
    lake = Lake.create(config.lake_url)
    log = open_log(config.log_url)
    bounds = {part: log.bounds(*part) for part in log_parts(log)}
    log.close()
    ends = {part: end for part, (_, end) in bounds.items()}
    if _ended(lake, ends):
        return
    _prepare_recovery(_recovery(lake))
    finite = ends if config.drain or config.until_end else None
    with _stopped_by_signals() as stopping:
        if config.workers == 1:
            _work(config, [], 0, finite, stopping)
        else:
            _supervise(config, lake, finite, stopping)
    publish_pending(lake)
    if config.until_end and not stopping.is_set():
        _end(lake, ends)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set, in place of what they did before."""
    stopping = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _recovery(lake: Lake) -> Path:
    return lake.root / "_recovery"


def _prepare_recovery(folder: Path) -> None:
    """Make the recovery store, whole or not at all; rid an old one of ghosts."""
    if not folder.exists():
        making = folder.with_name(folder.name + ".making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        init_db_dir(making, RECOVERY_PARTITIONS)
        making.rename(folder)
    forget_ghosts(folder)


def _work(
    config: Run, addresses: Sequence[str], process: int, ends: dict[Part, int] | None, stopping: threading.Event
) -> None:
    """Run one process of the cluster, the only one if there are no addresses, until its sources have ended."""
    fault.arm(config.fault)
    lake = Lake.open(config.lake_url)
    with ExitStack() as stack:
        log = open_log(config.log_url)
        stack.callback(log.close)
        source = LogSource(log, stopping, ends, config.until_end, config.read_bytes)
        stack.enter_context(_progress(source))
        flow = build_flow(source, _fences(config), LakeSink(lake))
        cluster_main(
            flow,
            list(addresses),
            process,
            epoch_interval=config.epoch,
            recovery_config=RecoveryConfig(_recovery(lake)),
        )
    if source.stalled and ends is not None:
        raise RunRefusedError("; ".join(f"{part}: {error}" for part, error in source.stalled.items()))


@contextmanager
def _progress(source: LogSource) -> Iterator[None]:
    """Log how many rows were read, for as long as there are any."""
    ended = threading.Event()

    def tell() -> None:
        told, at = 0, time.monotonic()
        while not ended.wait(PROGRESS_EVERY_S):
            rows, now = source.rows.total(), time.monotonic()
            if rows > told:
                _log.info("%d rows read, %.0f a second", rows, (rows - told) / (now - at))
            told, at = rows, now

    threading.Thread(target=tell, name="progress", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _fences(config: Run) -> Fences:
    if config.fences is not None:
        return FileFences(config.fences)
    if config.database is None:
        raise RunRefusedError("no fences: give --fences FILE or a database")
    return DatabaseFences(config.database)


# -- several processes -------------------------------------------------------------------------------------------------


def _supervise(config: Run, lake: Lake, ends: dict[Part, int] | None, stopping: threading.Event) -> None:
    """Run the cluster until all its processes end well; when one dies, end the others and start again as a whole."""
    failures = 0
    while True:
        started = time.monotonic()
        if _run_cluster(config, ends, stopping):
            return
        failures = 1 if time.monotonic() - started > 60 else failures + 1
        if failures >= GIVE_UP_AFTER or stopping.is_set():
            raise RunRefusedError(f"a process of the cluster died {failures} times in a row: see its last message")
        _log.warning("a process of the cluster died: all start again")
        config = replace(config, fault="")
        forget_ghosts(_recovery(lake))


def _run_cluster(config: Run, ends: dict[Part, int] | None, stopping: threading.Event) -> bool:
    """Start the processes and wait for them; return whether all ended well."""
    context = multiprocessing.get_context("spawn")
    alive, ours = context.Pipe(duplex=False)
    addresses = _free_addresses(config.workers)
    processes = [
        context.Process(target=_member, args=(config, addresses, i, ends, alive), name=f"worker-{i}")
        for i in range(config.workers)
    ]
    for process in processes:
        process.start()
    alive.close()
    told = False
    while any(process.is_alive() for process in processes):
        wait([process.sentinel for process in processes if process.is_alive()], timeout=0.2)
        if stopping.is_set() and not told:
            told = True
            _signal(processes, signal.SIGTERM)
        if any(process.exitcode not in (None, 0) for process in processes):
            _signal(processes, signal.SIGKILL)
    ours.close()
    return all(process.exitcode == 0 for process in processes)


def _member(
    config: Run, addresses: list[str], index: int, ends: dict[Part, int] | None, supervisor: Connection
) -> None:
    """Be one process of the cluster; die with the supervisor."""
    threading.Thread(target=_die_with, args=(supervisor,), daemon=True).start()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all: the supervisor passes it on
    _work(config, addresses, index, ends, stopping)


def _die_with(supervisor: Connection) -> None:
    """Wait for the end of the pipe that the supervisor holds open as long as it lives."""
    try:
        supervisor.recv_bytes()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGKILL)


def _signal(processes: Sequence[BaseProcess], number: int) -> None:
    for process in processes:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, number)


def _free_addresses(count: int) -> list[str]:
    """Return free addresses of this machine, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


# -- the end of a lake -------------------------------------------------------------------------------------------------


def _marker(lake: Lake) -> Path:
    return lake.root / "_commits" / "ended.json"


def _ended(lake: Lake, ends: dict[Part, int]) -> bool:
    """Tell whether --until-end ended this lake; RunRefusedError if the log went on since."""
    if not _marker(lake).exists():
        return False
    if msgspec.json.decode(_marker(lake).read_bytes(), type=dict[str, int]) == _by_name(ends):
        return True
    raise RunRefusedError(
        "--until-end closed everything in this lake as if the log had ended, and the log went on: "
        "run it whole into a new lake (parkpal run --lake file:///other/folder), with --drain to go on later"
    )


def _end(lake: Lake, ends: dict[Part, int]) -> None:
    making = _marker(lake).with_suffix(".making")
    making.write_bytes(msgspec.json.encode(_by_name(ends)))
    making.replace(_marker(lake))


def _by_name(ends: dict[Part, int]) -> dict[str, int]:
    return {str(part): end for part, end in ends.items()}
