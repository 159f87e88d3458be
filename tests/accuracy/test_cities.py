"""What is scored is what the dataflow writes, and a figure says what its words say."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from click.testing import CliRunner

from parkpal.accuracy import cities
from parkpal.accuracy.cities import City
from parkpal.accuracy.detect import decide, to_tables
from parkpal.commands.accuracy import accuracy
from parkpal.simulate.simulation import simulate
from pipeline.events_file import read_events
from pipeline.log import POSITIONS, REJECTED
from pipeline.log.open import open_log
from pipeline.replay import Sizes, append, arrange
from pipeline.run import Run, run

START_MS = 1_772_582_400_000
TABLES = ("park_events", "trips", "circling_sessions")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("city")
    simulate(5, 150, 0.7, START_MS).write(out)
    return out


@pytest.fixture(scope="module")
def city(folder: Path) -> City:
    return cities.read_city(folder)


@pytest.fixture(scope="module")
def tables(city: City) -> dict[str, pl.DataFrame]:
    return to_tables(decide(city.seen), city.seen.device_ids, city.fences)


def test_the_rows_that_are_scored_are_the_dataflows(
    folder: Path, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/log.sqlite"
    log = open_log(url)
    log.create({POSITIONS: 4, REJECTED: 1})
    append(log, arrange(read_events(folder / "events.parquet"), 0), Sizes(20, 500, 3), speed=None, told=lambda _: None)
    log.close()
    run(Run(url, str(tmp_path / "lake"), folder / "fences.geojson", until_end=True))
    for name in TABLES:
        written = pl.read_parquet(tmp_path / "lake" / name / "**/*.parquet", hive_partitioning=False)
        written = written.with_columns(pl.selectors.datetime().dt.epoch("ms"), pl.selectors.decimal().cast(pl.Float64))
        key = written.columns[0]
        written = written.drop("zone_circling_s", strict=False)  # who scores looks at no fence's entries
        scored = tables[name].select(written.columns)
        assert written.height > 10
        assert written.sort(key).equals(scored.cast(written.schema).sort(key)), name  # type: ignore[arg-type]


def truth_as_sessions(city: City) -> pl.DataFrame:
    return city.searches.filter("searched").select(
        "device_id", "search_start", "search_end", "outcome", search_s="duration_s", lat="end_lat", lon="end_lon"
    )


def test_the_truth_itself_scores_full_marks(city: City) -> None:
    figures = cities.score_searches(city.searches, truth_as_sessions(city))
    assert (figures["iou"]["f1"], figures["end"]["f1"], figures["outcome_right"]) == (1, 1, 1)
    assert figures["search_s"]["mae"] < 1
    assert abs(figures["minutes_per_cell"]["bias_pct"]) < 1e-6
    assert figures["false_per_100"]["all"] == 0
    parks = city.parks.select("device_id", "lat", "lon", event_time="time", kind=pl.lit("park_start"))
    found = parks.filter(city.parks["kind"] == "park")
    assert cities.score_parks(city.parks, found)["park_start_60s"]["f1"] == 1


def test_what_is_missing_costs_recall_and_what_is_made_up_costs_precision(city: City) -> None:
    sessions = truth_as_sessions(city)
    half = cities.score_searches(city.searches, sessions.gather_every(2))
    assert half["iou"]["precision"] == 1
    assert 0.3 < half["iou"]["recall"] < 0.7
    assert half["minutes_per_cell"]["bias_pct"] < -25
    quiet = city.searches.filter(pl.col("label") == "through")
    made_up = quiet.select(
        "device_id", "outcome", search_start="trip_start", search_end="trip_end",
        search_s=(pl.col("trip_end") - pl.col("trip_start")) / 1000,
    ).with_columns(lat=pl.lit(14.55), lon=pl.lit(121.03))  # fmt: skip
    worse = cities.score_searches(city.searches, pl.concat([sessions, made_up.select(sessions.columns)]))
    assert worse["iou"]["recall"] == 1
    assert worse["false_per_100"]["by_label"]["through"] == (quiet.height, quiet.height)


def test_the_figures_are_those_of_the_scorer_beside_the_data(
    folder: Path, city: City, tables: dict[str, pl.DataFrame]
) -> None:
    theirs = scorer()
    searches = cities.judged(city, tables["circling_sessions"])
    mine, other = cities.score_searches(city.searches, searches), theirs.score_searches(_rows(city.searches), searches)
    for name in ("iou", "end"):
        assert mine[name] == pytest.approx(other[name], abs=1e-4)
    assert mine["false_per_100"]["motor"] == pytest.approx(other["false_per_100_trips"]["motor_vehicle"], abs=0.01)
    for name in ("bias_pct", "wape_pct"):
        assert mine["minutes_per_cell"][name] == pytest.approx(other["minutes_per_cell"][name], abs=0.1)
    parks = cities.judged(city, tables["park_events"])
    other = theirs.score_parks(_rows(city.parks), parks)
    for name, line in cities.score_parks(city.parks, parks).items():
        assert {k: line[k] for k in ("tp", "fp", "fn")} == {k: other[name][k] for k in ("tp", "fp", "fn")}


def _rows(table: pl.DataFrame) -> list[dict[str, object]]:
    return table.to_dicts()


def scorer() -> ModuleType:
    path = Path(os.environ.get("PARKPAL_DATA", "")) / "score.py"
    if not path.is_file():
        pytest.skip("PARKPAL_DATA names no folder with score.py")
    spec = importlib.util.spec_from_file_location("score", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_scores_a_city_of_ones_own(folder: Path) -> None:
    answer = CliRunner().invoke(accuracy, ["--sim", str(folder)])
    assert answer.exit_code == 0, answer.output
    assert "searches, overlap .3" in answer.output


def test_the_command_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PARKPAL_DATA", raising=False)
    missing = CliRunner().invoke(accuracy, [])
    assert missing.exit_code == 2
    assert "PARKPAL_DATA" in missing.output
    empty = CliRunner().invoke(accuracy, [], env={"PARKPAL_DATA": str(tmp_path)})
    assert empty.exit_code == 2
