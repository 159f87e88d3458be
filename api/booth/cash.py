"""Cash at the booth: a way to pay what a stay still owes, booked like any other, and kept by the operator.

The driver's side is a capture of the provider `cash`, allocated as every capture is. The operator's side is a payout
that was made in the drawer: the whole amount leaves `host_payable` for `paid_out` at once, so what the operator still
has to bear, the platform's fee, comes off the next payout.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from api.bookings.clock import utc_now
from api.booth.days import AT_THE_BOOTH, open_day
from api.database import Connection, Pool, load_queries
from api.errors import CannotPayError, NotFoundError, UnavailableError, WrongStateError
from api.idempotency import Scope, once
from api.payments.capturing import Capturing, record
from api.payments.checkouts import Checkouts
from api.payments.ledger import post
from api.payments.postings import move
from api.payments.provider import Captured
from api.people.access import Caller
from api.people.principal import require_role
from api.tenancy import at_desk

RAIL: Final = "cash"

_SQL: Final = load_queries("api.booth", "cash.sql")


class Due(msgspec.Struct, frozen=True):
    """What a booking still owes."""

    booking_id: UUID
    plate: str
    currency: str
    due_minor: int


class Taking(msgspec.Struct, frozen=True):
    """Cash that was taken."""

    payment_id: UUID
    booking_id: UUID
    currency: str
    amount_minor: int
    taken_at: datetime


class Cash(NamedTuple):
    """Takes cash, as who works at the place."""

    pool: Pool
    checkouts: Checkouts
    capturing: Capturing
    clock: Callable[[], datetime] = utc_now

    async def due(self, caller: Caller, tenant_id: UUID, booking_id: UUID) -> Due:
        """Return what a booking still owes; NotFoundError."""
        await require_role(self.pool, caller, tenant_id, *AT_THE_BOOTH)
        parameters = {"booking_id": booking_id, "tenant_id": tenant_id}
        async with at_desk(self.pool, caller.person_id) as connection:
            row = await (await connection.execute(_SQL["all_due"], parameters)).fetchone()
        if row is None:
            raise NotFoundError("There is no such booking.")
        return Due(*row)

    async def take(self, caller: Caller, scope: Scope, tenant_id: UUID, booking_id: UUID, amount_minor: int) -> Taking:
        """Take what a booking owes next; a checkout that is open for it is closed first.

        NotFoundError, WrongStateError if nothing is owed, CannotPayError for another amount, with what is due.
        """
        await require_role(self.pool, caller, tenant_id, *AT_THE_BOOTH)
        await self._close_checkout(caller, tenant_id, booking_id)

        async def work(connection: Connection) -> Taking:
            return await self._book(connection, tenant_id, booking_id, amount_minor)

        taking = await once(at_desk(self.pool, caller.person_id), scope, Taking, work)
        await self.capturing.allocate_all()
        return taking

    async def _close_checkout(self, caller: Caller, tenant_id: UUID, booking_id: UUID) -> None:
        parameters = {"booking_id": booking_id, "tenant_id": tenant_id}
        async with at_desk(self.pool, caller.person_id) as connection:
            row = await (await connection.execute(_SQL["open_checkout"], parameters)).fetchone()
        if row is not None:
            await self.checkouts.close(row)

    async def _book(self, connection: Connection, tenant_id: UUID, booking_id: UUID, amount_minor: int) -> Taking:
        now = self.clock()
        parameters = {"booking_id": booking_id, "tenant_id": tenant_id, "now": now}
        due = await (await connection.execute(_SQL["due"], parameters)).fetchone()
        if due is None:
            raise NotFoundError("There is no such booking.")
        if due.charge_id is None:
            raise WrongStateError("Nothing is owed for this booking.")
        if due.amount_minor != amount_minor:
            raise CannotPayError("It owes another amount.", facts={"due_minor": due.amount_minor})
        parameters |= due._asdict()
        parameters["day"] = await open_day(connection, parameters | {"lot_id": due.place_id})
        payment = await (await connection.execute(_SQL["add_payment"], parameters)).fetchone()
        if payment is None:
            raise UnavailableError("It is being paid in another way just now.", retry_after_s=5)
        payment_id = payment.payment_id
        await connection.execute(_SQL["take"], parameters | {"payment_id": payment_id})
        captured = Captured(payment_id.hex, "", amount_minor, due.currency, RAIL, fee=0, captured_at=now)
        await record(connection, payment_id, captured)
        kept = move(amount_minor, "host_payable", tenant_id, "paid_out", tenant_id)
        await post(connection, "cash_kept", f"cash_kept:{payment_id}", booking_id, due.currency, kept)
        await connection.execute(_SQL["set_off"], parameters)
        return Taking(payment_id, booking_id, due.currency, amount_minor, now)
