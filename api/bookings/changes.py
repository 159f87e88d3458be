"""What people change of a booking before its stay: confirm, approve, cancel.

Each asks the pure rules, swaps the status, gives back what a lot had sold, says what it means for the money, and writes
to whom it concerns, in one transaction.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from api.bookings.booking import Booking, lock_booking, move
from api.bookings.holding import give_back
from api.bookings.letters import amount_text, tell_driver, tell_owners
from api.bookings.money import Money
from api.bookings.policy import Canceler, cancel_refund
from api.bookings.states import advance
from api.database import Connection, load_queries
from api.errors import CannotPayError, WrongStateError

PAY_AFTER_APPROVAL: Final = timedelta(minutes=30)


class CancelTerms(msgspec.Struct, frozen=True):
    """What cancelling now comes to: how much of what was paid goes back; a driver gets all of it until free_until."""

    booking_id: UUID
    by: Canceler
    currency: str
    paid_minor: int
    refund_minor: int
    free_until: datetime


_SQL: Final = load_queries("api.bookings", "stays.sql")


async def confirm_free(connection: Connection, booking_id: UUID, now: datetime) -> Booking:
    """Reserve a hold for which nothing is to be paid now; CannotPayError, WrongStateError."""
    booking = await lock_booking(connection, booking_id, now)
    if booking.total_minor and not booking.pay_later and booking.status == "HELD":
        raise CannotPayError("This booking is confirmed by its payment.")
    if booking.approval == "asked":
        raise WrongStateError("The host has not agreed yet.", facts={"status": booking.status})
    reserved = await move(connection, booking, "confirm", "nothing to pay", now)
    await tell_reserved(connection, reserved)
    return reserved


async def tell_reserved(connection: Connection, booking: Booking) -> None:
    """Write to the driver and the host that a booking, or more time of one, is certain."""
    if booking.extends is not None:
        await tell_driver(connection, booking, "booking_extended")
        return
    await tell_driver(connection, booking, "booking_reserved")
    await tell_owners(connection, booking, "host_booking")


async def approve(connection: Connection, booking_id: UUID, now: datetime) -> Booking:
    """Agree, as host, to a booking that was asked for; WrongStateError."""
    booking = await lock_booking(connection, booking_id, now)
    parameters = {"booking_id": booking_id, "hold_expires_at": now + PAY_AFTER_APPROVAL}
    if await (await connection.execute(_SQL["approve"], parameters)).fetchone() is None:
        raise WrongStateError("Nobody waits for this answer.", facts={"status": booking.status})
    await tell_driver(connection, booking, "booking_approved")
    return booking._replace(approval="given")


async def cancel(
    connection: Connection, money: Money, booking_id: UUID, by: Canceler, reason: str, now: datetime
) -> Booking:
    """Cancel a booking with its extensions, or an extension alone; WrongStateError."""
    booking = await lock_booking(connection, booking_id, now)
    refund = await _cancel_one(connection, money, booking, by, reason, now)
    for row in await (await connection.execute(_SQL["extensions"], {"booking_id": booking_id})).fetchall():
        extension = await lock_booking(connection, row.booking_id, now)
        refund += await _cancel_one(connection, money, extension, by, reason, now)
    texts = {"reason": reason or "-", "refund": amount_text(refund, booking.currency)}
    await tell_driver(connection, booking, "booking_canceled", **texts)
    if booking.status == "RESERVED":
        await tell_owners(connection, booking, "host_canceled", **texts)
    return booking._replace(status="CANCELED")


async def read_terms(connection: Connection, booking_id: UUID, by: Canceler, now: datetime) -> CancelTerms:
    """Return what cancelling now would come to, without doing it; WrongStateError."""
    booking = await lock_booking(connection, booking_id, now)
    if advance(booking.status, "cancel", extension=booking.extends is not None) is None:
        raise WrongStateError(f"The booking is {booking.status}.", facts={"status": booking.status})
    refund = _refund_of(booking, by, now)
    paid = booking.total_minor if _is_paid(booking) else 0
    for row in await (await connection.execute(_SQL["extensions"], {"booking_id": booking_id})).fetchall():
        extension = await lock_booking(connection, row.booking_id, now)
        refund += _refund_of(extension, by, now)
        paid += extension.total_minor if _is_paid(extension) else 0
    free_until = booking.starts_at - timedelta(seconds=booking.policy.full_refund_before_s)
    return CancelTerms(booking_id, by, booking.currency, paid, refund, free_until)


def _is_paid(booking: Booking) -> bool:
    return booking.status == "RESERVED" and not booking.pay_later


def _refund_of(booking: Booking, by: Canceler, now: datetime) -> int:
    """Return what goes back if it is cancelled now."""
    if not _is_paid(booking) or not booking.total_minor:
        return 0
    return cancel_refund(booking.policy, booking.total_minor, booking.starts_at, now, by)


async def _cancel_one(
    connection: Connection, money: Money, booking: Booking, by: Canceler, reason: str, now: datetime
) -> int:
    """Return what is refunded."""
    await move(connection, booking, "cancel", f"canceled by {by}: {reason}" if reason else f"canceled by {by}", now)
    await give_back(connection, [booking.booking_id], booking.starts_at)
    refund = _refund_of(booking, by, now)
    if not _is_paid(booking):
        return refund
    await money.refund_due(connection, booking.booking_id, refund, f"canceled by {by}")
    await money.earned(connection, booking.booking_id, booking.total_minor - refund, "late_cancel")
    return refund
