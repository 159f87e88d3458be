"""A model is fitted from labels, and nobody is judged by one that has seen them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from geo.trips import MODEL, Model
from geo.trips.records import FEATURES, SEEN_POINT
from parkpal.accuracy import cities, drives
from parkpal.accuracy.cities import City
from parkpal.accuracy.detect import decide, only
from parkpal.accuracy.drives import Drives
from parkpal.accuracy.fitting import Lessons, to_source
from parkpal.accuracy.folds import numbers
from parkpal.accuracy.judge import Judge
from parkpal.accuracy.starts import NONE, SHARES, fit_start
from parkpal.accuracy.teachers import CityTeacher, DriveTeacher
from parkpal.simulate.simulation import simulate
from tests.accuracy.frankfurt import write_drives

START_MS = 1_772_582_400_000
SEARCHES_S = [0, 180, 0, 300, 60, 0, 240, 120, 0, 180, 60, 0, 420, 0] * 2


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    out = tmp_path_factory.mktemp("city")
    simulate(8, 300, 0.7, START_MS).write(out)
    return cities.read_city(out)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Drives:
    folder: Path = tmp_path_factory.mktemp("data") / "start2park"
    write_drives(folder, SEARCHES_S)
    return drives.read_drives(folder)


def test_teachers_mark_about_as_much_as_was_searched(city: City, made: Drives) -> None:
    lessons = Lessons((DriveTeacher(made), CityTeacher(city)))
    real, simulated = lessons.points
    inside = DriveTeacher(made).near(real)
    assert 0.3 < inside.weight[inside.so].sum() * 6 / sum(SEARCHES_S) < 1.7, "points weigh six seconds each"
    searched = CityTeacher(city).wander(simulated)
    true_s = city.searches.filter("searched")["duration_s"].sum()
    assert 0.5 < searched.weight[searched.so].sum() * 6 / true_s < 1.5


def test_a_fitted_model_has_the_shape_of_the_one_that_ships_and_is_written_as_source(city: City, made: Drives) -> None:
    teachers = (DriveTeacher(made), CityTeacher(city))
    model = Lessons(teachers).fit([np.ones(len(each.seen.device_ids), np.bool_) for each in teachers])
    assert [part.shape for part in model] == [part.shape for part in MODEL]
    written: dict[str, Model] = {}
    exec(to_source(model).replace(": Final", ""), {"Model": Model, "np": np}, written)  # noqa: S102 - our own text
    for part, again in zip(model, written["MODEL"], strict=True):
        assert np.allclose(part, again, rtol=1e-3)


def test_every_device_is_judged_by_the_model_of_its_fold(city: City, made: Drives) -> None:
    judge = Judge(made, city, seed=5)
    assert judge.in_folds
    seen = drives.to_seen(made)
    decided, fold = judge.decide(seen), numbers(len(seen.device_ids), 5)
    for device in range(0, len(seen.device_ids), 5):
        alone = decide(only(seen, np.arange(len(seen.device_ids)) == device), judge.models[fold[device]])
        assert np.array_equal(decided.events[decided.slot == device]["search_start"], alone.events["search_start"])
    assert not Judge(made, None, seed=5).in_folds


def _points(odds: list[float], inside: list[bool]) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """Return the points of one drive, 30 s apart, of which one feature holds the log-odds."""
    points = np.zeros(len(odds), SEEN_POINT)
    points["time"], points["weight"] = 30_000 * np.arange(len(odds)), 1.0
    points["features"][:, 0] = odds
    return points, np.array(inside)


@pytest.mark.parametrize(("told", "trusted"), [([-3.0] * 5 + [3.0] * 5, True), ([3.0] * 5 + [-3.0] * 5, False)])
def test_log_odds_that_point_at_true_starts_are_trusted_and_others_are_not(told: list[float], *, trusted: bool) -> None:
    near = np.concatenate(([0.0, 1.0], np.zeros(FEATURES - 1)))
    share, _ = fit_start(near, *_points(told, [False] * 5 + [True] * 5))
    assert share == (max(SHARES) if trusted else min(SHARES))


def test_no_search_is_as_likely_as_it_was_among_the_drives() -> None:
    near, told = np.zeros(FEATURES + 1), [0.0] * 10
    searched = fit_start(near, *_points(told, [False] * 5 + [True] * 5))
    never = fit_start(near, *_points(told, [False] * 10))
    assert searched[1] == min(NONE)
    assert never[1] == max(NONE)
