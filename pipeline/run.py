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
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import psycopg
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

from geo.holding import FOREVER
from pipeline import fault
from pipeline.connectors import READ_BYTES, LakeSink, LiveSink, LogSource
from pipeline.fences import DatabaseFences, FileFences
from pipeline.flow import build_flow
from pipeline.heard import failures
from pipeline.lake.adoption import RECOVERY, read_adoption
from pipeline.lake.commit import LakeLockedError, LakeRefusedError, LakeWriteError
from pipeline.lake.ending import Ending, read_ending, write_ending
from pipeline.lake.lake import Lake
from pipeline.lake.source import Source, read_source, write_source
from pipeline.lake.writer import publish_pending
from pipeline.layout import Layout, Part, Share
from pipeline.live import LiveSender
from pipeline.log import LIVE, POSITIONS, EventLog, LogUnavailableError
from pipeline.log.open import DEFAULT_PARTITIONS, open_log
from pipeline.network import read_roads
from pipeline.recovery import forget_ghosts
from pipeline.shard import Fences
from pipeline.state import StateVersionError

RECOVERY_PARTITIONS: Final = 4
ORPHANS_DIE_S: Final = 10.0
PROGRESS_EVERY_S: Final = 5.0
STALLED: Final = 4
REFUSED: Final = 3
"""Exit codes of a process of the cluster; any other but 0 is a death."""
LAST_WORDS_S: Final = 2.0
"""The one that dies first is not always the one that knows why."""
GIVE_UP_AFTER: Final = 5
"""A cluster that dies this often in a row without running for a minute is left dead."""

_log: Final = logging.getLogger(__name__)


class RunRefusedError(Exception):
    """The run cannot go on as asked; the message says why and what to do."""


class StalledError(RunRefusedError):
    """A partition holds messages of a newer version; all else was read to the end."""


@dataclass(frozen=True)
class Run:
    """What to run. Fences come from a file or, without one, from the database.

    A share is what this host runs; `kept_ms` is how long positions stay; `fault` arms each life of a cluster in turn,
    separated by semicolons.
    """

    log_url: str
    lake_url: str
    fences: Path | None = None
    database: str | None = None
    network: Path | None = None
    workers: int = 1
    share: Share | None = None
    epoch: timedelta = timedelta(seconds=10)
    drain: bool = False
    until_end: bool = False
    read_bytes: int = READ_BYTES
    kept_ms: int = FOREVER
    fault: str = ""


REFUSALS: Final = (
    RunRefusedError,
    LakeRefusedError,
    LakeWriteError,
    LogUnavailableError,
    StateVersionError,
    psycopg.Error,
)
"""Errors that an operator mends; starting again does not."""


def run(config: Run) -> None:
    """Run until the end asked for, or until SIGTERM or SIGINT.

    Raises RunRefusedError, LakeRefusedError, LakeWriteError, LogUnavailableError, StateVersionError or psycopg.Error
    if it cannot, ValueError for fences, a network or a URL that break a rule, LookupError if the log does not exist.
    """
    if config.fences is not None:
        FileFences(config.fences)  # before any process is started
    read_roads(config.network)
    with closing(open_log(config.log_url)) as log:
        log.partitions(POSITIONS)  # else there is no log, and no lake is made for it
        lake = Lake.create(config.lake_url)
        layout = Layout.of(log, lake.format.sink_partitions, config.share)
        ends = {part: log.bounds(*part)[1] for part in layout.parts}
        _ensure_live(log)
    share = _name(config)
    with ExitStack() as stack:
        stack.callback(os.close, lake.lock_run(share))
        _wait_for_orphans(lake, layout)
        _check_source(lake, layout)
        _check_alone(lake, config)
        ending = read_ending(lake, share)
        if ending is not None and ending.complete and ending.ends == _by_name(ends):
            return
        if ending is not None:
            ends = _ends_again(ending, ends, config)
        elif config.until_end:
            write_ending(lake, Ending(complete=False, ends=_by_name(ends)), share)
        _prepare_recovery(_recovery(lake, config))
        _run_to(ends, config, lake, layout)


def _run_to(ends: dict[Part, int], config: Run, lake: Lake, layout: Layout) -> None:
    """Run, and publish what is pending after a clean end."""
    finite = ends if config.drain or config.until_end else None
    stalled: StalledError | None = None
    with _stopped_by_signals() as stopping:
        try:
            if config.workers == 1:
                _work(config, [], 0, finite, stopping)
            elif not _supervise(config, lake, layout, finite, stopping):
                return
        except StalledError as error:
            stalled = error
    publish_pending(lake, layout.taken)
    if stalled is not None:
        raise stalled
    if config.until_end and not stopping.is_set():
        write_ending(lake, Ending(complete=True, ends=_by_name(ends)), _name(config))


def _ensure_live(log: EventLog) -> None:
    """Give a log from before there was a stream `live` one."""
    try:
        log.partitions(LIVE)
    except LookupError:
        log.create({LIVE: DEFAULT_PARTITIONS[LIVE]})


def _check_source(lake: Lake, layout: Layout) -> None:
    """Note the log of a new lake; RunRefusedError for another log than the one that was noted."""
    source = read_source(lake)
    if source is None:
        write_source(lake, Source(dict(layout.counts)))
    elif source.partitions != layout.counts:
        raise RunRefusedError(
            f"the log has {layout.counts[POSITIONS]} partitions of positions, this lake was read from one with "
            f"{source.partitions[POSITIONS]}, and the number is for a log's life. Give the log it was read from; to "
            "go on with a new log once the old one is drained: parkpal log move"
        )


def _name(config: Run) -> str:
    """Return what tells the files of a share from those of another; nothing where one host runs everything."""
    return "" if config.share is None else f"-{config.share}"


def _check_alone(lake: Lake, config: Run) -> None:
    """RunRefusedError if what is to be run has its state in a store of another share."""
    mine = _recovery(lake, config)
    for store in lake.root.glob("_recovery*"):
        name = store.name.removeprefix("_recovery").removeprefix("-")
        if store == mine or store.suffix:
            continue
        if not name or config.share is None or Share.parse(name).overlaps(config.share):
            raise RunRefusedError(
                f"this lake is run {f'as partitions {name}' if name else 'as a whole'}, and that is for its life: run "
                f"it so, or begin a new lake (parkpal run --lake file:///other/folder)"
            )


def _wait_for_orphans(lake: Lake, layout: Layout) -> None:
    """Wait until no process of a cluster whose supervisor was killed writes any more: they die with it."""
    deadline = time.monotonic() + ORPHANS_DIE_S
    for part in layout.taken:
        while True:
            try:
                os.close(lake.lock(part))
                break
            except LakeLockedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


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


def _recovery(lake: Lake, config: Run) -> Path:
    return lake.root / f"{RECOVERY}{_name(config)}"


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
    fault.arm(config.fault.partition(";")[0])
    lake = Lake.open(config.lake_url)
    with ExitStack() as stack:
        log = open_log(config.log_url)
        stack.callback(log.close)
        layout = Layout.of(log, lake.format.sink_partitions, config.share)
        source = LogSource(
            log,
            stopping,
            layout.parts,
            ends,
            config.until_end,
            config.read_bytes,
            read_source(lake),
            adopted=read_adoption(lake),
        )
        stack.enter_context(_progress(source))
        fences = _fences(config)
        stack.callback(fences.close)
        live = LiveSender(log)
        stack.callback(live.close)
        sinks = LakeSink(lake, layout.taken), LiveSink(live, layout.taken)
        flow = build_flow(layout, source, fences, *sinks, config.kept_ms, read_roads(config.network))
        try:
            cluster_main(
                flow,
                list(addresses),
                process,
                epoch_interval=config.epoch,
                recovery_config=RecoveryConfig(_recovery(lake, config)),
            )
        except BytewaxRuntimeError as error:
            raise _named(error) from error
        except BaseException:  # a cluster panics, which is no Exception
            if failures:
                raise failures[0] from None
            raise
    if source.stalled and ends is not None:
        raise StalledError("; ".join(f"{part}: {error}" for part, error in source.stalled.items()))


def _named(error: BaseException) -> BaseException:
    """Return what the engine wrapped, where it is an error that an operator can act on."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, REFUSALS):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error


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


def _supervise(
    config: Run, lake: Lake, layout: Layout, ends: dict[Part, int] | None, stopping: threading.Event
) -> bool:
    """Run the cluster until all its processes end; when one dies, end the others and start again as a whole.

    Returns whether the end was clean: told to stop while its processes start, a cluster is just ended.
    """
    failures = 0
    while True:
        started = time.monotonic()
        codes = _run_cluster(config, ends, stopping)
        if STALLED in codes and codes <= {0, STALLED}:
            raise StalledError("a partition holds messages of a newer version: see above")
        if codes == {0} or stopping.is_set():
            return codes == {0}
        failures = 1 if time.monotonic() - started > 60 else failures + 1
        if REFUSED in codes or failures >= GIVE_UP_AFTER:
            raise RunRefusedError("a process of the cluster gave up: see its last message above")
        _log.warning("a process of the cluster died (exit codes %s): all start again", sorted(map(str, codes)))
        config = replace(config, fault=config.fault.partition(";")[2])
        _wait_for_orphans(lake, layout)
        forget_ghosts(_recovery(lake, config))


def _run_cluster(config: Run, ends: dict[Part, int] | None, stopping: threading.Event) -> set[int | None]:
    """Start the processes and wait for them; return their exit codes."""
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
    told, ending = False, float("inf")
    while any(process.is_alive() for process in processes):
        wait([process.sentinel for process in processes if process.is_alive()], timeout=0.2)
        if stopping.is_set() and not told:
            told = True
            _signal(processes, signal.SIGTERM)
        if any(process.exitcode not in (None, 0, STALLED) for process in processes):
            ending = min(ending, time.monotonic() + LAST_WORDS_S)
        if time.monotonic() >= ending:
            _signal(processes, signal.SIGKILL)
    ours.close()
    return {process.exitcode for process in processes}


def _member(
    config: Run, addresses: list[str], index: int, ends: dict[Part, int] | None, supervisor: Connection
) -> None:
    """Be one process of the cluster; die with the supervisor. Exits with STALLED or REFUSED, having said why."""
    threading.Thread(target=_die_with, args=(supervisor,), daemon=True).start()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all: the supervisor passes it on
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        _work(config, addresses, index, ends, stopping)
    except REFUSALS as error:
        _log.error("%s", error)
        sys.exit(STALLED if isinstance(error, StalledError) else REFUSED)


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


def _ends_again(ending: Ending, ends: dict[Part, int], config: Run) -> dict[Part, int]:
    """Return the ends of an --until-end that was cut short and goes on; RunRefusedError for anything else."""
    if ending.complete:
        raise RunRefusedError(
            "--until-end closed everything in this lake as if the log had ended, and the log went on: "
            "run it whole into a new lake (parkpal run --lake file:///other/folder), with --drain to go on later"
        )
    if not config.until_end:
        raise RunRefusedError(
            "an --until-end on this lake was cut short: finish it (parkpal run --until-end), "
            "or run the log whole into a new lake (parkpal run --lake file:///other/folder)"
        )
    return {part: ending.ends[str(part)] for part in ends}


def _by_name(ends: dict[Part, int]) -> dict[str, int]:
    return {str(part): end for part, end in ends.items()}
