"""Foreign columns to record fields: what a field cannot hold becomes its impossible number, which geo.validity refuses.

So a value is turned without judging it, and a wrong one never looks like a null or like a right one.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from geo.fix import ACTIVITIES, MICRODEGREES, NULL_CODE, NULL_DEGREES, NULL_TIME, FixArray
from geo.validity import (
    FULL_CIRCLE_DEG,
    IMPOSSIBLE_CODE,
    IMPOSSIBLE_DEGREES,
    IMPOSSIBLE_NUMBER,
    IMPOSSIBLE_TIME,
    MAX_CONFIDENCE,
)

_MAX_DEGREES: Final = 1_000.0  # int32 microdegrees hold 2,147
_CODES: Final = {name: code for code, name in enumerate(ACTIVITIES)}

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Nulls = NDArray[np.bool_]


def times(values: Integers, null: Nulls) -> Integers:
    """Return ms UTC, or a counter such as seq."""
    return np.where(null, NULL_TIME, np.where(values < 0, IMPOSSIBLE_TIME, values))


def microdegrees(values: Floats, null: Nulls) -> NDArray[np.int32]:
    """Return degrees in microdegrees, rounded to the nearest."""
    possible = np.abs(values) <= _MAX_DEGREES  # false for NaN
    rounded = np.where(possible, np.rint(np.where(possible, values, 0.0) * MICRODEGREES), IMPOSSIBLE_DEGREES)
    return np.where(null, NULL_DEGREES, rounded).astype(np.int32)


def numbers(values: Floats, null: Nulls) -> NDArray[np.float32]:
    """Return float32 with NaN for null; a NaN that is no null is impossible."""
    with np.errstate(over="ignore"):
        small = values.astype(np.float32)
    return np.where(null, np.float32(np.nan), np.where(np.isnan(small), IMPOSSIBLE_NUMBER, small))


def headings(values: Floats, null: Nulls) -> NDArray[np.float32]:
    """Return degrees clockwise from north; a full circle is north."""
    small = numbers(values, null)
    return np.where(small == np.float32(FULL_CIRCLE_DEG), np.float32(0), small)


def confidences(values: Integers, null: Nulls) -> NDArray[np.int8]:
    """Return 0 to 100."""
    possible = (values >= 0) & (values <= MAX_CONFIDENCE)
    return np.where(null, NULL_CODE, np.where(possible, values, IMPOSSIBLE_CODE)).astype(np.int8)


def activity_code(name: str | None) -> int:
    """Return the code of an activity in any case."""
    return NULL_CODE if name is None else _CODES.get(name.lower(), IMPOSSIBLE_CODE)


FLOAT_FIELDS: Final = {
    "lat": microdegrees,
    "lon": microdegrees,
    "accuracy_m": numbers,
    "speed_mps": numbers,
    "heading_deg": headings,
}
INTEGER_FIELDS: Final = {"seq": times, "activity_confidence": confidences}
TIME_FIELDS: Final = ("event_time", "receive_time")
COLUMNS: Final = ("device_id", *TIME_FIELDS, *FLOAT_FIELDS, *INTEGER_FIELDS, "activity")
"""The names that a foreign event may carry; others are counted and ignored."""


def turn_north(rows: FixArray) -> None:
    """Turn a heading of a full circle to 0, in place."""
    headings_deg = rows["heading_deg"]
    headings_deg[headings_deg == FULL_CIRCLE_DEG] = 0
