"""Several processes of the dataflow that live and die as one, and whoever watches over them.

When one dies the others are ended and all start again; when the supervisor dies, they die with it. What only an
operator can mend is said by the process that met it, and nothing is started again.
"""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from pipeline.lake.commit import LakeLockedError
from pipeline.lake.lake import Lake
from pipeline.layout import Layout, Part
from pipeline.recovery import forget_ghosts
from pipeline.worker import REFUSALS, Run, RunRefusedError, StalledError, store_of, work

ORPHANS_DIE_S: Final = 10.0
STALLED: Final = 4
REFUSED: Final = 3
"""Exit codes of a process of the cluster; any other but 0 is a death."""
LAST_WORDS_S: Final = 2.0
"""The one that dies first is not always the one that knows why."""
GIVE_UP_AFTER: Final = 5
"""A cluster that dies this often in a row without running for a minute is left dead."""

_log: Final = logging.getLogger(__name__)


def supervise(config: Run, lake: Lake, layout: Layout, ends: dict[Part, int] | None, stopping: threading.Event) -> bool:
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
        wait_for_orphans(lake, layout)
        forget_ghosts(store_of(lake, config.share))


def wait_for_orphans(lake: Lake, layout: Layout) -> None:
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
        work(config, addresses, index, ends, stopping)
    except REFUSALS as error:
        _log.error("%s", error)
        sys.exit(STALLED if isinstance(error, StalledError) else REFUSED)
    except Exception:
        raise
    except BaseException as error:  # noqa: BLE001  so the engine panics when another process of its cluster has gone
        _log.warning("%s", error)
        sys.exit(1)


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
