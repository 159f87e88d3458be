"""Refunds that people decide: up to a limit for each booking one person does, above it a second one.

Money that a booking earned already is taken back from host and platform as it was divided.
"""

from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg

from api.database import Connection, Pool, fetch_row, load_queries
from api.errors import CannotRefundError, NotFoundError, SecondPersonError
from api.payments.fees import split_price
from api.payments.ledger import post, take_balance
from api.payments.money import BookingMoney
from api.payments.payouts import audit
from api.payments.postings import earn, reverse
from api.tenancy import at_desk

_SQL: Final = load_queries("api.payments", "payouts.sql")
_MONEY_SQL: Final = load_queries("api.payments", "payments.sql")


class RefundRequests(NamedTuple):
    """Takes and decides requests for refunds."""

    pool: Pool
    money: BookingMoney
    limit_minor: int

    async def ask(self, connection: Connection, booking_id: UUID, amount_minor: int, reason: str) -> Any:  # noqa: ANN401  # a row
        """Refund at once up to the limit, else let the request wait; NotFoundError, CannotRefundError."""
        booking = await _lock(connection, booking_id)
        before = await fetch_row(connection, _SQL["refunded_alone"], {"booking_id": booking_id})
        status = "done" if before.amount_minor + amount_minor <= self.limit_minor else "waiting"
        parameters = {"booking_id": booking_id, "amount_minor": amount_minor, "reason": reason, "status": status}
        request = await fetch_row(connection, _SQL["add_request"], parameters)
        await _audit(connection, booking, "refund.asked", request)
        if status == "done":
            await self._refund(connection, booking, request)
        return request

    async def decide(self, person_id: UUID, request_id: UUID, *, refund: bool) -> Any:  # noqa: ANN401  # a row
        """Refund what waits, or refuse to; NotFoundError, SecondPersonError to whoever asked, CannotRefundError."""
        parameters = {"request_id": request_id, "status": "done" if refund else "refused"}
        try:
            async with at_desk(self.pool, person_id) as connection:
                request = await (await connection.execute(_SQL["decide_request"], parameters)).fetchone()
                if request is None:
                    raise NotFoundError("There is no such request, or it was decided.")
                booking = await _lock(connection, request.booking_id)
                await _audit(connection, booking, f"refund.{parameters['status']}", request)
                if refund:
                    await self._refund(connection, booking, request)
        except psycopg.errors.CheckViolation as error:
            if error.diag.constraint_name != "refund_requests_two_people":
                raise
            raise SecondPersonError from None
        return request

    async def waiting(self) -> list[Any]:
        """Return what waits for a second person."""
        async with at_desk(self.pool) as connection:
            return await (await connection.execute(_SQL["waiting_requests"])).fetchall()

    async def _refund(self, connection: Connection, booking: Any, request: Any) -> None:  # noqa: ANN401  # rows
        held = await take_balance(connection, "held", booking.booking_id, booking.currency)
        earned = max(0, request.amount_minor - held)
        if earned:
            await self._take_back(connection, booking, earned, request.request_id)
        try:
            await self.money.book_refund(connection, booking.booking_id, request.amount_minor, request.reason)
        except LookupError:
            raise CannotRefundError from None

    async def _take_back(self, connection: Connection, booking: Any, amount_minor: int, request_id: UUID) -> None:  # noqa: ANN401  # a row
        fee = self.money.rules.fee_basis_points
        postings = reverse(earn(amount_minor, booking.booking_id, booking.tenant_id, fee))
        await post(connection, "earning_back", f"back:{request_id}", booking.booking_id, booking.currency, postings)
        host = split_price(amount_minor, fee).host
        line = {"kind": "refund", "price_minor": -amount_minor, "amount_minor": -host}
        await connection.execute(_MONEY_SQL["add_earning"], booking._asdict() | line)


async def _lock(connection: Connection, booking_id: UUID) -> Any:  # noqa: ANN401  # a row
    row = await (await connection.execute(_MONEY_SQL["lock_booking"], {"booking_id": booking_id})).fetchone()
    if row is None:
        raise NotFoundError("There is no such booking.")
    return row


async def _audit(connection: Connection, booking: Any, action: str, request: Any) -> None:  # noqa: ANN401  # rows
    details = {"request": str(request.request_id), "amount_minor": request.amount_minor}
    await audit(connection, booking.tenant_id, action, booking=str(booking.booking_id), **details)
