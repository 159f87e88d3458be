"""What strangers are told of places, and which are free for all of a window, nearest first, with what they would cost.

Free means: a hold now would succeed. Between search and hold a rival may come; the hold decides.
"""

import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from statistics import median
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from api.bookings.clock import utc_now
from api.bookings.hours import Hours
from api.bookings.money import Money
from api.bookings.places import Place, Window, read_place
from api.bookings.policy import Policy
from api.bookings.quotes import quote_place
from api.bookings.tariff import DAY, Tariff, VehicleKind, price
from api.database import Connection, Pool, fetch_row, load_queries
from api.errors import NotFoundError, PlaceClosedError
from api.limiter import Limiter
from api.people.access import Caller
from api.photos.album import Album, Photo
from api.spaces.listing import METRES_PER_DEGREE
from api.tenancy import at_desk

CANDIDATES: Final = 300
AREA_M: Final = 2000
LEAST_PLACES: Final = 3

_SQL: Final = load_queries("api.spaces", "search.sql")


class PublicPlace(msgspec.Struct, frozen=True):
    """A place as anybody may know it; a private space is within 150 m of lat, lon."""

    place_id: UUID
    kind: str
    name: str
    description: str
    lat: float
    lon: float
    vehicle_kinds: list[str]
    length_cm: int | None
    width_cm: int | None
    height_cm: int | None
    amenities: list[str]
    capacity: int
    by_approval: bool


class PlaceDetails(msgspec.Struct, frozen=True):
    """A place with its rules; stars is null without reviews."""

    place: PublicPlace
    time_zone: str
    tariff: Tariff
    policy: Policy
    hours: tuple[Hours, ...]
    lead_time_s: int
    min_stay_s: int
    stars: float | None
    reviews: int
    photos: list[Photo]


class PrintedSpace(msgspec.Struct, frozen=True):
    """The space whose printed code was scanned: its name and photo, for whoever stands before it; bay: of a lot."""

    space_id: UUID
    place_id: UUID
    kind: str
    name: str
    bay: str | None
    photo: Photo | None


class ExpectedSearch(msgspec.Struct, frozen=True):
    """How long drivers look for a place at the kerb near there; null with the reason where that is not known."""

    p50_s: float | None
    reason: str | None


class Found(msgspec.Struct, frozen=True):
    """A place that is free for the whole window, and what it would cost."""

    place: PublicPlace
    distance_m: float
    currency: str
    total_minor: int
    rails: tuple[str, ...]
    expected_search: ExpectedSearch
    photo: Photo | None


class SuggestedPrice(msgspec.Struct, frozen=True):
    """Medians of the places near; null with the reason where there are too few."""

    currency: str
    hour_minor: int | None
    day_minor: int | None
    places: int
    reason: str | None


class Wanted(NamedTuple):
    """What a driver looks for."""

    lat: float
    lon: float
    radius_m: int
    window: Window
    vehicle_kind: VehicleKind
    length_cm: int | None
    width_cm: int | None
    height_cm: int | None
    amenities: list[str]
    most_minor: int | None
    limit: int


SearchTimes = Callable[[float, float], Awaitable[ExpectedSearch]]


class Search(NamedTuple):
    """Finds places."""

    pool: Pool
    money: Money
    searches: Limiter
    search_times: SearchTimes
    album: Album
    clock: Callable[[], datetime] = utc_now

    async def find(self, caller: Caller, wanted: Wanted) -> list[Found]:
        """Return what is free, nearest first."""
        await self.searches.take(str(caller.person_id))
        now = self.clock()
        async with at_desk(self.pool, caller.person_id) as connection:
            rows = await (await connection.execute(_SQL["candidates"], _parameters(wanted, now))).fetchall()
            found: list[Found] = []
            for row in rows:
                one = await self._offer(connection, caller, row, wanted, now)
                if one is not None and len(found) < wanted.limit:
                    found.append(one)
            photos = await self.album.shown(connection, [one.place.place_id for one in found])
        expected = await self.search_times(wanted.lat, wanted.lon)
        return [
            msgspec.structs.replace(one, expected_search=expected, photo=photos.get(one.place.place_id, [None])[0])
            for one in found
        ]

    async def details(self, caller: Caller, place_id: UUID) -> PlaceDetails:
        """Return a place; NotFoundError."""
        async with at_desk(self.pool, caller.person_id) as connection:
            place = await read_place(connection, place_id)
            row = await fetch_row(connection, _SQL["one"], {"place_id": place_id})
            stars = await fetch_row(connection, _SQL["stars"], {"place_id": place_id})
            photos = await self.album.shown(connection, [place_id])
        return PlaceDetails(
            _public(row),
            place.zone.key,
            place.tariff,
            place.policy,
            place.hours,
            int(place.lead_time.total_seconds()),
            int(place.min_stay.total_seconds()),
            stars.stars,
            stars.reviews,
            photos.get(place_id, []),
        )

    async def printed(self, caller: Caller, space_id: UUID) -> PrintedSpace:
        """Return what a printed code stands for; NotFoundError."""
        async with at_desk(self.pool, caller.person_id) as connection:
            row = await (await connection.execute(_SQL["printed"], {"space_id": space_id})).fetchone()
            if row is None:
                raise NotFoundError("There is no such space.")
            photos = await self.album.shown(connection, [row.place_id])
        return PrintedSpace(**row._asdict(), photo=photos.get(row.place_id, [None])[0])

    async def suggest(
        self, caller: Caller, lat: float, lon: float, currency: str, vehicle: VehicleKind
    ) -> SuggestedPrice:
        """Return what the places within 2 km cost, at the median."""
        parameters = {"lat": lat, "lon": lon, "currency": currency, "vehicle_kind": vehicle, "radius_m": AREA_M}
        async with at_desk(self.pool, caller.person_id) as connection:
            rows = await (await connection.execute(_SQL["tariffs_near"], parameters)).fetchall()
        if len(rows) < LEAST_PLACES:
            return SuggestedPrice(currency, None, None, len(rows), f"fewer than {LEAST_PLACES} places within 2 km")
        now = self.clock()

        def cost(hours: int) -> int:
            end = now + hours * DAY / 24
            costs = [
                price(msgspec.convert(row.rules, Tariff), now, end, ZoneInfo(row.time_zone), vehicle) for row in rows
            ]
            return round(median(costs))

        return SuggestedPrice(currency, cost(1), cost(24), len(rows), None)

    async def _offer(
        self,
        connection: Connection,
        caller: Caller,
        row: Any,  # noqa: ANN401  # a named tuple
        wanted: Wanted,
        now: datetime,
    ) -> Found | None:
        place: Place = await read_place(connection, row.place_id)
        try:
            place.check_window(wanted.window, now)
        except PlaceClosedError:
            return None
        rails = self.money.rails(place.tariff.currency)
        quote = quote_place(place, caller.person_id, wanted.window, wanted.vehicle_kind, rails, now)
        if wanted.most_minor is not None and quote.total_minor > wanted.most_minor:
            return None
        unknown = ExpectedSearch(None, None)
        return Found(_public(row), round(row.distance_m), quote.currency, quote.total_minor, quote.rails, unknown, None)


def _parameters(wanted: Wanted, now: datetime) -> dict[str, Any]:
    radius_deg = wanted.radius_m / METRES_PER_DEGREE
    return {
        **wanted._asdict(),
        **wanted.window._asdict(),
        "radius_deg": radius_deg,
        "radius_lon_deg": radius_deg / math.cos(math.radians(min(abs(wanted.lat) + radius_deg, 89))),
        "now": now,
        "most": CANDIDATES,
    }


def _public(row: Any) -> PublicPlace:  # noqa: ANN401  # a named tuple
    return PublicPlace(**{name: getattr(row, name) for name in PublicPlace.__struct_fields__})
