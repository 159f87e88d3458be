"""Checkouts: one open per booking, written down before the provider is asked, closed there before a place is let go.

(1) a payment row `creating`, commit; (2) the provider's call, with the row's id as reference; (3) the checkout's id,
commit. Whoever repeats the request resumes at (2). No step holds a transaction while the provider is asked.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from api.bookings.paid import set_payment_status
from api.database import Connection, Pool, fetch_row, load_queries
from api.errors import CannotPayError, NotFoundError, UnavailableError, WrongStateError
from api.payments.capturing import Capturing, record
from api.payments.fees import payable_rails
from api.payments.ledger import post, take_balance
from api.payments.money import status_of
from api.payments.postings import Posting
from api.payments.provider import Captured, Checkout, Order, Provider, ProviderDownError, ProviderRefusedError
from api.payments.states import PAYMENT, sources
from api.tenancy import at_desk

BALANCE_OPEN_FOR: Final = timedelta(hours=1)
GIVE_UP_AFTER: Final = timedelta(minutes=10)
"""A payment whose checkout nobody was ever given ends then."""
TRIES: Final = 3
"""So often an earlier checkout is closed, before its provider is believed that it cannot be."""

_SQL: Final = load_queries("api.payments", "payments.sql")


class Due(NamedTuple):
    """What a booking has to be paid for now."""

    booking_id: UUID
    driver_id: UUID
    charge_id: UUID | None
    amount_minor: int
    currency: str
    closes_at: datetime


class Pages(NamedTuple):
    """Where the provider sends the payer afterwards."""

    success_url: str
    cancel_url: str


class Checkouts(NamedTuple):
    """Opens, reads and closes checkouts."""

    pool: Pool
    providers: dict[str, Provider]
    capturing: Capturing
    pages: Pages

    async def open(self, person_id: UUID, booking_id: UUID, provider_name: str) -> Any:  # noqa: ANN401  # a row of payments
        """Return an open payment of the driver's booking, the one that is open already or a new one.

        NotFoundError, WrongStateError, CannotPayError, UnavailableError: then the same request resumes.
        """
        provider = self.providers.get(provider_name)
        if provider is None:
            raise CannotPayError(f"{provider_name} is not set up here.")
        for _ in range(TRIES):
            payment, due = await self._write_down(person_id, booking_id, provider)
            if (payment.provider, payment.charge_id) == (provider.name, due.charge_id):
                return payment if payment.status == "open" else await self._ask(provider, payment)
            await self.close(payment)
        raise UnavailableError("An earlier checkout is being paid just now.", retry_after_s=5)

    async def pay_with_credit(self, person_id: UUID, booking_id: UUID) -> Any:  # noqa: ANN401  # a row of payments
        """Pay a booking from the driver's credit, in full; CannotPayError if there is less of it, or as `open`."""
        for _ in range(TRIES):
            async with at_desk(self.pool, person_id) as connection:
                payment, spent = await self._spend_or_find(connection, person_id, booking_id)
            if spent:
                await self.capturing.allocate_all()
                return await self.read(payment.payment_id)
            await self.close(payment)
        raise UnavailableError("An earlier checkout is being paid just now.", retry_after_s=5)

    async def read(self, payment_id: UUID) -> Any:  # noqa: ANN401  # a row of payments
        """Return a payment as it is now."""
        async with at_desk(self.pool) as connection:
            return await fetch_row(connection, _SQL["payment"], {"payment_id": payment_id})

    async def look(self, payment: Any) -> None:  # noqa: ANN401  # a row of payments
        """Read from the provider how a payment stands, and act on it; ProviderDownError, ProviderRefusedError."""
        provider = self.providers.get(payment.provider)
        if provider is not None and payment.checkout_id is not None:
            await self._act(payment, await provider.read_checkout(payment.checkout_id))
        elif payment.created_at < datetime.now(UTC) - GIVE_UP_AFTER:
            await self._end(payment, "failed", "no checkout was ever opened")

    async def close(self, payment: Any) -> None:  # noqa: ANN401  # a row of payments
        """Close a checkout at the provider, then here; one that was paid meanwhile is paid. UnavailableError."""
        provider = self.providers.get(payment.provider)
        if provider is None or payment.checkout_id is None:
            await self._end(payment, "closed", "no checkout was given to anybody")
            return
        try:
            checkout = await provider.expire_checkout(payment.checkout_id)
        except (ProviderDownError, ProviderRefusedError):
            raise UnavailableError("The payment provider does not respond.", retry_after_s=5) from None
        await self._act(payment, checkout)

    async def _write_down(self, person_id: UUID, booking_id: UUID, provider: Provider) -> tuple[Any, Due]:
        async with at_desk(self.pool, person_id) as connection:
            due = await _due(connection, person_id, booking_id, self.capturing.now())
            rails = payable_rails(due.amount_minor, provider.rails)
            if due.currency not in provider.currencies or not rails:
                raise CannotPayError(f"{provider.name} does not take this amount.")
            return await _current(connection, booking_id) or await _add(connection, due, provider.name), due

    async def _spend_or_find(self, connection: Connection, person_id: UUID, booking_id: UUID) -> tuple[Any, bool]:
        """Return a payment with credit and true, or the checkout that is to be closed before and false."""
        parameters = {"booking_id": booking_id, "driver_id": person_id}
        before = await (await connection.execute(_SQL["paid_with_credit"], parameters)).fetchone()
        if before is not None:
            return before, True
        due = await _due(connection, person_id, booking_id, self.capturing.now())
        current = await _current(connection, booking_id)
        if current is not None:
            return current, False
        return await _spend(connection, await _add(connection, due, "credit")), True

    async def _ask(self, provider: Provider, payment: Any) -> Any:  # noqa: ANN401  # a row of payments
        order = Order(
            payment.payment_id.hex,
            payment.amount_minor,
            payment.currency,
            f"Parking {str(payment.booking_id)[:8]}",
            payable_rails(payment.amount_minor, provider.rails),
            payment.closes_at,
            *self.pages,
        )
        try:
            checkout = await provider.open_checkout(order)
        except ProviderDownError:
            raise UnavailableError("The payment provider does not respond.", retry_after_s=5) from None
        except ProviderRefusedError as error:
            await self._end(payment, "failed", error.code)
            raise CannotPayError(f"{provider.name} refused this payment.") from None
        parameters = {
            "payment_id": payment.payment_id,
            "checkout_id": checkout.checkout_id,
            "checkout_url": checkout.url,
            "sources": sources(PAYMENT, "open"),
        }
        async with at_desk(self.pool) as connection:
            opened = await (await connection.execute(_SQL["opened"], parameters)).fetchone()
            if opened is None:
                await connection.execute(_SQL["note_checkout"], parameters)
        read = await self.read(payment.payment_id)
        if (read.status, read.checkout_id) != ("open", checkout.checkout_id):
            with suppress(ProviderDownError, ProviderRefusedError):
                await provider.expire_checkout(checkout.checkout_id)  # nobody was or will be given this one
        if read.status != "open":
            raise WrongStateError("The booking was let go meanwhile.", facts={"status": read.status})
        return read

    async def _act(self, payment: Any, checkout: Checkout) -> None:  # noqa: ANN401  # a row of payments
        if checkout.captures:
            await self.capturing.take(payment.payment_id, checkout.captures)
        elif checkout.status == "expired":
            await self._end(payment, "closed", None)

    async def _end(self, payment: Any, status: str, failure: str | None) -> None:  # noqa: ANN401  # a row of payments
        parameters = {
            "payment_id": payment.payment_id,
            "status": status,
            "failure": failure,
            "sources": sources(PAYMENT, status),
        }
        async with at_desk(self.pool) as connection:
            # The booking first, as everywhere.
            booking = await fetch_row(connection, _SQL["lock_booking"], {"booking_id": payment.booking_id})
            ended = await (await connection.execute(_SQL["set_payment"], parameters)).fetchone()
            if ended is not None and payment.charge_id is None and booking.payment_status == "pending":
                # The bookings' clock may end the hold now: no checkout is open for it any more.
                status = await status_of(connection, booking.booking_id)
                await set_payment_status(connection, booking.booking_id, status)


async def _due(connection: Connection, person_id: UUID, booking_id: UUID, now: datetime) -> Due:
    """Return what the driver has to pay for a booking, which stays locked."""
    parameters = {"booking_id": booking_id}
    booking = await (await connection.execute(_SQL["lock_booking"], parameters)).fetchone()
    if booking is None or booking.driver_id != person_id:
        raise NotFoundError("There is no such booking.")
    if booking.status == "HELD" and booking.approval != "asked" and booking.total_minor and not booking.pay_later:
        ends_at = booking.hold_expires_at
        if ends_at > now:
            return Due(booking_id, person_id, None, booking.total_minor, booking.currency, ends_at)
    charge = await (await connection.execute(_SQL["open_charge"], parameters)).fetchone()
    if charge is None:
        raise WrongStateError("There is nothing to pay for this booking now.", facts={"status": booking.status})
    ends_at = now + BALANCE_OPEN_FOR
    return Due(booking_id, person_id, charge.charge_id, charge.amount_minor, charge.currency, ends_at)


async def _current(connection: Connection, booking_id: UUID) -> Any:  # noqa: ANN401  # a row or None
    return await (await connection.execute(_SQL["current_payment"], {"booking_id": booking_id})).fetchone()


async def _add(connection: Connection, due: Due, provider: str) -> Any:  # noqa: ANN401  # a row
    row = await fetch_row(connection, _SQL["add_payment"], due._asdict() | {"provider": provider})
    if due.charge_id is None:
        await set_payment_status(connection, due.booking_id, "pending")
    return row


async def _spend(connection: Connection, payment: Any) -> Any:  # noqa: ANN401  # a row of payments
    """Take a payment from the driver's credit, what was given first; return it."""
    amount: int = payment.amount_minor
    person_id, currency = payment.driver_id, payment.currency
    given = await take_balance(connection, "credit_given", person_id, currency)
    money = await take_balance(connection, "credit", person_id, currency)
    if given + money < amount:
        raise CannotPayError("There is less credit than this costs.", facts={"credit_minor": given + money})
    from_given = min(given, amount)
    lines = (
        Posting("credit_given", person_id, -from_given),
        Posting("credit", person_id, from_given - amount),
        Posting("unallocated", payment.booking_id, amount),
    )
    postings = tuple(line for line in lines if line.amount)
    await post(connection, "spent", f"spent:{payment.payment_id}", payment.booking_id, currency, postings)
    captured = Captured(payment.payment_id.hex, "", amount, currency, "credit", fee=0, captured_at=payment.created_at)
    await record(connection, payment.payment_id, captured, given_minor=from_given, credit=True)
    return payment
