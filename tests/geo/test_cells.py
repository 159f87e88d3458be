"""Cells are H3's own, and parents follow from cells alone."""

import h3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.cells import NULL_CELL, locate, parent
from geo.fix import NULL_DEGREES

places = st.lists(st.tuples(st.integers(-90_000_000, 90_000_000), st.integers(-180_000_000, 180_000_000)), max_size=20)


@given(places)
def test_cells_and_parents_are_those_of_h3(points: list[tuple[int, int]]) -> None:
    lat, lon = np.array(points, np.int32).reshape(-1, 2).T
    cells = locate(lat, lon)
    expected = [h3.latlng_to_cell(a / 1_000_000, b / 1_000_000, 9) for a, b in points]
    assert cells.tolist() == [h3.str_to_int(cell) for cell in expected]
    for resolution in (9, 8, 7, 0):
        parents = [h3.str_to_int(h3.cell_to_parent(cell, resolution)) for cell in expected]
        assert parent(cells, resolution).tolist() == parents


def test_a_null_place_has_no_cell_and_no_parent() -> None:
    lat, lon = np.array([NULL_DEGREES, 14_550_000], np.int32), np.array([NULL_DEGREES, 121_030_000], np.int32)
    cells = locate(lat, lon)
    assert cells.tolist() == [NULL_CELL, h3.str_to_int(h3.latlng_to_cell(14.55, 121.03, 9))]
    assert parent(cells, 8)[0] == NULL_CELL


def test_a_finer_resolution_is_no_parent() -> None:
    with pytest.raises(ValueError, match="finer"):
        parent(locate(np.array([0], np.int32), np.array([0], np.int32)), 10)
