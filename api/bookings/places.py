"""A place as whoever sells it must know it: read under a lock that keeps hours, blocks and capacity as they are."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from api.bookings.hours import Hours, is_open
from api.bookings.policy import Policy
from api.bookings.tariff import Tariff, VehicleKind
from api.database import Connection, fetch_row, load_queries
from api.errors import NotFoundError, PlaceClosedError

QUARTER: Final = timedelta(minutes=15)
LONGEST_BOOKING: Final = timedelta(days=31)
FURTHEST_AHEAD: Final = timedelta(days=366)
LATENESS: Final = timedelta(minutes=2)
"""So long ago a booking may begin: the time between a quote and its hold."""
NEAR_M: Final = 500
MOST_NEAR: Final = 8

_SQL: Final = load_queries("api.bookings", "places.sql")


class Window(NamedTuple):
    """Half-open."""

    starts_at: datetime
    ends_at: datetime


class Vehicle(NamedTuple):
    """What is to be parked."""

    plate: str
    kind: VehicleKind
    length_cm: int | None = None
    width_cm: int | None = None
    height_cm: int | None = None


class Place(NamedTuple):
    """What is sold as such, with its rules."""

    place_id: UUID
    tenant_id: UUID
    kind: str
    name: str
    zone: ZoneInfo
    vehicle_kinds: frozenset[str]
    length_cm: int | None
    width_cm: int | None
    height_cm: int | None
    capacity: int
    tariff_id: UUID
    tariff: Tariff
    policy: Policy
    by_approval: bool
    buffer: timedelta
    lead_time: timedelta
    min_stay: timedelta
    state: str
    hours: tuple[Hours, ...]

    def check_window(self, window: Window, now: datetime, *, walk_up: bool = False) -> None:
        """Raise PlaceClosedError, with the rule, unless this window can be sold at all."""
        starts_at, ends_at = window
        if self.state != "listed":
            raise PlaceClosedError("The place is not for sale.")
        if not timedelta(0) < ends_at - starts_at <= LONGEST_BOOKING:
            raise PlaceClosedError(f"A booking lasts {LONGEST_BOOKING.days} days at most, and ends after it begins.")
        if self.kind == "lot" and (starts_at.timestamp() % 900 or ends_at.timestamp() % 900):
            raise PlaceClosedError("Bookings of a lot begin and end on a quarter of an hour.")
        if not walk_up:
            self._check_notice(window, now)
        if not is_open(self.hours, self.zone, starts_at, ends_at):
            raise PlaceClosedError("The place is not open during all of this window.")

    def check_vehicle(self, vehicle: Vehicle) -> None:
        """Raise PlaceClosedError unless the vehicle fits; a size that nobody told is taken to fit."""
        if vehicle.kind not in self.vehicle_kinds:
            raise PlaceClosedError(f"The place does not take a {vehicle.kind}.")
        sizes = (
            (vehicle.length_cm, self.length_cm),
            (vehicle.width_cm, self.width_cm),
            (vehicle.height_cm, self.height_cm),
        )
        if any(size is not None and most is not None and size > most for size, most in sizes):
            raise PlaceClosedError("The vehicle is larger than the place.")

    def _check_notice(self, window: Window, now: datetime) -> None:
        earliest = now - LATENESS if not self.lead_time else now + self.lead_time
        if window.starts_at < earliest:
            raise PlaceClosedError(f"The earliest start is {earliest.isoformat(timespec='seconds')}.")
        if window.starts_at > now + FURTHEST_AHEAD:
            raise PlaceClosedError(f"Bookings begin within {FURTHEST_AHEAD.days} days.")
        if window.ends_at - window.starts_at < self.min_stay:
            raise PlaceClosedError(f"The shortest stay is {self.min_stay}.")


async def read_place(connection: Connection, place_id: UUID) -> Place:
    """Return a place; NotFoundError."""
    row = await (await connection.execute(_SQL["place"], {"place_id": place_id})).fetchone()
    if row is None:
        raise NotFoundError("There is no such place.")
    values = row._asdict()
    return Place(
        **values
        | {
            "zone": ZoneInfo(values.pop("time_zone")),
            "tariff": msgspec.convert(values.pop("rules"), Tariff),
            "vehicle_kinds": frozenset(row.vehicle_kinds),
            "policy": msgspec.convert(row.policy, Policy),
            "hours": msgspec.convert(row.hours, tuple[Hours, ...]),
        }
    )


async def lock_place(connection: Connection, place_id: UUID) -> Place:
    """Return a place whose hours, blocks and capacity stay as they are until the transaction ends; NotFoundError."""
    await connection.execute(_SQL["share"], {"place_id": place_id})
    place = await read_place(connection, place_id)
    if place.buffer:
        await connection.execute(_SQL["alone"], {"place_id": place_id})
    return place


async def check_obstacles(
    connection: Connection, place: Place, window: Window, now: datetime, extends: UUID | None
) -> None:
    """Raise PlaceClosedError if a single space is blocked, or a neighbour in time would be too close."""
    parameters = {
        "place_id": place.place_id,
        "buffer": place.buffer,
        "now": now,
        "extends": extends,
        **window._asdict(),
    }
    found = await fetch_row(connection, _SQL["obstacles"], parameters)
    if found.blocked and place.kind == "space":
        raise PlaceClosedError("The place is blocked in this window.")
    if found.too_close:
        raise PlaceClosedError(f"The host needs {place.buffer} between two stays.")


async def places_near(
    connection: Connection, place_id: UUID, window: Window, vehicle: str, currency: str, now: datetime
) -> list[UUID]:
    """Return up to MOST_NEAR places within NEAR_M, as good or better, that seem free for this window."""
    parameters = {
        "place_id": place_id,
        "vehicle_kind": vehicle,
        "currency": currency,
        "now": now,
        "within_m": NEAR_M,
        "most": MOST_NEAR,
        **window._asdict(),
    }
    return [row.place_id for row in await (await connection.execute(_SQL["near"], parameters)).fetchall()]
