"""Named places where a crash test kills the process. Unarmed, as always outside such a test, they do nothing."""

import multiprocessing
import os
import signal
from itertools import count
from typing import Final

POINTS: Final = (
    "ingest.grouped",  # the rows of several requests are one append, not yet sent
    "ingest.appended",  # the log has them durably, no request is answered
    "log.sending",  # the messages of an append are on their way to the log, none is known to be durable
    "log.trimmed",  # some more of the embedded log's oldest messages are gone
    "flow.read",  # a partition's next messages are read
    "flow.detect",  # rows reached their shard
    "flow.snapshot",  # a shard's state is about to be taken
    "flow.write",  # rows reached their sink partition
    "lake.written",  # a file of the epoch is written, not yet synced
    "lake.staged",  # all files of the epoch and their manifest are durable in staging
    "lake.renamed",  # one more file of the last epoch is visible to readers
    "lake.placed",  # all its files are visible and durable, no commit record tells of it
    "lake.recorded",  # its commit record is durable, its manifest still in staging
    "lake.opened",  # a sink partition has settled what an earlier process left
    "exchange.built",  # the new files of a day are durable, nothing says what they are for
    "exchange.planned",  # its plan is durable as well
    "exchange.linked",  # writers wait, and what they added meanwhile is linked into the new directory
    "exchange.swapped",  # readers see the new directory, no record tells of it
    "exchange.recorded",  # its record is durable, the old directory still in the job's place
    "exchange.lifted",  # nobody stumbles any more who reads the day, the old directory still in the job's place
    "exchange.moved",  # the old directory waits for its grace to end, the plan is still there
    "exchange.settled",  # nothing of the exchange is left but the old directory
    "exchange.swept",  # one more old directory is deleted
    "erase.laid",  # a tombstone is durable, nothing is erased yet
    "erase.exchanged",  # one more directory names no erased device
    "adopt.noted",  # from where to go on is durable, the recovery store still there
    "rebuild.replaced",  # one more day of a derived table is as the detectors decide now
)
"""Every name that may be armed."""

_target: dict[str, int] = {}
_passes: dict[str, "count[int]"] = {}


def arm(spec: str) -> None:
    """Kill this process at the n-th pass of a point: `name:n`, several separated by commas; ValueError if unknown."""
    for part in filter(None, spec.split(",")):
        name, _, number = part.partition(":")
        if name not in POINTS or not number.isdecimal() or int(number) < 1:
            raise ValueError(f"fault {part!r}: expected NAME:N, N from 1, NAME one of {', '.join(POINTS)}")
        _target[name] = int(number)
        _passes[name] = count(1)


def point(name: str) -> None:
    """Pass a named point: SIGKILL to the own process if it is armed and this is its pass, said on standard error."""
    if name in _target and next(_passes[name]) == _target[name]:
        os.write(2, f"killed at {name} in {multiprocessing.current_process().name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
