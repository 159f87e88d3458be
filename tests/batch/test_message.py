"""Our own message: what goes in comes out, and what is broken is set apart without touching its neighbours."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.fix import FIX, NULL_TIME
from geo.validity import RULES, violations
from pipeline.batch import MAX_KEPT_BYTES, Decoded, NewerVersionError, count_rows, decode, encode
from pipeline.log import ARROW, BATCH, JSON, REFUSED, Message
from tests.batch.build import NOW, build_fixes, held

GOOD = encode([b"anna"], build_fixes(3))


def plain_decode(messages: list[Message]) -> tuple[list[tuple[Any, ...]], list[tuple[int, int]]]:
    """Decode our own messages one record at a time: the specification of the format."""
    good, bad = [], []
    for message in messages:
        payload = message.payload
        try:
            magic, version, devices, rows = struct.unpack_from("<4sHHI", payload)
            lengths = payload[12 : 12 + devices]
            ids_end = 12 + devices + sum(lengths)
            broken = magic != b"PKPL" or version != 1 or not rows or len(payload) != ids_end + 56 * rows
        except struct.error:
            broken = True
        if broken:
            bad.append((message.offset, 0))
            continue
        starts = [12 + devices + sum(lengths[:k]) for k in range(devices)]
        for row in range(rows):
            fields = struct.unpack_from("<qqqqiifffHbb", payload, ids_end + 56 * row)
            fields = (*fields[:8], 0.0 if fields[8] == 360 else fields[8], *fields[9:])
            record = np.array([fields], FIX)
            local = fields[9]
            device_id = payload[starts[local] : starts[local] + lengths[local]] if local < devices else b""
            if not 1 <= len(device_id) <= 64 or not is_utf8(device_id) or violations(record)[0]:
                bad.append((message.offset, row))
            else:
                good.append((message.offset, row, device_id, *fields[:9], *fields[10:]))
    return good, bad


def is_utf8(text: bytes) -> bool:
    return text.decode(errors="replace").encode() == text


def as_tuples(decoded: Decoded) -> list[tuple[Any, ...]]:
    ids = [decoded.device_ids[i] for i in decoded.device]
    records = [record.tolist() for record in decoded.rows]
    return [
        (offset, row, device_id, *record[:9], *record[10:])
        for offset, row, device_id, record in zip(
            decoded.offset.tolist(), decoded.row.tolist(), ids, records, strict=True
        )
    ]


def test_records_come_out_as_they_went_in() -> None:
    fixes = build_fixes(5)
    fixes["device"] = [0, 1, 0, 1, 1]
    decoded = decode([held(BATCH, encode([b"anna", "čeněk".encode()], fixes), 7)])
    assert decoded.rows.tobytes() == fixes.tobytes()
    assert [decoded.device_ids[i] for i in decoded.device] == [b"anna", "čeněk".encode()] * 2 + ["čeněk".encode()]
    assert decoded.offset.tolist() == [7] * 5
    assert decoded.row.tolist() == [0, 1, 2, 3, 4]
    assert decoded.malformed == []


def test_a_device_of_two_messages_is_one_device() -> None:
    decoded = decode([held(BATCH, GOOD, 0), held(BATCH, encode([b"bert", b"anna"], build_fixes(1)), 1)])
    assert decoded.device_ids == [b"anna", b"bert"]
    assert decoded.device.tolist() == [0, 0, 0, 1]


def test_no_messages_give_no_rows() -> None:
    decoded = decode([])
    assert len(decoded.rows) == 0
    assert decoded.malformed == []


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"PKP",
        b"XXXX" + GOOD[4:],
        GOOD[:-1],
        GOOD + b"\0",
        GOOD[:8] + b"\xff\xff\xff\xff" + GOOD[12:],
        GOOD[:4] + b"\0\0" + GOOD[6:],
        struct.pack("<4sHHI", b"PKPL", 1, 1, 0) + b"\x01a",
        struct.pack("<4sHHI", b"PKPL", 1, 65_535, 1),
    ],
    ids=["empty", "short", "magic", "cut", "longer", "rows lie", "version 0", "no rows", "devices lie"],
)
def test_a_broken_message_is_one_malformed_row_and_its_neighbours_live(payload: bytes) -> None:
    decoded = decode([held(BATCH, GOOD, 0), held(BATCH, payload, 1), held(BATCH, GOOD, 2)])
    assert decoded.offset.tolist() == [0, 0, 0, 2, 2, 2]
    (row,) = decoded.malformed
    assert (row.offset, row.row, row.reason, row.payload_bytes) == (1, 0, "malformed", len(payload))
    assert row.receive_time == NOW
    assert count_rows(BATCH, payload) == 1


def test_an_unknown_content_type_is_one_malformed_row() -> None:
    (row,) = decode([held("text/plain", b"hello")]).malformed
    assert (row.reason, row.detail, row.payload) == ("malformed", "content type 'text/plain' is unknown", b"hello")


def test_of_a_large_broken_message_64_kib_are_kept() -> None:
    (row,) = decode([held(BATCH, b"x" * 100_000)]).malformed
    assert (len(row.payload), row.payload_bytes) == (MAX_KEPT_BYTES, 100_000)


def test_a_newer_version_stops_the_reader_and_names_the_offset() -> None:
    newer = GOOD[:4] + b"\x02\x00" + b"whatever"
    with pytest.raises(NewerVersionError, match="version 2 at offset 9") as caught:
        decode([held(BATCH, GOOD, 8), held(BATCH, newer, 9)])
    assert caught.value.offset == 9
    with pytest.raises(NewerVersionError):
        count_rows(BATCH, newer)


def test_a_record_beyond_the_device_table_is_malformed_alone() -> None:
    fixes = build_fixes(3)
    fixes["device"] = [0, 1, 0]
    payload = bytearray(encode([b"anna", b"bert"], fixes))
    payload[:] = struct.pack("<4sHHI", b"PKPL", 1, 1, 3) + b"\x04anna" + payload[-3 * 56 :]
    decoded = decode([held(BATCH, bytes(payload))])
    assert decoded.row.tolist() == [0, 2]
    assert [(row.row, row.reason, row.device_id) for row in decoded.malformed] == [(1, "malformed", None)]


@pytest.mark.parametrize("device_id", [b"", b"\xff", b"x" * 65])
def test_a_device_that_is_no_text_of_64_bytes_spoils_its_own_rows(device_id: bytes) -> None:
    payload = struct.pack("<4sHHI", b"PKPL", 1, 2, 2) + bytes([len(device_id), 4]) + device_id + b"anna"
    fixes = build_fixes(2)
    fixes["device"] = [0, 1]
    decoded = decode([held(BATCH, payload + fixes.tobytes())])
    assert decoded.device_ids == [b"anna"]
    assert [(row.row, row.reason) for row in decoded.malformed] == [(0, "out_of_range")]


def test_a_record_that_breaks_a_rule_is_told_as_json() -> None:
    fixes = build_fixes(2)
    fixes["lat"][1] = 95_000_000
    (row,) = decode([held(BATCH, encode([b"anna"], fixes))]).malformed
    assert (row.reason, row.detail, row.device_id) == ("out_of_range", "lat lies in [-90, 90]", "anna")
    assert row.receive_time == int(fixes["receive_time"][1])
    assert row.payload.startswith(b'{"device_id":"anna","event_time":')
    assert b'"lat":95.0' in row.payload


def test_a_full_circle_is_north() -> None:
    fixes = build_fixes(1)
    fixes["heading_deg"] = 360
    assert decode([held(BATCH, encode([b"anna"], fixes))]).rows["heading_deg"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("device_ids", "rows"), [([], 1), ([b""], 1), ([b"x" * 65], 1), ([b"\xff"], 1), ([b"anna"], 0)]
)
def test_encode_refuses_what_decode_could_not_read(device_ids: list[bytes], rows: int) -> None:
    with pytest.raises(ValueError):
        encode(device_ids, build_fixes(rows))


def test_encode_refuses_a_device_beyond_the_table() -> None:
    fixes = build_fixes(1)
    fixes["device"] = 1
    with pytest.raises(ValueError, match="beyond the 1 device ids"):
        encode([b"anna"], fixes)


wild_records = st.binary(min_size=56, max_size=56 * 3).map(lambda raw: raw[: len(raw) // 56 * 56])


@st.composite
def own_messages(draw: st.DrawFn) -> bytes:
    """Draw a message that is sound, cut, or changed in some bytes."""
    ids = draw(st.lists(st.binary(max_size=66), max_size=3))
    body = draw(wild_records | st.builds(lambda n: build_fixes(n).tobytes(), st.integers(0, 4)))
    rows = draw(st.just(len(body) // 56) | st.integers(0, 2**32 - 1))
    payload = bytearray(struct.pack("<4sHHI", b"PKPL", 1, len(ids), rows) + bytes(map(len, ids)) + b"".join(ids) + body)
    for at in draw(st.lists(st.integers(6, len(payload) - 1), max_size=2)):
        payload[at] = draw(st.integers(0, 255))
    return bytes(payload[: draw(st.just(len(payload)) | st.integers(0, len(payload)))])


@settings(max_examples=150, deadline=None)
@given(st.lists(own_messages() | st.binary(max_size=40), max_size=5))
def test_decoding_equals_the_plain_twin(payloads: list[bytes]) -> None:
    payloads = [payload for payload in payloads if not payload.startswith(b"PKPL") or payload[4:6] <= b"\x01\x00"]
    messages = [held(BATCH, payload, offset) for offset, payload in enumerate(payloads)]
    decoded = decode(messages)
    good, bad = plain_decode(messages)
    assert repr(as_tuples(decoded)) == repr(good)
    assert [row[:2] for row in decoded.malformed] == bad


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([BATCH, ARROW, JSON, REFUSED, "?"]), st.binary(max_size=200) | own_messages())
def test_count_rows_agrees_with_decode_on_garbage(content_type: str, payload: bytes) -> None:
    try:
        expected = count_rows(content_type, payload)
    except NewerVersionError:
        with pytest.raises(NewerVersionError):
            decode([held(content_type, payload)])
        return
    decoded = decode([held(content_type, payload)])
    assert len(decoded.rows) + len(decoded.malformed) == expected >= 1


def test_every_rule_has_a_number_of_its_own() -> None:
    """The kernel speaks in numbers; this pins each number to its rule by one record that breaks that rule alone."""
    breaks = {
        "event_time is required": {"event_time": NULL_TIME},
        "event_time lies in the years 1970 to 9999": {"event_time": -5},
        "receive_time is required": {"receive_time": NULL_TIME},
        "receive_time lies in the years 1970 to 9999": {"receive_time": 2**62},
        "device_time lies in the years 1970 to 9999": {"device_time": -1},
        "seq is at least 0": {"seq": -1},
        "lat and lon come together": {"lon": -(2**31)},
        "an event holds a fix, an activity, or both": {"lat": -(2**31), "lon": -(2**31), "activity": -1},
        "lat lies in [-90, 90]": {"lat": 90_000_001},
        "lon lies in [-180, 180]": {"lon": -180_000_001},
        "(0, 0) is no place of a phone": {"lat": 0, "lon": 0},
        "accuracy_m is finite and at least 0": {"accuracy_m": np.inf},
        "speed_mps is finite and at least 0": {"speed_mps": -0.1},
        "heading_deg lies in [0, 360)": {"heading_deg": 361},
        "activity_confidence lies in [0, 100]": {"activity_confidence": 101},
    }
    for text, changes in breaks.items():
        fixes = build_fixes(1)
        for name, value in changes.items():
            fixes[name] = value
        assert RULES[violations(fixes)[0]].text == text
    fixes = build_fixes(1)
    fixes["activity"] = 8
    assert RULES[violations(fixes)[0]].field == "activity"
