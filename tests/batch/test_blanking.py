"""What a message says of a device is gone, everybody else's rows stay, and the rows are as many as before."""

import json

import pyarrow as pa
import pytest

from pipeline.batch import Refused, count_rows, decode, encode, encode_refused, without_devices
from pipeline.log import ARROW, BATCH, JSON, REFUSED
from tests.batch.build import NOW, build_fixes, held
from tests.batch.test_foreign import EVENT, to_stream

EVENTS = [EVENT | {"device_id": who, "seq": seq} for seq, who in enumerate(["anna", "ben", "anna", "cleo"])]


def batch() -> bytes:
    fixes = build_fixes(4)
    fixes["device"] = [0, 1, 0, 2]
    return encode([b"anna", b"ben", b"cleo"], fixes)


def arrow(compression: str | None = None) -> bytes:
    columns = {name: [event[name] for event in EVENTS] for name in EVENT}
    columns["device_id"] = pa.array(columns["device_id"]).dictionary_encode()
    return to_stream(columns, compression)


MESSAGES = {
    "batch": (BATCH, batch()),
    "json": (JSON, json.dumps(EVENTS).encode()),
    "enveloped": (JSON, json.dumps({"events": EVENTS}).encode()),
    "arrow": (ARROW, arrow()),
    "compressed": (ARROW, arrow("zstd")),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_rows_of_a_device_are_blank_and_all_others_as_they_were(name: str) -> None:
    content_type, payload = MESSAGES[name]
    blanked = without_devices(content_type, payload, ["anna"])
    assert blanked is not None
    assert b"anna" not in blanked
    assert count_rows(content_type, blanked) == count_rows(content_type, payload) == 4
    before, after = decode([held(content_type, payload)]), decode([held(content_type, blanked)])
    kept = [before.device_ids[device] != b"anna" for device in before.device]
    assert [after.device_ids[device] for device in after.device] == [b"ben", b"cleo"]
    for field in set(before.rows.dtype.names or ()) - {"device"}:
        assert after.rows[field].tobytes() == before.rows[kept][field].tobytes(), field
    assert len(after.malformed) == 2
    assert not any(b"121.03" in row.payload for row in after.malformed)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_that_names_nobody_of_them_stays(name: str) -> None:
    assert without_devices(*MESSAGES[name], ["dora"]) is None


def test_a_refused_event_is_blanked_by_its_device_or_by_its_payload() -> None:
    told = [
        Refused(NOW, "malformed", "lat of anna", "anna", b"{}", 2),
        Refused(NOW, "malformed", "", None, b'{"device_id": "anna"}', 21),
        Refused(NOW, "malformed", "", "ben", b"{}", 2),
    ]
    blanked = without_devices(REFUSED, encode_refused(told), ["anna"])
    empty = Refused(NOW, "malformed", "", None, b"", 0)
    assert blanked == encode_refused([empty, empty, told[2]])


@pytest.mark.parametrize(
    ("content_type", "payload"), [(BATCH, b"no batch of anna"), (JSON, b'{"anna'), ("odd", b"anna")]
)
def test_bytes_that_cannot_be_taken_apart_go_as_a_whole(content_type: str, payload: bytes) -> None:
    assert without_devices(content_type, payload, ["anna"]) == b""
    assert without_devices(content_type, payload, ["ben"]) is None
    assert count_rows(content_type, b"") == count_rows(content_type, payload) == 1
