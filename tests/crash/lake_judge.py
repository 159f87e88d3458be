"""Tell of a read of the bare glob whether it is one that must never be: wrong, or behind what this reader saw before.

A read is compared with what was published before it began, and with what may have gone or changed before it ended.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.crash.lake_rows import FLOW_KIND, MESSAGES_A_DAY, REBUILT_ROWS, Device, devices

POSITIONS: Final = (
    "SELECT device_id, count(*), min(seq), max(seq), sum(seq)::BIGINT FROM read_parquet($glob) GROUP BY 1"
)
EVENTS: Final = f"""
    SELECT device_id, count(*), count(DISTINCT event_id), count(*) FILTER (kind = '{FLOW_KIND}')
    FROM read_parquet($glob) GROUP BY 1
"""
FLOW: Final = (1, 1, 1)
REBUILT: Final = (REBUILT_ROWS, REBUILT_ROWS, 0)
"""What EVENTS gives of a device."""


class Known(NamedTuple):
    """What the processes tell of each other at one moment."""

    published: NDArray[np.int64]
    """Messages, by sink partition."""
    may_go: int
    gone: int
    """Days before these may be gone, and must be."""
    erasing: int
    erased: int
    """Devices that are to be erased up to these days may be gone, and must be."""
    rebuilding: NDArray[np.int64]
    rebuilt: NDArray[np.int64]
    """By day, whether it may be rebuilt, and must be."""


class Judge:
    """What one reader saw so far."""

    def __init__(self) -> None:
        self._rows: dict[Device, int] = {}
        self._rebuilt: set[int] = set()

    def positions(
        self, read: Iterable[tuple[str, int, int, int, int]], before: Known, after: Known
    ) -> Iterable[tuple[str, str]]:
        """Yield what is "wrong" or "backward" in a read of POSITIONS, and how."""
        found = {Device.parse(each): values for each, *values in read}
        for each, (n, first, last, total) in found.items():
            if (first, last + 1, total) != (0, n, n * (n - 1) // 2) or _must_be_gone(each, before):
                gone = f"gone {before.gone}, erased {before.erased}"
                yield "wrong", f"{each}: {n} rows, {first} to {last}, sum {total}, {gone}"
        for each in _must_be_there(before, after):
            n = found[each][0] if each in found else 0
            if n < each.rows(int(before.published[each.part])):
                yield "wrong", f"{each}: {n} rows, {before.published} messages published"
            if n < self._rows.get(each, 0):
                yield "backward", f"{each}: {n} rows after {self._rows[each]}"
            self._rows[each] = n

    def events(
        self, read: Iterable[tuple[str, int, int, int]], before: Known, after: Known
    ) -> Iterable[tuple[str, str]]:
        """Yield the same of a read of EVENTS: a day is the flow's or rebuilt, all of it, and never the flow's again."""
        found = {Device.parse(each): tuple(values) for each, *values in read}
        for each, values in found.items():
            if values not in ((REBUILT,) if each.late else (FLOW, REBUILT)) or _must_be_gone(each, before):
                yield "wrong", f"event of {each}: {values}, gone {before.gone}, erased {before.erased}"
        by_day: defaultdict[int, set[tuple[int, ...]]] = defaultdict(set)
        for each in _must_be_there(before, after):
            if each.is_decided(int(before.published[each.part])) or each in found or before.rebuilt[each.day]:
                by_day[each.day].add(found.get(each, ()))
        for day, kinds in by_day.items():
            late = {found.get(each, ()) for each in devices(day) if each.late}
            if kinds == {REBUILT} and late == {REBUILT} and after.rebuilding[day]:
                self._rebuilt.add(day)
            elif kinds != {FLOW} or late != {()} or before.rebuilt[day]:
                yield "wrong", f"events of day {day}: {kinds}, {late}, rebuilt {before.rebuilt[day]}"
            elif day in self._rebuilt:
                yield "backward", f"events of day {day}: the flow's after the rebuilt ones"


def _must_be_gone(device: Device, before: Known) -> bool:
    return device.day < before.gone or device.is_erased(before.erased)


def _must_be_there(before: Known, after: Known) -> Iterable[Device]:
    """Yield the devices of which nothing may have gone."""
    days = range(after.may_go, int(before.published.max()) // MESSAGES_A_DAY + 1)
    return (each for day in days for each in devices(day) if not each.is_erased(after.erasing))
