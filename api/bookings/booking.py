"""A booking as whoever changes it must know it, and the one way in which its status changes.

Whoever changes a booking first locks the row of its stay, so a stay and its extensions change one at a time; the
change itself is still a compare-and-swap.
"""

from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from api.bookings.places import Window
from api.bookings.policy import Policy
from api.bookings.states import Event, Status, advance
from api.bookings.tariff import Tariff, VehicleKind
from api.database import Connection, load_queries
from api.errors import NotFoundError, WrongStateError

_SQL: Final = load_queries("api.bookings", "stays.sql")


class Booking(NamedTuple):
    """A booking, its place's name and zone, and how far its reserved extensions carry its stay."""

    booking_id: UUID
    tenant_id: UUID
    place_id: UUID
    place_kind: str
    space_id: UUID | None
    driver_id: UUID
    plate: str
    vehicle_kind: VehicleKind
    kind: str
    status: Status
    payment_status: str
    currency: str
    total_minor: int
    pay_later: bool
    starts_at: datetime
    ends_at: datetime
    stay_ends_at: datetime
    extension_minor: int
    extension_held: bool
    hold_expires_at: datetime | None
    approval: str | None
    extends: UUID | None
    pass_id: UUID | None
    policy: Policy
    checked_in_at: datetime | None
    validated_at: datetime | None
    late_until: datetime | None
    place_name: str
    zone: ZoneInfo
    tariff: Tariff

    @property
    def window(self) -> Window:
        return Window(self.starts_at, self.ends_at)

    @property
    def stay(self) -> Window:
        return Window(self.starts_at, self.stay_ends_at)


async def lock_booking(connection: Connection, booking_id: UUID, now: datetime) -> Booking:
    """Return a booking that nobody else changes until the transaction ends; NotFoundError."""
    await connection.execute(_SQL["lock"], {"booking_id": booking_id})
    parameters = {"booking_id": booking_id, "now": now}
    row = await (await connection.execute(_SQL["booking"], parameters)).fetchone()
    if row is None:
        raise NotFoundError("There is no such booking.")
    values = row._asdict()
    return Booking(
        **values
        | {
            "zone": ZoneInfo(values.pop("time_zone")),
            "tariff": msgspec.convert(values.pop("rules"), Tariff),
            "policy": msgspec.convert(row.policy, Policy),
        }
    )


async def move(connection: Connection, booking: Booking, event: Event, reason: str, now: datetime) -> Booking:
    """Let an event happen to a booking; WrongStateError if it cannot."""
    following = advance(booking.status, event, extension=booking.extends is not None)
    if following is None or not await swap(connection, booking.booking_id, booking.status, following, reason, now):
        raise WrongStateError(f"The booking is {booking.status}.", facts={"status": booking.status})
    return booking._replace(status=following)


async def swap(
    connection: Connection, booking_id: UUID, seen: Status, following: Status, reason: str, now: datetime
) -> bool:
    """Change a status if it still is what was seen; return whether it was."""
    parameters: dict[str, Any] = {
        "booking_id": booking_id,
        "from_status": seen,
        "to_status": following,
        "reason": reason,
        "now": now,
    }
    return await (await connection.execute(_SQL["move"], parameters)).fetchone() is not None
