"""Nothing is published that speaks of fewer than k devices, whatever is asked, and no two answers can be subtracted.

- A bin of a cell or zone needs K_DEVICES distinct devices and K_CONTRIBUTIONS contributions; of one device at most
  MOST_OF_ONE count in a bin. A contribution is a presence in one slot of 5 min (cells), an entry or an exit (zones).
- A bin that does not pass widens on a fixed grid in UTC (15 min, 1 h, 4 h, day, week from Monday), and only where
  nothing narrower within it passes. So whether and how a bin is published depends on the bin alone, never on the
  question, and published bins never overlap.
- Only bins that have ended, and lie wholly in the question's period, are published. Counts are rounded to ROUNDING,
  the count of what was suppressed too.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from api.analytics.reader import LakeReader
from api.database import load_queries
from api.errors import AnswerTooLargeError, InvalidRequestError, UnavailableError

K_DEVICES: Final = 10
K_CONTRIBUTIONS: Final = 20
MOST_OF_ONE: Final = 2
ROUNDING: Final = 5
MAX_SPAN: Final = timedelta(days=15)
"""Any week of the grid lies in some period of this length."""
MAX_BINS: Final = 20_000
QUARTER: Final = timedelta(minutes=15)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SQL: Final = {name: text.decode() for name, text in load_queries("api.analytics", "statistics.sql").items()}


class Period(NamedTuple):
    """A half-open period on the grid of quarters of an hour, and how far the lake's data goes."""

    since: datetime
    until: datetime
    data_through: datetime


class Bin(NamedTuple):
    """A published bin. place: what the query groups by; median: of the values, None below k."""

    place: int | str
    bin_start: datetime
    bin_s: int
    devices: int
    contributions: int
    median: float | None


class Published(NamedTuple):
    """Bins that may be shown, and how many quarters of an hour with data are in none of them (rounded)."""

    bins: list[Bin]
    suppressed: int


def choose_period(reader: LakeReader, since: datetime | None, until: datetime | None) -> Period:
    """Snap a question's period to the grid: the last day and what there is of this one if nothing is said.

    UnavailableError while the lake is empty, InvalidRequestError for a period that is empty or longer than MAX_SPAN.
    """
    data_through = reader.freshness()
    if data_through is None:
        raise UnavailableError("The lake has no data yet.", retry_after_s=10)
    end = min(_floor(until or data_through), _floor(data_through))
    start = _floor(since or end.replace(hour=0, minute=0) - timedelta(days=1))
    if since is not None and until is not None and since >= until:
        raise InvalidRequestError("`from` must lie before `to`.")
    if end - start > MAX_SPAN:
        raise InvalidRequestError(f"A period has at most {MAX_SPAN.days} days.")
    return Period(start, max(start, end), data_through)


def publish(reader: LakeReader, source: str, period: Period, parameters: Mapping[str, object]) -> Published:
    """Run the named source of contributions through the rules; AnswerTooLargeError beyond MAX_BINS bins."""
    rules = {
        "since": period.since,
        "until": period.until,
        "k_devices": K_DEVICES,
        "k_contributions": K_CONTRIBUTIONS,
        "most_of_one": MOST_OF_ONE,
        "rounding": ROUNDING,
        "most_rows": MAX_BINS + 2,
    }
    rows = reader.query(f"WITH {_SQL[source]},\n{_SQL['publish']}", {**rules, **parameters})
    summary, *found = rows
    if len(found) > MAX_BINS:
        raise AnswerTooLargeError(f"More than {MAX_BINS} bins: narrow the box or the period, or coarsen the cells.")
    bins = [
        Bin(place, _EPOCH + timedelta(seconds=bin_start_s), bin_s, devices, contributions, median)
        for place, bin_start_s, bin_s, devices, contributions, median, _ in found
    ]
    return Published(bins, summary[-1])


def _floor(instant: datetime) -> datetime:
    return _EPOCH + (instant - _EPOCH) // QUARTER * QUARTER
