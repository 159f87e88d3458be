"""Days past a table's retention leave the lake whole, by the lake's own clock.

That clock is the newest receive_time that the slowest sink partition has committed: a recording of last year keeps its
days, and a sink partition that lies behind keeps them for all. The flow rejects rows past retention as `too_old`; if a
part of the log lies so far behind that a dropped day returns all the same, the next run drops it again, and the records
count both.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import Final

from geo.holding import FOREVER
from pipeline.lake.compaction import lake_clock
from pipeline.lake.exchange import exchanging, listing, swaps
from pipeline.lake.jobs import Job, recording
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.lake.writer import DAY_MS

RETAIN: Final = "retain"
"""The job of an exchange that took expired rows."""
SHORTEST_DAYS: Final = 2
"""The flow takes rows of the last 24 h, so a shorter retention would drop days that still grow."""

Expired = tuple[str, date]
"""Table and day."""


def parse_retention(text: str) -> dict[str, int]:
    """Read `table=days,...`; ValueError. A table that is not named is kept for good."""
    days = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        if name not in TABLES or not number.isdecimal() or int(number) < SHORTEST_DAYS:
            raise ValueError(
                f"{part!r}: expected TABLE=DAYS, DAYS from {SHORTEST_DAYS}, TABLE one of {', '.join(TABLES)}"
            )
        days[name] = int(number)
    return days


def kept_ms(retention: Mapping[str, int], table: str) -> int:
    """Return how long the table keeps its rows."""
    return retention[table] * DAY_MS if table in retention else FOREVER


def expired(lake: Lake, retention: Mapping[str, int]) -> list[Expired]:
    """List the days that ended longer ago than their table keeps them."""
    clock = lake_clock(lake)
    if clock is None:
        return []
    first = {name: (clock - timedelta(days=days)).date() for name, days in retention.items()}
    return [(name, day) for name in sorted(first) for day in sorted(listing(lake, TABLES[name])) if day < first[name]]


def expired_days(lake: Lake, table: str) -> set[date]:
    """Return the days of a table that retention has dropped."""
    return {date.fromisoformat(swap.day) for swap in swaps(lake) if (swap.job, swap.table) == (RETAIN, table)}


def retain(lake: Lake, retention: Mapping[str, int], track: Callable[[list[Expired]], Iterable[Expired]] = iter) -> Job:
    """Drop every expired day; one that a file would be left of stays whole, for the next run: never a day in part."""
    with recording(lake, RETAIN, **{name: f"{days} days" for name, days in retention.items()}) as job:
        for name, day in track(expired(lake, retention)):
            with exchanging(lake, TABLES[name], day, RETAIN) as draft:
                draft.replace(draft.present)
                draft.dropped = sum(draft.replaced.values())
                draft.whole = True
            if draft.done:
                job.count(draft.dropped, dropped=draft.dropped)
    return job
