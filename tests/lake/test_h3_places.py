"""Places of H3 cells in plain SQL are those of the h3 library, anywhere on earth and across the icosahedron's edges."""

import json
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import h3
import pytest
import shapely

from pipeline.lake.catalog import define_macros

TOLERANCE_DEG = 1e-9
Corner = tuple[float, float]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        define_macros(connection)
        yield connection


def ask(connection: duckdb.DuckDBPyConnection, what: str, cells: Sequence[str]) -> list[tuple[Any, ...]]:
    query = f"SELECT {what} FROM (SELECT unnest($cells::BIGINT[]) AS cell)"
    return connection.execute(query, {"cells": [h3.str_to_int(cell) for cell in cells]}).fetchall()


def apart(one: Sequence[Corner], other: Sequence[Corner]) -> float:
    """Degrees between two rings of the same corners, wherever they begin; infinite for another number of corners."""
    if len(one) != len(other):
        return math.inf
    turned = ([*one[n:], *one[:n]] for n in range(len(one)))
    return min(max(map(between, ring, other)) for ring in turned)


def between(one: Corner, other: Corner) -> float:
    lon = (one[1] - other[1] + 180) % 360 - 180
    return max(abs(one[0] - other[0]), abs(lon) * math.cos(math.radians(one[0])))


def check(connection: duckdb.DuckDBPyConnection, cells: Sequence[str]) -> None:
    for cell, (boundary, middle) in zip(
        cells, ask(connection, "h3_boundary(cell), h3_middle(cell)", cells), strict=True
    ):
        corners = [(corner["lat"], corner["lon"]) for corner in boundary]
        assert apart(corners, h3.cell_to_boundary(cell)) < TOLERANCE_DEG, cell
        assert between((middle["lat"], middle["lon"]), h3.cell_to_latlng(cell)) < TOLERANCE_DEG, cell


@pytest.mark.parametrize("seed", [1, 2])
def test_cells_anywhere_have_the_librarys_corners_and_middle(connection: duckdb.DuckDBPyConnection, seed: int) -> None:
    draw = random.Random(seed)
    places = [(math.degrees(math.asin(draw.uniform(-1, 1))), draw.uniform(-180, 180)) for _ in range(400)]
    cells = [h3.latlng_to_cell(*place, draw.randrange(16)) for place in places]
    check(connection, [cell for cell in cells if not h3.is_pentagon(cell)])


def test_every_base_cell_has_its_place(connection: duckdb.DuckDBPyConnection) -> None:
    check(connection, [cell for cell in h3.get_res0_cells() if not h3.is_pentagon(cell)])


def test_cells_around_pentagons_and_across_faces_have_them_too(connection: duckdb.DuckDBPyConnection) -> None:
    """The hard ones: base cells with a direction less, and cells with a seventh corner."""
    near = [near for r in (1, 2, 5, 9) for pentagon in h3.get_pentagons(r) for near in h3.grid_disk(pentagon, 2)]
    cells = [cell for cell in near if not h3.is_pentagon(cell)]
    assert {len(h3.cell_to_boundary(cell)) for cell in cells} == {6, 7}
    check(connection, cells)


def test_pentagons_and_nothing_have_no_place(connection: duckdb.DuckDBPyConnection) -> None:
    for r in (0, 1, 9):
        assert set(ask(connection, "h3_boundary(cell), h3_middle(cell), h3_wkt(cell)", h3.get_pentagons(r))) == {
            (None,) * 3
        }
    assert connection.execute("SELECT h3_geojson(NULL)").fetchall() == [(None,)]


def test_geojson_and_wkt_are_the_same_closed_ring_against_the_clock(connection: duckdb.DuckDBPyConnection) -> None:
    cell = h3.latlng_to_cell(14.55, 121.03, 9)
    ((geojson, wkt),) = ask(connection, "h3_geojson(cell), h3_wkt(cell)", [cell])
    polygon = shapely.from_wkt(wkt)
    assert shapely.equals(polygon, shapely.from_geojson(geojson))
    assert json.loads(geojson)["coordinates"][0][0] == json.loads(geojson)["coordinates"][0][-1]
    assert polygon.exterior.is_ccw
    ring = h3.cells_to_geo([cell])["coordinates"][0]
    assert shapely.hausdorff_distance(polygon, shapely.Polygon(ring)) < 1e-7
