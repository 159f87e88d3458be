"""A place is open in the local wall-clock hours of its weekdays; without any hours it is always open. Pure.

Hours that run past midnight belong to the day on which they begin. Intervals that touch are one.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import msgspec

DAY: Final = timedelta(days=1)
MINUTES: Final = 1440


class Hours(msgspec.Struct, frozen=True):
    """From opens_min until closes_min, local minutes of a weekday (Monday is 1); past 1440 into the next day."""

    weekday: Annotated[int, msgspec.Meta(ge=1, le=7)]
    opens_min: Annotated[int, msgspec.Meta(ge=0, le=1439)]
    closes_min: Annotated[int, msgspec.Meta(ge=1, le=2879)]


def check_hours(hours: Sequence[Hours]) -> None:
    """Raise ValueError, with the rule, for hours that cannot be meant."""
    for one in hours:
        if not one.opens_min < one.closes_min <= one.opens_min + MINUTES:
            raise ValueError("hours: closes_min lies behind opens_min, by a day at most")
    if len({(one.weekday, one.opens_min) for one in hours}) < len(hours):
        raise ValueError("hours: two of a day begin at the same minute")


def is_open(hours: Sequence[Hours], zone: ZoneInfo, start: datetime, end: datetime) -> bool:
    """Return whether the place is open during all of [start, end)."""
    return not hours or any(opens <= start and end <= closes for opens, closes in open_windows(hours, zone, start, end))


def open_windows(
    hours: Sequence[Hours], zone: ZoneInfo, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """Return when the place is open around [start, end), in order, as UTC; whole intervals, not cut to the window."""
    merged: list[tuple[datetime, datetime]] = []
    for opens, closes in sorted(_daily(hours, zone, start, end)):
        if merged and opens <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], closes))
        else:
            merged.append((opens, closes))
    return [(opens, closes) for opens, closes in merged if opens < end and start < closes]


def _daily(
    hours: Sequence[Hours], zone: ZoneInfo, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    day, last = start.astimezone(zone).date() - DAY, end.astimezone(zone).date()
    while day <= last:
        for one in hours:
            if one.weekday == day.isoweekday():
                yield _instant(day, one.opens_min, zone), _instant(day, one.closes_min, zone)
        day += DAY


def _instant(day: date, minute: int, zone: ZoneInfo) -> datetime:
    days, rest = divmod(minute, MINUTES)
    return datetime.combine(day + DAY * days, time(rest // 60, rest % 60), zone).astimezone(UTC)
