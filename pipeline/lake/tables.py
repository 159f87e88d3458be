"""The lake's tables: their columns, types and meaning. Every writer and reader takes them from here."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TIME: Final = pa.timestamp("ms", tz="UTC")
DEGREES: Final = pa.decimal32(9, 6)  # its 32 bits are the microdegrees themselves: columns are built without a copy
ENUM: Final = pa.dictionary(pa.int8(), pa.string())


@dataclass(frozen=True)
class Table:
    """One table: `date_column` gives the Hive key event_date; `comments` document each column."""

    name: str
    date_column: str
    schema: pa.Schema
    comment: str
    comments: dict[str, str]


def _table(name: str, date_column: str, comment: str, *columns: tuple[str, pa.DataType, str]) -> Table:
    return Table(
        name,
        date_column,
        pa.schema([(column, kind) for column, kind, _ in columns]),
        comment,
        {column: text for column, _, text in columns},
    )


POSITIONS: Final = _table(
    "positions",
    "event_time",
    "Every accepted event of a phone, once: a position fix, an activity, or both",
    ("device_id", pa.string(), "pseudonym: keyed hash with the key of the event's UTC month"),
    ("event_time", TIME, "the device's clock, corrected where device_time is set"),
    ("device_time", TIME, "the device's raw clock where event_time was corrected, else null"),
    ("receive_time", TIME, "when ParkPal accepted the event"),
    ("seq", pa.int64(), "the phone's counter in order of capture; null for foreign producers without one"),
    ("lat", DEGREES, "degrees WGS84; null for an activity alone"),
    ("lon", DEGREES, "degrees WGS84; null for an activity alone"),
    ("accuracy_m", pa.float32(), "radius of 68 % confidence in metres; null counts as 20 m"),
    ("speed_mps", pa.float32(), "the phone's own speed in m/s"),
    ("heading_deg", pa.float32(), "the phone's own heading, degrees clockwise from north"),
    ("activity", ENUM, "activity recognised by the phone"),
    ("activity_confidence", pa.int8(), "0-100"),
    ("h3_r9", pa.int64(), "H3 cell of resolution 9; null where lat is"),
    ("late", pa.bool_(), "arrived too late for detection; a fact all the same"),
)

REJECTED: Final = _table(
    "rejected",
    "receive_time",
    "Every row of the log that is not in positions, with its reason",
    ("receive_time", TIME, "when ParkPal received the row"),
    ("reason", ENUM, "one of a closed list"),
    ("detail", pa.string(), "the field and the rule it broke"),
    ("device_id", pa.string(), "pseudonym; null if unknown"),
    ("source_stream", ENUM, "the log's stream: positions, or rejected (refused before the log)"),
    ("source_partition", pa.int32(), "partition of the stream"),
    ("source_offset", pa.int64(), "offset of the message"),
    ("source_row", pa.int32(), "row within the message"),
    ("payload", pa.binary(), "the row as it came, pseudonymised, at most 64 KiB"),
    ("payload_bytes", pa.int64(), "its full size"),
)

GEOFENCE_EVENTS: Final = _table(
    "geofence_events",
    "event_time",
    "Entries, exits, dwells and crossings of geofences, each written once when decided",
    ("event_id", pa.string(), "hash of device, fence, version, kind and event time"),
    ("device_id", pa.string(), "pseudonym"),
    ("fence_id", pa.string(), "the fence"),
    ("fence_version", pa.int32(), "the version of the fence in force at event_time"),
    ("kind", ENUM, "enter, exit, dwell, cross or exit_inferred"),
    ("event_time", TIME, "where the track cuts the boundary, else the deciding fix"),
    ("lat", DEGREES, "place of the event"),
    ("lon", DEGREES, "place of the event"),
    ("h3_r9", pa.int64(), "H3 cell of resolution 9 of the place"),
    ("confidence", pa.float32(), "probability of the stated side"),
    ("dwell_s", pa.float64(), "seconds inside, on dwell and exit"),
    ("detector", ENUM, "name@version"),
)

PARK_EVENTS: Final = _table(
    "park_events",
    "event_time",
    "A vehicle came to rest in a parking place, or left it; each written once when decided",
    ("event_id", pa.string(), "hash of device, kind and event time"),
    ("device_id", pa.string(), "pseudonym"),
    ("kind", ENUM, "park_start or park_end"),
    ("event_time", TIME, "when the vehicle came to rest, or was last at its place"),
    ("lat", DEGREES, "the parking place"),
    ("lon", DEGREES, "the parking place"),
    ("h3_r9", pa.int64(), "H3 cell of resolution 9 of the place"),
    ("zone_id", pa.string(), "smallest zone that holds the place, null outside all"),
    ("confidence", pa.float32(), "probability that the vehicle parked"),
    ("quality", ENUM, "high, medium or low: how well the phone was heard"),
    ("detector", ENUM, "name@version"),
)

TRIPS: Final = _table(
    "trips",
    "trip_end",
    "One row per drive that ended by parking, silence or giving up, and one more per search given up before that",
    ("trip_id", pa.string(), "hash of device, trip_start and ordinal"),
    ("device_id", pa.string(), "pseudonym"),
    ("trip_start", TIME, "when the drive began"),
    ("trip_end", TIME, "when it parked, gave up, picked up, or was last heard of"),
    ("outcome", ENUM, "parked, gave_up, picked_up or unknown"),
    ("search_s", pa.float64(), "seconds of search before trip_end, 0 where there was none"),
    ("distance_m", pa.float64(), "metres driven"),
    ("zone_id", pa.string(), "smallest zone that holds the place where it ended, null outside all"),
    ("lat", DEGREES, "where it ended"),
    ("lon", DEGREES, "where it ended"),
    ("h3_r9", pa.int64(), "H3 cell of resolution 9 of that place"),
    ("clock_corrected_s", pa.float64(), "seconds by which the device's clock was corrected, 0 where it was not"),
    ("quality", ENUM, "high, medium or low: how well the phone was heard"),
    ("detector", ENUM, "name@version"),
)

CIRCLING_SESSIONS: Final = _table(
    "circling_sessions",
    "search_end",
    "The trips with a search: what was driven looking for a place to park",
    ("session_id", pa.string(), "the trip_id of the trip"),
    ("device_id", pa.string(), "pseudonym"),
    ("trip_start", TIME, "when the drive began"),
    ("search_start", TIME, "when the search began"),
    ("search_end", TIME, "when the vehicle parked, or the search ended without"),
    ("search_s", pa.float64(), "seconds from search_start to search_end"),
    ("outcome", ENUM, "parked, gave_up or unknown"),
    ("distance_m", pa.float64(), "metres driven during the search"),
    ("zone_id", pa.string(), "smallest zone that holds the place, null outside all"),
    ("zone_circling_s", pa.float64(), "seconds from the last enter of that zone in this drive, null without one"),
    ("excess_m", pa.float64(), "metres driven beyond the shortest way since first within 400 m of the place"),
    ("loop_count", pa.int32(), "times the track came back within 25 m of itself after more than 60 s"),
    ("lat", DEGREES, "the parking place, or the middle of the search that was given up"),
    ("lon", DEGREES, "the parking place, or the middle of the search that was given up"),
    ("h3_r9", pa.int64(), "H3 cell of resolution 9 of that place"),
    ("confidence", pa.float32(), "probability that a search of at least 60 s took place"),
    ("quality", ENUM, "high, medium or low: how well the phone was heard"),
    ("method", ENUM, "how excess_m was measured: network, or crow (crow-flies distance x 1.3)"),
    ("detector", ENUM, "name@version"),
)

SEARCH_HINTS: Final = _table(
    "search_hints",
    "raised_at",
    "A device seemed to be searching: a row when that was raised, and another of the same hint_id when it was cleared",
    ("hint_id", pa.string(), "hash of device and raised_at"),
    ("device_id", pa.string(), "pseudonym"),
    ("raised_at", TIME, "the fix that raised it"),
    ("search_start", TIME, "since when it seemed to search"),
    ("lat", DEGREES, "where it was when raised, or when cleared"),
    ("lon", DEGREES, "where it was when raised, or when cleared"),
    ("h3_r9", pa.int64(), "H3 cell of resolution 9 of that place"),
    ("zone_id", pa.string(), "smallest zone that holds that place, null outside all"),
    ("cleared_at", TIME, "when it was taken back or the drive ended, null in the row that raises it"),
)

TABLES: Final = {
    table.name: table
    for table in (POSITIONS, REJECTED, GEOFENCE_EVENTS, PARK_EVENTS, TRIPS, CIRCLING_SESSIONS, SEARCH_HINTS)
}

_BIN: Final = ("bin_start", TIME, "start of the bin, on a fixed grid in UTC")
_PARKS: Final = (
    ("park_starts", pa.int32(), "parkings"),
    ("park_ends", pa.int32(), "departures"),
)
_PRESENCES: Final = (
    ("devices", pa.int32(), "distinct devices seen"),
    ("presences", pa.int32(), "slots of 5 min in which a device was seen, at most two of a device"),
    ("publish_presences", pa.bool_(), "presences pass k here, and in nothing narrower within the bin"),
    ("fixes", pa.int64(), "rows of positions"),
    ("late_fixes", pa.int64(), "of them late"),
)
_VISITS: Final = (
    ("entry_devices", pa.int32(), "distinct devices that entered"),
    ("entries", pa.int32(), "entries, at most two of a device"),
    ("publish_entries", pa.bool_(), "entries pass k here, and in nothing narrower within the bin"),
    ("exit_devices", pa.int32(), "distinct devices that left"),
    ("exits", pa.int32(), "exits, seen or inferred, at most two of a device"),
    ("publish_exits", pa.bool_(), "exits pass k here, and in nothing narrower within the bin"),
    ("dwell_devices", pa.int32(), "distinct devices of the exits whose dwell is known"),
    ("dwells", pa.int32(), "these exits whose dwell is known"),
    ("dwell_total_s", pa.float64(), "seconds inside, of all dwells"),
    ("dwell_median_s", pa.float64(), "median of the dwells, null without one"),
)
_DRIVES: Final = (
    ("drive_devices", pa.int32(), "distinct devices whose drive ended here: parked, gave up or fell silent"),
    ("drives", pa.int32(), "these drives, at most two of a device"),
    ("publish_drives", pa.bool_(), "drives pass k here, and in nothing narrower within the bin"),
    (
        "search_classes",
        pa.list_(pa.int16()),
        "search time of each drive, ascending: 0 none, c is [10 (c - 1), 10 c) s, 361 more; negative unless it parked",
    ),
    ("searcher_devices", pa.int32(), "distinct devices of the drives with a search of 60 s or more"),
    ("searchers", pa.int32(), "drives with a search of 60 s or more"),
    ("searchers_parked", pa.int32(), "of them, those that parked"),
    ("searchers_gave_up", pa.int32(), "of them, those that gave up"),
    ("low_quality", pa.int32(), "of all drives, those of phones that were badly heard"),
)
_OF_WIDE: Final = ("bin_s", pa.int32(), "width of the bin: 3600, 14400, 86400 or, from Monday on, 604800 s")
_CELL: Final = ("cell", pa.int64(), "H3 cell")
_ZONE: Final = ("zone_id", pa.string(), "the fence; areas too, the lake does not know which fences are zones")
_NOT_SUMS: Final = "; bins of their own since distinct devices do not add up, for weeks only once they have ended"


def _cell_metrics(resolution: int) -> Table:
    return _table(
        f"cell_metrics_r{resolution}",
        "bin_start",
        f"What happened in a cell of resolution {resolution} in a quarter of an hour",
        _CELL, _BIN, *_PRESENCES, *_PARKS, *_DRIVES,
    )  # fmt: skip


CELL_METRICS: Final = {resolution: _cell_metrics(resolution) for resolution in (9, 8, 7)}

ZONE_METRICS: Final = _table(
    "zone_metrics",
    "bin_start",
    "What happened in a fence in a quarter of an hour",
    _ZONE, _BIN, *_VISITS, *_PARKS, *_DRIVES,
)  # fmt: skip

CELL_METRICS_WIDE: Final = _table(
    "cell_metrics_wide",
    "bin_start",
    "What happened in a cell in an hour, four, a day, a week" + _NOT_SUMS,
    ("resolution", pa.int32(), "H3 resolution of the cell: 7, 8 or 9"),
    _CELL,
    _BIN,
    _OF_WIDE,
    *_PRESENCES,
    ("presence_quarters", pa.int32(), "quarters of an hour with presences"),
    *_PARKS,
    *_DRIVES,
    ("drive_quarters", pa.int32(), "quarters of an hour with drives"),
)

ZONE_METRICS_WIDE: Final = _table(
    "zone_metrics_wide",
    "bin_start",
    "What happened in a fence in an hour, four, a day, a week" + _NOT_SUMS,
    _ZONE,
    _BIN,
    _OF_WIDE,
    *_VISITS,
    ("entry_quarters", pa.int32(), "quarters of an hour with entries"),
    ("exit_quarters", pa.int32(), "quarters of an hour with exits"),
    *_PARKS,
    *_DRIVES,
    ("drive_quarters", pa.int32(), "quarters of an hour with drives"),
)

ROLLUPS: Final = {
    table.name: table for table in (*CELL_METRICS.values(), ZONE_METRICS, CELL_METRICS_WIDE, ZONE_METRICS_WIDE)
}
"""Tables that `pipeline.lake.rollups` computes from the others, whole days at a time."""

REASONS: Final = (
    "malformed",  # bytes that are no batch, or a field of the wrong type
    "missing",  # a required field is absent
    "out_of_range",  # a field outside its documented range
    "ahead_of_time",  # event_time more than 2 min after receive_time
    "too_old",  # event_time more than 24 h before receive_time, past retention, or seq below what is remembered
    "duplicate",  # same device and seq, same content
    "seq_conflict",  # same device and seq, other content
    "wrong_partition",  # the device does not hash to the partition the row came from
    "erased",  # it was of a person who had their data erased: nothing of the row is kept
)
"""Why a row is in `rejected`."""

STREAMS: Final = ("positions", "rejected")
"""The log's streams, as `rejected.source_stream` names them."""


def degrees(microdegrees: NDArray[np.int32], null: int) -> pa.Array:
    """Build a DEGREES column over the buffer of `microdegrees`, shape (n,); `null` stands for no place."""
    return _view(DEGREES, microdegrees, microdegrees != null)


def times(milliseconds: NDArray[np.int64], null: int) -> pa.Array:
    """Build a TIME column over the buffer of `milliseconds` since 1970 UTC, shape (n,); `null` stands for no time."""
    return _view(TIME, milliseconds, milliseconds != null)


def integers(values: NDArray[Any], null: int) -> pa.Array:
    """Build an integer column of the array's own type over its buffer; `null` stands for no value."""
    return _view(pa.from_numpy_dtype(values.dtype), values, values != null)


def floats(values: NDArray[np.float32] | NDArray[np.float64]) -> pa.Array:
    """Build a floating-point column of the array's own type over its buffer; NaN becomes null."""
    return _view(pa.from_numpy_dtype(values.dtype), values, ~np.isnan(values))


def enum(codes: NDArray[np.int8], names: tuple[str, ...]) -> pa.Array:
    """Build an ENUM column: a code is a position in `names`, -1 is null."""
    return pa.DictionaryArray.from_arrays(_view(pa.int8(), codes, codes >= 0), pa.array(names, pa.string()))


def _view(kind: pa.DataType, values: NDArray[Any], valid: NDArray[np.bool_]) -> pa.Array:
    values = np.ascontiguousarray(values)
    if values.itemsize * 8 != kind.bit_width:
        raise ValueError(f"{values.dtype} is no buffer of {kind}")
    bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(values)])
