"""Recordings whose truth is known, as the model is fitted to them.

A teacher says which points lie in a search and which sessions are one, and how much each of them teaches.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from parkpal.accuracy import cities, drives
from parkpal.accuracy.cities import City
from parkpal.accuracy.detect import Seen
from parkpal.accuracy.drives import Drives
from parkpal.accuracy.fitting import Labels
from parkpal.accuracy.matching import SEARCH_S, overlap_ms, side_by_side, span_ms

Records = NDArray[np.void]

CITY_NEAR: Final = 0.05
"""What a point of the city says of where a search begins, beside one of a real drive;"""
DRIVE_SESSION: Final = 6.0
"""and a session of a real drive of whether it is one, beside one of the city."""
AROUND_MS: Final = 60_000
"""Points this far outside a trip still belong to it."""
SAME_END_MS: Final = 180_000
LEFT_OVERLAP: Final = 0.25
"""A session that was left is the true search if they overlap by so much."""


@dataclass(frozen=True)
class DriveTeacher:
    """Real drives: every one ended by parking, so nothing that was left was a search."""

    drives: Drives

    @cached_property
    def seen(self) -> Seen:
        """The rows."""
        return drives.to_seen(self.drives)

    def near(self, points: Records) -> Labels:
        """Say which points lie between the two presses of the button."""
        start, end = (self.drives.truth[name].to_numpy()[points["row"]] for name in ("search_start", "park_time"))
        return Labels((points["time"] >= start) & (points["time"] <= end) & (end > start), points["weight"])

    def wander(self, points: Records) -> Labels:
        """Teach nothing: real drives that gave up are not among them."""
        return Labels(np.zeros(len(points), np.bool_), np.zeros(len(points)))

    def sessions(self, sessions: Records) -> Labels:
        """Say which sessions ended a drive whose driver searched."""
        searched = self.drives.truth["search_s"].to_numpy()[sessions["row"]] >= SEARCH_S
        return Labels(searched & (sessions["left"] == 0), np.full(len(sessions), DRIVE_SESSION))


@dataclass(frozen=True)
class CityTeacher:
    """A simulated city."""

    city: City

    @property
    def seen(self) -> Seen:
        """The rows."""
        return self.city.seen

    def near(self, points: Records) -> Labels:
        """Say which points lie in a search that counts."""
        at = self._trips_of(points)
        counts = (at["duration_s"] >= SEARCH_S) & ~at["ambiguous"]
        return Labels(at["inside"].to_numpy(), CITY_NEAR * points["weight"] * counts.to_numpy())

    def wander(self, points: Records) -> Labels:
        """Say which points lie in a search."""
        at = self._trips_of(points)
        return Labels(at["inside"].to_numpy(), points["weight"] * (at["judged"] & ~at["ambiguous"]).to_numpy())

    def sessions(self, sessions: Records) -> Labels:
        """Say which sessions meet a true search, and leave out those that the truth excuses."""
        ours = self._with_device(sessions, "search_start", "search_end").with_columns(left=sessions["left"] == 1)
        true = cities.true_searches(self.city.searches).with_columns(true_start="search_start")
        meet = side_by_side(true, ours)
        ends = (pl.col("search_end_found") - pl.col("search_end")).abs() < SAME_END_MS
        overlap = overlap_ms() / span_ms()
        same = meet.filter(pl.when("left").then(overlap >= LEFT_OVERLAP).otherwise(ends & (overlap > 0)))
        excused = cities.excused(self.city.searches, ours)
        number = np.arange(len(sessions))
        so = np.isin(number, same["found"].to_numpy())
        return Labels(so, (ours["judged"].to_numpy() & ~np.isin(number, excused.to_numpy())).astype(float))

    def _trips_of(self, points: Records) -> pl.DataFrame:
        """Return of each point: judged, ambiguous, duration_s of its trip's search, and whether it is inside that."""
        trips = self.city.searches.select(
            "device_id",
            "search_start",
            "search_end",
            since=pl.col("trip_start") - AROUND_MS,
            until=pl.col("trip_end") + AROUND_MS,
            duration_s=pl.when("searched").then("duration_s").otherwise(0.0),
            ambiguous="ambiguous_soft_search",
            searched="searched",
        ).sort("since")
        ours = self._with_device(points, "time").with_row_index("place").sort("time")
        at = ours.join_asof(
            trips, left_on="time", right_on="since", by="device_id", strategy="backward", check_sortedness=False
        ).sort("place")
        on_trip = (pl.col("time") <= pl.col("until")).fill_null(value=False)
        inside = pl.col("searched") & pl.col("time").is_between("search_start", "search_end")
        return at.select(
            "judged",
            ambiguous=(on_trip & pl.col("ambiguous")).fill_null(value=False),
            duration_s=pl.when(on_trip).then("duration_s").otherwise(0.0),
            inside=(on_trip & inside).fill_null(value=False),
        )

    def _with_device(self, records: Records, *names: str) -> pl.DataFrame:
        devices = pl.Series("device_id", [device.decode() for device in self.city.seen.device_ids])
        columns: dict[str, Any] = {name: np.ascontiguousarray(records[name]) for name in names}
        table = pl.DataFrame(columns).with_columns(devices.gather(np.ascontiguousarray(records["row"])))
        return table.with_columns(judged=pl.col("device_id").is_in(self.city.judged))
