"""Columns are views of the arrays they come from, with the nulls where the null value stood."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from pipeline.lake.tables import DEGREES, ENUM, TABLES, TIME, degrees, enum, floats, integers, times


def test_degrees_are_the_microdegrees_themselves() -> None:
    column = degrees(np.array([14_500_000, -7, 0], np.int32), -7)
    assert column.type == DEGREES
    assert column.to_pylist() == [Decimal("14.500000"), None, Decimal("0.000000")]


def test_degrees_of_a_record_column_with_gaps_between_its_values_are_right() -> None:
    rows = np.array([(1, 5), (2, 6)], np.dtype([("lat", "<i4"), ("seq", "<i8")]))
    assert degrees(rows["lat"], -1).to_pylist() == [Decimal("0.000001"), Decimal("0.000002")]


def test_times_are_milliseconds_in_utc() -> None:
    column = times(np.array([1_000, -1], np.int64), -1)
    assert column.type == TIME
    assert column.to_pylist() == [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), None]


def test_integers_and_floats_keep_their_width_and_null_what_says_null() -> None:
    assert integers(np.array([1, -1], np.int8), -1).equals(pa.array([1, None], pa.int8()))
    assert floats(np.array([1.5, np.nan], np.float32)).equals(pa.array([1.5, None], pa.float32()))


def test_enum_codes_become_names() -> None:
    column = enum(np.array([1, -1, 0], np.int8), ("a", "b"))
    assert column.type == ENUM
    assert column.to_pylist() == ["b", None, "a"]


def test_a_buffer_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="no buffer of"):
        degrees(np.array([1], np.int64), 0)


def test_no_rows_give_an_empty_column() -> None:
    assert len(times(np.array([], np.int64), -1)) == 0


def test_each_column_of_each_table_is_documented_and_its_date_is_a_time() -> None:
    for table in TABLES.values():
        assert set(table.comments) == set(table.schema.names)
        assert table.schema.field(table.date_column).type == TIME
