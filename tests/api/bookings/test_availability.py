"""How full a zone is: what its lots count and sell, nothing where one of them is silent, and nothing of phones."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.booth.days import Occupancy
from api.database import Pool
from api.errors import NotFoundError
from api.geofences.fences import seed_fences
from api.limiter import Limiter, PostgresAllowances
from api.people.access import Caller
from api.spaces.availability import NO_LOTS, NOT_COUNTED, STALE, Availability, Lot, ZoneAvailability, add_up
from api.spaces.kerb import Newest
from api.spaces.search import ExpectedSearch
from tests.api.bookings.conftest import NOON, Ground
from tests.api.bookings.person import BEN, CAR, DRIVEWAY, Person, mall, quarter
from tests.api.people.conftest import Town
from tests.api.test_geofences import collection

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

NOW = datetime(2031, 3, 3, 12, 7, tzinfo=UTC)
SEARCH = Newest(ExpectedSearch(180.0, None), NOW - timedelta(hours=1))


def ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


ZONE = {
    "type": "Feature",
    "properties": {"fence_id": "legazpi"},
    "geometry": {
        "type": "MultiPolygon",
        "coordinates": [
            [ring(121.0, 14.5, 121.1, 14.6), ring(121.04, 14.54, 121.06, 14.56)],
            [ring(121.2, 14.5, 121.3, 14.6)],
        ],
    },
}
"""A square with a hole, and another square."""
INSIDE, IN_THE_OTHER, IN_THE_HOLE, BETWEEN = (14.51, 121.01), (14.55, 121.25), (14.55, 121.05), (14.55, 121.15)


@pytest.fixture
def zone(ground: Ground) -> Ground:
    """The ground with a fence on it."""
    road = ZONE | {"properties": {"fence_id": "road", "kind": "area"}}
    over = ZONE | {"properties": {"fence_id": "over", "valid_to": "2031-01-01T00:00:00Z"}}
    seed_fences(ground.url, collection(ZONE, road, over))
    return ground


def add_lot(ground: Ground, where: tuple[float, float] = INSIDE, capacity: int = 10, **more: Any) -> UUID:
    lat, lon = where
    return ground.add_place("lot", capacity, lat=lat, lon=lon, shown_lat=lat, shown_lon=lon, **more)


def count(ground: Ground, lot_id: UUID, at: datetime, standing: int | None, entered: int = 0) -> None:
    ground.run(
        "INSERT INTO gate_counts (lot_id, tenant_id, day, counted_by, counted_at, entered, departed, standing)"
        " VALUES (%s, %s, %s, %s, %s, %s, 0, %s)",
        *(lot_id, ground.tenant_id, at.date(), ground.driver_id, at, entered, standing),
    )


async def ask(pool: Pool, zone_id: str = "legazpi", now: datetime = NOW) -> ZoneAvailability:
    async def search(_: str) -> Newest:
        return SEARCH

    limiter = Limiter(PostgresAllowances(pool), bytes(32), "searches", 100)
    return await Availability(pool, limiter, search, lambda: now).of_zone(Caller(uuid4(), uuid4(), {}), zone_id)


async def test_lots_in_the_fence_are_added_up(zone: Ground, pool: Pool) -> None:
    """Those in its hole, outside, unlisted, and single spaces are not of it; sold and blocked spaces are not free."""
    lots = [add_lot(zone), add_lot(zone, IN_THE_OTHER, 5)]
    for where in (IN_THE_HOLE, BETWEEN):
        add_lot(zone, where)
    add_lot(zone, state="paused")
    zone.add_place("space", lat=14.51, lon=121.01, shown_lat=14.51, shown_lon=121.01)
    count(zone, lots[0], NOW - timedelta(minutes=20), 4)
    count(zone, lots[0], NOW - timedelta(minutes=10), None, entered=2)
    zone.run("INSERT INTO lot_buckets VALUES (%s, %s, 5, 3, 1)", lots[1], NOON)
    zone.run("INSERT INTO lot_buckets VALUES (%s, %s, 5, 5, 0)", lots[1], NOON + timedelta(minutes=15))
    block = "INSERT INTO blocks (place_id, tenant_id, during, spaces) VALUES (%s, %s, tstzrange(%s, %s), 3)"
    zone.run(block, lots[0], zone.tenant_id, NOON, NOON + timedelta(hours=1))
    found = await ask(pool)
    assert (found.lots, found.total, found.occupied, found.reason) == (2, 15, 6, None)
    assert found.available == (10 - 3 - 6) + (5 - 4)
    assert found.expected_search == SEARCH.expected
    assert found.freshness.as_of == NOW
    assert found.freshness.counted_at == NOW - timedelta(minutes=10)
    assert found.freshness.searched_until == SEARCH.until


async def test_who_has_checked_in_stands_there_where_nobody_counts(zone: Ground, pool: Pool) -> None:
    lot_id = add_lot(zone)
    for status in ("RESERVED", "ACTIVE", "OVERSTAY"):
        zone.add_booking(place_id=lot_id, place_kind="lot", space_id=None, status=status, hold_expires_at=None)
    found = await ask(pool)
    assert (found.total, found.occupied, found.available) == (10, 2, 8)
    assert found.freshness.counted_at is None


async def test_a_silent_lot_withholds_the_sum_and_a_closed_one_has_nothing_free(zone: Ground, pool: Pool) -> None:
    """The hours are local: 12:07 UTC on a Monday is 20:07 in Manila."""
    assert (await ask(pool)).reason == NO_LOTS
    lot_id = add_lot(zone)
    hours = "INSERT INTO opening_hours (place_id, tenant_id, weekday, opens_min, closes_min) VALUES (%s, %s, 1, %s, %s)"
    zone.run(hours, lot_id, zone.tenant_id, 8 * 60, 20 * 60)
    assert (await ask(pool)).available == 0
    assert (await ask(pool, now=NOW - timedelta(minutes=8))).available == 10
    count(zone, add_lot(zone), NOW - timedelta(minutes=31), 4)
    stale = await ask(pool)
    assert (stale.total, stale.occupied, stale.available) == (20, None, None)
    assert (stale.reason, stale.freshness.counted_at) == (STALE, NOW - timedelta(minutes=31))


@pytest.mark.parametrize("zone_id", ["nowhere", "road", "over"])
async def test_an_area_and_a_fence_that_is_over_are_no_zones(zone: Ground, pool: Pool, zone_id: str) -> None:
    with pytest.raises(NotFoundError):
        await ask(pool, zone_id)


def test_a_zone_never_has_more_than_there_is() -> None:
    """Whatever is counted, sold and blocked: nothing is negative, and free and full are not more than the total."""
    draw = random.Random(7)

    def lot() -> Lot:
        counted_at = draw.choice((None, NOW, NOW - timedelta(hours=1)))
        standing = None if counted_at is None else draw.choice((None, 0, 3, 40))
        occupancy = Occupancy(draw.randrange(10), draw.randrange(3), standing, counted_at)
        return Lot(occupancy, draw.randrange(4), draw.randrange(10), draw.random() < 0.8)

    seen = set()
    for _ in range(2_000):
        lots = [lot() for _ in range(draw.randrange(4))]
        spaces = add_up(lots, NOW)
        seen.add(spaces.reason)
        if spaces.available is None:
            assert spaces.occupied is None
            continue
        free = [add_up([one], NOW).available for one in lots]
        assert spaces.available == sum(one for one in free if one is not None)
        assert spaces.total is not None
        assert 0 <= spaces.available <= spaces.total
        assert all(one.occupied() + one.available() <= max(one.occupied(), one.occupancy.capacity) for one in lots)
    assert seen == {None, NO_LOTS, NOT_COUNTED, STALE}


async def test_a_driver_asks_over_http(town: Town, ana: Person, ben: Person) -> None:
    """One walked in with a booking, another was counted at the gate: two of three spaces are taken."""
    seed_fences(town.service.database_url, collection(ZONE))
    cora, path = await mall(town)
    text = DRIVEWAY | {"name": "Level 2", "lat": 14.51, "lon": 121.01, "bays": ["A1", "A2", "A3"]}
    lot = (await cora.post(f"{path}/lots", text, 201))["place_id"]
    await cora.send("PUT", f"{path}/attendants", {"contact": BEN})
    await ana.post("/v1/walk-ups", {"space_id": lot, "ends_at": quarter(3).isoformat(), "vehicle": CAR}, 201)
    found = await ana.get("/v1/zones/legazpi/availability")
    spaces = {"lots": 1, "total": 3, "occupied": 1, "available": 2, "reason": None}
    assert found == found | spaces
    await ben.post(f"{path}/lots/{lot}/counts", {"entered": 2, "standing": 2}, 201)
    found = await ana.get("/v1/zones/legazpi/availability")
    assert found == found | spaces | {"occupied": 2, "available": 1}
    assert found["expected_search"] == {"p50_s": None, "reason": "the statistics cannot be read now"}
    assert found["freshness"]["searched_until"] is None
    refused = await ana.client.get("/v1/zones/nowhere/availability", headers=ana.headers)
    assert refused.json()["type"].endswith("not-found")
    key = {"Authorization": f"Bearer {town.service.api_key}"}
    assert (await ana.client.get("/v1/zones/legazpi/availability", headers=key)).status_code == 401
