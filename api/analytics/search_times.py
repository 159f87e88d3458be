"""How long drivers search for a place, from the roll-ups alone: quantiles with what is not known about them."""

from datetime import datetime
from typing import Any, Final, Self

import msgspec
import numpy as np

from api.analytics.publish import round_count, round_share
from geo.survival import (
    Drives,
    bound,
    classes_to_drives,
    estimate,
    failed_search_rate,
    quantile,
    select_searchers,
    share_no_search,
)
from pipeline.lake.rollups import K_CONTRIBUTIONS, K_DEVICES


class SearchQuantile(msgspec.Struct, frozen=True):
    """A quantile in seconds with its 95 % interval, null where not reached; low_s then still is its lower bound.

    ended_s and never_s bound it whatever became of the drives that gave up or fell silent: if all of them had found a
    place that moment, and if none ever did.
    """

    value_s: float | None
    low_s: float | None
    high_s: float | None
    ended_s: float | None
    never_s: float | None


class Searchers(msgspec.Struct, frozen=True):
    """The drives with a search of a minute or more, where enough devices and drives tell of them, else null."""

    drives: int | None
    p50: SearchQuantile
    p90: SearchQuantile
    failed_search_rate: float | None


class SearchTimes(msgspec.Struct, frozen=True):
    """Drives that ended in a zone or cell: parked, gave up, or fell silent; counts and shares are rounded.

    low_quality_share: of phones that were badly heard.
    """

    place: str
    bin_start: datetime
    bin_s: int
    devices: int
    drives: int
    p50: SearchQuantile
    p90: SearchQuantile
    share_no_search: float | None
    searchers: Searchers
    low_quality_share: float | None

    @classmethod
    def read(cls, place: str, row: tuple[Any, ...]) -> Self:
        """Take a published bin of the statistics drives_of_zones and drives_of_cells."""
        _, bin_start, bin_s, devices, count, classes, searcher_devices, searchers, parked, gave_up, low = row
        drives = classes_to_drives(np.array(classes, np.int16))
        told = searcher_devices >= K_DEVICES and searchers >= K_CONTRIBUTIONS
        known = told and parked + gave_up >= K_CONTRIBUTIONS
        searching = select_searchers(drives) if told else _NOBODY
        return cls(
            place=place,
            bin_start=bin_start,
            bin_s=bin_s,
            devices=round_count(devices),
            drives=round_count(count),
            p50=_quantile(drives, 0.5),
            p90=_quantile(drives, 0.9),
            share_no_search=round_share(share_no_search(drives)),
            searchers=Searchers(
                round_count(searchers) if told else None,
                _quantile(searching, 0.5),
                _quantile(searching, 0.9),
                round_share(failed_search_rate(parked, gave_up)) if known else None,
            ),
            low_quality_share=round_share(low / count),
        )


_NOBODY: Final = classes_to_drives(np.zeros(0, np.int16))


def _quantile(drives: Drives, share: float) -> SearchQuantile:
    return SearchQuantile(*quantile(estimate(drives), share), *bound(drives, share))
