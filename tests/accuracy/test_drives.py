"""Real drives are scored by the labels they come with, and no method sees those of the drives it is judged on."""

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console

from parkpal.accuracy import baselines, drives, folds, logistic, ways
from parkpal.accuracy.calibration import reliability
from parkpal.accuracy.drives import Drives
from parkpal.accuracy.measure import METHODS
from parkpal.accuracy.report import print_drives
from parkpal.accuracy.ways import Way
from parkpal.commands.accuracy import accuracy
from tests.accuracy.frankfurt import write_drives

SEARCHES_S = [0, 180, 0, 300, 60, 0, 240, 120, 0, 180, 60, 0, 420, 0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_drives(folder / "start2park", SEARCHES_S)
    return folder


@pytest.fixture(scope="module")
def made(data: Path) -> Drives:
    return drives.read_drives(data / "start2park")


def test_the_truth_itself_scores_full_marks(made: Drives) -> None:
    figures = drives.score(made.truth, made.truth)
    assert (figures["search_mae_s"], figures["start_60s"], figures["park_60s"], figures["long_f1"]) == (0, 1, 1, 1)
    assert figures["place_p90_m"] == 0
    assert made.truth["walk"].all()


def test_a_drive_without_a_park_is_a_miss_for_time_and_place(made: Drives) -> None:
    lost = made.truth.with_columns(
        pl.lit(None).alias(name) for name in ("park_time", "lat", "lon")
    ).with_columns(search_s=pl.lit(0.0))  # fmt: skip
    figures = drives.score(made.truth, lost)
    assert (figures["start_60s"], figures["park_60s"]) == (0, 0)
    assert figures["search_mae_s"] == pytest.approx(np.mean(SEARCHES_S))
    assert figures["place_p90_m"] == np.inf


def test_a_worse_phone_tells_a_fix_every_15_s_with_noise(made: Drives) -> None:
    worse = drives.degrade(made, 3).points
    gaps_s = worse.select(pl.col("time").diff().over("trip_id")).to_series().drop_nulls() / 1000
    assert gaps_s.min() >= 15
    true = made.points.join(worse.select("trip_id", "time", noisy="lat"), on=["trip_id", "time"])
    assert 12 < (true["noisy"] - true["lat"]).std() * 111_320 < 18


def test_every_drive_is_judged_once_by_who_has_not_seen_it() -> None:
    parts = folds.split(121, seed=4)
    assert np.array_equal(np.sort(np.concatenate([judged for _, judged in parts])), np.arange(121))
    assert all(not set(learnt) & set(judged) and len(learnt) + len(judged) == 121 for learnt, judged in parts)


def test_an_interval_holds_the_mean_and_narrows_with_more_drives() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    mean, low, high = folds.interval(values, seed=2)
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * 2 / np.sqrt(400), rel=0.15)


def way(points: list[tuple[float, float, float]]) -> Way:
    """Build a way from (seconds before the park, metres east, metres north)."""
    since, east, north = np.array(points, float).T
    return Way(-since, east, north, np.hypot(east, north))


STRAIGHT = way([(seconds, seconds * 12.0, 0) for seconds in range(180, -1, -6)])
ROUND = way(
    [(seconds, 200 + (seconds - 120) * 12.0, 0) for seconds in range(180, 120, -6)]
    + [(seconds, *(200 * wave(seconds * np.pi / 60) for wave in (np.cos, np.sin))) for seconds in range(120, 30, -6)]
    + [(seconds, seconds * 2.0, 0) for seconds in range(30, -1, -6)]
)


def test_each_simple_rule_says_what_its_words_say() -> None:
    assert baselines.always_zero(ROUND) == 0
    assert baselines.within_radius(STRAIGHT) == 30
    assert baselines.near_and_slow(STRAIGHT) == 0, "fast to the end"
    assert baselines.near_and_slow(STRAIGHT, 200, 99) == 12
    assert baselines.excess(STRAIGHT) == 0
    assert baselines.excess(ROUND) == 132, "since within 400 m, for it drove round"
    assert baselines.slow_samples(ROUND) == 24, "from the last fast step on"
    assert baselines.slow_samples(STRAIGHT) == 0


def test_the_logistic_finds_the_searches_it_was_shown(made: Drives) -> None:
    to_park = ways.of_drives(made, made.truth)
    search_s = made.truth["search_s"].to_numpy()
    rule = logistic.fit(to_park, search_s)
    assert np.abs(ways.durations(rule, to_park) - search_s).mean() < 20
    assert np.allclose(logistic.revisit_m(STRAIGHT)[:11], 500), "nothing is a minute old"


def test_a_confidence_that_is_right_has_no_error_and_one_that_boasts_has_some() -> None:
    said = np.random.default_rng(3).random(4_000)
    so = np.random.default_rng(4).random(4_000) < said
    honest, boasting = reliability(said, so), reliability(np.ones(4_000), so)
    assert honest.error is not None
    assert boasting.error is not None
    assert honest.error < 0.05
    assert boasting.error == pytest.approx(0.5, abs=0.05)
    assert sum(honest.number) == 4_000


def test_the_command_prints_every_method_and_draws(data: Path, tmp_path: Path) -> None:
    answer = CliRunner().invoke(accuracy, ["--json", "--out", str(tmp_path)], env={"PARKPAL_DATA": str(data)})
    assert answer.exit_code == 0, answer.output
    figures = json.loads(answer.output)["drives"]
    methods = figures["methods"]
    assert set(methods) == {"detector", "prototype", "published network", *METHODS}
    assert methods["published network"]["search_mae_s"][0] == 0
    assert methods["detector"]["park_60s"] > 0.8
    assert methods["always zero"]["search_mae_s"][0] == pytest.approx(np.mean(SEARCHES_S))
    assert {path.name for path in tmp_path.iterdir()} == {"traces.png", "errors.png", "calibration.png"}
    console = Console(width=120, record=True, file=io.StringIO())
    print_drives(console, figures)
    assert "published network" in console.export_text()
