"""JSON and Arrow of other producers: their events become the same records, and what they get wrong is told."""

import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.fix import ACTIVITIES, NULL_CODE, NULL_DEGREES, NULL_TIME
from pipeline.batch import Decoded, count_rows, decode
from pipeline.log import ARROW, JSON
from tests.batch.build import NOW, held

EVENT: dict[str, Any] = {
    "device_id": "anna",
    "event_time": NOW - 60_000,
    "receive_time": NOW - 5_000,
    "seq": 7,
    "lat": 14.5512346,
    "lon": -121.03,
    "accuracy_m": 12.5,
    "speed_mps": 3,
    "heading_deg": 360,
    "activity": "In_Vehicle",
    "activity_confidence": 88,
}


def from_json(value: object) -> Decoded:
    return decode([held(JSON, json.dumps(value).encode())])


def to_stream(columns: Mapping[str, Any] | pa.Table, compression: str | None = None) -> bytes:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_arrow(columns: Mapping[str, Any] | pa.Table, compression: str | None = None) -> Decoded:
    return decode([held(ARROW, to_stream(columns, compression))])


def only_fault(decoded: Decoded) -> tuple[str, str]:
    assert len(decoded.rows) == 0
    (row,) = decoded.malformed
    return row.reason, row.detail


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: [e], lambda e: {"events": [e]}], ids=["one", "list", "events"])
def test_json_becomes_a_record(wrap: Any) -> None:
    decoded = from_json(wrap(EVENT))
    assert decoded.device_ids == [b"anna"]
    assert decoded.rows[["event_time", "device_time", "receive_time", "seq", "lat", "lon"]].tolist() == [
        (NOW - 60_000, NULL_TIME, NOW - 5_000, 7, 14_551_235, -121_030_000)
    ]
    assert decoded.rows[["accuracy_m", "speed_mps", "heading_deg"]].tolist() == [(12.5, 3.0, 0.0)]
    assert decoded.rows[["activity", "activity_confidence"]].tolist() == [(0, 88)]


def test_arrow_becomes_the_same_record_as_json() -> None:
    arrow = from_arrow({name: [value] for name, value in EVENT.items()})
    assert arrow.rows.tobytes() == from_json(EVENT).rows.tobytes()
    assert arrow.device_ids == [b"anna"]


def test_nothing_but_an_activity_is_an_event_and_takes_the_logs_time() -> None:
    event = {"device_id": "anna", "event_time": NOW, "activity": "STILL"}
    for decoded in (from_json(event), from_arrow({name: [value] for name, value in event.items()})):
        (row,) = decoded.rows
        assert (row["receive_time"], row["seq"]) == (NOW, NULL_TIME)
        assert (row["lat"], row["lon"], row["activity_confidence"]) == (NULL_DEGREES, NULL_DEGREES, NULL_CODE)
        assert row["activity"] == ACTIVITIES.index("still")
        assert np.isnan([row["accuracy_m"], row["speed_mps"], row["heading_deg"]]).all()


@pytest.mark.parametrize(
    "text", ["2026-03-07T10:59:00.250Z", "2026-03-07T18:59:00.250999+08:00", "2026-03-07 10:59:00.250Z"]
)
def test_rfc_3339_times_are_floored_to_the_millisecond(text: str) -> None:
    expected = int(datetime(2026, 3, 7, 10, 59, 0, 250_000, UTC).timestamp() * 1_000)
    assert from_json(EVENT | {"event_time": text}).rows["event_time"].tolist() == [expected]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"lat": "14"}, ("malformed", "Expected `float | null`, got `str` - at `$.lat`")),
        ({"seq": 1.5}, ("malformed", "Expected `int | null`, got `float` - at `$.seq`")),
        ({"event_time": "yesterday"}, ("malformed", "Invalid RFC3339 encoded datetime - at `$.event_time`")),
        ({"event_time": None}, ("missing", "event_time is required")),
        ({"event_time": 10**15}, ("out_of_range", "event_time lies in the years 1970 to 9999")),
        ({"event_time": -(2**63)}, ("out_of_range", "event_time lies in the years 1970 to 9999")),
        ({"event_time": "0001-01-01T00:00:00Z"}, ("out_of_range", "event_time lies in the years 1970 to 9999")),
        ({"receive_time": NOW + 120_001}, ("out_of_range", "receive_time lies after the log's own time")),
        ({"seq": -1}, ("out_of_range", "seq is at least 0")),
        ({"seq": 2**63}, ("out_of_range", "seq is at least 0")),
        ({"device_id": None}, ("missing", "device_id is required")),
        ({"device_id": ""}, ("out_of_range", "device_id has 1 to 64 bytes of UTF-8")),
        ({"device_id": "é" * 33}, ("out_of_range", "device_id has 1 to 64 bytes of UTF-8")),
        ({"lat": None}, ("missing", "lat and lon come together")),
        ({"lat": None, "lon": None, "activity": None}, ("missing", "an event holds a fix, an activity, or both")),
        ({"lat": 1e300}, ("out_of_range", "lat lies in [-90, 90]")),
        ({"lon": 180.000001}, ("out_of_range", "lon lies in [-180, 180]")),
        ({"lat": 0.0, "lon": -0.0000001}, ("out_of_range", "(0, 0) is no place of a phone")),
        ({"accuracy_m": -1}, ("out_of_range", "accuracy_m is finite and at least 0")),
        ({"speed_mps": 1e39}, ("out_of_range", "speed_mps is finite and at least 0")),
        ({"heading_deg": 361}, ("out_of_range", "heading_deg lies in [0, 360)")),
        ({"activity": "flying"}, ("out_of_range", f"activity is one of {', '.join(ACTIVITIES)}")),
        ({"activity_confidence": -1}, ("out_of_range", "activity_confidence lies in [0, 100]")),
        ({"activity_confidence": 300}, ("out_of_range", "activity_confidence lies in [0, 100]")),
    ],
)
def test_a_json_event_that_breaks_a_rule_says_which(change: dict[str, Any], fault: tuple[str, str]) -> None:
    decoded = from_json([EVENT, EVENT | change, EVENT])
    assert decoded.row.tolist() == [0, 2]
    (row,) = decoded.malformed
    assert (row.row, row.reason, row.detail) == (1, *fault)
    assert json.loads(row.payload) == EVENT | change
    assert row.payload_bytes == len(row.payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'"text"',
        b"null",
        b'{"events": []}',
        b'{"events": 3}',
        b"[" * 50_000,
        b'{"a": NaN}',
        b"\xff\xfe",
        b" " * (4 * 2**20 + 1),
        b"[" + b"0," * 100_000 + b"0]",
    ],
)
def test_json_without_events_is_one_malformed_row(payload: bytes) -> None:
    assert only_fault(decode([held(JSON, payload)]))[0] == "malformed"
    assert count_rows(JSON, payload) == 1


def test_json_with_bytes_that_are_no_text_spoils_its_own_event() -> None:
    event = json.dumps(EVENT).encode()
    decoded = decode([held(JSON, b"[" + event + b"," + event.replace(b"anna", b"\xff") + b"]")])
    assert decoded.row.tolist() == [0]
    assert [(row.row, row.reason) for row in decoded.malformed] == [(1, "malformed")]


def test_unknown_fields_are_ignored_and_counted() -> None:
    assert from_json([EVENT | {"mood": 1}, EVENT | {"a": {}, "b": [1]}]).ignored == 3
    assert from_arrow({**{name: [value] * 2 for name, value in EVENT.items()}, "mood": [1, 2]}).ignored == 2


@pytest.mark.parametrize(
    "times",
    [
        pa.array([NOW], pa.int64()),
        pa.array([NOW], pa.timestamp("ms", tz="Asia/Manila")),
        pa.array([NOW * 1_000 + 999], pa.timestamp("us", tz="UTC")),
        pa.array([NOW * 1_000_000 + 1], pa.timestamp("ns")),
        pa.array([NOW // 1_000], pa.timestamp("s")),
    ],
    ids=str,
)
def test_arrow_times_of_any_unit_are_milliseconds(times: pa.Array) -> None:
    columns = {name: [value] for name, value in EVENT.items()} | {"event_time": times}
    assert from_arrow(columns).rows["event_time"].tolist() == [NOW]


@pytest.mark.parametrize(
    "kind", [pa.float64(), pa.float32(), pa.decimal128(9, 6), pa.decimal256(40, 6), pa.decimal32(9, 6), pa.int16()]
)
def test_arrow_degrees_of_any_number_type_are_microdegrees(kind: pa.DataType) -> None:
    value = 14 if pa.types.is_integer(kind) else Decimal("14.25") if pa.types.is_decimal(kind) else 14.25
    columns = {name: [value] for name, value in EVENT.items()} | {"lat": pa.array([value], kind)}
    assert from_arrow(columns).rows["lat"].tolist() == [int(value * 1_000_000)]


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_arrow_texts_may_be_dictionaries_views_null_or_compressed(compression: str | None) -> None:
    frame = pl.DataFrame(
        {
            "device_id": ["anna", None, "a rather long name of a device"],
            "event_time": [NOW] * 3,
            "activity": pl.Series(["STILL", "Walking", None], dtype=pl.Categorical),
            "lat": [1.0, 2.0, 3.0],
            "lon": [None, None, 3.0],
        }
    )
    decoded = from_arrow(frame.to_arrow(compat_level=pl.CompatLevel.newest()), compression)
    assert [decoded.device_ids[i] for i in decoded.device] == [b"a rather long name of a device"]
    assert [(row.reason, row.device_id) for row in decoded.malformed] == [("missing", "anna"), ("missing", None)]
    assert json.loads(decoded.malformed[0].payload) == {
        "device_id": "anna",
        "event_time": NOW,
        "activity": "STILL",
        "lat": 1.0,
    }


def test_an_arrow_number_that_is_none_is_no_null() -> None:
    for name in ("lat", "accuracy_m", "speed_mps", "heading_deg"):
        columns = {key: [value] for key, value in EVENT.items()} | {name: [float("nan")]}
        assert only_fault(from_arrow(columns))[0] == "out_of_range"


@pytest.mark.parametrize(
    "columns",
    [
        {"event_time": ["now"]},
        {"event_time": [1.5]},
        {"lat": ["14"]},
        {"device_id": [7]},
        {"activity": [["still"]]},
        {"seq": [1.0]},
        {"device_id": []},
        {"mood": [1, 2]},
    ],
    ids=str,
)
def test_an_arrow_column_that_cannot_hold_its_values_makes_one_malformed_row(columns: dict[str, Any]) -> None:
    payload = to_stream(columns)
    assert only_fault(decode([held(ARROW, payload)]))[0] == "malformed"
    assert count_rows(ARROW, payload) == 1


def test_an_arrow_stream_without_the_required_columns_lacks_them_in_each_row() -> None:
    decoded = from_arrow({"seq": [1, 2]})
    assert [row.reason for row in decoded.malformed] == ["missing", "missing"]


def test_a_decompression_bomb_is_told_from_its_headers() -> None:
    bomb = to_stream({"device_id": ["x" * 2**27], "event_time": [NOW]}, "zstd")
    assert len(bomb) < 2**16
    reason, detail = only_fault(decode([held(ARROW, bomb)]))
    assert (reason, "bytes inflated" in detail) == ("malformed", True)


def test_rows_without_bytes_are_told_from_their_headers() -> None:
    assert "states 200000 rows" in only_fault(from_arrow({"lat": pa.nulls(200_000)}))[1]


def test_a_long_text_that_every_row_repeats_is_not_unfolded() -> None:
    text = pa.DictionaryArray.from_arrays(np.zeros(90_000, np.int8), ["x" * 2**20])
    assert "texts of more than" in only_fault(from_arrow({"device_id": text}))[1]
    views = pa.py_buffer(struct.pack("<i4sii", 2**20, b"xxxx", 0, 0) * 90_000)
    view = pa.StringViewArray.from_buffers(pa.string_view(), 90_000, [None, views, pa.py_buffer(b"x" * 2**20)])
    assert "texts of more than" in only_fault(from_arrow({"device_id": view}))[1]


STREAM = to_stream({name: [value] * 3 for name, value in EVENT.items()}, "lz4")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(STREAM) - 1), st.integers(0, 255)), max_size=4), st.integers(0, 300))
def test_a_damaged_arrow_stream_counts_as_it_decodes(changes: list[tuple[int, int]], cut: int) -> None:
    payload = bytearray(STREAM)
    for at, value in changes:
        payload[at] = value
    damaged = bytes(payload[: len(payload) - cut])
    decoded = decode([held(ARROW, damaged)])
    assert len(decoded.rows) + len(decoded.malformed) == count_rows(ARROW, damaged) >= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*EVENT, "events", "x"]), inner),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_json_counts_as_the_standard_library_reads_it(value: object) -> None:
    payload = json.dumps(value).encode()
    events = value.get("events", [value]) if isinstance(value, dict) else value
    sound = isinstance(events, list) and not any(word in payload for word in (b"NaN", b"Infinity"))
    expected = len(events) or 1 if isinstance(events, list) and sound else 1
    decoded = decode([held(JSON, payload)])
    assert len(decoded.rows) + len(decoded.malformed) == count_rows(JSON, payload) == expected


def test_foreign_and_own_messages_keep_the_order_of_the_log() -> None:
    arrow = to_stream({name: [value] * 2 for name, value in EVENT.items()})
    decoded = decode([held(JSON, json.dumps(EVENT).encode(), 3), held(ARROW, arrow, 5), held("?", b"", 6)])
    assert decoded.offset.tolist() == [3, 5, 5]
    assert decoded.row.tolist() == [0, 0, 1]
    assert decoded.device.tolist() == [0, 0, 0]
    assert [row.offset for row in decoded.malformed] == [6]


def test_lying_flatbuffers_are_malformed() -> None:
    lies = STREAM[:8] + struct.pack("<I", 2**31) + STREAM[12:]
    assert only_fault(decode([held(ARROW, lies)]))[0] == "malformed"
