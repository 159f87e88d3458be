"""What hosts and operators say about their places: hours, blocks, capacity, prices.

A change locks the place's row FOR UPDATE, on which every sale waits, and is refused with their list if bookings would
be left without what they were promised. A private space is shown to strangers up to 150 m from where it is.
"""

import math
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo, available_timezones

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from api.bookings.clock import utc_now
from api.bookings.hours import Hours, check_hours, is_open
from api.bookings.places import Window
from api.bookings.policy import Policy
from api.bookings.tariff import Tariff, VehicleKind, check_tariff
from api.database import Connection, Pool, load_queries
from api.errors import InvalidRequestError, InvalidTariffError, NotFoundError, StrandedError
from api.idempotency import Scope, once
from api.people.access import Caller
from api.people.principal import require_role
from api.photos.album import drop_photos
from api.spaces.sheet import MOST, Card
from api.tenancy import acting

SHOWN_WITHIN_M: Final = 150
METRES_PER_DEGREE: Final = 111_195
ADMINS: Final = ("host", "operator_admin")
STAFF: Final = ("host", "operator_admin", "operator_analyst", "attendant")
FOREVER: Final = timedelta(days=3650)

_SQL: Final = load_queries("api.spaces", "listing.sql")

Kind = Literal["space", "lot"]
Cm = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Minutes = Annotated[int, msgspec.Meta(ge=0, le=44_640)]
Word = Annotated[str, msgspec.Meta(pattern="^[a-z0-9_]{1,40}$")]
BayName = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class PlaceText(msgspec.Struct, frozen=True):
    """All that its owner says of a place. Times in minutes, sizes in centimetres, hours in local time."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    lat: Annotated[float, msgspec.Meta(ge=-85, le=85)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    time_zone: Annotated[str, msgspec.Meta(max_length=64)]
    tariff: Tariff
    policy: Policy = Policy()
    hours: Annotated[tuple[Hours, ...], msgspec.Meta(max_length=50)] = ()
    description: Annotated[str, msgspec.Meta(max_length=4000)] = ""
    address: Annotated[str, msgspec.Meta(max_length=400)] = ""
    access_note: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    vehicle_kinds: Annotated[tuple[VehicleKind, ...], msgspec.Meta(min_length=1, max_length=3)] = ("car",)
    length_cm: Cm | None = None
    width_cm: Cm | None = None
    height_cm: Cm | None = None
    amenities: Annotated[tuple[Word, ...], msgspec.Meta(max_length=30)] = ()
    by_approval: bool = False
    buffer_min: Minutes = 0
    lead_time_min: Minutes = 0
    min_stay_min: Annotated[int, msgspec.Meta(ge=15, le=44_640)] = 15
    state: Literal["listed", "paused", "retired"] = "listed"
    bays: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=40)], ...], msgspec.Meta(max_length=5000)
    ] = ()
    """The names of a lot's spaces; as many can be sold."""


class OwnPlace(msgspec.Struct, frozen=True):
    """A place as its owner sees it."""

    place_id: UUID
    kind: str
    text: PlaceText
    shown_lat: float
    shown_lon: float
    created_at: datetime


class Block(msgspec.Struct, frozen=True):
    """A time in which a place, or so many spaces of a lot, are not for sale."""

    block_id: UUID
    place_id: UUID
    starts_at: datetime
    ends_at: datetime
    spaces: int
    reason: str


class Listing(NamedTuple):
    """Reads and changes what a tenant lists; roles are read from the database."""

    pool: Pool
    clock: Callable[[], datetime] = utc_now

    async def host_of(self, caller: Caller, *, make: bool = False) -> UUID:
        """Return the caller's own host tenant, made now if asked for; NotFoundError."""
        async with acting(self.pool, caller.person_id) as connection:
            row = await (await connection.execute(_SQL["own_host"])).fetchone()
        if row is not None:
            return UUID(str(row.tenant_id))
        if not make:
            raise NotFoundError("You list no space yet.")
        tenant_id = uuid4()
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            await connection.execute(_SQL["add_host"], {"tenant_id": tenant_id})
            await connection.execute(_SQL["join_host"], {"tenant_id": tenant_id})
        return tenant_id

    async def places(self, caller: Caller, tenant_id: UUID, kind: str | None = None) -> list[OwnPlace]:
        """Return the tenant's places."""
        await require_role(self.pool, caller, tenant_id, *STAFF)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            return await _own(connection, None, kind)

    async def add(self, caller: Caller, scope: Scope, tenant_id: UUID, kind: Kind, text: PlaceText) -> OwnPlace:
        """List a place; InvalidRequestError, InvalidTariffError."""
        check_text(text, kind)
        await require_role(self.pool, caller, tenant_id, *ADMINS)

        async def work(connection: Connection) -> OwnPlace:
            place_id = uuid4()
            row = await (await connection.execute(_SQL["kind_of_tenant"])).fetchone()
            shown = _near(text.lat, text.lon) if row is None or row.kind == "host" else (text.lat, text.lon)
            columns = await _columns(connection, text, place_id, shown)
            await connection.execute(_SQL["add"], columns | {"kind": kind})
            await _put_parts(connection, place_id, kind, text)
            return (await _own(connection, place_id, None))[0]

        return await once(acting(self.pool, caller.person_id, tenant_id), scope, OwnPlace, work)

    async def change(self, caller: Caller, tenant_id: UUID, place_id: UUID, text: PlaceText) -> OwnPlace:
        """Say it anew; StrandedError with the bookings that would be left without what they were promised."""
        await require_role(self.pool, caller, tenant_id, *ADMINS)
        now = self.clock()
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            kind, shown = await _lock(connection, place_id, text)
            check_text(text, kind)
            await connection.execute(_SQL["change"], await _columns(connection, text, place_id, shown))
            await _put_parts(connection, place_id, kind, text)
            await _refuse_closing(connection, place_id, text, now)
            if text.state == "retired":
                await drop_photos(connection, place_id)
            if kind == "lot":
                await _set_capacity(connection, place_id, Window(now, now + FOREVER), now)
            return (await _own(connection, place_id, None))[0]

    async def cards(self, caller: Caller, tenant_id: UUID, place_id: UUID, after: str) -> tuple[str, list[Card]]:
        """Return a place's name and what to print of it, from the space behind this name on; NotFoundError."""
        await require_role(self.pool, caller, tenant_id, *STAFF)
        parameters = {"place_id": place_id, "after": after, "most": MOST}
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            place = await (await connection.execute(_SQL["name_of"], parameters)).fetchone()
            rows = await (await connection.execute(_SQL["cards"], parameters)).fetchall()
        if place is None:
            raise NotFoundError("There is no such place.")
        return place.name, [Card(*row) for row in rows]

    async def blocks(self, caller: Caller, tenant_id: UUID) -> list[Block]:
        """Return the blocks that are not over."""
        await require_role(self.pool, caller, tenant_id, *STAFF)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            rows = await (await connection.execute(_SQL["blocks"], {"now": self.clock()})).fetchall()
        return [Block(*row) for row in rows]

    async def add_block(self, caller: Caller, scope: Scope, tenant_id: UUID, block: Block) -> Block:
        """Take a place, or spaces of a lot, off sale for a time; StrandedError."""
        await require_role(self.pool, caller, tenant_id, *ADMINS)
        window = Window(block.starts_at, block.ends_at)
        if not timedelta(0) < window.ends_at - window.starts_at <= timedelta(days=366):
            raise InvalidRequestError("A block ends after it begins, and lasts 366 days at most.")

        async def work(connection: Connection) -> Block:
            now = self.clock()
            kind, _ = await _lock(connection, block.place_id, None)
            await connection.execute(_SQL["add_block"], msgspec.structs.asdict(block))
            if kind == "lot":
                await _set_capacity(connection, block.place_id, window, now)
            else:
                _strand(await _live(connection, block.place_id, window, now))
            return block

        return await once(acting(self.pool, caller.person_id, tenant_id), scope, Block, work)

    async def delete_block(self, caller: Caller, tenant_id: UUID, block_id: UUID) -> None:
        """Put a place on sale again; NotFoundError."""
        await require_role(self.pool, caller, tenant_id, *ADMINS)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            row = await (await connection.execute(_SQL["delete_block"], {"block_id": block_id})).fetchone()
            if row is None:
                raise NotFoundError
            await _lock(connection, row.place_id, None)
            await connection.execute(_SQL["set_capacity"], {"place_id": row.place_id, "now": self.clock()})


def check_text(text: PlaceText, kind: str) -> None:
    """Raise InvalidRequestError or InvalidTariffError for what cannot be meant."""
    if text.time_zone not in available_timezones():
        raise InvalidRequestError("time_zone: is no name of the IANA database.")
    if (kind == "lot") != bool(text.bays):
        raise InvalidRequestError("bays: a lot names its spaces, a single space has none.")
    if len(set(text.bays)) < len(text.bays):
        raise InvalidRequestError("bays: two have one name.")
    try:
        check_hours(text.hours)
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None
    try:
        check_tariff(text.tariff)
    except ValueError as error:
        raise InvalidTariffError(str(error)) from None


def _near(lat: float, lon: float) -> tuple[float, float]:
    """Return a place at random within SHOWN_WITHIN_M, but not at the spot itself."""
    draw = secrets.SystemRandom()
    distance_m = SHOWN_WITHIN_M * math.sqrt(draw.uniform(0.1, 1))
    bearing = draw.uniform(0, 2 * math.pi)
    north, east = distance_m * math.cos(bearing), distance_m * math.sin(bearing)
    per_degree = METRES_PER_DEGREE * math.cos(math.radians(lat))
    shown_lon = (lon + east / per_degree + 180) % 360 - 180  # it may lie beyond the 180th meridian
    return round(lat + north / METRES_PER_DEGREE, 6), round(shown_lon, 6)


async def _lock(connection: Connection, place_id: UUID, text: PlaceText | None) -> tuple[str, tuple[float, float]]:
    """Return a place's kind and where it is shown from now on; NotFoundError."""
    row = await (await connection.execute(_SQL["lock"], {"place_id": place_id})).fetchone()
    if row is None:
        raise NotFoundError("There is no such place.")
    moved = text is not None and (text.lat, text.lon) != (row.lat, row.lon)
    if text is None or not moved:
        return row.kind, (row.shown_lat, row.shown_lon)
    private = (row.shown_lat, row.shown_lon) != (row.lat, row.lon)
    return row.kind, _near(text.lat, text.lon) if private else (text.lat, text.lon)


async def _columns(
    connection: Connection, text: PlaceText, place_id: UUID, shown: tuple[float, float]
) -> dict[str, Any]:
    """Store the tariff, with its actor; return the columns of the place."""
    tariff_id = uuid4()
    rules = msgspec.to_builtins(text.tariff)
    tariff = {"tariff_id": tariff_id, "name": text.name, "currency": text.tariff.currency, "rules": Jsonb(rules)}
    await connection.execute(_SQL["add_tariff"], tariff)
    details = Jsonb({"place_id": str(place_id), "tariff_id": str(tariff_id)})
    await connection.execute(_SQL["audit"], {"action": "tariff.set", "details": details})
    return msgspec.structs.asdict(text) | {
        "place_id": place_id,
        "tariff_id": tariff_id,
        "shown_lat": shown[0],
        "shown_lon": shown[1],
        "vehicle_kinds": list(text.vehicle_kinds),
        "amenities": sorted(set(text.amenities)),
        "capacity": len(text.bays) or 1,
        "policy": Jsonb(msgspec.to_builtins(text.policy)),
        "buffer": timedelta(minutes=text.buffer_min),
        "lead_time": timedelta(minutes=text.lead_time_min),
        "min_stay": timedelta(minutes=text.min_stay_min),
    }


async def _put_parts(connection: Connection, place_id: UUID, kind: str, text: PlaceText) -> None:
    parameters: dict[str, Any] = {
        "place_id": place_id,
        "weekdays": [one.weekday for one in text.hours],
        "opens": [one.opens_min for one in text.hours],
        "closes": [one.closes_min for one in text.hours],
        "names": list(text.bays),
    }
    for step in ("delete_hours", "add_hours", *(("retire_bays", "add_bays") if kind == "lot" else ())):
        await connection.execute(_SQL[step], parameters)


async def _refuse_closing(connection: Connection, place_id: UUID, text: PlaceText, now: datetime) -> None:
    zone = ZoneInfo(text.time_zone)
    live = await _live(connection, place_id, Window(now, now + FOREVER), now)
    _strand([row for row in live if not is_open(text.hours, zone, row.starts_at, row.ends_at)])


async def _set_capacity(connection: Connection, place_id: UUID, window: Window, now: datetime) -> None:
    try:
        async with connection.transaction():
            await connection.execute(_SQL["set_capacity"], {"place_id": place_id, "now": now})
    except psycopg.errors.CheckViolation:
        live = await _live(connection, place_id, window, now)
        raise StrandedError(facts={"bookings": [str(row.booking_id) for row in live]}) from None


async def _live(connection: Connection, place_id: UUID, window: Window, now: datetime) -> list[Any]:
    parameters = {"place_id": place_id, "now": now, **window._asdict()}
    return await (await connection.execute(_SQL["live"], parameters)).fetchall()


def _strand(rows: Sequence[Any]) -> None:
    if rows:
        raise StrandedError(facts={"bookings": [str(row.booking_id) for row in rows]})


async def _own(connection: Connection, place_id: UUID | None, kind: str | None) -> list[OwnPlace]:
    rows = await (await connection.execute(_SQL["own"], {"place_id": place_id, "kind": kind})).fetchall()
    return [_describe(row) for row in rows]


def _describe(row: Any) -> OwnPlace:  # noqa: ANN401  # a named tuple
    values = row._asdict()
    minutes = {f"{name}_min": int(values[name].total_seconds() // 60) for name in ("buffer", "lead_time", "min_stay")}
    text = msgspec.convert(values | minutes | {"tariff": row.rules}, PlaceText)
    return OwnPlace(row.place_id, row.kind, text, row.shown_lat, row.shown_lon, row.created_at)
