"""Contracts and keys: who makes them, what they open, and that an answer is the part of the whole that they let see."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import h3
import httpx
import psycopg
import pytest

from api.api_keys import Sight
from api.app import ApiConfig
from api.customers import contracts as rules
from api.geofences.fences import seed_fences
from api.live.feed import LiveEvent
from api.live.routes import _may_see
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.conftest import Service, serve
from tests.api.matrix_world import World, build_world
from tests.api.test_analytics import CELL, ENOUGH, MONDAY, drive, fill, seen, visit
from tests.api.test_geofences import collection, fence

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

HERE = h3.int_to_str(CELL)
AREA = h3.cell_to_parent(HERE, 6)
FAR = h3.latlng_to_cell(10.3, 123.9, 9)
ALL: dict[str, Any] = {"name": "all", "scopes": ["analytics:read", "live:read"], "zone_ids": None, "areas": None}
MALL_ONLY = ALL | {"zone_ids": ["mall"], "areas": [AREA], "scopes": ["analytics:read", "geofences:read"]}
WEEK = {"from": MONDAY.isoformat(), "to": (MONDAY + timedelta(days=7)).isoformat()}


@dataclass
class Office:
    """A service with statistics of two zones and two cells, and somebody in every role."""

    service: Service
    world: World

    async def call(self, who: str, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Call as somebody, about the operator; expect this status."""
        address = f"/v1/operators/{self.world.estates['operator'].ids['tenant']}{path}"
        answer = await self.service.client.request(method, address, headers=self.world.headers(who), json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def contract(self, terms: dict[str, Any]) -> str:
        """Make a contract; return its id."""
        made = await self.call("platform_admin", "POST", "/contracts", terms, 201)
        return str(made["contract_id"])

    async def key(self, contract_id: str, scopes: list[str], status: int = 201) -> Any:
        """Make a key."""
        body = {"contract_id": contract_id, "name": "dashboard", "scopes": scopes}
        return await self.call("operator_admin", "POST", "/keys", body, status)

    async def read(self, key: str, path: str, **parameters: Any) -> httpx.Response:
        """Ask with a key."""
        headers = {"Authorization": f"Bearer {key}"}
        return await self.service.client.get(path, headers=headers, params=parameters)


def times(at: datetime, count: int) -> list[datetime]:
    return [at + timedelta(minutes=n) for n in range(count)]


@pytest.fixture
async def office(config: ApiConfig, event_log: EventLog, lake: Lake) -> AsyncIterator[Office]:
    """Ten devices twice in each cell; twenty visits and drives in each zone."""
    positions = [seen(d, at, h3.str_to_int(c)) for d in ENOUGH for c in (HERE, FAR) for at in times(MONDAY, 2)[::1]]
    positions += [seen(d, MONDAY + timedelta(minutes=7), h3.str_to_int(c)) for d in ENOUGH for c in (HERE, FAR)]
    visits = [visit("enter", d, at, None, z) for z in ("mall", "gym") for d in ENOUGH for at in times(MONDAY, 2)]
    drives = [drive(d, at, "parked", 60, z) for z in ("mall", "gym") for d in ENOUGH for at in times(MONDAY, 2)]
    fill(lake, positions, geofence_events=visits, trips=drives).close()
    seed_fences(config.database_url, collection(fence("mall"), fence("gym")))
    world = build_world(config.database_url, config.device_token_key)
    async with serve(config, event_log, lake) as service:
        yield Office(service, world)


async def test_a_key_sees_its_contracts_part_of_what_is_published(office: Office) -> None:
    """Row by row the same as without limits: k and rounding do not depend on who asks."""
    whole = (await office.key(await office.contract(ALL), ["analytics:read"]))["text"]
    part = (await office.key(await office.contract(MALL_ONLY), ["analytics:read", "geofences:read"]))["text"]

    async def both(path: str, rows: str, **more: Any) -> tuple[list[Any], list[Any]]:
        answers = [(await office.read(key, path, **WEEK, **more)).json() for key in (whole, part)]
        assert answers[0]["k"] == answers[1]["k"]
        return answers[0][rows], answers[1][rows]

    all_cells, own_cells = await both("/v1/analytics/cells", "cells")
    assert {row["cell"] for row in all_cells} == {HERE, FAR}
    assert own_cells == [row for row in all_cells if row["cell"] == HERE]
    all_zones, own_zones = await both("/v1/zones", "zones")
    assert {row["zone_id"] for row in all_zones if row["entries"]} == {"mall", "gym"}
    assert own_zones == [row for row in all_zones if row["zone_id"] == "mall"]
    all_drives, own_drives = await both("/v1/analytics/search-times", "places")
    assert {row["place"] for row in all_drives} == {"mall", "gym"}
    assert own_drives == [row for row in all_drives if row["place"] == "mall"]
    all_metrics, own_metrics = await both("/v1/analytics/zones/mall/metrics", "metrics")
    assert own_metrics == all_metrics != []
    assert (await office.read(part, "/v1/analytics/zones/gym/metrics", **WEEK)).status_code == 404
    assert (await office.read(whole, "/v1/analytics/zones/gym/metrics", **WEEK)).status_code == 200
    box = {"bbox": "123.8,10.2,124.0,10.4"}
    assert (await both("/v1/analytics/cells", "cells", **box))[1] == []
    by_cell = {"by": "cell", "resolution": 8}
    assert {row["place"] for row in (await both("/v1/analytics/search-times", "places", **by_cell))[1]} <= {
        h3.cell_to_parent(HERE, 8)
    }
    fences = (await office.read(part, "/v1/geofences")).json()["features"]
    assert [one["properties"]["fence_id"] for one in fences] == ["mall"]
    assert (await office.read(part, "/v1/geofences/gym")).status_code == 404
    assert (await office.read(part, "/v1/geofences/mall")).status_code == 200


async def test_a_contract_for_nothing_shows_nothing(office: Office) -> None:
    key = (await office.key(await office.contract(ALL | {"zone_ids": [], "areas": []}), ["analytics:read"]))["text"]
    assert (await office.read(key, "/v1/analytics/cells", **WEEK)).json()["cells"] == []
    assert (await office.read(key, "/v1/analytics/cells", **WEEK)).json()["suppressed"] == 0
    assert (await office.read(key, "/v1/zones", **WEEK)).json()["zones"] == []


async def test_keys_are_made_rotated_and_revoked_by_the_customers_admins(office: Office) -> None:
    contract_id = await office.contract(ALL)
    made = await office.key(contract_id, ["analytics:read"])
    assert (await office.read(made["text"], "/v1/live")).status_code == 403  # a scope of the contract, not of the key
    key_id = made["key"]["key_id"]
    second = await office.call("operator_admin", "POST", f"/keys/{key_id}/rotate", status=201)
    assert second["key"]["replaces"] == key_id
    for text in (made["text"], second["text"]):
        assert (await office.read(text, "/v1/zones", **WEEK)).status_code == 200
    listed = await office.call("operator_admin", "GET", "/keys")
    assert [key["key_id"] for key in listed] == [key_id, second["key"]["key_id"]]
    assert listed[0]["expires_at"] is not None
    assert made["text"].rsplit("_", 1)[1] not in str(listed)
    await office.call("operator_admin", "POST", f"/keys/{key_id}/rotate", status=409)
    await office.call("operator_admin", "DELETE", f"/keys/{key_id}", status=204)
    assert (await office.read(made["text"], "/v1/zones", **WEEK)).status_code == 401
    await office.call("platform_admin", "DELETE", f"/contracts/{contract_id}", status=204)
    assert (await office.read(second["text"], "/v1/zones", **WEEK)).status_code == 401
    await office.key(contract_id, ["analytics:read"], 404)
    with psycopg.connect(office.world.url) as connection:
        actions = connection.execute("SELECT action FROM audit_entries ORDER BY entry_id").fetchall()
        rows = connection.execute("SELECT api_keys::text FROM api_keys").fetchall()
    assert [action for (action,) in actions] == [
        *("contract.added", "key.made", "key.rotated", "key.revoked", "contract.ended"),
    ]
    assert second["text"].rsplit("_", 1)[1] not in str(rows)


async def test_a_key_has_no_more_than_its_contract_and_nobody_elses(office: Office) -> None:
    contract_id = await office.contract(MALL_ONLY)
    await office.key(contract_id, ["live:read"], 400)
    made = await office.key(contract_id, ["analytics:read"])
    await office.call("other operator_admin", "POST", f"/keys/{made['key']['key_id']}/rotate", status=404)
    await office.call("platform_admin", "POST", "/contracts", MALL_ONLY | {"areas": [HERE]}, 400)
    await office.call("platform_admin", "POST", "/contracts", MALL_ONLY | {"scopes": ["geofences:write"]}, 400)
    with psycopg.connect(office.world.url) as connection:  # less was agreed since: the contract counts
        connection.execute("UPDATE contracts SET scopes = '{geofences:read}'")
    assert (await office.read(made["text"], "/v1/zones", **WEEK)).status_code == 403


async def test_a_contract_has_a_limited_number_of_keys(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST_KEYS", 1)
    contract_id = await office.contract(ALL)
    first = await office.key(contract_id, ["analytics:read"])
    assert (await office.key(contract_id, ["analytics:read"], 409))["type"].endswith("too-many-keys")
    await office.call("operator_admin", "DELETE", f"/keys/{first['key']['key_id']}", status=204)
    await office.key(contract_id, ["analytics:read"])


def test_live_events_are_seen_by_zone_or_else_by_area() -> None:
    def event(place: str | None, cell: str | None) -> LiveEvent:
        return LiveEvent("search_hints", "1", place, {"h3_r9": None if cell is None else h3.str_to_int(cell)})

    own = Sight(frozenset({"mall"}), frozenset({h3.str_to_int(AREA)}))
    assert _may_see(own, event("mall", FAR))
    assert not _may_see(own, event("gym", HERE))
    assert _may_see(own, event(None, HERE))
    assert not _may_see(own, event(None, FAR))
    assert not _may_see(own, event(None, None))
    assert _may_see(Sight(), event("gym", FAR))
    assert _may_see(Sight(), event(None, None))
