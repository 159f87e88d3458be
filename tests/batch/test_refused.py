"""The rejected stream: a refused event comes out with its own reason, whatever stands beside it."""

import base64
import json

import pytest

from pipeline.batch import MAX_KEPT_BYTES, Malformed, Refused, count_rows, decode_refused, encode, encode_refused
from pipeline.log import BATCH, REFUSED
from tests.batch.build import NOW, build_fixes, held


def test_refused_events_come_out_as_they_went_in() -> None:
    payload = encode_refused([Refused(NOW, "malformed", "lat: text", "anna", b'{"lat":"x"}', 11)] * 2)
    assert count_rows(REFUSED, payload) == 2
    assert decode_refused([held(REFUSED, payload, 4)]) == [
        Malformed(4, row, "malformed", "lat: text", "anna", NOW, b'{"lat":"x"}', 11) for row in (0, 1)
    ]


def test_of_a_large_event_64_kib_are_kept_and_its_size_is_told() -> None:
    (row,) = decode_refused(
        [held(REFUSED, encode_refused([Refused(NOW, "malformed", "", None, b"x" * 99_999, 99_999)]))]
    )
    assert (len(row.payload), row.payload_bytes) == (MAX_KEPT_BYTES, 99_999)


def test_encode_takes_only_reasons_of_the_closed_list() -> None:
    with pytest.raises(ValueError, match="reason"):
        encode_refused([Refused(NOW, "mood", "", None, b"", 0)])
    with pytest.raises(ValueError, match="at least one"):
        encode_refused([])


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b'{"refused":[]}', b'{"refused":1}', b"[1]", b'{"refused":[' + b"0," * 1_000_001 + b"0]}"]
)
def test_a_message_without_refused_events_is_one_malformed_row(payload: bytes) -> None:
    (row,) = decode_refused([held(REFUSED, payload)])
    assert (row.reason, row.payload) == ("malformed", payload[:MAX_KEPT_BYTES])
    assert count_rows(REFUSED, payload) == 1


def test_what_a_stranger_wrote_is_kept_within_the_tables_bounds() -> None:
    wild = {"receive_time": 2**62, "reason": "mood", "detail": "d" * 2_000, "device_id": "x" * 65}
    wild |= {"payload": base64.b64encode(b"abc").decode(), "payload_bytes": -1}
    rows = decode_refused([held(REFUSED, json.dumps({"refused": [wild, {"reason": 1}]}).encode())])
    assert rows[0] == Malformed(0, 0, "malformed", ("mood: " + "d" * 2_000)[:1_000], None, NOW, b"abc", 3)
    assert (rows[1].row, rows[1].reason, rows[1].payload) == (1, "malformed", b'{"reason": 1}')


def test_a_good_event_in_the_rejected_stream_is_malformed() -> None:
    rows = decode_refused([held(BATCH, encode([b"anna"], build_fixes(2)), 1), held(REFUSED, b"", 2)])
    assert [(row.offset, row.row, row.reason, row.device_id) for row in rows] == [
        (1, 0, "malformed", "anna"),
        (1, 1, "malformed", "anna"),
        (2, 0, "malformed", None),
    ]
