"""Nothing is published that speaks of fewer than k devices, whatever is asked, and no two answers can be subtracted.

- A bin of a cell or zone needs K_DEVICES distinct devices and K_CONTRIBUTIONS contributions; of one device at most
  MOST_OF_ONE count in a bin. A contribution is a presence in one slot of 5 min (cells), an entry or an exit (zones), a
  drive that ended there (search times).
- A bin that does not pass widens on a fixed grid in UTC (15 min, 1 h, 4 h, day, week from Monday), and only where
  nothing narrower within it passes. So whether and how a bin is published depends on the bin alone, never on the
  question, and published bins never overlap. It is decided when the roll-ups are made.
- Only bins that have ended, and lie wholly in the question's period, are published. Counts are rounded to ROUNDING,
  the count of what was suppressed too; shares to SHARE.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from api.analytics.boxes import cells_within
from api.analytics.reader import LakeReader
from api.errors import AnswerTooLargeError, InvalidRequestError, UnavailableError
from pipeline.lake.named_sql import load_named
from pipeline.lake.reader import DayFiles
from pipeline.lake.rollups import K_CONTRIBUTIONS, K_DEVICES
from pipeline.lake.tables import CELL_METRICS, CELL_METRICS_WIDE, ZONE_METRICS, ZONE_METRICS_WIDE, Table

ROUNDING: Final = 5
SHARE: Final = 0.05
MAX_SPAN: Final = timedelta(days=15)
"""Any week of the grid lies in some period of this length."""
MAX_BINS: Final = 20_000
QUARTER: Final = timedelta(minutes=15)
MAX_CELL: Final = (1 << 63) - 1

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SQL: Final = load_named("api.analytics", "statistics.sql")


class Period(NamedTuple):
    """A half-open period on the grid of quarters of an hour, and how far the lake's roll-ups go."""

    since: datetime
    until: datetime
    data_through: datetime


class Published(NamedTuple):
    """Bins that may be shown, as the statistic's columns, and how many quarters with data are in none (rounded)."""

    bins: list[tuple[Any, ...]]
    suppressed: int


def choose_period(reader: LakeReader, since: datetime | None, until: datetime | None) -> Period:
    """Snap a question's period to the grid: the last day and what there is of this one if nothing is said.

    UnavailableError before there are roll-ups, InvalidRequestError for a period that is empty or beyond MAX_SPAN.
    """
    data_through = reader.rolled_up()
    if data_through is None:
        raise UnavailableError("The lake has no roll-ups yet.", retry_after_s=10)
    end = min(_floor(until or data_through), _floor(data_through))
    start = _floor(since or end.replace(hour=0, minute=0) - timedelta(days=1))
    if since is not None and until is not None and since >= until:
        raise InvalidRequestError("`from` must lie before `to`.")
    if end - start > MAX_SPAN:
        raise InvalidRequestError(f"A period has at most {MAX_SPAN.days} days.")
    return Period(start, max(start, end), data_through)


def publish_cells(
    reader: LakeReader, statistic: str, period: Period, resolution: int, areas: Sequence[int] | None
) -> Published:
    """Return what may be shown of a statistic of cells of this resolution, within cells of AREA_RESOLUTION if given."""
    first, last = (min(areas), max(areas)) if areas else (0, 0)
    parameters = {
        "resolution": resolution,
        "areas": areas,
        "first_cell": cells_within(first, resolution)[0] if areas else 0,
        "last_cell": cells_within(last, resolution)[1] if areas else MAX_CELL,
    }
    tables = CELL_METRICS[resolution], CELL_METRICS_WIDE
    return _publish(reader, (statistic, "in_areas") if areas is not None else (statistic,), period, tables, parameters)


def publish_zones(reader: LakeReader, statistic: str, period: Period, zone_ids: Sequence[str]) -> Published:
    """Return what may be shown of a statistic of these zones."""
    return _publish(reader, (statistic,), period, (ZONE_METRICS, ZONE_METRICS_WIDE), {"zone_ids": zone_ids})


def _publish(
    reader: LakeReader,
    blocks: Sequence[str],
    period: Period,
    tables: tuple[Table, Table],
    parameters: Mapping[str, object],
) -> Published:
    """Run a statistic of statistics.sql: place, bin_start, bin_s, devices, contributions, ...; AnswerTooLargeError."""
    asked = "in_areas" if "in_areas" in blocks else "asked"
    text = "WITH " + ",\n".join(_SQL[block] for block in (*blocks, "publish")).replace("{asked}", asked)
    days = period.since.date(), period.until.date()
    known = {
        "quarters": DayFiles(tables[0], *days),
        "wide": DayFiles(tables[1], *days),
        "since": period.since,
        "until": period.until,
        "k_devices": K_DEVICES,
        "k_contributions": K_CONTRIBUTIONS,
        "most_rows": MAX_BINS + 2,
        **parameters,
    }
    rows = reader.query(text, {name: value for name, value in known.items() if f"${name}" in text})
    bins = [tuple(row[1:]) for row in rows if row[1] is not None]
    if len(bins) > MAX_BINS:
        raise AnswerTooLargeError(f"More than {MAX_BINS} bins: narrow the box or the period, or coarsen the cells.")
    return Published(bins, round_count(rows[0][0]))


def round_count(count: int) -> int:
    """Round to ROUNDING, halves up."""
    return (count + ROUNDING // 2) // ROUNDING * ROUNDING


def round_share(share: float | None) -> float | None:
    """Round to SHARE."""
    return None if share is None else round(round(share / SHARE) * SHARE, 2)


def _floor(instant: datetime) -> datetime:
    return _EPOCH + (instant - _EPOCH) // QUARTER * QUARTER
