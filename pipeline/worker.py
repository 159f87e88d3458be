"""One process of the dataflow: log, lake, fences and engine wired together, run until its sources have ended.

The engine tells little of what went wrong inside it: an error is looked for in what our own calls raised, then in
whether the lake still takes writes, and only then is the engine's own word passed on.
"""

import logging
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import psycopg
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

from geo.holding import FOREVER
from pipeline import fault
from pipeline.connectors import READ_BYTES, LakeSink, LiveSink, LogSource
from pipeline.fences import DatabaseFences, FileFences
from pipeline.flow import build_flow
from pipeline.heard import failures
from pipeline.lake.adoption import RECOVERY, read_adoption
from pipeline.lake.commit import LakeRefusedError, LakeWriteError
from pipeline.lake.folder import write_synced, writing
from pipeline.lake.lake import Lake
from pipeline.lake.source import read_source
from pipeline.layout import Layout, Part, Share
from pipeline.live import LiveSender
from pipeline.log import EventLog, LogUnavailableError
from pipeline.log.open import open_log
from pipeline.network import read_roads
from pipeline.recovery import StoreBrokenError, forget_ghosts
from pipeline.shard import Fences
from pipeline.state import StateVersionError

RECOVERY_PARTITIONS: Final = 4
PROGRESS_EVERY_S: Final = 5.0
ROOM_BYTES: Final = 4 * 2**20
"""A lake that does not take so much takes no writes."""

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
    StoreBrokenError,
    psycopg.Error,
)
"""Errors that an operator mends; starting again does not."""


def name_of(share: Share | None) -> str:
    """Return what tells the files of a share from those of another; nothing where one host runs everything."""
    return "" if share is None else f"-{share}"


def store_of(lake: Lake, share: Share | None) -> Path:
    """Return the folder of the recovery store."""
    return lake.root / f"{RECOVERY}{name_of(share)}"


def prepare_store(folder: Path) -> None:
    """Make the recovery store, whole or not at all; rid an old one of ghosts.

    Raises StoreBrokenError, LakeWriteError.
    """
    if not folder.exists():
        making = folder.with_name(folder.name + ".making")
        shutil.rmtree(making, ignore_errors=True)
        with writing(folder.parent):
            making.mkdir(parents=True)
            try:
                init_db_dir(making, RECOVERY_PARTITIONS)
            except BaseException as error:  # it panics, which is no Exception
                raise _no_room(folder.parent) or error from error
            making.rename(folder)
    forget_ghosts(folder)


def work(
    config: Run, addresses: Sequence[str], process: int, ends: dict[Part, int] | None, stopping: threading.Event
) -> None:
    """Run one process of the cluster, the only one if there are no addresses, until its sources have ended."""
    fault.arm(config.fault.partition(";")[0])
    lake = Lake.open(config.lake_url)
    recovery = RecoveryConfig(store_of(lake, config.share))
    with ExitStack() as stack:
        log = open_log(config.log_url)
        stack.callback(log.close)
        layout = Layout.of(log, lake.format.sink_partitions, config.share)
        source = _source(config, log, lake, layout, ends, stopping)
        stack.enter_context(_progress(source))
        flow = _wire(config, log, lake, layout, source, stack)
        try:
            cluster_main(flow, list(addresses), process, epoch_interval=config.epoch, recovery_config=recovery)
        except BaseException as error:  # a cluster panics, which is no Exception
            raise _reason(error, lake) from error
    if source.stalled and ends is not None:
        raise StalledError("; ".join(f"{part}: {error}" for part, error in source.stalled.items()))


def _source(
    config: Run, log: EventLog, lake: Lake, layout: Layout, ends: dict[Part, int] | None, stopping: threading.Event
) -> LogSource:
    past, adopted = read_source(lake), read_adoption(lake)
    return LogSource(log, stopping, layout.parts, ends, config.until_end, config.read_bytes, past=past, adopted=adopted)


def _wire(config: Run, log: EventLog, lake: Lake, layout: Layout, source: LogSource, stack: ExitStack) -> Dataflow:
    fences = _fences(config)
    stack.callback(fences.close)
    live = LiveSender(log)
    stack.callback(live.close)
    sinks = LakeSink(lake, layout.taken), LiveSink(live, layout.taken)
    return build_flow(layout, source, fences, *sinks, config.kept_ms, read_roads(config.network))


def _reason(error: BaseException, lake: Lake) -> BaseException:
    """Return what an operator can act on, if something of that kind lies behind it; else the error."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, REFUSALS):
            return inner
        inner = inner.__cause__ or inner.__context__
    if failures:
        return failures[0]
    return error if isinstance(error, KeyboardInterrupt) else _no_room(lake.root) or error


def _no_room(root: Path) -> LakeWriteError | None:
    """Tell whether the lake's disk is full: there the engine, which keeps its store on it, ends without a reason."""
    probe = root / "_room"
    try:
        with writing(root):
            write_synced(probe, bytes(ROOM_BYTES))
    except LakeWriteError as error:
        return error
    finally:
        probe.unlink(missing_ok=True)
    return None


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
