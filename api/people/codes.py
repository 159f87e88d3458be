"""A code of eight digits proves that a contact is its owner's: good once, for ten minutes, for five tries.

One code is under way per purpose and contact; asking again ends the one before. The tries are counted before the code
is compared, in a transaction of their own, so that no rival and no crash gives a try back.
"""

import hmac
import secrets
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from api.contacts import Contact
from api.database import Connection, Pool, load_queries
from api.errors import WrongCodeError
from api.tenancy import authenticating

LIFETIME: Final = timedelta(minutes=10)
MOST_TRIES: Final = 5
DIGITS: Final = 8

Purpose = Literal["sign_up", "reset", "contact"]

_SQL: Final = load_queries("api.people", "people.sql")


class TriedCode(NamedTuple):
    """A code that was right; it is used up by `use_code`, in the transaction that does what it allows."""

    code_id: UUID
    payload: dict[str, Any]


class Codes(NamedTuple):
    """Draws and checks codes. key: hashes them, so that the database alone does not give them away."""

    pool: Pool
    key: bytes

    async def draw(self, connection: Connection, purpose: Purpose, contact: Contact, payload: dict[str, Any]) -> str:
        """Return a new code, to be sent to the contact; whoever gives it back proves `payload`."""
        code, code_id = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}", uuid4()
        parameters = {
            "code_id": code_id,
            "purpose": purpose,
            "contact": contact.text,
            "code_hash": self._hash(code_id, code),
            "payload": Jsonb(payload),
            "lifetime": LIFETIME,
        }
        await connection.execute(_SQL["put_code"], parameters)
        await connection.execute(_SQL["clean_codes"])
        return code

    async def check(self, purpose: Purpose, contact: Contact, code: str) -> TriedCode:
        """Use up one try; WrongCodeError unless the code is right and in time."""
        parameters = {"purpose": purpose, "contact": contact.text, "most": MOST_TRIES}
        async with authenticating(self.pool) as connection:
            row = await (await connection.execute(_SQL["try_code"], parameters)).fetchone()
        if row is None or not hmac.compare_digest(self._hash(row.code_id, code), row.code_hash):
            raise WrongCodeError
        return TriedCode(row.code_id, row.payload)

    def _hash(self, code_id: UUID, code: str) -> bytes:
        return hmac.digest(self.key, code_id.bytes + code.encode(), "sha256")


async def use_code(connection: Connection, code_id: UUID) -> None:
    """Use up a code, once; WrongCodeError if a rival has."""
    if await (await connection.execute(_SQL["use_code"], {"code_id": code_id})).fetchone() is None:
        raise WrongCodeError
