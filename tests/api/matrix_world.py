"""Two tenants that have everything, two that have nothing to do with them, and somebody in every role.

What only they may know has `SECRET` in it, or is in `secrets`: an answer to anybody else must hold none of it.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
from argon2 import PasswordHasher
from psycopg.types.json import Jsonb

from api.api_keys import SCOPES, make_key
from api.ingest.tokens import encode_token, new_device_id
from api.people import access
from api.people.access import AccessTokens, Caller
from tests.api.bookings.conftest import HOURLY
from tests.api.people.conftest import PASSWORD

SECRET: Final = "Zinnober"  # noqa: S105  # a mark that nothing else has
SEED: Final = bytes(32)
ROLES: Final = {
    "operator": ("attendant", "operator_analyst", "operator_admin"),
    "host": ("host",),
    "platform": ("support", "platform_admin"),
}
WHOLE_DAY: Final = "tstzrange('2031-03-03T00:00Z', '2031-03-04T00:00Z')"


@dataclass
class Estate:
    """A tenant with what may stand in a path or a body."""

    ids: dict[str, str] = field(default_factory=dict)


@dataclass
class World:
    """Who there is: headers by role, in an estate's own tenant and in another."""

    url: str
    device_key: bytes
    estates: dict[str, Estate] = field(default_factory=dict)
    people: dict[str, UUID] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=lambda: {SECRET})
    revoked_phone: dict[str, str] = field(default_factory=dict)
    """What a phone sends that was revoked before the service began: it reads that list once in a while."""

    def headers(self, who: str) -> dict[str, str]:
        """Return what this person sends."""
        token = AccessTokens(SEED).sign(Caller(self.people[who], uuid4(), {}))
        return {"Authorization": f"Bearer {token}"}

    def key(self, *scopes: str, ended: str | None = None) -> dict[str, str]:
        """Make a customer's key; return what its owner sends. ended: the column that ends it."""
        key = make_key()
        with psycopg.connect(self.url) as connection:
            query = "INSERT INTO api_keys (key_id, secret_hash, name, scopes) VALUES (%s, %s, 'k', %s)"
            connection.execute(query, [key.key_id, key.secret_hash, list(scopes)])
            if ended is not None:
                query = f"UPDATE api_keys SET {ended} = now() - interval '1 s' WHERE key_id = %s"
                connection.execute(query.encode(), [key.key_id])
        return {"Authorization": f"Bearer {key.text}"}

    def phone(self, *, revoked: bool = False) -> dict[str, str]:
        """Make a phone; return what it sends."""
        device_id = new_device_id()
        with psycopg.connect(self.url) as connection:
            query = "INSERT INTO devices (device_id, may_push, revoked_at) VALUES (%s, %s, CASE WHEN %s THEN now() END)"
            connection.execute(query, [device_id, not revoked, revoked])
        return {"Authorization": f"Bearer {encode_token(self.device_key, device_id)}"}


def useless(world: World, scheme: str) -> dict[str, dict[str, str]]:
    """Return headers that open nothing of this scheme: none, ended ones, forged ones, and good ones of other kinds."""
    foreign = AccessTokens(b"\1" * 32).sign(Caller(uuid4(), uuid4(), {}))
    kinds = {
        "accessToken": world.headers("driver"),
        "apiKey": world.key(*SCOPES),
        "deviceToken": world.phone(),
    }
    bad = {
        "nobody": {},
        "nonsense": {"Authorization": "Bearer x"},
        "basic": {"Authorization": "Basic eDp4"},
        "a forged token": {"Authorization": f"Bearer {foreign}"},
        "an ended token": {"Authorization": f"Bearer {_ended_token(world)}"},
        "a key of nobody": {"Authorization": "Bearer pp_live_0123456789abcdef_00"},
        "a revoked key": world.key(*SCOPES, ended="revoked_at"),
        "an expired key": world.key(*SCOPES, ended="expires_at"),
        "a revoked phone": world.revoked_phone,
    }
    return bad | {f"a good {kind}": headers for kind, headers in kinds.items() if kind != scheme}


def _ended_token(world: World) -> str:
    lifetime = access.LIFETIME
    try:
        access.LIFETIME = timedelta(seconds=-1)  # type: ignore[misc]  # as if it were a quarter of an hour later
        return AccessTokens(SEED).sign(Caller(world.people["driver"], uuid4(), {}))
    finally:
        access.LIFETIME = lifetime  # type: ignore[misc]


def build_world(url: str, device_key: bytes) -> World:
    """Put it all into the database."""
    world = World(url, device_key)
    world.revoked_phone |= world.phone(revoked=True)
    with psycopg.connect(url) as connection:
        for who in ("driver", "stranger", "leaver", "dora"):
            _add_person(connection, world, who)
        ((platform,),) = connection.execute("SELECT tenant_id FROM tenants WHERE kind = 'platform'").fetchall()
        _staff(connection, world, platform, "platform", "")
        for kind in ("operator", "host"):
            world.estates[kind] = _build_estate(connection, world, kind)
            other = uuid4()
            query = "INSERT INTO tenants (tenant_id, kind, name) VALUES (%s, %s, 'Other')"
            connection.execute(query, [other, kind])
            _staff(connection, world, other, kind, "other ")
    return world


def _add_person(connection: psycopg.Connection[Any], world: World, who: str) -> UUID:
    person_id = world.people[who] = uuid4()
    email = "dora@example.ph" if who == "dora" else f"{person_id.hex}@example.ph"
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    query = "INSERT INTO people (person_id, email, name, password_hash) VALUES (%s, %s, %s, %s)"
    outsider = who in {"stranger", "leaver"} or who.startswith("other ")
    connection.execute(query, [person_id, email, "Ana" if outsider else SECRET, hashed])
    return person_id


def _staff(connection: psycopg.Connection[Any], world: World, tenant_id: UUID, kind: str, prefix: str) -> None:
    for role in ROLES[kind]:
        person_id = _add_person(connection, world, prefix + role)
        query = "INSERT INTO memberships (tenant_id, person_id, role, tenant_kind) VALUES (%s, %s, %s, %s)"
        connection.execute(query, [tenant_id, person_id, role, kind])


def _build_estate(connection: psycopg.Connection[Any], world: World, kind: str) -> Estate:
    names = ("tenant", "tariff", "place", "lot", "bay", "block", "booking", "held", "over", "review", "vehicle")
    ids = {name: uuid4() for name in names}
    world.secrets |= {str(ids[name]) for name in ("block", "booking", "held", "vehicle")}

    def put(query: str, *parameters: Any) -> None:
        connection.execute(query.encode(), parameters)

    put("INSERT INTO tenants (tenant_id, kind, name) VALUES (%s, %s, 'Mall')", ids["tenant"], kind)
    _staff(connection, world, ids["tenant"], kind, "")
    put(
        "INSERT INTO tariffs (tariff_id, tenant_id, name, currency, rules) VALUES (%s, %s, 'one', 'PHP', %s)",
        *(ids["tariff"], ids["tenant"], Jsonb(HOURLY)),
    )
    for place in ("place", "lot"):
        put(
            "INSERT INTO places (place_id, tenant_id, kind, name, address, access_note, lat, lon, shown_lat, shown_lon,"
            " time_zone, tariff_id, policy)"
            " VALUES (%s, %s, %s, 'Yard', '1 Main St', %s, 14.5, 121, 14.5, 121, 'Asia/Manila', %s, '{}')",
            *(ids[place], ids["tenant"], "lot" if place == "lot" else "space", SECRET, ids["tariff"]),
        )
    put("INSERT INTO bays (space_id, lot_id, tenant_id, name) VALUES (%s, %s, %s, 'B1')", *_of(ids, "bay lot tenant"))
    put(
        f"INSERT INTO blocks (block_id, place_id, tenant_id, during, reason) VALUES (%s, %s, %s, {WHOLE_DAY}, %s)",
        *(*_of(ids, "block place tenant"), SECRET),
    )
    put(
        "INSERT INTO vehicles (vehicle_id, person_id, plate, kind) VALUES (%s, %s, %s, 'car')",
        ids["vehicle"],
        *(world.people["driver"], f"Z{kind[0].upper()}1234"),
    )
    for number, (booking, status) in enumerate((("booking", "RESERVED"), ("held", "HELD"), ("over", "FULFILLED"))):
        put(
            "INSERT INTO bookings (booking_id, tenant_id, place_id, place_kind, space_id, driver_id, plate,"
            " vehicle_kind, kind, status, currency, total_minor, during, hold_expires_at, approval, quote, policy)"
            " VALUES (%s, %s, %s, 'space', %s, %s, %s, 'car', 'booking', %s, 'PHP', 0,"
            " tstzrange(now() + %s * interval '1 day', now() + %s * interval '1 day' + interval '1 hour'),"
            " CASE WHEN %s = 'HELD' THEN now() + interval '1 hour' END, CASE WHEN %s = 'HELD' THEN 'asked' END,"
            " '{}', '{}')",
            *(*_of(ids, f"{booking} tenant place place"), world.people["driver"], SECRET[:7].upper()),
            *(status, number, number, status, status),
        )
    put(
        "INSERT INTO reviews (review_id, booking_id, tenant_id, place_id, driver_id, author, stars, text)"
        " VALUES (%s, %s, %s, %s, %s, 'host', 5, %s)",
        *(*_of(ids, "review over tenant place"), world.people["driver"], SECRET),
    )
    return Estate({name: str(value) for name, value in ids.items()})


def _of(ids: dict[str, UUID], names: str) -> list[UUID]:
    return [ids[name] for name in names.split()]
