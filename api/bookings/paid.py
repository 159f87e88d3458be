"""What payments tell bookings. A compare-and-swap on `status = 'HELD'` alone decides whether money confirms a booking.

So an overdue hold that nobody took is confirmed by its payment: testing the expiry as well would only turn down money
for a place that is still free.
"""

from typing import Final, Literal, NamedTuple
from uuid import UUID

from api.database import Connection, load_queries

PaymentStatus = Literal["none", "pending", "paid", "part_refunded", "refunded", "credited", "disputed", "balance_due"]

_SQL: Final = load_queries("api.bookings", "paid.sql")


class Confirmed(NamedTuple):
    """The money has a place; `booking_id` names the booking that has it."""

    booking_id: UUID


class Lost(NamedTuple):
    """The money has no place and goes back; `status` is what the booking is instead."""

    status: str


async def confirm_paid(connection: Connection, booking_id: UUID) -> Confirmed | Lost:
    """Reserve what was held, now that its full price was captured; LookupError if there is no such booking."""
    parameters = {"booking_id": booking_id}
    if await (await connection.execute(_SQL["confirm"], parameters)).fetchone() is not None:
        return Confirmed(booking_id)
    row = await (await connection.execute(_SQL["status"], parameters)).fetchone()
    if row is None:
        raise LookupError(f"there is no booking {booking_id}")
    return Lost(row.status)


async def set_payment_status(connection: Connection, booking_id: UUID, status: PaymentStatus) -> None:
    """Set the second machine of a booking; whoever moves the money decides."""
    await connection.execute(_SQL["set_payment_status"], {"booking_id": booking_id, "status": status})
