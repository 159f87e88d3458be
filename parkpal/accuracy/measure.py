"""What `parkpal accuracy` measures, as plain figures: the detectors over labelled data, end to end."""

from pathlib import Path
from typing import Any, Final

import polars as pl

from geo.fence_index import build_index
from parkpal.accuracy import cities, drives
from parkpal.accuracy.detect import decide, to_tables
from parkpal.accuracy.drives import Drives

SEED: Final = 20_261_128
"""Of every draw: folds, noise, bootstrap."""


def measure_drives(folder: Path) -> dict[str, Any]:
    """Score the detectors on real drives: all, with and without a walk behind, and as a worse phone tells them."""
    whole = drives.read_drives(folder)
    found = _found(whole)
    walk = whole.truth["walk"]
    return {
        "all": drives.score(whole.truth, found),
        "with a walk": drives.score(whole.truth.filter(walk), found.filter(walk)),
        "without a walk": drives.score(whole.truth.filter(~walk), found.filter(~walk)),
        "15 s, 15 m noise": drives.score(whole.truth, _found(drives.degrade(whole, SEED))),
    }


def _found(some: Drives) -> pl.DataFrame:
    seen = drives.to_seen(some)
    return drives.find(some, to_tables(decide(seen), seen.device_ids, build_index([])))


def measure_city(folder: Path) -> dict[str, Any]:
    """Score the detectors on a simulated city."""
    city = cities.read_city(folder)
    tables = to_tables(decide(city.seen), city.seen.device_ids, city.fences)
    return {
        "searches": cities.score_searches(city.searches, cities.judged(city, tables["circling_sessions"])),
        "parks": cities.score_parks(city.parks, cities.judged(city, tables["park_events"])),
    }
