"""Which windows of time a pass covers: its weekdays and hours through a calendar month of its place. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from api.bookings.hours import Hours, check_hours, open_windows
from api.bookings.places import LONGEST_BOOKING, Window


def check_pass_hours(hours: Sequence[Hours]) -> None:
    """Raise ValueError, with the rule, for hours that a pass cannot have."""
    check_hours(hours)
    if any(one.opens_min % 15 or one.closes_min % 15 for one in hours):
        raise ValueError("hours: a pass begins and ends on quarters of an hour")


def pass_windows(hours: Sequence[Hours], zone: ZoneInfo, month: date, since: datetime) -> list[Window]:
    """Return the windows of a month that have not ended, in order, from this instant on; none longer than a booking.

    Without hours it is the whole month. What touches is one window, so a night at the end of a day is not two.
    """
    begins = _midnight(month, zone)
    ends = _midnight((month + timedelta(days=31)).replace(day=1), zone)
    opened = open_windows(hours, zone, begins, ends) if hours else [(begins, ends)]
    return [
        piece
        for opens, closes in opened
        for piece in _pieces(max(opens, begins, since), min(closes, ends))
        if piece.starts_at < piece.ends_at
    ]


def _pieces(begins: datetime, ends: datetime) -> Iterator[Window]:
    while begins < ends:
        until = min(ends, begins + LONGEST_BOOKING)
        yield Window(begins, until)
        begins = until


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
