"""Who may do what: every route, as the OpenAPI document lists it, and the limits on strangers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from api.api_keys import ANALYTICS_READ, SCOPES, ensure_first_key, make_key
from api.app import ApiConfig
from api.errors import TABLE, ApiError
from api.limiter import address_subject
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.conftest import Service, serve

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def openapi(service: Service) -> dict[str, Any]:
    document: dict[str, Any] = (await service.client.get("/schema/openapi.json")).json()
    return document


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, operation) for path, item in document["paths"].items() for method, operation in item.items()]


async def test_the_document_tells_of_404_below_an_id_and_of_no_body_with_204(service: Service) -> None:
    for method, path, operation in operations(await openapi(service)):
        assert "{" not in path or "404" in operation["responses"], f"{method} {path}"
        assert "content" not in operation["responses"].get("204", {}), f"{method} {path}"


async def test_every_error_in_the_document_is_a_problem(service: Service) -> None:
    document = await openapi(service)
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and path != "/health/ready":
                assert list(answer["content"]) == ["application/problem+json"], (method, path, status)
    body = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["events"]["items"]["required"] == ["event_time", "seq"]


async def test_the_schema_page_names_every_route_and_no_other_host(service: Service) -> None:
    page = await service.client.get("/schema")
    assert page.headers["content-type"].startswith("text/html")
    assert all(path in page.text for _, path, _ in operations(await openapi(service)))
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script" not in page.text


async def test_a_key_without_the_scope_is_refused(service: Service) -> None:
    key = make_key()
    with psycopg.connect(service.database_url) as connection:
        connection.execute(
            "INSERT INTO api_keys (key_id, secret_hash, name, scopes) VALUES (%s, %s, 'test', %s)",
            [key.key_id, key.secret_hash, [ANALYTICS_READ]],
        )
    answer = await service.client.get("/v1/geofences", headers={"Authorization": f"Bearer {key.text}"})
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:parkpal:problem:insufficient-scope")


async def test_an_expired_or_revoked_key_is_refused(service: Service) -> None:
    for column in ("expires_at", "revoked_at"):
        key = make_key()
        with psycopg.connect(service.database_url) as connection:
            connection.execute(
                "INSERT INTO api_keys (key_id, secret_hash, name, scopes) VALUES (%s, %s, 'test', %s)",
                [key.key_id, key.secret_hash, list(SCOPES)],
            )
            ended = sql.SQL("UPDATE api_keys SET {} = now() - interval '1 second' WHERE key_id = %s")
            connection.execute(ended.format(sql.Identifier(column)), [key.key_id])
        answer = await service.client.get("/v1/geofences", headers={"Authorization": f"Bearer {key.text}"})
        assert answer.status_code == 401


def test_the_first_key_is_made_once_and_only_its_hash_is_stored(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "first-api-key"
    assert ensure_first_key(database_url, path)
    text = path.read_text().strip()
    assert not ensure_first_key(database_url, path)
    assert path.read_text().strip() == text
    assert path.stat().st_mode & 0o777 == 0o600
    with psycopg.connect(database_url) as connection:
        (row,) = connection.execute("SELECT api_keys::text FROM api_keys").fetchone() or ("",)
    assert text.rsplit("_", 1)[1] not in row


def test_an_ipv6_customer_is_one_subject_and_an_ipv4_address_its_own() -> None:
    assert address_subject("2001:db8::1") == address_subject("2001:db8::ffff:2")
    assert address_subject("2001:db8:1::1") != address_subject("2001:db8:2::1")
    assert address_subject("::ffff:192.0.2.1") == address_subject("192.0.2.1") != address_subject("192.0.2.2")


async def test_registration_is_limited_by_address(config: ApiConfig, event_log: EventLog, lake: Lake) -> None:
    """What is allowed is the setting's; the answer says when to come again."""
    async with serve(replace(config, registrations_per_minute=2), event_log, lake) as service:
        answers = [await service.client.post("/v1/devices", json={"consent": {}}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 30


async def test_framework_errors_are_problems_too(service: Service) -> None:
    key = {"Authorization": f"Bearer {service.api_key}"}
    for method, path, status, slug in [
        ("get", "/nothing", 404, "not-found"),
        ("delete", "/v1/events", 405, "method-not-allowed"),
        ("get", "/v1/geofences?limit=0", 400, "invalid-request"),
        ("get", "/v1/analytics/cells?from=yesterday", 400, "invalid-request"),
        ("get", "/v1/analytics/cells?resolution=10", 400, "invalid-request"),
        ("post", "/v1/devices", 400, "invalid-request"),
    ]:
        answer = await service.client.request(method, path, headers=key)
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:parkpal:problem:{slug}"), path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.json()["instance"] == answer.headers["x-request-id"]


async def test_a_bug_is_a_500_that_shows_nothing(service: Service) -> None:
    """A query that fails in the database: the client learns no more than that."""
    with psycopg.connect(service.database_url) as connection:
        connection.execute("ALTER TABLE fence_versions RENAME COLUMN name TO other")
    answer = await service.client.get("/v1/geofences", headers={"Authorization": f"Bearer {service.api_key}"})
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:parkpal:problem:internal")
    assert "other" not in answer.text


def test_every_error_of_the_tree_is_in_the_table() -> None:
    assert set(TABLE) == set(ApiError.__subclasses__())
