"""Money that a provider took: recorded once, then given its one place. Where it confirms nothing, it goes back.

Two transactions, so that no failure of the second loses the first: `record` books it as unallocated; `allocate` asks
the booking and books it as held, or as due to the driver. Whoever dies between them leaves the second to the next.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg

from api.bookings.clock import utc_now
from api.bookings.paid import Lost, confirm_paid, set_payment_status
from api.database import Connection, Pool, fetch_row, load_queries
from api.errors import ApiError
from api.payments.ledger import post
from api.payments.letters import amount_text, tell
from api.payments.money import BookingMoney, status_of
from api.payments.postings import move
from api.payments.provider import Captured
from api.payments.refunds import give_back
from api.payments.states import PAYMENT, sources
from api.tenancy import at_desk

_SQL: Final = load_queries("api.payments", "payments.sql")
log = logging.getLogger(__name__)


class Capturing(NamedTuple):
    """Gives captured money its place."""

    pool: Pool
    money: BookingMoney
    now: Callable[[], datetime] = utc_now

    async def take(self, payment_id: UUID, captures: tuple[Captured, ...]) -> None:
        """Record captures of a payment and give each its place."""
        for captured in captures:
            async with at_desk(self.pool) as connection:
                await record(connection, payment_id, captured)
        await self.allocate_all()

    async def allocate_all(self) -> int:
        """Give a place to whatever has none; return how much that was."""
        async with at_desk(self.pool) as connection:
            rows = await (await connection.execute(_SQL["unallocated"])).fetchall()
        for row in rows:
            try:
                async with at_desk(self.pool) as connection:
                    await self._allocate(connection, row.capture_id)
            except (psycopg.Error, LookupError, ValueError, ApiError) as error:  # one that fails keeps no other waiting
                log.error("capture without a place", extra={"error": type(error).__name__})  # noqa: TRY400  # no rows in logs
        return len(rows)

    async def _allocate(self, connection: Connection, capture_id: UUID) -> None:
        parameters = {"capture_id": capture_id}
        capture = await (await connection.execute(_SQL["capture_to_allocate"], parameters)).fetchone()
        if capture is None:
            return
        if (capture.amount_minor, capture.currency) != (capture.asked_minor, capture.asked_currency):
            await self._return(connection, capture, "it is not the amount that was asked for")
        elif capture.charge_id is not None:
            await self._settle_charge(connection, capture)
        else:
            await self._confirm(connection, capture)

    async def _confirm(self, connection: Connection, capture: Any) -> None:  # noqa: ANN401  # a row
        paid = await connection.execute(_SQL["already_paid"], {"booking_id": capture.paid_for})
        if await paid.fetchone() is not None:
            await self._return(connection, capture, "the booking was paid already")
            return
        outcome = await confirm_paid(connection, capture.booking_id, self.now())
        if isinstance(outcome, Lost):
            await self._return(connection, capture, "it came too late, and no place is free")
            return
        await hold(connection, capture, outcome.booking_id)
        if outcome.booking_id != capture.booking_id:
            texts = {"booking": str(capture.booking_id), "other": str(outcome.booking_id)}
            amount = amount_text(capture.amount_minor, capture.currency)
            await tell(connection, capture.driver_id, "money_late", amount=amount, **texts)

    async def _settle_charge(self, connection: Connection, capture: Any) -> None:  # noqa: ANN401  # a row
        charge = await (await connection.execute(_SQL["pay_charge"], {"charge_id": capture.charge_id})).fetchone()
        if charge is None:
            await self._return(connection, capture, "it was paid already")
            return
        await hold(connection, capture, capture.booking_id)
        booking = await fetch_row(connection, _SQL["booking"], {"booking_id": capture.booking_id})
        reference = f"earned:charge:{capture.charge_id}"
        await self.money.book_earning(connection, booking, capture.amount_minor, charge.kind, reference)
        await set_payment_status(connection, booking.booking_id, await status_of(connection, booking.booking_id))

    async def _return(self, connection: Connection, capture: Any, why: str) -> None:  # noqa: ANN401  # a row
        parameters = {"capture_id": capture.capture_id, "booking_id": capture.booking_id, "allocation": "returned"}
        await connection.execute(_SQL["allocate"], parameters)
        way = await give_back(
            connection, self.money.rules.refunds, capture, capture.amount_minor, "unallocated", f"returned: {why}"
        )
        status = await status_of(connection, capture.booking_id)
        if status == "none":
            status = "refunded" if way == "rail" else "credited"
        booking = await fetch_row(connection, _SQL["booking"], {"booking_id": capture.booking_id})
        if booking.status != "HELD":  # a hold may still be paid in the right way
            await set_payment_status(connection, capture.booking_id, status)
        amount = amount_text(capture.amount_minor, capture.currency)
        await tell(connection, capture.driver_id, "money_back", amount=amount, booking=str(capture.booking_id), why=why)


async def record(
    connection: Connection, payment_id: UUID, captured: Captured, *, given_minor: int = 0, credit: bool = False
) -> None:
    """Book a capture as unallocated, once. credit: it was not captured now, but spent from the driver's credit.

    given_minor: how much of the credit never was the driver's money.
    """
    parameters = {
        "payment_id": payment_id,
        "provider_ref": captured.capture_id,
        "rail": captured.rail,
        "currency": captured.currency,
        "amount_minor": captured.amount,
        "fee_minor": captured.fee,
        "credit_given_minor": given_minor,
        "captured_at": captured.captured_at,
    }
    row = await (await connection.execute(_SQL["add_capture"], parameters)).fetchone()
    if row is not None and not credit:
        await _book(connection, row.capture_id, row.booking_id, captured)
    paid = {"payment_id": payment_id, "status": "paid", "failure": None, "sources": sources(PAYMENT, "paid")}
    await connection.execute(_SQL["set_payment"], paid)


async def hold(connection: Connection, capture: Any, booking_id: UUID) -> None:  # noqa: ANN401  # a row
    """Let a capture stand for a booking."""
    parameters = {"capture_id": capture.capture_id, "booking_id": booking_id, "allocation": "held"}
    await connection.execute(_SQL["allocate"], parameters)
    postings = move(capture.amount_minor, "unallocated", capture.booking_id, "held", booking_id)
    await post(connection, "held", f"held:{capture.capture_id}", booking_id, capture.currency, postings)


async def _book(connection: Connection, capture_id: UUID, booking_id: UUID, captured: Captured) -> None:
    postings = move(captured.amount, "captured", None, "unallocated", booking_id)
    await post(connection, "captured", f"captured:{capture_id}", booking_id, captured.currency, postings)
    if captured.fee:
        fee = move(captured.fee, "platform_cost", None, "provider_fee", None)
        await post(connection, "provider_fee", f"fee:{capture_id}", booking_id, captured.currency, fee)
