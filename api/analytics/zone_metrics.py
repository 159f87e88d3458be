"""What happened in one zone over time: a row for each published bin of its entries, its exits and its drives.

Each of the three passes k by itself, so their bins differ. Rates and occupancy are worked out from figures that are
published beside them, so they tell nothing more. Parkings have no count of devices, thus no k: drives tell of them.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Self

import msgspec

from api.analytics.publish import QUARTER, Period, publish_zones, round_count
from api.analytics.reader import LakeReader
from api.analytics.search_times import SearchTimes

DWELL_STEP_S: Final = 10
METRICS: Final = ("entries", "exits", "drives")


class ZoneMetric(msgspec.Struct, frozen=True):
    """A metric (entries, exits or drives) of a zone in a bin; null is what the metric has not, or too few tell.

    per_hour: of exits it is the turnover. occupancy: devices inside on average, exits a second times the mean dwell.
    drives, which ended in the zone, have the search times, and in low_quality_share those badly heard.
    """

    zone_id: str
    metric: str
    bin_start: datetime
    bin_s: int
    devices: int
    count: int
    per_hour: float
    dwell_median_s: float | None = None
    dwell_mean_s: float | None = None
    occupancy: float | None = None
    search_p50_s: float | None = None
    search_p90_s: float | None = None
    failed_search_rate: float | None = None
    low_quality_share: float | None = None

    @classmethod
    def read_visits(cls, zone_id: str, row: tuple[Any, ...]) -> Self:
        """Take a published bin of the statistic visits."""
        place, bin_start, bin_s, devices, exact, median, exact_mean = row
        count = round_count(exact)
        mean = None if exact_mean is None else float(round(exact_mean / DWELL_STEP_S) * DWELL_STEP_S)
        return cls(
            zone_id=zone_id,
            metric=place.removeprefix(f"{zone_id} "),
            bin_start=bin_start,
            bin_s=bin_s,
            devices=round_count(devices),
            count=count,
            per_hour=_per_hour(count, bin_s),
            dwell_median_s=median,
            dwell_mean_s=mean,
            occupancy=None if mean is None else round(count * mean / bin_s, 2),
        )

    @classmethod
    def read_drives(cls, zone_id: str, row: tuple[Any, ...]) -> Self:
        """Take a published bin of the statistic drives_of_zones."""
        times = SearchTimes.read(zone_id, row)
        return cls(
            zone_id=zone_id,
            metric="drives",
            bin_start=times.bin_start,
            bin_s=times.bin_s,
            devices=times.devices,
            count=times.drives,
            per_hour=_per_hour(times.drives, times.bin_s),
            search_p50_s=times.p50.value_s,
            search_p90_s=times.p90.value_s,
            failed_search_rate=times.searchers.failed_search_rate,
            low_quality_share=times.low_quality_share,
        )


class Unpublished(msgspec.Struct, frozen=True):
    """Quarters of an hour of the period that are in no published bin, by metric.

    Whether they have too few or none is not told: of a single zone it would tell when somebody was alone there.
    """

    entries: int
    exits: int
    drives: int


def publish_series(reader: LakeReader, period: Period, zone_id: str) -> list[ZoneMetric]:
    """Return what may be shown of a zone in a period, in order of time."""
    visits = publish_zones(reader, "visits", period, [zone_id]).bins
    drives = publish_zones(reader, "drives_of_zones", period, [zone_id]).bins
    rows = [ZoneMetric.read_visits(zone_id, row) for row in visits]
    rows += [ZoneMetric.read_drives(zone_id, row) for row in drives]
    return sorted(rows, key=lambda row: (row.bin_start, METRICS.index(row.metric)))


def count_unpublished(period: Period, rows: Sequence[ZoneMetric]) -> Unpublished:
    """Count from the published bins alone, which never overlap, what they leave of a period."""
    whole = (period.until - period.since) // QUARTER
    quarter_s = int(QUARTER.total_seconds())
    return Unpublished(*(whole - sum(row.bin_s for row in rows if row.metric == one) // quarter_s for one in METRICS))


def _per_hour(count: int, bin_s: int) -> float:
    return round(count * 3600 / bin_s, 2)
