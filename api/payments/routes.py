"""What drivers do with money: open a checkout, use their credit, read a receipt, have credit paid to their bank."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.params import JSONBody, PathParameter

from api.database import Connection, Pool, load_queries
from api.errors import (
    CannotPayError,
    InvalidRequestError,
    KeyInUseError,
    KeyReusedError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
    WrongStateError,
    responses,
)
from api.idempotency import IdempotencyKey, Stored, claim, keep, once, scope_of
from api.payments.checkouts import Checkouts
from api.payments.payouts import Bank, pay_back
from api.people.me import Own
from api.people.principal import Guard, caller_of, person_routes
from api.tenancy import acting, at_desk

_ALWAYS: Final = (InvalidRequestError, UnauthenticatedError, UnavailableError)
_ONCE: Final = (*_ALWAYS, NotFoundError, WrongStateError, CannotPayError, KeyInUseError, KeyReusedError)
NO_INVOICE: Final = "This receipt is not an official invoice."

_SQL: Final = load_queries("api.payments", "payouts.sql")

AnyRequest = Request[Any, Any, Any]
BookingId = Annotated[UUID, PathParameter(description="The booking")]
Amount = Annotated[int, msgspec.Meta(gt=0, le=1 << 40)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class Paying(msgspec.Struct, frozen=True):
    """With whom to pay, or `credit` for the driver's own credit."""

    provider: Literal["paymongo", "stripe", "credit"] = "paymongo"


class Payment(msgspec.Struct, frozen=True):
    """A payment; while it is `open`, checkout_url is where to pay."""

    payment_id: UUID
    booking_id: UUID
    provider: str
    status: str
    amount_minor: int
    currency: str
    checkout_url: str | None
    closes_at: datetime


class ReceiptLine(msgspec.Struct, frozen=True):
    """Money that came, or below zero went back."""

    at: datetime
    kind: str
    way: str
    amount_minor: int


class Receipt(msgspec.Struct, frozen=True):
    """What was paid for a booking."""

    booking_id: UUID
    status: str
    payment_status: str
    currency: str
    place: str
    starts_at: datetime
    ends_at: datetime
    plate: str
    lines: list[ReceiptLine]
    total_minor: int
    note: str = NO_INVOICE


class Balance(msgspec.Struct, frozen=True):
    """Credit in a currency; payable_minor of it was the driver's money and is paid to a bank on request."""

    currency: str
    balance_minor: int
    payable_minor: int


class Move(msgspec.Struct, frozen=True):
    """How credit came and went."""

    at: datetime
    kind: str
    currency: str
    amount_minor: int
    booking_id: UUID | None


class Wallet(msgspec.Struct, frozen=True):
    """A driver's credit: from refunds and compensation alone, for ParkPal alone."""

    balances: list[Balance]
    moves: list[Move]


class Payback(msgspec.Struct, frozen=True):
    """Credit that is to go to a bank account; the password, since it leaves for good."""

    password: Annotated[str, msgspec.Meta(max_length=128)]
    amount_minor: Amount
    currency: Currency
    bank_code: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{3,11}$")]
    account_number: Annotated[str, msgspec.Meta(pattern="^[0-9]{6,20}$")]
    account_name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Transfer(msgspec.Struct, frozen=True):
    """A transfer to a bank."""

    payout_id: UUID
    reference: str
    status: str
    amount_minor: int
    currency: str
    drafted_at: datetime


def payment_routes(pool: Pool, checkouts: Checkouts, guard: Guard) -> Router:
    """Build what money adds to `/v1/bookings`."""

    @post("/{booking_id:uuid}/checkout", status_code=200, responses=responses(*_ONCE))
    async def open_checkout(
        booking_id: BookingId, data: JSONBody[Paying], request: AnyRequest, idempotency_key: IdempotencyKey
    ) -> Payment:
        """Open the checkout of a hold or a balance, or return the one that is open; one of another provider ends."""
        person_id, scope = caller_of(request).person_id, await scope_of(request, idempotency_key)
        async with acting(pool, person_id) as connection:
            stored = await claim(connection, scope)
        if stored is not None:
            return msgspec.json.decode(stored.answer, type=Payment)
        payment = await _pay(checkouts, person_id, booking_id, data.provider)
        async with acting(pool, person_id) as connection:
            await keep(connection, scope, Stored(200, msgspec.json.encode(payment)))
        return payment

    @get("/{booking_id:uuid}/receipt", responses=responses(*_ALWAYS, NotFoundError))
    async def read_receipt(booking_id: BookingId, request: AnyRequest) -> Receipt:
        """Return what was paid for an own booking, and what went back."""
        parameters = {"booking_id": booking_id}
        async with acting(pool, caller_of(request).person_id) as connection:
            booking = await (await connection.execute(_SQL["receipt"], parameters)).fetchone()
            if booking is None:
                raise NotFoundError("There is no such booking.")
            rows = await (await connection.execute(_SQL["receipt_lines"], parameters)).fetchall()
        lines = [ReceiptLine(*row) for row in rows]
        total = sum(line.amount_minor for line in lines)
        return Receipt(**booking._asdict(), lines=lines, total_minor=total)

    return person_routes("/v1/bookings", [open_checkout, read_receipt], guard, "payments")


def wallet_routes(pool: Pool, own: Own, guard: Guard) -> Router:
    """Build `/v1/wallet`."""

    @get("/", responses=responses(*_ALWAYS))
    async def read_wallet(request: AnyRequest) -> Wallet:
        """Return the person's credit, and how it came and went."""
        async with acting(pool, caller_of(request).person_id) as connection:
            balances = await (await connection.execute(_SQL["balances"])).fetchall()
            moves = await (await connection.execute(_SQL["moves"])).fetchall()
        return Wallet([Balance(*row) for row in balances], [Move(*row) for row in moves])

    @post("/paybacks", responses=responses(*_ONCE, RateLimitedError, OverloadedError))
    async def ask_payback(data: JSONBody[Payback], request: AnyRequest, idempotency_key: IdempotencyKey) -> Transfer:
        """Have credit that was the driver's money paid to a bank account."""
        caller, scope = caller_of(request), await scope_of(request, idempotency_key)
        await own.check_password(caller, data.password)
        bank = Bank(data.bank_code, data.account_number, data.account_name)

        async def work(connection: Connection) -> Transfer:
            return transfer_of(await pay_back(connection, caller.person_id, data.amount_minor, data.currency, bank))

        return await once(at_desk(pool, caller.person_id), scope, Transfer, work)

    @get("/paybacks", responses=responses(*_ALWAYS))
    async def list_paybacks(request: AnyRequest) -> list[Transfer]:
        """Return what went, or is to go, to the person's bank."""
        async with acting(pool, caller_of(request).person_id) as connection:
            return [transfer_of(row) for row in await (await connection.execute(_SQL["of_person"])).fetchall()]

    return person_routes("/v1/wallet", [read_wallet, ask_payback, list_paybacks], guard, "payments")


def transfer_of(row: Any) -> Transfer:  # noqa: ANN401  # a row of payouts
    """Return a transfer as its payee sees it."""
    return Transfer(*(getattr(row, name) for name in Transfer.__struct_fields__))


async def _pay(checkouts: Checkouts, person_id: UUID, booking_id: UUID, provider: str) -> Payment:
    """Pay with credit, or open a checkout; whoever repeats a request that was not answered resumes here."""
    if provider == "credit":
        row = await checkouts.pay_with_credit(person_id, booking_id)
    else:
        row = await checkouts.open(person_id, booking_id, provider)
    return Payment(*(getattr(row, name) for name in Payment.__struct_fields__))
