"""Events from a phone to the log, over the whole app."""

import gzip
import json
import time
from typing import Any

import pytest
import zstandard

from geo.fix import NULL_TIME
from tests.api.conftest import Service

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def event(seq: int, **fields: Any) -> dict[str, Any]:
    """A good event of this second."""
    return {"event_time": now_ms() - 1000, "seq": seq, "lat": 14.55, "lon": 121.03, "accuracy_m": 8.5} | fields


def batch(*events: Any, **fields: Any) -> dict[str, Any]:
    return {"sent_at": now_ms(), "events": list(events)} | fields


async def test_accepted_events_are_in_the_log_when_the_answer_comes(service: Service) -> None:
    phone = await service.register()
    answer = await service.client.post("/v1/events", headers=phone, json=batch(event(0), event(1, activity="STILL")))
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "duplicates": 0, "rejected": []})
    rows = service.rows().rows
    assert rows["seq"].tolist() == [0, 1]
    assert rows["lat"].tolist() == [14_550_000, 14_550_000]
    assert rows["activity"].tolist() == [-1, 5]
    assert (rows["device_time"] == NULL_TIME).all()


async def test_compressed_bodies_are_taken(service: Service) -> None:
    phone = await service.register() | {"Content-Type": "application/json"}
    text = json.dumps(batch(event(0))).encode()
    for encoding, body in {"gzip": gzip.compress(text), "zstd": zstandard.compress(text), "identity": text}.items():
        headers = phone | {"Content-Encoding": encoding}
        answer = (await service.client.post("/v1/events", headers=headers, content=body)).json()
        assert answer["accepted"] + answer["duplicates"] == 1


BAD_EVENTS: list[tuple[str, str, dict[str, Any]]] = [
    ("lat", "out_of_range", {"lat": 90.5}),
    ("lon", "out_of_range", {"lon": -180.1}),
    ("lat", "out_of_range", {"lat": 1e300}),
    ("lat", "out_of_range", {"lat": 0, "lon": 0}),
    ("lon", "missing", {"lon": None}),
    ("lat", "missing", {"lat": None}),
    ("lat", "malformed", {"lat": "14.5"}),
    ("seq", "missing", {"seq": None}),
    ("seq", "malformed", {"seq": "7"}),
    ("seq", "malformed", {"seq": True}),
    ("seq", "out_of_range", {"seq": -1}),
    ("seq", "out_of_range", {"seq": 2**63}),
    ("accuracy_m", "out_of_range", {"accuracy_m": -1}),
    ("accuracy_m", "out_of_range", {"accuracy_m": 1e39}),
    ("speed_mps", "out_of_range", {"speed_mps": -0.1}),
    ("heading_deg", "out_of_range", {"heading_deg": 360.5}),
    ("activity", "out_of_range", {"activity": "flying"}),
    ("activity", "malformed", {"activity": 3}),
    ("activity_confidence", "out_of_range", {"activity_confidence": 101}),
    ("event_time", "too_old", {"event_time": 0}),
    ("event_time", "too_old", {"event_time": "1970-01-01T00:00:00Z"}),
    ("event_time", "ahead_of_time", {"event_time": "2100-01-01T00:00:00Z"}),
    ("event_time", "malformed", {"event_time": "2026-01-01T00:00:00"}),
    ("event_time", "malformed", {"event_time": "yesterday"}),
    ("event_time", "out_of_range", {"event_time": 10**30}),
    ("event_time", "out_of_range", {"event_time": -5}),
]


async def test_each_bad_event_is_refused_alone_and_kept(service: Service) -> None:
    """Good and bad events alternate: the good ones are in one stream, the bad ones in the other with their reasons."""
    sent = [each for n, (_, _, fields) in enumerate(BAD_EVENTS) for each in (event(n), event(1000) | fields)]
    answer = (await service.client.post("/v1/events", headers=await service.register(), json=batch(*sent))).json()
    assert answer["accepted"] == len(BAD_EVENTS)
    assert answer["rejected"] == [
        {"index": 2 * n + 1, "field": field, "reason": reason} for n, (field, reason, _) in enumerate(BAD_EVENTS)
    ]
    assert service.rows().rows["seq"].tolist() == list(range(len(BAD_EVENTS)))
    kept = service.refused()
    assert [each.reason for each in kept] == [reason for _, reason, _ in BAD_EVENTS]
    assert [json.loads(each.payload) for each in kept] == sent[1::2]


async def test_numbers_that_json_does_not_have_are_answered(service: Service) -> None:
    """NaN and Infinity are no JSON: the body is refused; 1e999 is, but holds no number of ours: the event is."""
    headers = await service.register() | {"Content-Type": "application/json"}
    for value in ("NaN", "Infinity", "-Infinity"):
        text = json.dumps(batch(event(0))).replace("14.55", value)
        answer = await service.client.post("/v1/events", headers=headers, content=text)
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:parkpal:problem:not-json")
    text = json.dumps(batch(event(0))).replace("14.55", "1e999")
    answer = await service.client.post("/v1/events", headers=headers, content=text)
    assert answer.json()["rejected"] == [{"index": 0, "field": "lat", "reason": "out_of_range"}]
    assert service.rows().rows.size == 0


BAD_BODIES: list[tuple[int, str, bytes, dict[str, str]]] = [
    (400, "not-json", b"", {}),
    (400, "not-json", b"{", {}),
    (400, "not-json", b'{"sent_at": 1, "events": [{"seq": 1', {}),
    (400, "not-json", b'{"sent_at":1,"events":[],"x":' + b"[" * 500_000, {}),
    (400, "not-json", b"\xff\xfe", {}),
    (400, "not-json", b"no gzip", {"Content-Encoding": "gzip"}),
    (400, "not-json", gzip.compress(b'{"sent_at": 1, "events": []}')[:-9], {"Content-Encoding": "gzip"}),
    (400, "not-json", b"no zstd", {"Content-Encoding": "zstd"}),
    (413, "body-too-large", b" " * (10 << 20), {}),
    (413, "body-too-large", gzip.compress(b" " * (200 << 20), 9), {"Content-Encoding": "gzip"}),
    (413, "body-too-large", zstandard.compress(b" " * (200 << 20)), {"Content-Encoding": "zstd"}),
    (413, "too-many-events", b'{"sent_at":1,"events":[' + b"{}," * 1000 + b"{}]}", {}),
    (415, "unsupported-encoding", b"{}", {"Content-Encoding": "br"}),
    (415, "unsupported-encoding", b"{}", {"Content-Encoding": "gzip, gzip"}),
    (415, "unsupported-media-type", b"{}", {"Content-Type": "text/plain"}),
    (422, "invalid-batch", b"[]", {}),
    (422, "invalid-batch", b"[" * 500_000, {}),
    (422, "invalid-batch", b"{}", {}),
    (422, "invalid-batch", b'{"events": []}', {}),
    (422, "invalid-batch", b'{"sent_at": null, "events": []}', {}),
    (422, "invalid-batch", b'{"sent_at": -1, "events": []}', {}),
    (422, "invalid-batch", b'{"sent_at": 1, "events": {}}', {}),
]


async def test_a_bad_body_gets_its_documented_answer(service: Service) -> None:
    phone = await service.register() | {"Content-Type": "application/json"}
    for status, slug, body, headers in BAD_BODIES:
        answer = await service.client.post("/v1/events", headers=phone | headers, content=body)
        given = (answer.status_code, answer.json()["type"], answer.headers["content-type"])
        assert given == (status, f"urn:parkpal:problem:{slug}", "application/problem+json"), (body[:30], headers)
    assert service.rows().rows.size == 0


async def test_many_gzip_members_are_one_body(service: Service) -> None:
    text = json.dumps(batch(event(0))).encode()
    headers = await service.register() | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(text[:20]) + gzip.compress(text[20:])
    assert (await service.client.post("/v1/events", headers=headers, content=body)).json()["accepted"] == 1


async def test_unknown_fields_are_ignored_and_counted(service: Service) -> None:
    body = batch(event(0, battery=5, nested={"a": []}), event(1), app="x")
    answer = await service.client.post("/v1/events", headers=await service.register(), json=body)
    assert answer.json() == {"accepted": 2, "duplicates": 0, "rejected": []}
    assert "parkpal_unknown_fields_total 3.0" in (await service.client.get("/metrics")).text


async def test_a_wrong_clock_is_corrected_and_the_raw_time_kept(service: Service) -> None:
    """The phone is an hour ahead: its events are taken at the server's time."""
    ahead = 3_600_000
    body = {"sent_at": now_ms() + ahead, "events": [event(0, event_time=now_ms() + ahead - 10_000)]}
    await service.client.post("/v1/events", headers=await service.register(), json=body)
    (row,) = service.rows().rows
    assert row["device_time"] == body["events"][0]["event_time"]
    assert row["event_time"] == row["device_time"] + row["receive_time"] - body["sent_at"]


async def test_a_repeat_is_remembered_and_not_written_again(service: Service) -> None:
    """The same event in a later request is a duplicate; another event under its seq goes to the log, to be judged."""
    phone, first = await service.register(), event(0)
    await service.client.post("/v1/events", headers=phone, json=batch(first))
    again = await service.client.post("/v1/events", headers=phone, json=batch(first, event(1)))
    assert again.json() == {"accepted": 1, "duplicates": 1, "rejected": []}
    other = await service.client.post("/v1/events", headers=phone, json=batch(first | {"lat": 1.0}))
    assert other.json()["accepted"] == 1
    assert service.rows().rows["seq"].tolist() == [0, 1, 0]


async def test_the_log_never_sees_the_devices_own_id(service: Service) -> None:
    """Not even where the phone writes it into its events, escaped."""
    phone = await service.register()
    device_id = (await service.client.get("/v1/devices/me", headers=phone)).json()["device_id"]
    escaped = "".join(f"\\u{ord(character):04x}" for character in device_id)
    text = json.dumps(batch(event(0, device_id=device_id), event(1, lat=99.0, device_id=device_id.upper())))
    text = text[:-2] + ',{"event_time":1,"seq":2,"lat":99.5,"lon":1,"device_id":"' + escaped + '"}]}'
    sent = phone | {"Content-Type": "application/json"}
    answer = await service.client.post("/v1/events", headers=sent, content=text)
    assert (answer.json()["accepted"], len(answer.json()["rejected"])) == (1, 2)
    pseudonym = service.rows().device_ids[0]
    assert len(pseudonym) == 32
    for kept in service.refused():
        assert kept.device_id == pseudonym.decode()
        assert device_id.encode() not in kept.payload.lower()
        assert pseudonym in kept.payload


async def test_a_device_without_consent_may_not_push(service: Service) -> None:
    phone = await service.register(location_analytics=False)
    answer = await service.client.post("/v1/events", headers=phone, json=batch(event(0)))
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:parkpal:problem:consent-missing")
    await service.client.put("/v1/devices/me/consent", headers=phone, json={"location_analytics": True})
    assert (await service.client.post("/v1/events", headers=phone, json=batch(event(0)))).status_code == 202
    withdrawn = await service.client.put("/v1/devices/me/consent", headers=phone, json={"location_analytics": False})
    assert withdrawn.json()["consent"] == {"location_analytics": False}
    assert (await service.client.post("/v1/events", headers=phone, json=batch(event(1)))).status_code == 403


async def test_a_revoked_device_may_not_push(service: Service) -> None:
    phone = await service.register()
    assert (await service.client.delete("/v1/devices/me", headers=phone)).status_code == 204
    assert (await service.client.post("/v1/events", headers=phone, json=batch(event(0)))).status_code == 403
    assert (await service.client.get("/v1/devices/me", headers=phone)).status_code == 404


async def test_a_forged_token_is_refused(service: Service) -> None:
    genuine = (await service.register())["Authorization"]
    for credentials in ("", "Bearer ", "Bearer pd_x_y", genuine[:-1], genuine.replace("pd_", "pp_"), "Basic x"):
        answer = await service.client.post("/v1/events", headers={"Authorization": credentials}, json=batch(event(0)))
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
