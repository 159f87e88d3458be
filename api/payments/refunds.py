"""Money on its way back: due, sent, done; by the rail it came on, or as credit where that cannot be.

A refund is a row in the transaction that causes it; a worker takes it to the provider afterwards. What a provider
cannot or will not send back becomes the driver's credit at once, so that it never lies about, and the letter says that
it is paid out to a bank account on request.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from api.database import Connection, Pool, fetch_row, load_queries
from api.payments.fees import RailRule, is_refundable
from api.payments.ledger import post
from api.payments.letters import amount_text, tell
from api.payments.postings import Account, Posting, move
from api.payments.provider import Provider, ProviderDownError, ProviderRefusedError, Refunded, RefundOrder
from api.payments.states import REFUND, sources
from api.tenancy import at_desk

AGAIN: Final = timedelta(seconds=20)
"""First pause between two tries; longer than the longest call, so that no two are under way."""
BATCH: Final = 4
"""How many are taken to the providers at once."""

DISPUTED: Final = "disputed"
"""Why a refund has failed whose money a lost dispute took: the bank has given it back."""

Place = tuple[Account, UUID | None]

_LETTERS: Final = {"refunded": "money_refunded", "credited": "money_credited"}
_SQL: Final = load_queries("api.payments", "refunds.sql")


class RefundRules(NamedTuple):
    """By which rails of which provider money can go back."""

    rails: dict[str, dict[str, RailRule]]

    def way(self, provider: str, rail: str, captured_at: datetime) -> str:
        """Return `rail` or `credit`."""
        able = is_refundable(rail, captured_at, datetime.now(UTC), self.rails.get(provider, {}))
        return "rail" if able else "credit"


async def give_back(
    connection: Connection,
    rules: RefundRules,
    capture: Any,  # noqa: ANN401  # a row of captures
    amount_minor: int,
    source: Account,
    reason: str,
) -> str:
    """Let a part of a capture go back from where it stands (`held`, `unallocated`); return the way it goes."""
    refund_id, way = uuid4(), rules.way(capture.provider, capture.rail, capture.captured_at)
    parameters = capture._asdict() | {"refund_id": refund_id, "amount_minor": amount_minor, "way": way}
    parameters |= {"status": "due" if way == "rail" else "done", "reason": reason}
    await connection.execute(_SQL["add_refund"], parameters)
    await connection.execute(_SQL["add_back"], parameters)
    postings = move(amount_minor, source, capture.booking_id, "refund_due", capture.booking_id)
    reference = f"refund_due:{refund_id}"
    await post(connection, "refund_due", reference, capture.booking_id, capture.currency, postings)
    if way == "credit":
        await _credit(connection, refund_id, capture, amount_minor)
    return way


async def _credit(connection: Connection, refund_id: UUID, capture: Any, amount_minor: int) -> None:  # noqa: ANN401  # a row
    """Turn a due refund into credit; of a payment with credit what never was money returns last, as such."""
    money_left = max(0, capture.amount_minor - capture.credit_given_minor - capture.back_minor)
    money = min(amount_minor, money_left) if capture.credit_given_minor else amount_minor
    lines = (
        Posting("refund_due", capture.booking_id, -amount_minor),
        Posting("credit", capture.driver_id, money),
        Posting("credit_given", capture.driver_id, amount_minor - money),
    )
    postings = tuple(line for line in lines if line.amount)
    await post(connection, "credited", f"credited:{refund_id}", capture.booking_id, capture.currency, postings)
    amount = amount_text(amount_minor, capture.currency)
    await tell(connection, capture.driver_id, "money_credited", amount=amount, booking=str(capture.booking_id))


class Refunds(NamedTuple):
    """Takes due refunds to the providers, and asks after those that were sent."""

    pool: Pool
    providers: dict[str, Provider]
    again: timedelta = AGAIN

    async def send_due(self) -> int:
        """Send or look at what is due; return how many."""
        async with at_desk(self.pool) as connection:
            parameters = {"again": self.again, "most": BATCH}
            rows = await (await connection.execute(_SQL["take_refunds"], parameters)).fetchall()
        await asyncio.gather(*map(self._send, rows))
        return len(rows)

    async def look_at(self, provider: str, provider_ref: str) -> None:
        """Read a refund that a provider spoke of; ProviderDownError, ProviderRefusedError."""
        async with at_desk(self.pool) as connection:
            parameters = {"provider": provider, "provider_ref": provider_ref}
            row = await (await connection.execute(_SQL["refund_of_provider"], parameters)).fetchone()
        if row is not None:
            await self.note(row.refund_id, await self.providers[provider].read_refund(provider_ref))

    async def _send(self, row: Any) -> None:  # noqa: ANN401  # a row of take_refunds
        provider = self.providers.get(row.provider)
        if provider is None:
            return
        order = RefundOrder(row.refund_id.hex, row.captured_as, row.amount_minor, first=row.tries == 1)
        try:
            refunded = (
                await provider.read_refund(row.provider_ref) if row.status == "sent" else await _refund(provider, order)
            )
        except (ProviderDownError, ProviderRefusedError):
            return  # it is asked again
        if refunded is not None:
            await self.note(row.refund_id, refunded)

    async def note(self, refund_id: UUID, refunded: Refunded) -> None:
        """Book how a refund stands at its provider, once."""
        parameters = {
            "refund_id": refund_id,
            "status": refunded.status,
            "provider_ref": refunded.refund_id or None,
            "failure": refunded.reason or None,
        }
        async with at_desk(self.pool) as connection:
            before = await fetch_row(connection, _SQL["lock_refund"], parameters)
            if before.status not in sources(REFUND, refunded.status):
                return
            await connection.execute(_SQL["set_refund"], parameters)
            if refunded.status != "sent":
                await _end(connection, before, refunded)


async def _refund(provider: Provider, order: RefundOrder) -> Refunded | None:
    """Ask for a refund; None while a dispute decides about its money. Lost, the bank has given the money back."""
    try:
        return await provider.refund(order)
    except ProviderRefusedError as error:
        disputes = {each.status for each in await provider.disputes(order.capture_id)}
        if "open" in disputes:
            return None
        return Refunded("", "failed", DISPUTED if "lost" in disputes else error.code)


async def _end(connection: Connection, refund: Any, refunded: Refunded) -> None:  # noqa: ANN401  # a row, as it was
    """Book that the money has arrived, or that it became credit: some banks send back what had arrived already."""
    due: Place = ("refund_due", refund.booking_id)
    gone: Place = ("refunded", None)
    if refunded.status == "done":
        kind, source, target = "refunded", due, gone
    elif refunded.reason == DISPUTED:
        kind, source, target = "refund_dropped", due, gone
    else:
        kind, source, target = "credited", gone if refund.status == "done" else due, ("credit", refund.driver_id)
    postings = move(refund.amount_minor, *source, *target)
    await post(connection, kind, f"{kind}:{refund.refund_id}", refund.booking_id, refund.currency, postings)
    if kind in _LETTERS:
        amount = amount_text(refund.amount_minor, refund.currency)
        await tell(connection, refund.driver_id, _LETTERS[kind], amount=amount, booking=str(refund.booking_id))
