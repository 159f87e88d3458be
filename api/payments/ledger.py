"""The ledger: what happened to money is written once, by reference, and never changed.

Everything here runs in the caller's transaction, at the desk. Balances of bookings and people are kept by a trigger
with a CHECK that none falls below zero; taking from one holds its row until the end of the transaction.
"""

from typing import Final
from uuid import UUID

from api.database import Connection, load_queries
from api.payments.postings import Account, Postings

_SQL: Final = load_queries("api.payments", "ledger.sql")


async def post(
    connection: Connection, kind: str, reference: str, booking_id: UUID | None, currency: str, postings: Postings
) -> bool:
    """Write a transaction; return whether it was not there yet. Nothing to post is nothing written."""
    if not postings:
        return False
    lines = sorted(postings, key=str)  # one order of locking for all
    parameters = {
        "kind": kind,
        "reference": reference,
        "booking_id": booking_id,
        "currency": currency,
        "accounts": [line.account for line in lines],
        "owners": [line.owner for line in lines],
        "amounts": [line.amount for line in lines],
    }
    written = await (await connection.execute(_SQL["post"], parameters)).fetchall()
    return bool(written)


async def take_balance(connection: Connection, account: Account, owner: UUID, currency: str) -> int:
    """Return a balance and hold its row until the transaction ends, so that it stays what it is."""
    parameters = {"account": account, "owner": owner, "currency": currency}
    row = await (await connection.execute(_SQL["take_balance"], parameters)).fetchone()
    return 0 if row is None else int(row.balance_minor)
