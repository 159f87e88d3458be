"""A town with a host, a driver and a place, put straight into the database."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from api.app import ApiConfig
from api.bookings.booking import Booking, lock_booking
from api.bookings.clock import BookingClock
from api.bookings.holding import Taking, hold
from api.bookings.money import Charge, Earning, Rail
from api.bookings.places import Vehicle, Window, read_place
from api.bookings.quotes import quote_extension, quote_place
from api.database import Connection, Pool, build_pool
from api.outbox import relay
from api.tenancy import at_desk
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.bookings.person import ANA, BEN, Person
from tests.api.conftest import serve
from tests.api.people.conftest import Town

T = TypeVar("T")

CAR = Vehicle("ABC1234", "car")
FREE = {"currency": "PHP", "rates": [{"rate": 0}]}
HOURLY = {"currency": "PHP", "rates": [{"rate": 4000}], "maximum_fee": 30_000}
POLICY = {"full_refund_before_s": 86_400, "late_refund_percent": 50, "grace_s": 900}
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

    def add_tariff(self, rules: dict[str, Any]) -> UUID:
        """Add a tariff; return its id."""
        tariff_id = uuid4()
        query = "INSERT INTO tariffs (tariff_id, tenant_id, name, currency, rules) VALUES (%s, %s, 'one', 'PHP', %s)"
        self.run(query, tariff_id, self.tenant_id, Jsonb(rules))
        return tariff_id

    def add_bays(self, lot_id: UUID, count: int) -> None:
        """Add spaces to a lot."""
        for number in range(count):
            query = "INSERT INTO bays (lot_id, tenant_id, name) VALUES (%s, %s, %s)"
            self.run(query, lot_id, self.tenant_id, f"A{number:02}")

    def status(self, booking_id: UUID) -> str:
        """Return a booking's status."""
        return str(self.run("SELECT status FROM bookings WHERE booking_id = %s", booking_id)[0][0])

    def letters(self) -> list[str]:
        """Return the templates of what was written, in order."""
        return [row[0] for row in self.run("SELECT template FROM outbox ORDER BY created_at")]

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
    ground.tariff_id = ground.add_tariff(FREE)
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


@dataclass
class Books:
    """Money that writes down what it is told, and takes everything."""

    lines: list[tuple[str, UUID, int, str]] = field(default_factory=list)
    compensation_minor: int = 10_000

    def rails(self, currency: str) -> list[Rail]:
        """Return one rail."""
        return [Rail("card", 2000)]

    async def earned(self, _: Connection, booking_id: UUID, amount_minor: int, kind: Earning) -> None:
        """Write down."""
        self._add("earned", booking_id, amount_minor, kind)

    async def refund_due(self, _: Connection, booking_id: UUID, amount_minor: int, reason: str) -> None:
        """Write down."""
        self._add("refund", booking_id, amount_minor, reason)

    async def charge_due(self, _: Connection, booking_id: UUID, amount_minor: int, kind: Charge) -> None:
        """Write down."""
        self._add("charge", booking_id, amount_minor, kind)

    async def compensate(self, _: Connection, booking_id: UUID, amount_minor: int, reason: str) -> None:
        """Write down."""
        self._add("compensation", booking_id, amount_minor, reason)

    async def subsidise(self, _: Connection, booking_id: UUID, amount_minor: int) -> None:
        """Write down."""
        self._add("subsidy", booking_id, amount_minor, "")

    def _add(self, what: str, booking_id: UUID, amount_minor: int, why: str) -> None:
        if amount_minor:
            self.lines.append((what, booking_id, amount_minor, why))

    def short(self) -> list[tuple[str, int]]:
        """Return what moved, and how much."""
        return [(what, amount) for what, _, amount, _ in self.lines]


@dataclass
class Desk:
    """The booking desk at a time that the test sets."""

    ground: Ground
    pool: Pool
    books: Books = field(default_factory=Books)
    now: datetime = NOON - timedelta(hours=2)

    async def hold(
        self,
        start: datetime = NOON,
        hours: float = 2,
        place_id: UUID | None = None,
        driver_id: UUID | None = None,
        **more: Any,
    ) -> UUID:
        """Quote and hold."""
        async with at_desk(self.pool, self.ground.driver_id) as connection:
            place = await read_place(connection, place_id or self.ground.place_id)
            window = Window(start, start + timedelta(hours=hours))
            driver_id = driver_id or self.ground.driver_id
            quote = quote_place(place, driver_id, window, "car", self.books.rails("PHP"), self.now)
            return await hold(connection, Taking(quote, CAR, **more), self.now)

    async def extend(self, booking_id: UUID, hours: float) -> UUID:
        """Hold more time of a stay."""
        async with at_desk(self.pool, self.ground.driver_id) as connection:
            booking = await self.read(booking_id)
            place = await read_place(connection, booking.place_id)
            stay = (booking_id, booking.stay, booking.total_minor + booking.extension_minor)
            until = booking.stay_ends_at + timedelta(hours=hours)
            rails = self.books.rails("PHP")
            quote = quote_extension(place, booking.driver_id, stay, until, "car", rails, self.now)
            return await hold(connection, Taking(quote, CAR, pay_later=booking.pay_later), self.now)

    async def read(self, booking_id: UUID) -> Booking:
        """Return a booking."""
        async with at_desk(self.pool) as connection:
            return await lock_booking(connection, booking_id, self.now)

    async def do(self, action: Callable[..., Awaitable[T]], *parameters: Any) -> T:
        """Do something in a transaction of the desk, at the desk's time."""
        async with at_desk(self.pool, self.ground.driver_id) as connection:
            return await action(connection, *parameters, self.now)

    async def tick(self, **later: float) -> int:
        """Let time pass, and the clock look."""
        self.now += timedelta(**later)
        return await BookingClock(self.pool, self.books, lambda: self.now).tick()


@pytest.fixture
def desk(ground: Ground, pool: Pool) -> Desk:
    """A desk over the ground."""
    return Desk(ground, pool)


@pytest.fixture
async def town(
    config: ApiConfig, event_log: EventLog, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Town]:
    """A service whose relay does not wait, with room for a test's tries."""
    monkeypatch.setattr(relay, "POLL_S", 0.01)
    config = replace(config, codes_per_minute=5, registrations_per_minute=1_000, holds_per_minute=1_000)
    async with serve(config, event_log, lake) as service:
        yield Town(service, tmp_path / "outbox")


@pytest.fixture
async def ana(town: Town) -> Person:
    """A driver."""
    return Person(town, await town.headers(ANA))


@pytest.fixture
async def ben(town: Town) -> Person:
    """A host."""
    return Person(town, await town.headers(BEN, name="Ben"))
