"""Geofences over HTTP: versions are added and ended, never changed, and never take effect before their notice."""

import asyncio
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from click.testing import CliRunner

from api.geofences.fences import seed_fences
from parkpal.commands.migrate import migrate
from parkpal.commands.seed import seed
from pipeline.fences import DatabaseFences
from tests.api.conftest import Service

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

SQUARE = [[121.0, 14.5], [121.01, 14.5], [121.01, 14.51], [121.0, 14.51], [121.0, 14.5]]


def fence(fence_id: str = "mall", **properties: Any) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [SQUARE]}
    return {"type": "Feature", "properties": {"fence_id": fence_id} | properties, "geometry": geometry}


def collection(*features: dict[str, Any]) -> bytes:
    return httpx.Request("POST", "http://x", json={"type": "FeatureCollection", "features": features}).content


@pytest.fixture
def key(service: Service) -> dict[str, str]:
    return {"Authorization": f"Bearer {service.api_key}"}


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_fence_lives_from_notice_to_notice(service: Service, key: dict[str, str]) -> None:
    """Added, replaced and ended: three versions in time, each ending where the next begins."""
    client, before = service.client, datetime.now(UTC)
    added = (await client.post("/v1/geofences", headers=key, json=fence(name="Mall", dwell_s=120))).json()
    assert added["properties"]["version"] == 1
    assert added["properties"]["valid_to"] is None
    assert time_of(added["properties"]["valid_from"]) >= before + timedelta(minutes=3)
    assert added["geometry"] == {"type": "MultiPolygon", "coordinates": [[SQUARE]]}

    second = (await client.put("/v1/geofences/mall", headers=key, json=fence(kind="area"))).json()["properties"]
    first = (await client.get("/v1/geofences/mall?version=1", headers=key)).json()["properties"]
    assert (second["version"], second["kind"]) == (2, "area")
    assert first["valid_to"] == second["valid_from"]
    assert first | {"valid_to": None} == added["properties"]

    ended = (await client.delete("/v1/geofences/mall", headers=key)).json()["properties"]
    assert time_of(ended["valid_to"]) > time_of(ended["valid_from"])
    assert (await client.get("/v1/geofences/mall", headers=key)).json()["properties"] == ended


async def test_the_pipeline_reads_every_version(service: Service, key: dict[str, str]) -> None:
    """What the api writes, the flow's own reader takes."""
    await service.client.post("/v1/geofences", headers=key, json=fence())
    await service.client.put("/v1/geofences/mall", headers=key, json=fence())
    await service.client.delete("/v1/geofences/mall", headers=key)
    await service.client.post("/v1/geofences", headers=key, json=fence())
    with closing(DatabaseFences(service.database_url)) as fences:
        index, _ = fences.current()
    assert len(index.versions) == 3


async def test_a_fence_in_force_cannot_be_added_and_a_missing_one_not_replaced(
    service: Service, key: dict[str, str]
) -> None:
    client = service.client
    await client.post("/v1/geofences", headers=key, json=fence())
    answer = await client.post("/v1/geofences", headers=key, json=fence())
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:parkpal:problem:fence-exists")
    for method in ("put", "delete", "get"):
        answer = await client.request(method, "/v1/geofences/other", headers=key, json=fence())
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:parkpal:problem:not-found"), method


async def test_a_fence_that_breaks_a_rule_is_refused_with_the_rule(service: Service, key: dict[str, str]) -> None:
    unclosed = fence() | {"geometry": {"type": "Polygon", "coordinates": [SQUARE[:-1]]}}
    out_of_range = fence() | {"geometry": {"type": "Polygon", "coordinates": [[[200, 1], [1, 2], [3, 4], [200, 1]]]}}
    many = fence() | {"geometry": {"type": "Polygon", "coordinates": [[[n / 1e5, n % 2] for n in range(11_000)]]}}
    for body, status in [
        (unclosed, 422),
        (out_of_range, 422),
        (many, 422),
        (fence(dwell_s=-1), 422),
        (fence(fence_id=""), 422),
        (fence(kind="street"), 400),
        ({"type": "Feature"}, 400),
    ]:
        answer = await service.client.post("/v1/geofences", headers=key, json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_the_list_comes_in_pages_without_what_has_ended(service: Service, key: dict[str, str]) -> None:
    for name in ("a", "b", "c"):
        await service.client.post("/v1/geofences", headers=key, json=fence(name))
    first = (await service.client.get("/v1/geofences?limit=2", headers=key)).json()
    assert [each["properties"]["fence_id"] for each in first["features"]] == ["a", "b"]
    rest = (await service.client.get(f"/v1/geofences?limit=2&after={first['next']}", headers=key)).json()
    assert [each["properties"]["fence_id"] for each in rest["features"]] == ["c"]
    assert rest["next"] is None


async def test_the_database_itself_refuses_to_change_history(service: Service, key: dict[str, str]) -> None:
    await service.client.post("/v1/geofences", headers=key, json=fence())
    for change in (
        "DELETE FROM fence_versions",
        "UPDATE fence_versions SET dwell_s = 5",
        "UPDATE fence_versions SET valid_to = valid_from + interval '1 s'  , name = 'x'",
        "UPDATE fence_versions SET valid_to = clock_timestamp() + interval '1 minute', valid_from = '2020-01-01'",
    ):
        with psycopg.connect(service.database_url) as connection, pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute(change.encode())


def test_a_seed_into_an_empty_database_keeps_the_files_times(database_url: str) -> None:
    text = collection(fence("old", valid_from="2026-01-01T00:00:00Z"), fence("always"))
    assert seed_fences(database_url, text) == (2, 0)
    with psycopg.connect(database_url) as connection:
        rows = dict(connection.execute("SELECT fence_id, valid_from FROM fence_versions").fetchall())
    assert rows == {"old": datetime(2026, 1, 1, tzinfo=UTC), "always": datetime(1970, 1, 1, tzinfo=UTC)}


def test_a_later_seed_adds_only_what_is_new_and_not_in_the_past(database_url: str) -> None:
    seed_fences(database_url, collection(fence("old")))
    assert seed_fences(database_url, collection(fence("old", dwell_s=5), fence("new"))) == (1, 1)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT fence_id, dwell_s, valid_from > now() + interval '3 minutes' FROM fence_versions ORDER BY 1"
        ).fetchall()
    assert rows == [("new", 60.0, True), ("old", 60.0, False)]


async def test_editors_at_the_same_moment_make_versions_one_after_the_other(
    service: Service, key: dict[str, str]
) -> None:
    await service.client.post("/v1/geofences", headers=key, json=fence())
    puts = [service.client.put("/v1/geofences/mall", headers=key, json=fence(dwell_s=n)) for n in range(6)]
    assert {answer.status_code for answer in await asyncio.gather(*puts)} == {200}
    with psycopg.connect(service.database_url) as connection:
        rows = connection.execute("SELECT version, valid_from, valid_to FROM fence_versions ORDER BY 1").fetchall()
    assert [version for version, _, _ in rows] == list(range(1, 8))
    assert [valid_to for _, _, valid_to in rows[:-1]] == [valid_from for _, valid_from, _ in rows[1:]]


def test_the_commands_migrate_and_seed(database_url: str, tmp_path: Path) -> None:
    environ = {"PARKPAL_DATABASE_URL": database_url}
    assert "up to date" in CliRunner().invoke(migrate, env=environ).output
    file = tmp_path / "fences.geojson"
    file.write_bytes(collection(fence("a"), fence("b")))
    assert CliRunner().invoke(seed, ["--fences", str(file)], env=environ).output.startswith("2 fence versions added")
    file.write_bytes(collection(fence("c", kind="street")))
    refused = CliRunner().invoke(seed, ["--fences", str(file)], env=environ)
    assert refused.exit_code == 1
    assert "kind" in refused.output
