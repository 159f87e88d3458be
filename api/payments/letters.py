"""What people are told about their money: rows of the outbox, in the transaction that moves it."""

from typing import Final
from uuid import UUID

from api.contacts import Contact
from api.database import Connection, load_queries
from api.outbox.messages import put_message

_SQL: Final = load_queries("api.payments", "payments.sql")


async def tell(connection: Connection, person_id: UUID, template: str, **fields: str) -> None:
    """Write to a person; nobody is written to whose account was erased."""
    row = await (await connection.execute(_SQL["reader_of"], {"person_id": person_id})).fetchone()
    if row is not None:
        to = Contact("email", row.email) if row.email else Contact("phone", row.phone)
        await put_message(connection, to, template, row.locale, fields)


def amount_text(amount_minor: int, currency: str) -> str:
    """Return an amount for people; every currency of our providers has two decimals."""
    return f"{currency} {amount_minor // 100:,}.{amount_minor % 100:02d}"
