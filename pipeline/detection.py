"""The detectors of one shard: rows in order become events. It knows neither the log nor how order came about.

A row waits until the fence history is known up to its event time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geo import geofence, trips
from geo.entries import Entries
from geo.fence_index import FenceIndex, fence_key
from geo.fix import FIX, NULL_DEGREES
from geo.holding import Released
from pipeline import facts, state
from pipeline.network import Roads


class Detection:
    """What the detectors remember of the devices of one shard, which are slots as the caller numbers them."""

    def __init__(self, columns: Mapping[str, NDArray[Any]] | None = None, roads: Roads | None = None) -> None:
        """Begin with nothing, or with what `to_columns` gave."""
        self._roads = roads
        self._geofence = geofence.GeofenceState()
        self._trips = trips.TripState()
        self._entries = Entries()
        self._waiting = Released(np.empty(0, FIX), np.empty(0, np.int32))
        if columns is not None:
            self._geofence = geofence.GeofenceState.from_columns(state.part(columns, "geofence."))
            before = state.part(columns, "trips.")
            if before:  # a store from before there were trips has none
                self._trips = trips.TripState.from_columns(before)
            if "entries.entries" in columns:
                self._entries = Entries(columns["entries.entries"])
            self.grow(max(self._geofence.capacity, self._trips.capacity))
            self._waiting = Released(columns["waiting.rows"], columns["waiting.slot"])

    def to_columns(self) -> dict[str, NDArray[Any]]:
        """Return all that is remembered."""
        columns: dict[str, NDArray[Any]] = {f"geofence.{k}": v for k, v in self._geofence.to_columns().items()}
        columns |= {f"trips.{k}": v for k, v in self._trips.to_columns().items()}
        columns |= {f"entries.{k}": v for k, v in self._entries.to_columns().items()}
        return columns | {"waiting.rows": self._waiting.rows, "waiting.slot": self._waiting.slot}

    def grow(self, capacity: int) -> None:
        """Make room for slots up to `capacity`."""
        if capacity > self._geofence.capacity:
            self._geofence.grow(2 * capacity)
        if capacity > self._trips.capacity:
            self._trips.grow(2 * capacity)

    def advance(
        self, index: FenceIndex, known: int, released: Released, device_ids: Sequence[bytes]
    ) -> list[tuple[str, pa.RecordBatch]]:
        """Take the next rows of each device in order; return what is now decided, by table.

        `index` is complete up to event time `known` (ms UTC); `device_ids` are the devices by slot.
        """
        rows, slot = (np.concatenate(parts) for parts in zip(self._waiting, released, strict=True))
        ready = rows["event_time"] <= known
        self._waiting = Released(rows[~ready], slot[~ready])
        if not ready.all():
            rows, slot = rows[ready], slot[ready]
        fix = np.flatnonzero(rows["lat"] != NULL_DEGREES)
        columns = (np.ascontiguousarray(rows[name][fix]) for name in ("event_time", "lat", "lon", "accuracy_m"))
        events = geofence.advance(self._geofence, index, slot[fix], *columns).events
        out = _geofence_events(events, slot[fix][events["row"]], device_ids, index)
        self._remember_entries(index, events, slot, fix)
        decided = trips.advance(self._trips, slot, rows)
        out += self._told(decided, slot[decided["row"]], index, device_ids)
        self._entries.end_batch(self._trips.drive_since())
        return out

    def _remember_entries(
        self, index: FenceIndex, events: NDArray[np.void], slot: NDArray[np.int32], fix: NDArray[np.int64]
    ) -> None:
        entered = events[events["kind"] == geofence.ENTER]
        row = fix[entered["row"]].astype(np.int32)
        fence = np.array([fence_key(index.versions[i].fence_id) for i in entered["version"].tolist()], np.int64)
        self._entries.add(slot[row], fence, entered["event_time"], row)

    def _told(
        self, decided: NDArray[np.void], slot: NDArray[np.int32], index: FenceIndex, device_ids: Sequence[bytes]
    ) -> list[tuple[str, pa.RecordBatch]]:
        at = decided["event_time"] + decided["clock_ms"]
        zone = facts.zone_keys(index, decided["lat"], decided["lon"], at)
        return facts.of_trips(decided, slot, device_ids, index, self._entries.last(decided, slot, zone), self._roads)

    def expire(self, index: FenceIndex, clock: int, device_ids: Sequence[bytes]) -> list[tuple[str, pa.RecordBatch]]:
        """Close what is certain to have fallen silent by the log clock (ms UTC); return what is decided, by table."""
        events = geofence.expire(self._geofence, index, clock)
        out = _geofence_events(events, events["row"], device_ids, index)
        decided = trips.expire(self._trips, clock)
        return out + self._told(decided, decided["row"], index, device_ids)

    def forget(self, slots: NDArray[np.int32]) -> None:
        """Let other devices have these slots."""
        stays = ~np.isin(self._waiting.slot, slots)
        self._waiting = Released(self._waiting.rows[stays], self._waiting.slot[stays])
        self._geofence.forget(slots)
        self._trips.forget(slots)
        self._entries.forget(slots)


def _geofence_events(
    events: NDArray[np.void], slot: NDArray[np.int32], device_ids: Sequence[bytes], index: FenceIndex
) -> list[tuple[str, pa.RecordBatch]]:
    if not len(events):
        return []
    return [("geofence_events", facts.geofence_events(events, slot, device_ids, index))]
