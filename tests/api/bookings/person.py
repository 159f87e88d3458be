"""People who ask over HTTP, and what they list and drive."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

from api.contacts import parse_contact
from api.people.tenants import grant_platform_role
from tests.api.people.conftest import Town

ANA, BEN, CORA = "ana@example.ph", "ben@example.ph", "cora@example.ph"
FREE = {"currency": "PHP", "rates": [{"rate": 0}]}
DRIVEWAY = {
    "name": "Driveway",
    "lat": 14.55,
    "lon": 121.03,
    "time_zone": "Asia/Manila",
    "tariff": FREE,
    "address": "12 Mabini St",
    "access_note": "gate code 4711",
    "amenities": ["covered"],
}
CAR = {"plate": "ABC1234", "kind": "car"}


def quarter(hours: float) -> datetime:
    """Return a whole quarter of an hour about so many hours from now."""
    now = datetime.now(UTC)
    return now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0) + timedelta(hours=hours)


class Person:
    """Somebody who asks."""

    def __init__(self, town: Town, headers: dict[str, str]) -> None:
        self.client = town.client
        self.headers = headers

    async def get(self, path: str, **parameters: Any) -> Any:
        """Read."""
        answer = await self.client.get(path, headers=self.headers, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def send(self, method: str, path: str, body: Any = None, key: str = "") -> httpx.Response:
        """Send, with a new key unless one is given."""
        headers = self.headers | {"Idempotency-Key": key or uuid4().hex}
        return await self.client.request(method, path, headers=headers, json=body)

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        """Post, and expect this status."""
        answer = await self.send("POST", path, body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def refused(self, path: str, body: Any = None) -> str:
        """Post, and return the slug of the refusal."""
        answer = await self.send("POST", path, body)
        return str(answer.json().get("type", answer.status_code)).rpartition(":")[2]

    async def hold(self, place_id: str, start: datetime, hours: float = 2) -> Any:
        """Quote and hold."""
        window = {"starts_at": start.isoformat(), "ends_at": (start + timedelta(hours=hours)).isoformat()}
        quote = await self.post("/v1/quotes", {"place_id": place_id, **window})
        return await self.post("/v1/bookings", {"quote": quote["quote"], "vehicle": CAR}, 201)


async def mall(town: Town) -> tuple[Person, str]:
    """Make an operator; return its admin and its id."""
    cora = Person(town, await town.headers(CORA))
    assert grant_platform_role(town.service.database_url, parse_contact(CORA), "platform_admin")
    operator = await cora.post("/v1/operators", {"name": "Mall", "admin_contact": CORA}, 201)
    return cora, f"/v1/operators/{operator['operator_id']}"
