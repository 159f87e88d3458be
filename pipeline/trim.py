"""Drop what the log need not hold any more: messages that are old, and that every lake that reads it has.

A run that starts again reads on where its recovery store stands, and that is never before the commits that readers see.
So below those nothing is read again, but by `parkpal lake adopt`, which goes back WARM_UP: nobody may keep less.
"""

from collections.abc import Sequence
from typing import Final

from pipeline.lag import committed
from pipeline.lake.adoption import WARM_UP
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.lake import Lake
from pipeline.lake.source import read_source
from pipeline.layout import Layout, Part
from pipeline.log import EventLog

LEAST_DAYS: Final = WARM_UP.days + 1
DAYS: Final = 7


def trim(log: EventLog, lakes: Sequence[Lake], older_than: int) -> int:
    """Drop messages appended before `older_than` (ms UTC) that are in all the lakes; return how many.

    The stream `live` goes by age alone. Safe beside writers and runs. Raises LakeRefusedError for a lake that was not
    read from this log, LookupError for a log that was not created, LogUnavailableError.
    """
    below: dict[tuple[str, int], int] = {}
    for lake in lakes:
        for part, offset in held(log, lake).items():
            below[part] = min(offset, below.get(part, offset))
    return log.trim(older_than, below)


def held(log: EventLog, lake: Lake) -> dict[Part, int]:
    """Return up to where the lake has each partition; LakeRefusedError if it was not read from this log."""
    layout, source = Layout.of(log, lake.format.sink_partitions), read_source(lake)
    if source is not None and source.partitions != layout.counts:
        raise LakeRefusedError(
            f"the lake {lake.root} was read from another log: that has {source.partitions} partitions"
        )
    done = committed(lake)
    return {part: done.get(part, 0) for part in layout.all_parts}
