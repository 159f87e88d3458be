"""The index answers as brute force does, for any fences anywhere."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.boundary import distance_m
from geo.fence_index import NO_VERSION, build_index, fence_key, locate, version_at, zone_of
from geo.fences import FOREVER, FenceVersion
from geo.fix import NULL_DEGREES
from tests.geo import geofence_twin as twin
from tests.geo.shapes import PLACES, box, circle, fence, history, neighbourhood, ring


def shape_of(version: FenceVersion) -> shapely.MultiPolygon:
    """The version in microdegrees, (lat, lon)."""
    rings = [[[(lat * 1e6, lon * 1e6) for lat, lon in ring] for ring in polygon] for polygon in version.polygons]
    return shapely.MultiPolygon([(shell, holes) for shell, *holes in rings])


def held_by(versions: list[FenceVersion], lat: np.ndarray, lon: np.ndarray, time: np.ndarray) -> np.ndarray:
    """bool[version, place] as the index says."""
    index = build_index(versions)
    offsets, found = locate(index, lat, lon, time)
    held = np.zeros((len(versions), len(lat)), bool)
    place = np.repeat(np.arange(len(lat)), np.diff(offsets))
    rows = [versions.index(index.versions[row]) for row in found]
    held[rows, place] = True
    assert held.sum() == len(found), "a version was named twice for one place"
    return held


def brute_force(versions: list[FenceVersion], lat: np.ndarray, lon: np.ndarray, time: np.ndarray) -> np.ndarray:
    return np.array(
        [shapely.contains_xy(shape_of(v), lat, lon) & (v.valid_from <= time) & (time < v.valid_to) for v in versions]
    )


def on_boundary(versions: list[FenceVersion], lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    points = shapely.points(lat, lon)
    return np.array([shapely.distance(shapely.boundary(shape_of(v)), points) < 1e-3 for v in versions])


def places_near(
    versions: list[FenceVersion], place: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Microdegrees in the neighbourhood, many of them within a few microdegrees of a corner or an edge."""
    corners = np.array([corner for v in versions for polygon in v.polygons for r in polygon for corner in r]) * 1e6
    share = rng.uniform(0, 1, (len(corners) - 1, 1))
    edges = corners[:-1] * share + corners[1:] * (1 - share)
    near = np.concatenate([corners, edges, edges]) + rng.integers(-3, 4, (3 * len(corners) - 2, 2))
    wide = np.array(place) * 1e6 + rng.uniform(-6000, 6000, (600, 2))
    lat, lon = np.round(np.concatenate([near, wide])).astype(np.int32).T
    return lat, lon


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), place=st.sampled_from(PLACES))
def test_locate_equals_brute_force(seed: int, place: tuple[float, float]) -> None:
    """Holes, islands, slivers, blobs; inside, outside and within 0.3 m of the boundary; in and out of force."""
    rng = np.random.default_rng(seed)
    versions = [
        version
        for shape in neighbourhood(place, rng)
        for version in history((0, 500, shape), (500, 700, shape), (800, FOREVER, shape))
    ]
    valid = [v for v in versions if shapely.is_valid(shape_of(v))]
    lat, lon = places_near(valid, place, rng)
    time = rng.integers(0, 1000, len(lat))
    differ = held_by(valid, lat, lon, time) != brute_force(valid, lat, lon, time)
    assert not (differ & ~on_boundary(valid, lat, lon)).any()


def test_fences_of_every_size_in_several_cities() -> None:
    """One index holds a 28 m sliver, a town and a region, on four continents."""
    rng = np.random.default_rng(3)
    street = [(-900, -900), (-880, -900), (900, 880), (900, 900)]
    shapes = {f"{i} street": ring(place, street) for i, place in enumerate(PLACES)}
    for i, place in enumerate(PLACES):
        shapes |= {f"{i} {radius}": circle(place, radius, corners=40) for radius in (20, 300, 5_000, 80_000)}
    versions = [fence(name, ((shell,),)) for name, shell in shapes.items()]
    lat, lon = (
        np.concatenate(
            [
                np.array(place) * 1e6 + rng.normal(0, spread, (400, 2))
                for place in PLACES
                for spread in (200, 5_000, 500_000)
            ]
        )
        .astype(np.int32)
        .T
    )
    time = np.ones(len(lat), np.int64)
    differ = held_by(versions, lat, lon, time) != brute_force(versions, lat, lon, time)
    assert not (differ & ~on_boundary(versions, lat, lon)).any()


def test_a_whole_hemisphere_and_the_ends_of_the_earth() -> None:
    """A fence may be as wide as the rules allow, and places lie at the poles and the antimeridian."""
    half = fence("half", ((((-90.0, 0.0), (-90.0, 180.0), (90.0, 180.0), (90.0, 0.0), (-90.0, 0.0)),),))
    lat = np.array([0, 89_999_999, -89_999_999, 1, 1], np.int32)
    lon = np.array([1, 179_999_999, 90_000_000, -180_000_000, -1], np.int32)
    assert held_by([half], lat, lon, np.zeros(5, np.int64)).tolist() == [[True, True, True, False, False]]


def test_null_places_are_held_by_nothing() -> None:
    index = build_index([fence("a", ((box(PLACES[0], -50, -50, 50, 50),),))])
    null, zero = np.array([NULL_DEGREES], np.int32), np.zeros(1, np.int64)
    assert locate(index, null, null, zero)[0].tolist() == [0, 0]
    assert zone_of(index, null, null, zero).tolist() == [NO_VERSION]


def test_an_index_without_fences_holds_nothing() -> None:
    index = build_index([])
    place = np.array([53_340_000], np.int32)
    assert zone_of(index, place, place, np.zeros(1, np.int64)).tolist() == [NO_VERSION]


def test_columns_of_different_length_are_refused() -> None:
    one, two = np.zeros(1, np.int32), np.zeros(2, np.int32)
    with pytest.raises(ValueError, match="length"):
        locate(build_index([]), one, two, np.zeros(1, np.int64))


def test_zone_of_is_the_smallest_zone_ties_by_id_never_an_area() -> None:
    place = PLACES[1]
    small = ((box(place, -50, -50, 50, 50),),)
    versions = [
        fence("b", small),
        fence("a", small),
        fence("wide", ((box(place, -500, -500, 500, 500),),)),
        fence("tiny-area", ((box(place, -20, -20, 20, 20),),), kind="area"),
    ]
    index = build_index(versions)
    lat = np.array([14_550_000, 14_552_000, 14_560_000], np.int32)
    rows = zone_of(index, lat, np.full(3, 121_030_000, np.int32), np.zeros(3, np.int64))
    assert [index.versions[row].fence_id if row != NO_VERSION else None for row in rows] == ["a", "wide", None]


def test_version_at_follows_a_fence_through_its_history() -> None:
    shape = fence("a", ((box(PLACES[0], -50, -50, 50, 50),),))
    columns = build_index(history((100, 200, shape), (200, 300, shape), (400, FOREVER, shape))).columns
    times = (99, 100, 199, 200, 299, 300, 399, 400, 10**15)
    assert [version_at(columns, fence_key("a"), time) for time in times] == [-1, 0, 0, 1, 1, -1, -1, 2, 2]
    assert version_at(columns, fence_key("b"), 150) == NO_VERSION


def test_overlapping_versions_are_refused() -> None:
    shape = fence("a", ((box(PLACES[0], -50, -50, 50, 50),),))
    with pytest.raises(ValueError, match="overlap"):
        build_index(history((0, 200, shape), (100, 300, shape)))


def test_fence_keys_never_change() -> None:
    """States and lakes outlive a release, so this number is part of the format."""
    assert fence_key("makati-cbd") == -1430978601093444774


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), place=st.sampled_from(PLACES))
def test_distance_equals_the_plain_one(seed: int, place: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    versions = neighbourhood(place, rng)
    index = build_index(versions)
    lat, lon = places_near(versions, place, rng)
    for row, version in zip(index.columns.versions, index.versions, strict=True):
        for i in rng.integers(0, len(lat), 8):
            metres = distance_m(index.columns.edges, row["first_edge"], row["last_edge"], lat[i], lon[i])
            assert metres == pytest.approx(twin.distance_m(version, int(lat[i]), int(lon[i])), abs=1e-6)
