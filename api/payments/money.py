"""What bookings ask of money: each a few postings in their own transaction, at the desk; nothing goes to the network.

Money is moved only from where it stands. What a booking earned or gives back while a dispute has frozen its money is
noted with the dispute and booked when that is won.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from api.bookings.money import Charge, Earning, Rail
from api.bookings.paid import PaymentStatus, set_payment_status
from api.database import Connection, fetch_row, load_queries
from api.payments.fees import RailRule, split_price
from api.payments.ledger import post, take_balance
from api.payments.postings import Posting, earn, move
from api.payments.refunds import RefundRules, give_back

_SQL: Final = load_queries("api.payments", "payments.sql")


class MoneyRules(NamedTuple):
    """What an installation decides about money."""

    rails: dict[str, dict[str, RailRule]]
    """By provider."""
    currencies: dict[str, frozenset[str]]
    """By provider."""
    fee_basis_points: int = 500
    host_bears_provider_fee: bool = False
    compensation_minor: int = 10_000
    """At most, for a driver whose place is gone."""

    @property
    def refunds(self) -> RefundRules:
        return RefundRules(self.rails)


class BookingMoney(NamedTuple):
    """The money side of the seam that `api.bookings.money` describes."""

    rules: MoneyRules

    @property
    def compensation_minor(self) -> int:
        """Return what a driver whose place is gone gets at most."""
        return self.rules.compensation_minor

    def rails(self, currency: str) -> Sequence[Rail]:
        """Return the ways to pay in this currency, each with the smallest amount that some provider takes."""
        least: dict[str, int] = {}
        for provider, rails in self.rules.rails.items():
            if currency in self.rules.currencies[provider]:
                for name, rule in rails.items():
                    least[name] = min(rule.minimum, least.get(name, rule.minimum))
        return [Rail(name, minimum) for name, minimum in least.items()]

    async def earned(self, connection: Connection, booking_id: UUID, amount_minor: int, kind: Earning) -> None:
        """Give what was held to host and platform; LookupError if less is held and nothing is disputed."""
        if amount_minor:
            booking = await _booking(connection, booking_id)
            held = await take_balance(connection, "held", booking_id, booking.currency)
            now = min(held, amount_minor)
            await self.book_earning(connection, booking, now, kind, f"earned:{booking_id}:{kind}")
            await _leave_to_dispute(connection, "earn_later", booking_id, amount_minor - now)

    async def refund_due(self, connection: Connection, booking_id: UUID, amount_minor: int, reason: str) -> None:
        """Send what was held back to the driver; LookupError as `earned`."""
        if amount_minor:
            booking = await _booking(connection, booking_id)
            held = await take_balance(connection, "held", booking_id, booking.currency)
            now = min(held, amount_minor)
            await self.book_refund(connection, booking_id, now, reason)
            await _leave_to_dispute(connection, "refund_later", booking_id, amount_minor - now)

    async def charge_due(self, connection: Connection, booking_id: UUID, amount_minor: int, kind: Charge) -> None:
        """Note what the driver owes: it blocks new holds until it is paid."""
        if amount_minor:
            booking = await _booking(connection, booking_id)
            parameters = booking._asdict() | {"kind": kind, "amount_minor": amount_minor}
            await connection.execute(_SQL["add_charge"], parameters)
            await set_payment_status(connection, booking_id, "balance_due")

    async def compensate(self, connection: Connection, booking_id: UUID, amount_minor: int, reason: str) -> None:
        """Give the driver credit of the platform's own."""
        if amount_minor:
            booking = await _booking(connection, booking_id)
            postings = move(amount_minor, "platform_cost", None, "credit_given", booking.driver_id)
            reference = f"compensate:{booking_id}:{reason}"
            await post(connection, "compensation", reference, booking_id, booking.currency, postings)

    async def subsidise(self, connection: Connection, booking_id: UUID, amount_minor: int) -> None:
        """Give the host of the place something of the platform's own."""
        if amount_minor:
            booking = await _booking(connection, booking_id)
            reference = f"subsidy:{booking_id}:{booking.tenant_id}"
            postings = move(amount_minor, "platform_cost", None, "host_payable", booking.tenant_id)
            if await post(connection, "subsidy", reference, booking_id, booking.currency, postings):
                await _add_earning(connection, booking, "subsidy", 0, amount_minor)

    async def book_earning(
        self,
        connection: Connection,
        booking: Any,  # noqa: ANN401  # a row of `booking`
        amount_minor: int,
        kind: str,
        reference: str,
    ) -> None:
        """Divide what is held for a booking; LookupError if this was done before."""
        if not amount_minor:
            return
        postings = earn(amount_minor, booking.booking_id, booking.tenant_id, self.rules.fee_basis_points)
        if not await post(connection, "earned", reference, booking.booking_id, booking.currency, postings):
            raise LookupError(f"{reference} is booked already")
        host = split_price(amount_minor, self.rules.fee_basis_points).host
        await _add_earning(connection, booking, kind, amount_minor, host)
        if self.rules.host_bears_provider_fee:
            await _charge_fees(connection, booking)

    async def book_refund(self, connection: Connection, booking_id: UUID, amount_minor: int, reason: str) -> None:
        """Send back what is held, from the newest capture on."""
        left = amount_minor
        if not left:
            return
        parameters = {"booking_id": booking_id}
        for capture in await (await connection.execute(_SQL["held_captures"], parameters)).fetchall():
            part = min(left, capture.amount_minor - capture.back_minor)
            if part:
                await give_back(connection, self.rules.refunds, capture, part, "held", reason)
            left -= part
        if left:
            raise LookupError(f"{left} of booking {booking_id} was never captured")
        await set_payment_status(connection, booking_id, await status_of(connection, booking_id))


async def status_of(connection: Connection, booking_id: UUID) -> PaymentStatus:
    """Return the payment status that follows from a booking's money."""
    money = await fetch_row(connection, _SQL["money_of"], {"booking_id": booking_id})
    if money.disputed:
        return "disputed"
    if money.owing:
        return "balance_due"
    if not money.captured:
        return "none"
    if not money.back:
        return "paid"
    if money.back < money.captured:
        return "part_refunded"
    return "refunded" if money.by_rail else "credited"


async def _booking(connection: Connection, booking_id: UUID) -> Any:  # noqa: ANN401  # a named tuple
    return await fetch_row(connection, _SQL["booking"], {"booking_id": booking_id})


async def _add_earning(connection: Connection, booking: Any, kind: str, price: int, amount: int) -> None:  # noqa: ANN401  # a row
    parameters = booking._asdict() | {"kind": kind, "price_minor": price, "amount_minor": amount}
    await connection.execute(_SQL["add_earning"], parameters)


async def _charge_fees(connection: Connection, booking: Any) -> None:  # noqa: ANN401  # a named tuple
    """Let the host bear what the provider took of the captures of a booking, once each."""
    parameters = {"booking_id": booking.booking_id}
    for capture in await (await connection.execute(_SQL["captured_fees"], parameters)).fetchall():
        postings = (
            Posting("host_payable", booking.tenant_id, -capture.fee_minor),
            Posting("platform_cost", None, capture.fee_minor),
        )
        reference = f"fee_borne:{capture.capture_id}"
        if await post(connection, "fee_borne", reference, booking.booking_id, booking.currency, postings):
            await _add_earning(connection, booking, "provider_fee", 0, -capture.fee_minor)


async def _leave_to_dispute(connection: Connection, query: str, booking_id: UUID, amount_minor: int) -> None:
    """Note what is not held with the dispute that has it; LookupError where nothing explains why it is not.

    What a lost dispute or a person's decision has given back already is neither earned nor given back again.
    """
    if not amount_minor:
        return
    parameters = {"booking_id": booking_id, "amount_minor": amount_minor}
    if await (await connection.execute(_SQL[query], parameters)).fetchone() is not None:
        return
    if not (await fetch_row(connection, _SQL["given_back_before"], parameters)).is_so:
        raise LookupError(f"{amount_minor} of booking {booking_id} is not held")
