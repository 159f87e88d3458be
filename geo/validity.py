"""What an event may say: the ranges of the contract, judged in one place, row by row, never by looking at other rows.

Whoever turns a foreign value into a FIX (a phone's JSON, an Arrow column, a line of CSV) puts an impossible number
where the original has one that the record cannot hold; so this module alone decides, whatever the source.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geo.fix import ACTIVITIES, MICRODEGREES, NULL_CODE, NULL_DEGREES, NULL_TIME, FixArray

MAX_AHEAD_MS: Final = 120_000
"""event_time may lie this far after receive_time; beyond it the row is `ahead_of_time`."""
MAX_AGE_MS: Final = 86_400_000
"""event_time may lie this far before receive_time; beyond it the row is `too_old`."""
MAX_DELAY_MS: Final = 7_200_000
"""A row that came later than this after event_time is a fact, but too late for detection."""

MAX_DEVICE_ID_BYTES: Final = 64
MAX_TIME_MS: Final = 253_402_300_799_999
"""The last millisecond of year 9999; times start at 0 (1970), so differences never overflow."""
MAX_SEQ: Final = 2**63 - 1
MAX_LAT: Final = 90.0
MAX_LON: Final = 180.0
FULL_CIRCLE_DEG: Final = 360.0
"""heading_deg lies in [0, 360); 360 itself is taken as 0 by whoever builds the record."""
MAX_CONFIDENCE: Final = 100

IMPOSSIBLE_TIME: Final = -1
IMPOSSIBLE_DEGREES: Final = 2_000_000_000
"""Microdegrees that stand for a latitude or longitude that int32 or a number at all cannot hold."""
IMPOSSIBLE_CODE: Final = -2
"""Activity or confidence outside int8, or outside the closed list."""
IMPOSSIBLE_NUMBER: Final = np.float32(np.inf)
"""accuracy_m, speed_mps, heading_deg that are not a finite number; NaN is null."""


class Rule(NamedTuple):
    """A rule that a row broke: the field, the reason as `rejected` names it, and the rule in words."""

    field: str
    reason: str
    text: str


RULES: Final = (
    Rule("", "", "keeps every rule"),
    Rule("event_time", "missing", "event_time is required"),
    Rule("event_time", "out_of_range", "event_time lies in the years 1970 to 9999"),
    Rule("receive_time", "missing", "receive_time is required"),
    Rule("receive_time", "out_of_range", "receive_time lies in the years 1970 to 9999"),
    Rule("device_time", "out_of_range", "device_time lies in the years 1970 to 9999"),
    Rule("seq", "out_of_range", "seq is at least 0"),
    Rule("lat", "missing", "lat and lon come together"),
    Rule("lon", "missing", "lat and lon come together"),
    Rule("lat", "missing", "an event holds a fix, an activity, or both"),
    Rule("lat", "out_of_range", "lat lies in [-90, 90]"),
    Rule("lon", "out_of_range", "lon lies in [-180, 180]"),
    Rule("lat", "out_of_range", "(0, 0) is no place of a phone"),
    Rule("accuracy_m", "out_of_range", "accuracy_m is finite and at least 0"),
    Rule("speed_mps", "out_of_range", "speed_mps is finite and at least 0"),
    Rule("heading_deg", "out_of_range", "heading_deg lies in [0, 360)"),
    Rule("activity", "out_of_range", "activity is one of " + ", ".join(ACTIVITIES)),
    Rule("activity_confidence", "out_of_range", "activity_confidence lies in [0, 100]"),
)
"""Every rule, in the order of judgement; a row's code is the position of the first rule that it breaks, 0 for none."""

_MAX_LAT_U: Final = int(MAX_LAT * MICRODEGREES)
_MAX_LON_U: Final = int(MAX_LON * MICRODEGREES)
_ACTIVITY_COUNT: Final = len(ACTIVITIES)


def violations(rows: FixArray) -> NDArray[np.int8]:
    """Judge each row.

    rows: dtype FIX, shape (n,). Returns int8 (n,): positions in RULES, 0 where the row keeps every rule.
    """
    codes = np.empty(len(rows), np.int8)
    _judge(rows, codes)
    return codes


@njit(cache=True, nogil=True)
def _judge(rows: FixArray, codes: NDArray[np.int8]) -> None:
    for i in range(len(codes)):
        row = rows[i]
        code = _time_rule(row)
        if code == 0:
            code = _place_rule(row)
        if code == 0:
            code = _quality_rule(row)
        codes[i] = code


@njit(cache=True, nogil=True)
def _time_rule(row: np.void) -> int:
    if row["event_time"] == NULL_TIME:
        return 1
    if row["event_time"] < 0 or row["event_time"] > MAX_TIME_MS:
        return 2
    if row["receive_time"] == NULL_TIME:
        return 3
    if row["receive_time"] < 0 or row["receive_time"] > MAX_TIME_MS:
        return 4
    if row["device_time"] != NULL_TIME and (row["device_time"] < 0 or row["device_time"] > MAX_TIME_MS):
        return 5
    return 6 if row["seq"] < 0 and row["seq"] != NULL_TIME else 0


@njit(cache=True, nogil=True)
def _place_rule(row: np.void) -> int:
    if (row["lat"] == NULL_DEGREES) != (row["lon"] == NULL_DEGREES):
        return 7 if row["lat"] == NULL_DEGREES else 8
    if row["lat"] == NULL_DEGREES:
        return 9 if row["activity"] == NULL_CODE else 0
    if abs(row["lat"]) > _MAX_LAT_U:
        return 10
    if abs(row["lon"]) > _MAX_LON_U:
        return 11
    return 12 if row["lat"] == 0 and row["lon"] == 0 else 0


@njit(cache=True, nogil=True)
def _quality_rule(row: np.void) -> int:
    # A comparison with NaN is false, so null passes each of the three.
    if row["accuracy_m"] < 0 or row["accuracy_m"] == np.inf:
        return 13
    if row["speed_mps"] < 0 or row["speed_mps"] == np.inf:
        return 14
    if row["heading_deg"] < 0 or row["heading_deg"] >= FULL_CIRCLE_DEG:
        return 15
    if row["activity"] != NULL_CODE and (row["activity"] < 0 or row["activity"] >= _ACTIVITY_COUNT):
        return 16
    confidence = row["activity_confidence"]
    return 17 if confidence != NULL_CODE and (confidence < 0 or confidence > MAX_CONFIDENCE) else 0
