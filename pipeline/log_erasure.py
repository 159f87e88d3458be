"""Take what a log still holds of erased devices out of its messages, where the log lets itself be rewritten.

Offsets and numbers of rows stay, so whatever counts the log against the lake finds what it found before.
"""

from collections.abc import Callable, Collection, Iterable

from pipeline.batch import without_devices
from pipeline.log import POSITIONS, REJECTED, EventLog

READ_BYTES = 8 * 2**20

Part = tuple[str, int]
"""Stream and partition."""


def blank_log(
    log: EventLog, devices: Collection[str], track: Callable[[list[Part]], Iterable[Part]] = iter
) -> int | None:
    """Blank the devices' rows in every message; return how many messages named them, None if this log cannot."""
    parts = [(stream, partition) for stream in (POSITIONS, REJECTED) for partition in range(log.partitions(stream))]
    if not log.rewrite(*parts[0], {}):
        return None
    return sum(_blank_partition(log, part, devices) for part in track(parts))


def _blank_partition(log: EventLog, part: Part, devices: Collection[str]) -> int:
    changed = offset = 0
    while messages := log.read(*part, offset, READ_BYTES):
        blanked = {held.offset: without_devices(held.content_type, held.payload, devices) for held in messages}
        new = {at: payload for at, payload in blanked.items() if payload is not None}
        if new:
            log.rewrite(*part, new)
        changed += len(new)
        offset = messages[-1].offset + 1
    return changed
