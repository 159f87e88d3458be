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
from parkpal.accuracy import cities, drives, hints, pictures, prototype, ways
from parkpal.accuracy.calibration import Reliability, reliability
from parkpal.accuracy.cities import City
from parkpal.accuracy.detect import Decided, decide, to_tables
from parkpal.accuracy.drives import Drives
from parkpal.accuracy.folds import Floats, interval, split
from parkpal.accuracy.judge import Judge
from parkpal.accuracy.likeness import searches, simulated
from parkpal.accuracy.matching import SEARCH_S, Figures
from parkpal.accuracy.methods import METHODS, Fitted, fit_in_folds

SEED: Final = 20_261_128
"""Of every draw: folds, noise, bootstrap."""
NOISE_DRAWS: Final = 5
MISSES: Final = 10


class Benchmark:
    """Real drives, what the detector finds of them, and the methods fitted to them."""

    def __init__(self, data: Drives, judge: Judge) -> None:
        self.drives = data
        self.judge = judge
        self.to_true_park = ways.of_drives(data, data.truth)
        folds, search_s = split(data.truth.height, SEED), data.truth["search_s"].to_numpy()
        self.methods = {name: fit_in_folds(fit, self.to_true_park, search_s, folds) for name, fit in METHODS.items()}
        self.found = detected(data, judge.decide(drives.to_seen(data)))
        self.worse = [drives.degrade(data, SEED + draw) for draw in range(NOISE_DRAWS)]
        self.found_worse = [detected(each, judge.decide(drives.to_seen(each))) for each in self.worse]

    def measure(self) -> dict[str, Any]:
        """Score the detector and every method."""
        return {
            "in_folds": self.judge.in_folds,
            "detector": self._detector(),
            "calibration": self._reliability()._asdict(),
            "hints": self._hints(),
            "misses": self._misses(),
            "searches": {
                "real": searches(self.drives.truth["search_s"].to_numpy())._asdict(),
                "simulated": simulated()._asdict(),
            },
            "methods": {
                "detector": self._line(self.found, self.found_worse)
                | {"given_park_mae_s": self._given_park_mae_s(), "in_sample_mae_s": self._in_sample_mae_s()},
                **{name: self._method(fitted) for name, fitted in self.methods.items()},
                "prototype": self._line(_prototype(self.drives)),
                "published network": self._line(_published(self.drives.truth)),
            },
        }

    def draw(self, folder: Path) -> None:
        """Write pictures of what is found, beside the logistic's."""
        logistic = self.methods["logistic"].judge(ways.of_drives(self.drives, self.found))
        pictures.draw(folder, self.drives, self.found, {"logistic": logistic}, self._reliability())

    def _reliability(self) -> Reliability:
        return reliability(self.found["confidence"].to_numpy(), self.drives.truth["search_s"].to_numpy() >= SEARCH_S)

    def _given_park_mae_s(self) -> float:
        told = drives.tell_park(self.drives)
        return self._mae_s(detected(told, self.judge.decide(drives.to_seen(told)))["search_s"])

    def _in_sample_mae_s(self) -> float:
        return self._mae_s(detected(self.drives, decide(drives.to_seen(self.drives)))["search_s"])

    def _misses(self) -> list[dict[str, Any]]:
        """Return the drives whose search was missed by the most."""
        off_s = (pl.col("found_s") - pl.col("true_s")).abs()
        park_off_s = (self.found["park_time"] - self.drives.truth["park_time"]) / 1000
        both = self.drives.truth.select(
            "trip_id", "walk", self.found["search_s"].alias("found_s"), park_off_s=park_off_s, true_s="search_s"
        )
        return both.sort(off_s, descending=True).head(MISSES).to_dicts()

    def _hints(self) -> Figures:
        seen = drives.to_seen(self.drives)
        tables = to_tables(self.judge.decide(seen), seen.device_ids, build_index([]))
        ends = self.drives.points.group_by("trip_id").agg(
            trip_start=pl.col("time").min(), trip_end=pl.col("time").max()
        )
        trips = self.drives.truth.rename({"park_time": "search_end"}).join(ends, on="trip_id")
        return hints.score(trips.rename({"trip_id": "device_id"}), tables.get("search_hints"))

    def _detector(self) -> dict[str, Any]:
        truth, found = self.drives.truth, self.found
        walk = truth["walk"]
        groups = {"all": walk | ~walk, "with a walk": walk, "without a walk": ~walk}
        draws = [drives.score(truth, each) for each in self.found_worse]
        worse = {name: _mean([draw[name] for draw in draws]) for name in draws[0]} | {"n": truth.height}
        lines = {name: drives.score(truth.filter(of), found.filter(of)) for name, of in groups.items() if of.any()}
        return lines | {"15 s, 15 m noise": worse}

    def _method(self, fitted: Fitted) -> dict[str, Any]:
        to_found = ways.of_drives(self.drives, self.found)
        worse = [
            each.with_columns(search_s=fitted.judge(ways.of_drives(points, each)))
            for points, each in zip(self.worse, self.found_worse, strict=True)
        ]
        return self._line(self.found.with_columns(search_s=fitted.judge(to_found)), worse) | {
            "given_park_mae_s": self._mae_s(pl.Series(fitted.judge(self.to_true_park))),
            "in_sample_mae_s": self._mae_s(pl.Series(ways.durations(fitted.in_sample, to_found))),
        }

    def _line(self, mine: pl.DataFrame, worse: list[pl.DataFrame] | None = None) -> dict[str, Any]:
        truth = self.drives.truth
        off_s, walk = drives.errors_s(truth, mine["search_s"]), truth["walk"].to_numpy()
        detector_s = drives.errors_s(truth, self.found["search_s"])
        return drives.score(truth, mine) | {
            "search_mae_s": interval(off_s, SEED),
            "detector_minus_this_s": interval(detector_s - off_s, SEED),
            "with_walk_mae_s": _mean(off_s[walk].tolist()),
            "without_walk_mae_s": _mean(off_s[~walk].tolist()),
            "sparse_mae_s": worse and _mean([self._mae_s(each["search_s"]) for each in worse]),
        }

    def _mae_s(self, search_s: pl.Series) -> float:
        return float(drives.errors_s(self.drives.truth, search_s).mean())


def detected(some: Drives, decided: Decided) -> pl.DataFrame:
    """Return what was found of each drive."""
    return drives.find(some, to_tables(decided, drives.to_seen(some).device_ids, build_index([])))


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


def measure_city(city: City, judge: Judge, methods: Mapping[str, Fitted]) -> dict[str, Any]:
    """Score the detector on a simulated city, and beside it the methods, fitted to real drives."""
    decided = judge.decide(city.seen)
    tables = to_tables(decided, city.seen.device_ids, city.fences)
    sessions = cities.judged(city, tables["circling_sessions"])
    certain = sessions["confidence"].to_numpy(), cities.within_search(city.searches, sessions)
    return {
        "in_folds": judge.in_folds,
        "searches": cities.score_searches(city.searches, sessions),
        "hints": hints.score(_trips_of(city), tables.get("search_hints")),
        "parks": cities.score_parks(city.parks, cities.judged(city, tables["park_events"])),
        "calibration": reliability(*certain)._asdict(),
        "methods": {
            name: cities.score_searches(city.searches, cities.judged(city, found))
            for name, found in _other_sessions(city, decided, tables, methods).items()
        },
    }


def _trips_of(city: City) -> pl.DataFrame:
    search_s = pl.when("searched").then("duration_s").otherwise(0.0)
    return city.searches.select("device_id", "trip_start", "trip_end", "search_start", "search_end", search_s=search_s)


def _other_sessions(
    city: City, decided: Decided, tables: Mapping[str, pl.DataFrame], methods: Mapping[str, Fitted]
) -> dict[str, pl.DataFrame]:
    to_park = ways.of_trips(city.seen, decided)
    shipped = to_tables(decide(city.seen), city.seen.device_ids, city.fences)
    by_rule = {
        name: _sessions(tables["trips"], ways.durations(fitted.in_sample, to_park)) for name, fitted in methods.items()
    }
    return {"detector, in-sample": shipped["circling_sessions"], **by_rule, "prototype": prototype.detect(city.seen)}


def _sessions(trips: pl.DataFrame, search_s: Floats) -> pl.DataFrame:
    start = pl.col("trip_end") - (1000 * pl.col("search_s")).round().cast(pl.Int64)
    return trips.with_columns(pl.Series("search_s", search_s)).select(
        "device_id", "search_s", "outcome", "lat", "lon", search_start=start, search_end="trip_end"
    )
