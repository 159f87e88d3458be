"""A town with a host, a driver and a place, put straight into the database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from api.database import Pool, build_pool

FREE = {"currency": "PHP", "rates": [{"rate": 0, "unit": "hour"}]}
POLICY = {"full_refund_before_s": 86_400, "late_refund_percent": 50}
NOON = datetime(2031, 3, 3, 12, tzinfo=UTC)


@dataclass
class Ground:
    """Ids of what is there."""

    url: str
    tenant_id: UUID = field(default_factory=uuid4)
    tariff_id: UUID = field(default_factory=uuid4)
    driver_id: UUID = field(default_factory=uuid4)
    place_id: UUID = field(default_factory=uuid4)

    def run(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a query as the database's owner."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(query.encode(), parameters)
            return found.fetchall() if found.description else []

    def add_person(self) -> UUID:
        """Add a person; return their id."""
        person_id = uuid4()
        email = f"{person_id.hex}@example.ph"
        self.run("INSERT INTO people (person_id, email, name) VALUES (%s, %s, 'Ana')", person_id, email)
        return person_id

    def add_place(self, kind: str = "space", capacity: int = 1, **more: Any) -> UUID:
        """Add a place; return its id."""
        place = {
            "place_id": uuid4(),
            "tenant_id": self.tenant_id,
            "kind": kind,
            "name": "Driveway",
            "lat": 14.55,
            "lon": 121.03,
            "shown_lat": 14.55,
            "shown_lon": 121.03,
            "time_zone": "Asia/Manila",
            "capacity": capacity,
            "tariff_id": self.tariff_id,
            "policy": Jsonb(POLICY),
        } | more
        columns, values = ", ".join(place), ", ".join(["%s"] * len(place))
        self.run(f"INSERT INTO places ({columns}) VALUES ({values})", *place.values())
        return place["place_id"]  # type: ignore[return-value]

    def add_booking(self, start: datetime = NOON, hours: float = 2, **more: Any) -> UUID:
        """Add a held booking as it would stand after a hold; return its id."""
        end = start + timedelta(hours=hours)
        booking = {
            "booking_id": uuid4(),
            "tenant_id": self.tenant_id,
            "place_id": self.place_id,
            "place_kind": "space",
            "space_id": self.place_id,
            "driver_id": self.driver_id,
            "plate": "ABC1234",
            "vehicle_kind": "car",
            "kind": "booking",
            "status": "HELD",
            "currency": "PHP",
            "total_minor": 5000,
            "during": f"[{start.isoformat()},{end.isoformat()})",
            "hold_expires_at": datetime.now(UTC) + timedelta(minutes=10),
            "quote": Jsonb({}),
            "policy": Jsonb(POLICY),
        } | more
        columns, values = ", ".join(booking), ", ".join(["%s"] * len(booking))
        self.run(f"INSERT INTO bookings ({columns}) VALUES ({values})", *booking.values())
        return booking["booking_id"]  # type: ignore[return-value]


@pytest.fixture
def ground(database_url: str) -> Ground:
    """A host with one free space, and a driver."""
    ground = Ground(database_url)
    ground.run("INSERT INTO tenants (tenant_id, kind, name) VALUES (%s, 'host', 'Ben')", ground.tenant_id)
    ground.run(
        "INSERT INTO tariffs (tariff_id, tenant_id, name, currency, rules) VALUES (%s, %s, 'free', 'PHP', %s)",
        ground.tariff_id,
        ground.tenant_id,
        Jsonb(FREE),
    )
    ground.driver_id = ground.add_person()
    ground.place_id = ground.add_place()
    return ground


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to the test's database."""
    pool = build_pool(database_url, max_size=8)
    await pool.open()
    yield pool
    await pool.close()
