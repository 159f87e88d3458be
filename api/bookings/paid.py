"""What payments tell bookings. A compare-and-swap on `status = 'HELD'` alone decides whether money confirms a booking.

So an overdue hold that nobody took is confirmed by its payment: testing the expiry as well would only turn down money
for a place that is still free. Money for a hold that has been given to another gets the same place if it is free again,
else another one, else it goes back.
"""

from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from api.bookings.booking import Booking, lock_booking, move
from api.bookings.changes import tell_reserved
from api.bookings.clock import utc_now
from api.bookings.holding import give_back
from api.bookings.relocation import replace_late
from api.database import Connection, load_queries
from api.errors import NotFoundError

PaymentStatus = Literal["none", "pending", "paid", "part_refunded", "refunded", "credited", "disputed", "balance_due"]

_SQL: Final = load_queries("api.bookings", "paid.sql")
_EXTENDABLE: Final = frozenset({"HELD", "RESERVED", "ACTIVE"})


class Confirmed(NamedTuple):
    """The money has a place; `booking_id` names the booking that has it."""

    booking_id: UUID


class Lost(NamedTuple):
    """The money has no place and goes back; `status` is what the booking is instead."""

    status: str


async def confirm_paid(connection: Connection, booking_id: UUID, now: datetime | None = None) -> Confirmed | Lost:
    """Reserve what was held, now that its full price was captured; LookupError if there is no such booking."""
    now = now or utc_now()
    try:
        booking = await lock_booking(connection, booking_id, now)
    except NotFoundError:
        raise LookupError(f"there is no booking {booking_id}") from None
    if booking.status not in {"HELD", "EXPIRED"}:
        return Lost(booking.status)
    if booking.extends is not None and not await _goes_on(connection, booking.extends, now):
        return Lost(await _let_go(connection, booking, now))
    if booking.status == "EXPIRED":
        replacing = await replace_late(connection, booking_id, now)
        return Lost("EXPIRED") if replacing is None else Confirmed(replacing)
    reserved = await move(connection, booking, "confirm", "paid", now)
    await connection.execute(_SQL["captured"], {"booking_id": booking_id})
    await tell_reserved(connection, reserved)
    return Confirmed(booking_id)


async def set_payment_status(connection: Connection, booking_id: UUID, status: PaymentStatus) -> None:
    """Set the second machine of a booking; whoever moves the money decides."""
    await connection.execute(_SQL["set_payment_status"], {"booking_id": booking_id, "status": status})


async def _goes_on(connection: Connection, stay_id: UUID, now: datetime) -> bool:
    return (await lock_booking(connection, stay_id, now)).status in _EXTENDABLE


async def _let_go(connection: Connection, extension: Booking, now: datetime) -> str:
    """End the hold of more time of a stay that is over; return its status."""
    if extension.status == "HELD":
        extension = await move(connection, extension, "cancel", "the stay has ended", now)
        await give_back(connection, [extension.booking_id], extension.starts_at)
    return extension.status
