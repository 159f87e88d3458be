"""Made-up drives in the form of start2park: straight into town, round the block for some minutes, then on foot."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

LAT, LON = 50.11, 8.68
STEP_S = 6
BLOCK_M = 90.0


def write_drives(folder: Path, searches_s: list[int], seed: int = 1) -> None:
    """Write trips.csv and waypoints.csv, a drive for each search in seconds; 0 is no search."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    points, trips = [], []
    for number, search_s in enumerate(searches_s):
        began = datetime(2021, 3, 1, 8) + timedelta(days=number)  # noqa: DTZ001 - local times, as in the data
        trip, drive_s = f"{number:014}", 6 * int(rng.integers(25, 60))
        found, parked = (began + timedelta(seconds=after) for after in (drive_s, drive_s + search_s))
        for east, north, after, label in _moves(drive_s, search_s, rng):
            place = LON + east / (111_320 * np.cos(np.radians(LAT))), LAT + north / 111_320
            points.append((trip, *place, began + timedelta(seconds=after), None, label))
        trips.append((trip, found, parked, search_s / 60, search_s / 60))
    names = ["TripID", "lon", "lat", "time", "speed_kmh", "label"]
    pl.DataFrame(points, schema=names, orient="row").write_csv(folder / "waypoints.csv")
    names = ["TripID", "ParkingSearch_StartingTime", "ParkingSearch_EndingTime"]
    names += ["Parking_Search_Duration_min", "Parking_Search_Duration_min_Predicted"]
    pl.DataFrame(trips, schema=names, orient="row").write_csv(folder / "trips.csv")


def _moves(drive_s: int, search_s: int, rng: np.random.Generator) -> list[tuple[float, float, int, str]]:
    """Return east, north (metres), seconds and label of each waypoint."""
    out: list[tuple[float, float, int, str]] = []
    east, north, heading = 0.0, 0.0, 0.0
    for after in range(0, drive_s + search_s + 240, STEP_S):
        label = "driving" if after < drive_s else "searching" if after < drive_s + search_s else "walking"
        mps = {"driving": 11.0, "searching": 4.0, "walking": 1.2}[label]
        if label == "searching" and (after - drive_s) * mps % BLOCK_M < STEP_S * mps:
            heading += np.pi / 2
        noise = rng.normal(0, 3, 2)
        out.append((east + noise[0], north + noise[1], after, label))
        east, north = east + mps * STEP_S * np.cos(heading), north + mps * STEP_S * np.sin(heading)
    return out
