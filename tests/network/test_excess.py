"""With a road network excess is measured by road, and said so; off the network as the crow flies."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geo import trips
from geo.network import Roads, build_network
from parkpal.commands.lake import lake
from parkpal.simulate.city import build_city, to_degrees
from parkpal.simulate.simulation import simulate
from pipeline.events_file import read_events
from pipeline.log import POSITIONS, REJECTED
from pipeline.log.open import open_log
from pipeline.network import METHODS, detector, measure_excess, read_roads, save
from pipeline.replay import Sizes, append, arrange
from pipeline.run import Run, run

START_MS = 1_772_582_400_000
SEED = 4


def write_network(path: Path) -> None:
    """Write the streets of the simulated city as a network."""
    city = build_city(np.random.default_rng([SEED, 0]))
    lat, lon = (np.round(axis * 1e6).astype(np.int32) for axis in to_degrees(city.x, city.y))
    save(build_network(lat, lon, city.tail.astype(np.int32), city.head.astype(np.int32), []), path)


def make_lake(folder: Path, name: str, network: Path | None) -> None:
    url = f"sqlite://{folder}/{name}.sqlite"
    log = open_log(url)
    log.create({POSITIONS: 2, REJECTED: 1})
    append(log, arrange(read_events(folder / "events.parquet"), 0), Sizes(500, 500), speed=None, told=lambda _: None)
    log.close()
    run(Run(url, str(folder / name), folder / "fences.geojson", network=network, until_end=True))


def sessions(lake: Path) -> pl.DataFrame:
    found = pl.read_parquet(lake / "circling_sessions" / "**/*.parquet", hive_partitioning=False)
    return found.sort("session_id")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a simulated city, its network, and lakes made without and with it."""
    folder = tmp_path_factory.mktemp("city")
    simulate(SEED, 60, 0.5, START_MS).write(folder)
    write_network(folder / "city.network")
    make_lake(folder, "crow", None)
    make_lake(folder, "road", folder / "city.network")
    return folder


def test_the_dataflow_measures_excess_by_road_where_there_is_one(city: Path) -> None:
    crow, road = sessions(city / "crow"), sessions(city / "road")
    assert set(crow["method"].cast(pl.String)) == {"crow"}
    by_road = road["method"].cast(pl.String) == "network"
    assert by_road.mean() > 0.8, "the city has roads wherever cars park"
    same = [name for name in crow.columns if name not in {"excess_m", "method", "detector"}]
    assert crow.select(same).equals(road.select(same)), "nothing else depends on the network"
    assert (crow["excess_m"] != road["excess_m"]).any()


def test_sessions_say_which_network_measured_them(city: Path) -> None:
    roads = read_roads(city / "city.network")
    assert roads is not None
    assert set(sessions(city / "crow")["detector"].cast(pl.String)) == {trips.DETECTOR}
    assert set(sessions(city / "road")["detector"].cast(pl.String)) == {f"{trips.DETECTOR}+roads.{roads.version}"}
    found = pl.read_parquet(city / "road" / "trips" / "**/*.parquet", hive_partitioning=False)
    assert set(found["detector"].cast(pl.String)) == {trips.DETECTOR}, "no other table depends on it"


def test_the_same_network_proves_the_lake_and_rebuilds_it_and_none_compares_nothing(city: Path) -> None:
    options = ["--lake", str(city / "road"), "--fences", str(city / "fences.geojson")]
    network, days = ["--network", str(city / "city.network")], ["--from", "2026-03-04", "--to", "2026-03-04"]
    before = sessions(city / "road")
    proved = CliRunner().invoke(lake, ["audit", "--deep", *options, *network])
    assert (proved.exit_code, "not compared" in proved.output) == (0, False), proved.output
    other = CliRunner().invoke(lake, ["audit", "--deep", *options])
    assert (other.exit_code, "not compared" in other.output) == (0, True), other.output
    rebuilt = CliRunner().invoke(lake, ["rebuild", *options, *network, *days, "--tables", "circling_sessions"])
    assert rebuilt.exit_code == 0, rebuilt.output
    assert sessions(city / "road").equals(before)


def session(lat: int, lon: int, near: tuple[int, int], near_m: float) -> NDArray[np.void]:
    events = np.zeros(1, trips.EVENT)
    events["kind"], events["lat"], events["lon"], events["excess_m"] = trips.TRIP, lat, lon, 77.0
    events["near_lat"], events["near_lon"], events["near_m"] = *near, near_m
    return events


def one_way() -> Roads:
    lat, lon = np.array([14_550_000, 14_550_000], np.int32), np.array([121_030_000, 121_033_000], np.int32)
    return Roads(build_network(lat, lon, np.array([0], np.int32), np.array([1], np.int32), []))


@given(st.integers(0, 3_000), st.integers(0, 3_000), st.floats(0, 5_000))
def test_excess_is_what_was_driven_beyond_the_shortest_way(start: int, end: int, driven_m: float) -> None:
    roads = one_way()
    there = session(14_550_000, 121_030_000 + end, (14_550_000, 121_030_000 + start), driven_m)
    (excess_m,), (method,) = measure_excess(there, roads)
    if end < start:
        assert (excess_m, METHODS[method]) == (77.0, "crow"), "nobody may drive back"
    else:
        street_m = (end - start) / 3_000 * float(roads.length_m[0])
        assert excess_m == pytest.approx(max(0.0, driven_m - street_m), abs=0.01)
        assert METHODS[method] == "network"
    (excess_m,), (method,) = measure_excess(there, None)
    assert (excess_m, METHODS[method]) == (77.0, "crow")


def test_another_network_has_another_name_and_the_same_one_the_same() -> None:
    lat, lon = np.array([14_550_000, 14_550_001], np.int32), np.array([121_030_000, 121_033_000], np.int32)
    other = Roads(build_network(lat, lon, np.array([0], np.int32), np.array([1], np.int32), []))
    assert detector(one_way()) == detector(one_way()) != detector(other)
    assert detector(None) == trips.DETECTOR
