"""A payer's dispute freezes its money: nothing of it is refunded, and the host's share is taken back.

What is still held is frozen first, the rest comes from host and platform as it was earned, below zero if need be. Won,
it goes back where it came from, and what was put off meanwhile is booked; lost, it has gone back through the bank.
"""

from typing import Any, Final, NamedTuple
from uuid import UUID

from api.bookings.paid import set_payment_status
from api.database import Connection, Pool, fetch_row, load_queries
from api.errors import NotFoundError, WrongStateError
from api.payments.fees import split_price
from api.payments.ledger import post, take_balance
from api.payments.money import BookingMoney, status_of
from api.payments.payouts import audit
from api.payments.postings import Postings, freeze, move, reverse
from api.payments.provider import Disputed
from api.payments.states import DISPUTE, sources
from api.tenancy import at_desk

_SQL: Final = load_queries("api.payments", "payments.sql")


class Disputes(NamedTuple):
    """Books disputes as their provider has them."""

    pool: Pool
    money: BookingMoney

    async def take(self, capture_id: UUID, disputed: Disputed) -> None:
        """Open a dispute that is not known, and close one that was decided; LookupError before its money has a place.

        Money that was given back at once is not frozen: its refund waits for the dispute by itself.
        """
        async with at_desk(self.pool) as connection:
            capture = await self._lock(connection, capture_id)
            known = await connection.execute(_SQL["dispute"], {"provider_ref": disputed.dispute_id})
            dispute = await known.fetchone()
            if dispute is None and capture.allocation == "held" and disputed.status != "won":
                dispute = await self._open(connection, capture, disputed)
            if dispute is not None and dispute.status == "open" and disputed.status != "open":
                await self._close(connection, dispute, disputed.status)

    async def open_ones(self) -> list[Any]:
        """Return the disputes that are not decided."""
        async with at_desk(self.pool) as connection:
            return await (await connection.execute(_SQL["undecided"])).fetchall()

    async def settle(self, person_id: UUID, dispute_id: UUID, status: str) -> None:
        """Note how a dispute ended of which the provider's interface does not tell; NotFoundError."""
        async with at_desk(self.pool, person_id) as connection:
            known = await (await connection.execute(_SQL["dispute_by_id"], {"dispute_id": dispute_id})).fetchone()
            if known is None:
                raise NotFoundError("There is no such dispute.")
            await self._lock(connection, known.capture_id)
            dispute = await fetch_row(connection, _SQL["dispute"], {"provider_ref": known.provider_ref})
            if dispute.status != "open":
                raise WrongStateError("It was decided already.", facts={"status": dispute.status})
            await self._close(connection, dispute, status)
            await audit(connection, None, f"dispute.{status}", dispute=str(dispute_id))

    async def _lock(self, connection: Connection, capture_id: UUID) -> Any:  # noqa: ANN401  # a row of captures
        """Return a capture that nobody else moves, its booking locked first, as everywhere."""
        parameters = {"capture_id": capture_id}
        capture = await fetch_row(connection, _SQL["capture"], parameters)
        if capture.allocation == "none":
            raise LookupError(f"capture {capture_id} has no place yet")
        await connection.execute(_SQL["lock_booking"], {"booking_id": capture.booking_id})
        return await fetch_row(connection, _SQL["lock_capture"], parameters)

    async def _open(self, connection: Connection, capture: Any, disputed: Disputed) -> Any:  # noqa: ANN401  # rows
        amount = min(disputed.amount, capture.amount_minor - capture.back_minor)
        if amount <= 0:
            return None
        held = min(amount, await take_balance(connection, "held", capture.booking_id, capture.currency))
        parameters = capture._asdict() | {"provider_ref": disputed.dispute_id, "amount_minor": amount}
        dispute = await fetch_row(connection, _SQL["add_dispute"], parameters | {"from_held_minor": held})
        await connection.execute(_SQL["add_back"], parameters)
        await self._book(connection, dispute, "dispute_opened", await self._frozen(connection, dispute))
        await self._take_back(connection, dispute, held - amount)
        await set_payment_status(connection, dispute.booking_id, "disputed")
        return dispute

    async def _close(self, connection: Connection, dispute: Any, status: str) -> None:  # noqa: ANN401  # a row
        parameters = {"dispute_id": dispute.dispute_id, "status": status, "sources": sources(DISPUTE, status)}
        await connection.execute(_SQL["set_dispute"], parameters)
        if status == "won":
            await self._win(connection, dispute)
        else:
            await self._lose(connection, dispute)
        now = await status_of(connection, dispute.booking_id)
        await set_payment_status(connection, dispute.booking_id, now)

    async def _win(self, connection: Connection, dispute: Any) -> None:  # noqa: ANN401  # a row
        back = {"capture_id": dispute.capture_id, "amount_minor": -dispute.amount_minor}
        await connection.execute(_SQL["add_back"], back)
        await self._book(connection, dispute, "dispute_won", reverse(await self._frozen(connection, dispute)))
        await self._take_back(connection, dispute, dispute.amount_minor - dispute.from_held_minor)
        booking = await fetch_row(connection, _SQL["booking"], {"booking_id": dispute.booking_id})
        reference = f"earned:dispute:{dispute.dispute_id}"
        await self.money.book_earning(connection, booking, dispute.earn_later_minor, "dispute_won", reference)
        later = dispute.refund_later_minor
        await self.money.book_refund(connection, dispute.booking_id, later, "put off by a dispute")

    async def _lose(self, connection: Connection, dispute: Any) -> None:  # noqa: ANN401  # a row
        lost = move(dispute.amount_minor, "disputed", dispute.booking_id, "refunded", None)
        await self._book(connection, dispute, "dispute_lost", lost)

    async def _frozen(self, connection: Connection, dispute: Any) -> Postings:  # noqa: ANN401  # a row
        booking = await fetch_row(connection, _SQL["booking"], {"booking_id": dispute.booking_id})
        fee = self.money.rules.fee_basis_points
        return freeze(dispute.amount_minor, dispute.from_held_minor, dispute.booking_id, booking.tenant_id, fee)

    async def _book(self, connection: Connection, dispute: Any, kind: str, postings: Postings) -> None:  # noqa: ANN401  # a row
        reference = f"{kind}:{dispute.dispute_id}"
        await post(connection, kind, reference, dispute.booking_id, dispute.currency, postings)

    async def _take_back(self, connection: Connection, dispute: Any, price_minor: int) -> None:  # noqa: ANN401  # a row
        """Note a price, below zero where it is taken back, with the host's earnings."""
        if not price_minor:
            return
        booking = await fetch_row(connection, _SQL["booking"], {"booking_id": dispute.booking_id})
        host = split_price(abs(price_minor), self.money.rules.fee_basis_points).host
        parameters = booking._asdict() | {"kind": "dispute", "price_minor": price_minor}
        amount = host if price_minor > 0 else -host
        await connection.execute(_SQL["add_earning"], parameters | {"amount_minor": amount})
