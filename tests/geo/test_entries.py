"""When a trip last entered the zone in which it ended, however the batches are cut."""

import numpy as np

from geo.entries import Entries
from geo.fix import NULL_TIME
from geo.trips import EVENT


def trip(start: int, end: int, row: int = 9) -> np.ndarray:
    ended = np.zeros(1, EVENT)
    ended["trip_start"], ended["event_time"], ended["row"] = start, end, row
    return ended


def added(*entries: tuple[int, int, int, int]) -> Entries:
    """Entries of (slot, fence, time, row)."""
    known = Entries()
    columns = np.array(entries, np.int64).T
    known.add(columns[0].astype(np.int32), columns[1], columns[2], columns[3].astype(np.int32))
    return known


def last(known: Entries, ended: np.ndarray, slot: int = 0, fence: int = 7) -> int:
    return int(known.last(ended, np.array([slot], np.int32), np.array([fence]))[0])


def test_the_last_entry_of_the_same_drive_counts() -> None:
    known = added((0, 7, 50, 1), (0, 7, 150, 2), (0, 7, 180, 3), (0, 7, 250, 4), (0, 8, 190, 4), (1, 7, 190, 4))
    assert last(known, trip(100, 200)) == 180
    assert last(known, trip(100, 120)) == NULL_TIME


def test_an_entry_that_is_decided_behind_the_trip_counts_in_no_batch() -> None:
    known = added((0, 7, 150, 2), (0, 7, 180, 5))
    assert last(known, trip(100, 200, row=3)) == 150


def test_entries_outlive_batches_and_snapshots_until_no_trip_can_want_them() -> None:
    known = added((0, 7, 150, 2), (1, 7, 90, 2))
    known.end_batch(np.array([100, 100]))
    known = Entries(known.to_columns()["entries"])
    assert last(known, trip(100, 200, row=0)) == 150
    assert len(known.entries) == 1
    known.forget(np.array([0], np.int32))
    assert last(known, trip(100, 200)) == NULL_TIME
