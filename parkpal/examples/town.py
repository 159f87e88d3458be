"""Ana who drives, Ben who lets two driveways, and the zones of a piece of Makati; whoever is known already stays so.

Their password stands here for all to read, so the API does not start in production where one of them has an account.
"""

import asyncio
from hashlib import sha256
from importlib import resources
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg

from api.database import Pool, build_pool, load_queries
from api.geofences.fences import seed_fences
from api.idempotency import Scope
from api.people.access import Caller
from api.people.passwords import Passwords
from api.spaces.listing import Listing, PlaceText
from api.tenancy import authenticating

PASSWORD: Final = "correct horse battery"  # noqa: S105  # what stands here is no secret
DRIVER, HOST = "ana@example.ph", "ben@example.ph"
NAMES: Final = {DRIVER: "Ana", HOST: "Ben"}
_MAKATI: Final = {"time_zone": "Asia/Manila", "access_note": "gate code 4711"}
SPACES: Final[tuple[dict[str, Any], ...]] = (
    _MAKATI
    | {"name": "Driveway in Legazpi Village", "lat": 14.5535, "lon": 121.0167}
    | {"tariff": {"currency": "PHP", "rates": [{"rate": 4_000}]}},
    _MAKATI
    | {"name": "Garage in Salcedo Village", "lat": 14.5617, "lon": 121.0221, "height_cm": 210}
    | {"tariff": {"currency": "PHP", "rates": [{"rate": 0}]}},
)

_SQL: Final = load_queries("parkpal.examples", "people.sql")


class Seeded(msgspec.Struct, frozen=True):
    """How many of each were added."""

    fences: int
    people: int
    spaces: int


def seed_town(database_url: str) -> Seeded:
    """Add the examples that are missing."""
    zones = resources.files(__package__).joinpath("zones.geojson").read_bytes()
    fences, _ = seed_fences(database_url, zones)
    people, spaces = asyncio.run(_seed_people(database_url))
    return Seeded(fences, people, spaces)


def example_people(database_url: str) -> list[str]:
    """Return which of the examples' people have an account."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(_SQL["known"], {"emails": list(NAMES)}).fetchall()
    return [email for (email,) in rows]


async def _seed_people(database_url: str) -> tuple[int, int]:
    async with build_pool(database_url, max_size=2) as pool:
        added = {email: await _add_person(pool, email) for email in NAMES}
        host = added[HOST]
        spaces = 0 if host is None else await _add_spaces(pool, Caller(host, host, {}))
    return sum(person_id is not None for person_id in added.values()), spaces


async def _add_person(pool: Pool, email: str) -> UUID | None:
    password_hash = await Passwords().hash(PASSWORD)
    parameters = {"email": email, "name": NAMES[email], "password_hash": password_hash}
    async with authenticating(pool) as connection:
        row = await (await connection.execute(_SQL["add"], parameters)).fetchone()
    return None if row is None else UUID(str(row.person_id))


async def _add_spaces(pool: Pool, host: Caller) -> int:
    listing = Listing(pool)
    tenant_id = await listing.host_of(host, make=True)
    for space in SPACES:
        text = msgspec.convert(space, PlaceText)
        scope = Scope(host.person_id, "parkpal seed", text.name, sha256(msgspec.json.encode(text)).digest())
        await listing.add(host, scope, tenant_id, "space", text)
    return len(SPACES)
