"""What operators see: health, logs, metrics; and consents that reach every process."""

import io
import json
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from api import health
from api.app import ApiConfig
from api.database import build_pool
from api.errors import ConsentMissingError, UnavailableError
from api.health import RejectRate, database_check
from api.ingest import consents
from api.ingest.consents import Denied
from api.logs import JsonFormatter
from api.metrics import Metrics
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.conftest import Service, serve
from tests.api.test_grouping import Gate

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_a_withdrawal_reaches_other_processes_with_the_next_refresh(service: Service) -> None:
    phone = await service.register()
    device_id = (await service.client.get("/v1/devices/me", headers=phone)).json()["device_id"]
    async with build_pool(service.database_url, max_size=1) as pool:
        other = Denied(pool, Metrics())
        await other.refresh()
        other.check(device_id)
        await service.client.put("/v1/devices/me/consent", headers=phone, json={"location_analytics": False})
        await other.refresh()
        with pytest.raises(ConsentMissingError):
            other.check(device_id)
        await service.client.put("/v1/devices/me/consent", headers=phone, json={"location_analytics": True})
        await other.refresh()
        other.check(device_id)


async def test_nobody_may_push_when_consents_are_too_old(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = await service.register()
    monkeypatch.setattr(consents, "MAX_AGE_S", -1.0)
    answer = await service.client.post("/v1/events", headers=phone, json={"sent_at": 1, "events": []})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:parkpal:problem:unavailable")
    assert answer.headers["retry-after"] == "5"


async def test_every_answer_of_a_person_is_kept(service: Service) -> None:
    phone = await service.register(location_analytics=True, research=False)
    consent = {"location_analytics": False}
    await service.client.put("/v1/devices/me/consent", headers=phone, json=consent)
    with psycopg.connect(service.database_url) as connection:
        rows = connection.execute("SELECT purpose, granted FROM consents ORDER BY consent_id").fetchall()
        with pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute("UPDATE consents SET granted = true")
    assert sorted(rows[:2]) == [("location_analytics", True), ("research", False)]
    assert rows[2:] == [("location_analytics", False)]


async def test_ready_names_the_part_that_is_not_well(config: ApiConfig, event_log: EventLog, lake: Lake) -> None:
    gate = Gate()
    async with serve(config, event_log, lake, gate) as service:
        assert (await service.client.get("/health/ready")).json()["status"] == "ready"
        gate.broken = True
        answer = await service.client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "not ready",
            "parts": {"database": "ok", "log": "gone", "lake": "ok", "rejects": "ok"},
        }
        assert (await service.client.get("/health/live")).status_code == 200


async def test_a_clock_5_s_off_the_databases_is_not_ready(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # the one call that is made
            return datetime.now(UTC) + timedelta(seconds=6)

    async with build_pool(database_url, max_size=1) as pool:
        check = database_check(pool)
        await check()
        monkeypatch.setattr(health, "datetime", Wrong)
        with pytest.raises(UnavailableError, match=r"[56]\.\d s from the database"):
            await check()


async def test_a_database_that_is_gone_is_not_ready() -> None:
    pool = build_pool("postgresql://nobody@127.0.0.1:1/none", max_size=1)
    await pool.open()
    with pytest.raises(UnavailableError):
        await database_check(pool)()
    await pool.close()


async def test_too_many_rejects_are_not_ready_until_they_are_old() -> None:
    now = [0.0]
    rate = RejectRate(lambda: now[0])
    rate.add(accepted=10_000, rejected=999)
    rate.add(accepted=0, rejected=500)
    await rate.check()
    now[0] = 120.0
    rate.add(accepted=0, rejected=20_000)
    with pytest.raises(UnavailableError, match="21499 of 31499"):
        await rate.check()
    now[0] = 120.0 + 6 * 60
    await rate.check()


async def test_logs_and_metrics_tell_nothing_of_a_person(service: Service) -> None:
    """A request, a refused one and a crash leave lines without ids, tokens, places, addresses or messages."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("api")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    phone = await service.register()
    device_id = (await service.client.get("/v1/devices/me", headers=phone)).json()["device_id"]
    body = {"sent_at": 1, "events": [{"event_time": time.time_ns(), "seq": 0, "lat": 14.55555, "lon": 121.5}]}
    await service.client.post(f"/v1/events?who={device_id}", headers=phone, json=body)
    await service.client.get(f"/{device_id}", headers=phone)
    with psycopg.connect(service.database_url) as connection:
        connection.execute("ALTER TABLE consents DROP COLUMN granted CASCADE")
    assert (await service.client.put("/v1/devices/me/consent", headers=phone, json={"x": True})).status_code == 500
    logger.removeHandler(handler)
    text = lines.getvalue() + (await service.client.get("/metrics")).text
    for secret in (device_id, phone["Authorization"][7:], "14.55", "127.0.0.1", "does not exist"):
        assert secret not in text
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert {event["route"] for event in events if event["event"] == "answered"} >= {"/v1/events", "none"}
    assert any(event["event"] == "failed" and event["error"] == "UndefinedColumn" for event in events)


@pytest.mark.parametrize("named", [False, True])
async def test_pages_elsewhere_may_ask_only_if_a_setting_names_them(
    config: ApiConfig, event_log: EventLog, lake: Lake, *, named: bool
) -> None:
    ours, other = "https://app.example.ph", "https://other.example.ph"
    asks = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
    async with serve(replace(config, cors_origins=(ours,) if named else ()), event_log, lake) as service:
        for origin in (ours, other):
            allowed = origin if named and origin == ours else None
            answer = await service.client.get("/v1/me", headers={"origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in answer.headers
            answer = await service.client.options("/v1/me", headers={"origin": origin} | asks)
            assert answer.headers.get("access-control-allow-origin") == allowed


async def test_a_callers_request_id_is_used_if_it_is_one(service: Service) -> None:
    given = await service.client.get("/health/live", headers={"X-Request-Id": "abcdef-0123456789"})
    assert given.headers["x-request-id"] == "abcdef-0123456789"
    forged = await service.client.get("/health/live", headers={"X-Request-Id": "a\tb"})
    assert forged.headers["x-request-id"] != "a\tb"
