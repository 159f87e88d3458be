"""What hosts have earned goes to their bank: drafted daily, approved by a person, sent in a file, settled by the bank.

Earnings are due a day after they were made. A payout takes each earning once; one that fails or is dropped gives them
back to the next. The account of a bank may change by its owner alone, who is told so at the old contact, and rests
for 72 hours.
"""

import csv
import io
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from api.database import Connection, Pool, fetch_row, load_queries
from api.errors import CannotPayError, WrongStateError
from api.payments.fees import Withholding
from api.payments.ledger import post, take_balance
from api.payments.letters import amount_text, tell
from api.payments.postings import Posting, Postings, move, reverse
from api.payments.states import PAYOUT, sources
from api.tenancy import at_desk

INSTAPAY_MOST: Final = 5_000_000
"""PHP 50,000: what is more goes by PESONet."""
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

_SQL: Final = load_queries("api.payments", "payouts.sql")


class Bank(NamedTuple):
    """An account at a bank."""

    bank_code: str
    account_number: str
    account_name: str


class Payouts(NamedTuple):
    """Moves money to banks."""

    pool: Pool
    withholding: Withholding
    minimum_minor: int

    async def draft_all(self) -> int:
        """Draft a payout for everybody to whom enough is due; return how many."""
        async with at_desk(self.pool) as connection:
            payees = await (await connection.execute(_SQL["payable"])).fetchall()
        drafted = 0
        for payee in payees:
            async with at_desk(self.pool) as connection:
                drafted += await self._draft(connection, payee.tenant_id, payee.currency)
        return drafted

    async def approve(self, person_id: UUID, payout_id: UUID) -> Any:  # noqa: ANN401  # a row
        """Let a draft be sent; WrongStateError."""
        return await self._change(person_id, payout_id, "approved")

    async def drop(self, person_id: UUID, payout_id: UUID) -> Any:  # noqa: ANN401  # a row
        """Take a draft back; WrongStateError."""
        return await self._change(person_id, payout_id, "dropped")

    async def settle(self, person_id: UUID, payout_id: UUID, failure: str | None) -> Any:  # noqa: ANN401  # a row
        """Note what the bank did with a transfer; WrongStateError."""
        return await self._change(person_id, payout_id, "failed" if failure else "paid", failure)

    async def send_file(self, connection: Connection, rail: str) -> str:
        """Mark what is approved as sent; return the bank's file of it."""
        rows = await (await connection.execute(_SQL["approved"], {"rail": rail})).fetchall()
        return _file([await self._move(connection, row.payout_id, "sent", None) for row in rows])

    async def _draft(self, connection: Connection, tenant_id: UUID, currency: str) -> int:
        payee = {"tenant_id": tenant_id, "currency": currency}
        earnings = await (await connection.execute(_SQL["due_earnings"], payee)).fetchall()
        gross = sum(each.amount_minor for each in earnings)
        if gross < self.minimum_minor:
            return 0
        remitted = (await fetch_row(connection, _SQL["remitted_this_year"], payee)).remitted
        payout_id, withheld = uuid4(), self.withholding.of(remitted, gross)
        parameters = payee | {"payout_id": payout_id, "reference": reference_of(payout_id), "gross_minor": gross}
        parameters |= {"withheld_minor": withheld, "rail": rail_of(gross - withheld)}
        parameters |= {"statement": Jsonb([_line(each) for each in earnings])}
        if await (await connection.execute(_SQL["add_payout"], parameters)).fetchone() is None:
            return 0
        earning_ids = [each.earning_id for each in earnings]
        await connection.execute(_SQL["put_in_payout"], {"payout_id": payout_id, "earning_ids": earning_ids})
        return 1

    async def _change(self, person_id: UUID, payout_id: UUID, status: str, failure: str | None = None) -> Any:  # noqa: ANN401  # a row
        async with at_desk(self.pool, person_id) as connection:
            return await self._move(connection, payout_id, status, failure)

    async def _move(self, connection: Connection, payout_id: UUID, status: str, failure: str | None) -> Any:  # noqa: ANN401  # a row
        parameters = {"payout_id": payout_id, "status": status, "failure": failure}
        row = await (
            await connection.execute(_SQL["set_payout"], parameters | {"sources": sources(PAYOUT, status)})
        ).fetchone()
        if row is None:
            raise WrongStateError("There is no such payout, or its state does not allow this.")
        await _book(connection, row)
        await audit(connection, row.tenant_id, f"payout.{status}", payout=str(payout_id))
        return row


async def pay_back(connection: Connection, person_id: UUID, amount_minor: int, currency: str, bank: Bank) -> Any:  # noqa: ANN401  # a row
    """Draft the transfer of a driver's credit to a bank; CannotPayError if so much of it was never money."""
    payout_id = uuid4()
    if await take_balance(connection, "credit", person_id, currency) < amount_minor:
        raise CannotPayError("There is less credit than this that was the driver's own money.")
    parameters = {"payout_id": payout_id, "reference": reference_of(payout_id), "person_id": person_id}
    parameters |= {"currency": currency, "amount_minor": amount_minor, "rail": rail_of(amount_minor)}
    row = await fetch_row(connection, _SQL["add_payback"], parameters | bank._asdict())
    due = move(amount_minor, "credit", person_id, "refund_due", payout_id)
    await post(connection, "payback", f"payback:{payout_id}", None, currency, due)
    await audit(connection, None, "payback.asked", payout=str(payout_id), amount_minor=amount_minor)
    return row


def reference_of(payout_id: UUID) -> str:
    """Return the reference that a bank's statement shows."""
    return f"PP{payout_id.hex[:18].upper()}"


def rail_of(amount_minor: int) -> str:
    """Return how a bank sends an amount."""
    return "instapay" if amount_minor <= INSTAPAY_MOST else "pesonet"


async def audit(connection: Connection, tenant_id: UUID | None, action: str, **details: object) -> None:
    """Write who did this with money."""
    parameters = {"tenant_id": tenant_id, "action": action, "details": Jsonb(details)}
    await connection.execute(_SQL["audit"], parameters)


async def _book(connection: Connection, payout: Any) -> None:  # noqa: ANN401  # a row of payouts
    """Book what a change of status means for the money."""
    if payout.person_id is not None:
        await _book_payback(connection, payout)
        return
    if payout.status in {"failed", "dropped"}:
        await connection.execute(_SQL["take_out_of_payout"], {"payout_id": payout.payout_id})
    if payout.status == "sent":
        await _post(connection, payout, _remitted(payout))
        await _tell_owners(connection, payout)
    elif payout.status == "failed":
        await _post(connection, payout, reverse(_remitted(payout)))


async def _book_payback(connection: Connection, payout: Any) -> None:  # noqa: ANN401  # a row of payouts
    if payout.status == "paid":
        await _post(connection, payout, move(payout.gross_minor, "refund_due", payout.payout_id, "refunded", None))
    elif payout.status in {"failed", "dropped"}:
        back = move(payout.gross_minor, "refund_due", payout.payout_id, "credit", payout.person_id)
        await _post(connection, payout, back)
    elif payout.status == "sent":
        await _tell(connection, payout, payout.person_id)


def _remitted(payout: Any) -> Postings:  # noqa: ANN401  # a row of payouts
    lines = (
        Posting("host_payable", payout.tenant_id, -payout.gross_minor),
        Posting("paid_out", None, payout.amount_minor),
        Posting("withheld", None, payout.withheld_minor),
    )
    return tuple(line for line in lines if line.amount)


async def _post(connection: Connection, payout: Any, postings: Postings) -> None:  # noqa: ANN401  # a row of payouts
    kind = f"payout_{payout.status}"
    await post(connection, kind, f"{kind}:{payout.payout_id}", None, payout.currency, postings)


async def _tell_owners(connection: Connection, payout: Any) -> None:  # noqa: ANN401  # a row of payouts
    for owner in await (await connection.execute(_SQL["owners"], {"tenant_id": payout.tenant_id})).fetchall():
        await _tell(connection, payout, owner.person_id)


async def _tell(connection: Connection, payout: Any, person_id: UUID) -> None:  # noqa: ANN401  # a row of payouts
    texts = {"amount": amount_text(payout.amount_minor, payout.currency), "reference": payout.reference}
    await tell(connection, person_id, "payout_sent", ending=payout.account_number[-4:], **texts)


def _line(earning: Any) -> dict[str, object]:  # noqa: ANN401  # a row of host_earnings
    return {
        "booking_id": str(earning.booking_id),
        "kind": earning.kind,
        "price_minor": earning.price_minor,
        "amount_minor": earning.amount_minor,
    }


def _file(payouts: list[Any]) -> str:
    """Return transfers as CSV: no cell is a formula, whatever people call themselves."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["reference", "bank_code", "account_number", "account_name", "amount", "currency"])
    for each in payouts:
        amount = f"{each.amount_minor // 100}.{each.amount_minor % 100:02d}"
        row = [each.reference, each.bank_code, each.account_number, each.account_name, amount, each.currency]
        writer.writerow([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in row])
    return text.getvalue()
