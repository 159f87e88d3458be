"""Run the dataflow: one process, or a cluster of them that lives and dies as one.

A run is a function of the log and the fences. `drain` stops at the log's present end and keeps what is open;
`until_end` closes what is open too, which ends the lake: a later run on a longer log refuses.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from pipeline.cluster import supervise, wait_for_orphans
from pipeline.fences import FileFences
from pipeline.lake.ending import Ending, read_ending, write_ending
from pipeline.lake.lake import Lake
from pipeline.lake.source import Source, read_source, write_source
from pipeline.lake.writer import publish_pending
from pipeline.layout import Layout, Part, Share
from pipeline.log import LIVE, POSITIONS, EventLog
from pipeline.log.open import DEFAULT_PARTITIONS, open_log
from pipeline.network import read_roads
from pipeline.worker import REFUSALS, Run, RunRefusedError, StalledError, name_of, prepare_store, store_of, work

__all__ = ["REFUSALS", "Run", "RunRefusedError", "StalledError", "run"]


def run(config: Run) -> None:
    """Run until the end asked for, or until SIGTERM or SIGINT.

    Raises one of REFUSALS if it cannot, ValueError for fences, a network or a URL that break a rule, LookupError if the
    log does not exist.
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
    share = name_of(config.share)
    with ExitStack() as stack:
        stack.callback(os.close, lake.lock_run(share))
        wait_for_orphans(lake, layout)
        _check_source(lake, layout)
        _check_alone(lake, config)
        ending = read_ending(lake, share)
        if ending is not None and ending.complete and ending.ends == _by_name(ends):
            return
        if ending is not None:
            ends = _ends_again(ending, ends, config)
        elif config.until_end:
            write_ending(lake, Ending(complete=False, ends=_by_name(ends)), share)
        prepare_store(store_of(lake, config.share))
        _run_to(ends, config, lake, layout)


def _run_to(ends: dict[Part, int], config: Run, lake: Lake, layout: Layout) -> None:
    """Run, and publish what is pending after a clean end."""
    finite = ends if config.drain or config.until_end else None
    stalled: StalledError | None = None
    with _stopped_by_signals() as stopping:
        try:
            if config.workers == 1:
                work(config, [], 0, finite, stopping)
            elif not supervise(config, lake, layout, finite, stopping):
                return
        except StalledError as error:
            stalled = error
    publish_pending(lake, layout.taken)
    if stalled is not None:
        raise stalled
    if config.until_end and not stopping.is_set():
        write_ending(lake, Ending(complete=True, ends=_by_name(ends)), name_of(config.share))


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


def _check_alone(lake: Lake, config: Run) -> None:
    """RunRefusedError if what is to be run has its state in a store of another share."""
    mine = store_of(lake, config.share)
    for store in lake.root.glob("_recovery*"):
        name = store.name.removeprefix("_recovery").removeprefix("-")
        if store == mine or store.suffix:
            continue
        if not name or config.share is None or Share.parse(name).overlaps(config.share):
            raise RunRefusedError(
                f"this lake is run {f'as partitions {name}' if name else 'as a whole'}, and that is for its life: run "
                f"it so, or begin a new lake (parkpal run --lake file:///other/folder)"
            )


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
