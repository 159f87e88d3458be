"""lake.duckdb and the H3 macros: the same answers as the folder and as the h3 library."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from importlib.resources import files
from pathlib import Path

import duckdb
import h3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lake import catalog
from pipeline.lake.commit import Extent
from pipeline.lake.lake import Format, Lake
from pipeline.lake.reader import connect
from pipeline.lake.tables import ROLLUPS, TABLES
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import NOON, positions

MACROS = files("pipeline.lake").joinpath("macros.sql").read_text()
PLACES = st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.integers(0, 15))


def ask(macro: str, cells: Sequence[str | None], resolution: int) -> list[int | None]:
    """Return what the macro gives for each cell."""
    values = [None if cell is None else h3.str_to_int(cell) for cell in cells]
    with duckdb.connect() as connection:
        connection.execute(MACROS)
        query = f"SELECT {macro}(cell, $resolution) FROM (SELECT unnest($cells::BIGINT[]) AS cell)"
        return [value for (value,) in connection.execute(query, {"cells": values, "resolution": resolution}).fetchall()]


@settings(max_examples=25, deadline=None)
@given(st.lists(PLACES, min_size=1, max_size=40), st.integers(0, 15))
def test_h3_parent_is_the_librarys(places: list[tuple[float, float, int]], to: int) -> None:
    cells = [h3.latlng_to_cell(*place) for place in places]
    expected = [h3.str_to_int(h3.cell_to_parent(c, to)) if to <= h3.get_resolution(c) else None for c in cells]
    assert ask("h3_parent", cells, to) == expected


@settings(max_examples=25, deadline=None)
@given(PLACES, st.integers(0, 3))
def test_descendants_fill_the_range_and_no_other_cell_lies_in_it(place: tuple[float, float, int], finer: int) -> None:
    cell = h3.latlng_to_cell(*place)
    to = min(15, place[2] + finer)
    first, last = ask("h3_first", [cell], to) + ask("h3_last", [cell], to)
    assert first is not None
    assert last is not None
    children = sorted(map(h3.str_to_int, h3.cell_to_children(cell, to)))
    assert first <= children[0]
    assert children[-1] <= last
    around = {child for near in h3.grid_disk(cell, 1) if near != cell for child in h3.cell_to_children(near, to)}
    assert not [other for other in map(h3.str_to_int, around) if first <= other <= last]


def test_pentagons_have_parents_and_ranges_as_any_cell() -> None:
    cells = h3.get_pentagons(5)
    firsts, lasts = ask("h3_first", cells, 7), ask("h3_last", cells, 7)
    for cell, first, last in zip(cells, firsts, lasts, strict=True):
        children = h3.cell_to_children(cell, 7)
        assert all((first or 0) <= h3.str_to_int(child) <= (last or 0) for child in children)
        assert set(ask("h3_parent", children, 5)) == {h3.str_to_int(cell)}


def test_a_coarser_range_and_a_null_cell_give_null() -> None:
    cell = h3.latlng_to_cell(14.55, 121.02, 9)
    assert ask("h3_first", [cell], 8) == ask("h3_last", [cell], 8) == ask("h3_parent", [None], 8) == [None]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake whose folder is named with a quote, with a row before and one after 16:00 UTC."""
    lake = Lake.create(str(tmp_path / "a city's lake"))
    writer = PartitionWriter.open(lake, 0, None)
    hour = 3_600_000
    batch = positions("a", [1, 2], event_time=[NOON + 4 * hour - 1, NOON + 4 * hour])
    writer.append("positions", batch)
    writer.extend(Extent("positions", 0, 0, 1, 2))
    writer.snapshot()
    writer.close()
    publish_pending(lake)
    return lake


def test_lake_duckdb_has_the_views_with_local_days_and_comments(lake: Lake) -> None:
    with duckdb.connect(str(lake.root / "lake.duckdb"), read_only=True) as connection:
        days = connection.execute("SELECT seq, event_date, local_date FROM positions ORDER BY seq").fetchall()
        assert days == [(1, date(2026, 3, 7), date(2026, 3, 7)), (2, date(2026, 3, 7), date(2026, 3, 8))]
        comments = connection.execute(
            "SELECT view_name, comment FROM duckdb_views() WHERE comment IS NOT NULL"
        ).fetchall()
        expected = {table.name: table.comment for table in (TABLES | ROLLUPS).values()}
        assert dict(comments) == expected | {"extents": catalog.EXTENTS_COMMENT}
        columns = "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'positions'"
        found = dict(connection.execute(columns).fetchall())
        assert all(found.values())
        assert TABLES["positions"].comments.items() <= found.items()


def test_another_process_opens_it_with_this_duckdb(lake: Lake) -> None:
    """CI does the same with the oldest and the newest that are supported."""
    script = Path(__file__).with_name("opened_by.py")
    subprocess.run([sys.executable, script, lake.root / catalog.DATABASE, duckdb.__version__], check=True)


def test_a_moved_lake_is_right_again_when_it_is_next_run(lake: Lake, tmp_path: Path) -> None:
    moved = lake.root.rename(tmp_path / "moved")
    Lake.create(str(moved))
    with duckdb.connect(str(moved / "lake.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM positions").fetchall() == [(2,)]


def test_a_lake_of_an_earlier_program_is_read_before_it_is_run_again(lake: Lake) -> None:
    shutil.rmtree(lake.root / "search_hints")
    with connect(lake) as connection:
        assert connection.execute("SELECT count(*) FROM positions").fetchall() == [(2,)]
        with pytest.raises(duckdb.CatalogException, match="search_hints"):
            connection.execute("SELECT * FROM search_hints")
    Lake.create(str(lake.root))
    with connect(lake) as connection:
        assert connection.execute("SELECT * FROM search_hints").fetchall() == []


def test_the_zone_of_a_lakes_days_is_the_one_it_was_created_with(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    Lake.create(url, Format(time_zone="Europe/Dublin"))
    assert Lake.create(url).format.time_zone == "Europe/Dublin"
