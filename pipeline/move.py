"""A lake moves to another log, with other partitions, once it holds all of the one it was read from.

Nothing is read twice or left out: the old log must be drained to its end, and producers must have left it. The state of
devices stays where it is, by shard; only where to read, and what each partition's clock was, is carried over.
"""

import os
from contextlib import ExitStack

import msgspec

from geo.holding import FOREVER
from pipeline.connectors import Progress
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.lake import Lake
from pipeline.lake.source import LOG_OFFSETS, Source, read_source, write_source
from pipeline.layout import Layout, Part
from pipeline.log import POSITIONS, EventLog
from pipeline.recovery import forget_ghosts, read_states


def move(lake: Lake, old: EventLog, new: EventLog) -> Source:
    """Let the lake go on with `new` where `old` ends; return what is noted of it.

    Raises LakeLockedError while something is run, LakeRefusedError for rows that are not in the lake yet, a log that is
    not the lake's or a lake that several hosts share, LookupError for a log that does not exist.
    """
    sinks = lake.format.sink_partitions
    before, after = Layout.of(old, sinks), Layout.of(new, sinks)
    with ExitStack() as stack:
        stack.callback(os.close, lake.lock_run())
        for sink in range(sinks):
            stack.callback(os.close, lake.lock(sink))
        now = read_source(lake)
        if now is None or now.partitions != before.counts:
            raise LakeRefusedError("the old log is not the one that this lake was read from")
        progress = _progress(lake)
        behind = [str(part) for part in before.parts if old.bounds(*part)[1] > _at(progress, part).next - now.base]
        if behind:
            raise LakeRefusedError(
                f"{', '.join(behind)}: the old log holds messages that are not in the lake yet. Let producers leave "
                "it, then parkpal run --drain, then move"
            )
        clocks = tuple(_at(progress, Part(POSITIONS, p)).newest for p in range(before.counts[POSITIONS]))
        before_that = (now.clock_before(p) for p in range(before.counts[POSITIONS]))
        clocks = tuple(max(clock, past or -FOREVER) for clock, past in zip(clocks, before_that, strict=True))
        source = Source(dict(after.counts), now.base + LOG_OFFSETS, clocks)
        write_source(lake, source)
    return source


def _progress(lake: Lake) -> dict[str, Progress]:
    store = lake.root / "_recovery"
    if not store.exists():
        raise LakeRefusedError("this lake is run in shares by several hosts: it cannot move")
    forget_ghosts(store)
    return {key: msgspec.json.decode(state, type=Progress) for key, state in read_states(store, "parkpal.log").items()}


def _at(progress: dict[str, Progress], part: Part) -> Progress:
    return progress.get(str(part), Progress())
