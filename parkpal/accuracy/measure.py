"""What `parkpal accuracy` measures, as plain figures: the detectors over labelled data, end to end, beside the rules.

A rule gets the detector's own park time and place, as it would in life; `given_park` says what it makes of the true
ones. The published network had the true ones.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from geo.fence_index import build_index
from parkpal.accuracy import cities, drives, pictures, prototype, ways
from parkpal.accuracy.calibration import reliability
from parkpal.accuracy.cities import City
from parkpal.accuracy.detect import decide, to_tables
from parkpal.accuracy.drives import Drives
from parkpal.accuracy.folds import Floats, interval, split
from parkpal.accuracy.matching import SEARCH_S
from parkpal.accuracy.methods import METHODS, Fitted, fit_in_folds

SEED: Final = 20_261_128
"""Of every draw: folds, noise, bootstrap."""
NOISE_DRAWS: Final = 5


class Benchmark:
    """Real drives with the methods fitted to them."""

    def __init__(self, folder: Path) -> None:
        self.drives = drives.read_drives(folder)
        self.folds = split(self.drives.truth.height, SEED)
        self.to_true_park = ways.of_drives(self.drives, self.drives.truth)
        search_s = self.drives.truth["search_s"].to_numpy()
        self.methods = {
            name: fit_in_folds(fit, self.to_true_park, search_s, self.folds) for name, fit in METHODS.items()
        }
        self.worse = [drives.degrade(self.drives, SEED + draw) for draw in range(NOISE_DRAWS)]

    def measure(self) -> dict[str, Any]:
        """Score the detector and every method."""
        truth, found = self.drives.truth, detected(self.drives)
        sparse = [detected(worse) for worse in self.worse]
        certain = found["confidence"].to_numpy(), truth["search_s"].to_numpy() >= SEARCH_S
        return {
            "detector": self._detector(found, sparse),
            "calibration": reliability(*certain)._asdict(),
            "methods": {
                "detector": self._line(found, found, None, sparse),
                **{name: self._method(fitted, found, sparse) for name, fitted in self.methods.items()},
                "prototype": self._line(_prototype(self.drives), found, None, None),
                "published network": self._line(_published(truth), found, None, None),
            },
        }

    def draw(self, folder: Path) -> None:
        """Write pictures of what is found, beside the logistic's."""
        found = detected(self.drives)
        logistic = self.methods["logistic"].judge(ways.of_drives(self.drives, found))
        certain = found["confidence"].to_numpy(), self.drives.truth["search_s"].to_numpy() >= SEARCH_S
        pictures.draw(folder, self.drives, found, {"logistic": logistic}, reliability(*certain))

    def _detector(self, found: pl.DataFrame, sparse: list[pl.DataFrame]) -> dict[str, Any]:
        truth = self.drives.truth
        walk = truth["walk"]
        draws = [drives.score(truth, each) for each in sparse]
        return {
            "all": drives.score(truth, found),
            **{
                name: drives.score(truth.filter(some), found.filter(some))
                for name, some in (("with a walk", walk), ("without a walk", ~walk))
                if some.any()
            },
            "15 s, 15 m noise": {name: _mean([draw[name] for draw in draws]) for name in draws[0]}
            | {"n": truth.height},
        }

    def _method(self, fitted: Fitted, found: pl.DataFrame, sparse: list[pl.DataFrame]) -> dict[str, Any]:
        to_found = ways.of_drives(self.drives, found)
        with_rule = found.with_columns(search_s=fitted.judge(to_found))
        worse = [
            each.with_columns(search_s=fitted.judge(ways.of_drives(points, each)))
            for points, each in zip(self.worse, sparse, strict=True)
        ]
        line = self._line(with_rule, found, fitted.judge(self.to_true_park), worse)
        in_sample = pl.Series(ways.durations(fitted.in_sample, to_found))
        return line | {"in_sample_mae_s": float(drives.errors_s(self.drives.truth, in_sample).mean())}

    def _line(
        self, mine: pl.DataFrame, detector: pl.DataFrame, given_park: Floats | None, sparse: list[pl.DataFrame] | None
    ) -> dict[str, Any]:
        truth = self.drives.truth
        off_s, walk = drives.errors_s(truth, mine["search_s"]), truth["walk"].to_numpy()
        worse_s = drives.errors_s(truth, detector["search_s"]) - off_s
        return drives.score(truth, mine) | {
            "search_mae_s": interval(off_s, SEED),
            "detector_minus_this_s": interval(worse_s, SEED),
            "with_walk_mae_s": _mean(off_s[walk].tolist()),
            "without_walk_mae_s": _mean(off_s[~walk].tolist()),
            "sparse_mae_s": sparse and _mean([drives.errors_s(truth, each["search_s"]).mean() for each in sparse]),
            "given_park_mae_s": None
            if given_park is None
            else float(drives.errors_s(truth, pl.Series(given_park)).mean()),
        }


def detected(some: Drives) -> pl.DataFrame:
    """Return what the detector finds of each drive."""
    seen = drives.to_seen(some)
    return drives.find(some, to_tables(decide(seen), seen.device_ids, build_index([])))


def _prototype(some: Drives) -> pl.DataFrame:
    sessions = prototype.detect(drives.to_seen(some)).group_by("device_id").last()
    found = sessions.select("search_s", "lat", "lon", trip_id="device_id", park_time="search_end")
    joined = some.truth.select("trip_id").join(found, on="trip_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("search_s").fill_null(0.0))


def _published(truth: pl.DataFrame) -> pl.DataFrame:
    return truth.select("trip_id", "park_time", "lat", "lon", search_s="published_s")


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def measure_city(folder: Path, methods: Mapping[str, Fitted]) -> dict[str, Any]:
    """Score the detector on a simulated city, and beside it the methods, fitted to real drives."""
    city = cities.read_city(folder)
    decided = decide(city.seen)
    tables = to_tables(decided, city.seen.device_ids, city.fences)
    to_park = ways.of_trips(city.seen, decided)
    sessions = {
        name: _sessions(tables["trips"], ways.durations(fit.in_sample, to_park)) for name, fit in methods.items()
    }
    sessions["prototype"] = prototype.detect(city.seen)
    return {
        "searches": cities.score_searches(city.searches, cities.judged(city, tables["circling_sessions"])),
        "calibration": _calibration(city, tables["circling_sessions"]),
        "parks": cities.score_parks(city.parks, cities.judged(city, tables["park_events"])),
        "methods": {
            name: cities.score_searches(city.searches, cities.judged(city, found)) for name, found in sessions.items()
        },
    }


def _calibration(city: City, sessions: pl.DataFrame) -> dict[str, Any]:
    mine = cities.judged(city, sessions)
    return reliability(mine["confidence"].to_numpy(), cities.within_search(city.searches, mine))._asdict()


def _sessions(trips: pl.DataFrame, search_s: Floats) -> pl.DataFrame:
    start = pl.col("trip_end") - (1000 * pl.col("search_s")).round().cast(pl.Int64)
    return trips.with_columns(pl.Series("search_s", search_s)).select(
        "device_id", "search_s", "outcome", "lat", "lon", search_start=start, search_end="trip_end"
    )
