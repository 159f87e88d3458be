"""Which log a lake is read from, noted in the lake: a log with other partitions is another log.

A lake may move to a new log once it holds all of the old one. The offsets of the new log then count from `base` on, so
that an offset of the lake names one message for ever.
"""

from pathlib import Path
from typing import Final

import msgspec

from pipeline.lake.folder import COMMITS, sync_directory, write_synced
from pipeline.lake.lake import Lake

LOG_OFFSETS: Final = 1 << 40
"""No log has so many messages in a partition: each log of a lake has this many offsets for itself."""


class Source(msgspec.Struct, frozen=True):
    """The number of partitions by stream, where its offsets begin, and the newest receive_time (ms UTC) read before.

    `clocks` are of the old log's partitions of `positions`, by number; empty for the first log.
    """

    partitions: dict[str, int]
    base: int = 0
    clocks: tuple[int, ...] = ()
    version: int = 1

    def clock_before(self, partition: int) -> int | None:
        """Return the newest receive_time that devices of a partition may have had in the old log, None without one.

        One hash places a device in both, so of the two numbers of partitions the smaller says which of them meet.
        """
        if not self.clocks:
            return None
        common = min(len(self.clocks), self.partitions["positions"])
        return max(clock for old, clock in enumerate(self.clocks) if old % common == partition % common)


def read_source(lake: Lake) -> Source | None:
    """Return what is noted, None in a lake that nothing was read into."""
    try:
        return msgspec.json.decode(_path(lake).read_bytes(), type=Source)
    except FileNotFoundError:
        return None


def write_source(lake: Lake, source: Source) -> None:
    """Note it durably."""
    making = _path(lake).with_suffix(".making")
    write_synced(making, msgspec.json.encode(source))
    making.replace(_path(lake))
    sync_directory(_path(lake).parent)


def _path(lake: Lake) -> Path:
    return lake.root / COMMITS / "log.json"
