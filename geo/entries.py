"""Which zones each device of a shard has entered in the drive that is not judged yet: what zone circling counts from.

An entry is forgotten once no later trip of its device can have begun before it; so when that is done changes nothing.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from geo.fix import NULL_TIME

ENTRY: Final = np.dtype([("time", "<i8"), ("fence", "<i8"), ("slot", "<i4"), ("row", "<i4")], align=True)
"""An ENTER: when, of which fence by key, by whom, and decided at which row of the batch (-1: of an earlier one)."""


class Entries:
    """The entries remembered."""

    def __init__(self, entries: NDArray[np.void] | None = None) -> None:
        self.entries = np.zeros(0, ENTRY) if entries is None else entries.astype(ENTRY)

    def add(
        self, slot: NDArray[np.int32], fence: NDArray[np.int64], time: NDArray[np.int64], row: NDArray[np.int32]
    ) -> None:
        """Remember the entries that a batch gave, shape (n,) each."""
        new = np.zeros(len(slot), ENTRY)
        new["slot"], new["fence"], new["time"], new["row"] = slot, fence, time, row
        self.entries = np.concatenate([self.entries, new])

    def last(self, ended: NDArray[np.void], slot: NDArray[np.int32], fence: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return when each trip last entered the fence before it ended, NULL_TIME if it did not.

        ended: dtype geo.trips.EVENT, shape (n,), in device time, `row` that of the batch; slot and fence: whose they
        are, and the fence's key.
        """
        found = np.full(len(ended), NULL_TIME, np.int64)
        for i, trip in enumerate(ended):
            mine = self.entries[(self.entries["slot"] == slot[i]) & (self.entries["fence"] == fence[i])]
            times = mine["time"][(mine["time"] >= trip["trip_start"]) & (mine["time"] <= trip["event_time"])
                                 & (mine["row"] <= trip["row"])]  # fmt: skip
            found[i] = times.max(initial=NULL_TIME)
        return found

    def end_batch(self, since: NDArray[np.int64]) -> None:
        """Forget what lies before `since`, by slot: no trip that is still to come begins before it."""
        self.entries = self.entries[self.entries["time"] >= since[self.entries["slot"]]]
        self.entries["row"] = -1

    def forget(self, slots: NDArray[np.int32]) -> None:
        """Forget the slots' entries."""
        self.entries = self.entries[~np.isin(self.entries["slot"], slots)]

    def to_columns(self) -> dict[str, NDArray[Any]]:
        """Return all that is remembered, in an order that no batch decides."""
        order = np.lexsort([self.entries[name] for name in ("time", "fence", "slot")])
        return {"entries": self.entries[order]}
