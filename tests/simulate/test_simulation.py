"""The simulated city is the same for the same seed, and its truth and its faults are what its words say."""

import json
from pathlib import Path

import polars as pl
import pytest
import shapely
from click.testing import CliRunner

from parkpal.commands.simulate import simulate as command
from parkpal.simulate.simulation import EVENTS, Simulation, simulate
from parkpal.simulate.truth import DEVICES, FENCES, PARKS, SEARCH

START_MS = 1_772_582_400_000
TRUTH = {"search": SEARCH, "parks": PARKS, "fences": FENCES, "devices": DEVICES}


@pytest.fixture(scope="module")
def city() -> Simulation:
    return simulate(11, 300, 1, START_MS)


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate(seed, 12, 0.5, START_MS).write(tmp_path / folder)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"events.parquet", "fences.geojson", *(f"truth_{name}.parquet" for name in TRUTH)}
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "events.parquet").read_bytes() != (tmp_path / "c" / "events.parquet").read_bytes()


def test_tables_have_their_columns(city: Simulation) -> None:
    assert dict(city.events.schema) == EVENTS
    for name, schema in TRUTH.items():
        assert dict(city.truth[name].schema) == schema


def test_an_event_is_a_fix_or_an_activity_within_range(city: Simulation) -> None:
    events = city.events
    fix, activity = events["lat"].is_not_null(), events["activity"].is_not_null()
    assert (fix ^ activity).all()
    assert (fix == events["lon"].is_not_null()).all()
    assert events["lat"].drop_nulls().is_between(14.5, 14.6).all()
    assert events["lon"].drop_nulls().is_between(121.0, 121.06).all()
    assert events["heading_deg"].drop_nulls().is_between(0, 359.99).all()
    assert events["speed_mps"].drop_nulls().min() >= 0
    assert events["activity_confidence"].drop_nulls().is_between(0, 100).all()


def test_seq_counts_without_gap_from_zero_and_repeats_say_the_same(city: Simulation) -> None:
    seqs = city.events.group_by("device_id").agg(pl.col("seq").n_unique(), last=pl.col("seq").max())
    assert (seqs["seq"] == seqs["last"] + 1).all()
    content = pl.struct(pl.exclude("receive_time", "device_id", "seq"))
    repeats = city.events.group_by("device_id", "seq").agg(content.n_unique().alias("contents"), pl.len())
    assert repeats["contents"].max() == 1
    assert (repeats["len"] > 1).sum() > 0


def test_phones_have_the_promised_faults(city: Simulation) -> None:
    devices, events = city.truth["devices"], city.events
    assert set(devices["sampling"]) == {"1hz", "5s", "adaptive"}
    wrong = devices.filter(pl.col("clock_kind") != "none")
    assert 0 < wrong.height < 30
    assert (wrong["clock_skew_s"].abs() >= 20).all()
    right = events.join(wrong, on="device_id", how="anti")
    assert (right["receive_time"] > right["event_time"]).all()
    assert events.join(wrong, on="device_id").filter(pl.col("event_time") > pl.col("receive_time")).height > 0
    seconds_late = (right["receive_time"] - right["event_time"]) / 1000
    assert seconds_late.quantile(0.5) < 60
    assert seconds_late.max() > 900
    out_of_order = right.sort("device_id", "receive_time").filter(pl.col("seq").diff().over("device_id") < 0)
    assert out_of_order.height > 0


def test_searches_are_as_long_as_those_of_the_real_drivers_of_frankfurt(city: Simulation) -> None:
    trips = city.truth["search"].filter(pl.col("label") == "parker")
    parked, searched = trips.filter(pl.col("outcome") == "parked"), trips.filter("searched")
    assert (parked["duration_s"] == 0).mean() == pytest.approx(0.355, abs=0.12)
    assert parked["duration_s"].median() == pytest.approx(30, abs=25)
    assert parked["duration_s"].quantile(0.9) == pytest.approx(195, abs=80)
    took = (searched["search_end"] - searched["search_start"]) / 1000
    assert (took - searched["duration_s"]).abs().max() < 0.01
    assert (searched["distance_m"] > 0).all()
    assert set(trips["outcome"]) <= {"parked", "gave_up"}


def test_only_parkers_search(city: Simulation) -> None:
    searched = city.truth["search"].filter("searched")
    assert set(searched["label"]) == {"parker"}
    assert set(city.truth["search"]["label"]) >= {
        "through",
        "pickup_loop",
        "delivery_van",
        "jeepney_passenger",
        "school_run",
    }


def test_parks_and_unparks_alternate_at_one_place(city: Simulation) -> None:
    for rows in city.truth["parks"].partition_by("device_id"):
        kinds = rows.sort("time")["kind"].to_list()
        assert kinds == ["park", "unpark"] * (len(kinds) // 2) + ["park"] * (len(kinds) % 2)


def test_no_fix_comes_from_inside_a_garage(city: Simulation) -> None:
    honest = city.truth["devices"].filter(pl.col("clock_kind") == "none")
    parks = city.truth["parks"].filter((pl.col("place") == "garage") & (pl.col("kind") == "park"))
    parks = parks.join(honest, on="device_id", how="semi").select("device_id", parked="time")
    fixes = city.events.filter(pl.col("lat").is_not_null()).join(parks, on="device_id")
    assert fixes.height > 0
    assert fixes.filter((pl.col("event_time") - pl.col("parked")).abs() <= 3_000).is_empty()


def test_fence_truth_agrees_with_the_drawn_shapes(city: Simulation) -> None:
    features = json.loads(json.dumps(city.fences))["features"]
    shapes = {f["properties"]["fence_id"]: shapely.geometry.shape(f["geometry"]) for f in features}
    assert all(shape.is_valid for shape in shapes.values())
    assert {f["properties"]["cls"] for f in features} == {"circle", "rect", "blob", "hole", "street", "multi"}
    assert {f["properties"]["kind"] for f in features} == {"zone", "area"}
    crossings = city.truth["fences"]
    assert crossings.filter(pl.col("initial") & (pl.col("kind") == "exit")).is_empty()
    for rows in crossings.partition_by("device_id", "fence_id"):
        kinds = rows.sort("time")["kind"].to_list()
        assert kinds == (["enter", "exit"] * len(kinds))[: len(kinds)]
    # A precise, frequent phone with a right clock is where the truth says it is.
    sure = city.truth["devices"].filter((pl.col("gps_sigma") < 4) & (pl.col("clock_kind") == "none"))
    stays = crossings.filter((pl.col("kind") == "exit") & (pl.col("dwell_s") > 40)).join(
        sure, on="device_id", how="semi"
    )
    fixes = city.events.filter(pl.col("lat").is_not_null() & (pl.col("accuracy_m") < 15))
    middle = stays.with_columns(event_time=(pl.col("time") - pl.col("dwell_s") * 500).cast(pl.Int64)).sort("event_time")
    seen = middle.join_asof(
        fixes.sort("event_time"),
        on="event_time",
        by="device_id",
        strategy="nearest",
        tolerance=3_000,
        check_sortedness=False,
    ).drop_nulls("lat")
    inside = [
        shapes[f].contains(shapely.Point(lon, lat)) for f, lat, lon in seen.select("fence_id", "lat", "lon").rows()
    ]
    assert sum(inside) / len(inside) > 0.85


def test_command_writes_the_files_and_says_what_is_in_them(tmp_path: Path) -> None:
    out = tmp_path / "city"
    run = CliRunner().invoke(command, ["--seed", "2", "--devices", "8", "--hours", "0.5", "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "8 phones" in run.output
    events = pl.read_parquet(out / "events.parquet")
    assert events["device_id"].n_unique() == 8
    assert events["event_time"].min() >= START_MS - 700_000
    assert json.loads((out / "fences.geojson").read_text())["type"] == "FeatureCollection"


@pytest.mark.parametrize(("option", "value"), [("--devices", "0"), ("--hours", "0"), ("--start", "yesterday")])
def test_command_refuses_what_is_no_city(tmp_path: Path, option: str, value: str) -> None:
    run = CliRunner().invoke(command, ["--out", str(tmp_path), option, value])
    assert run.exit_code == 2
    assert option in run.output
