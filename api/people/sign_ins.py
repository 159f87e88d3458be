"""A sign-in is a family of refresh tokens: each is good once and gives the next; a second use of one ends the family.

So of a stolen token and its original only one gets on, and the other's use is noticed. Only hashes of them are stored.
"""

import secrets
from datetime import timedelta
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from api.database import Connection, Pool, load_queries
from api.errors import UnauthenticatedError
from api.people.access import AccessTokens, Caller
from api.tenancy import authenticating

LIFETIME: Final = timedelta(days=30)
PREFIX: Final = "pr_"

_SQL: Final = load_queries("api.people", "people.sql")


class SignedIn(NamedTuple):
    """What a sign-in gives; neither is stored."""

    access_token: str
    refresh_token: str


class SignIns(NamedTuple):
    """Begins, continues and ends sign-ins."""

    pool: Pool
    tokens: AccessTokens

    async def begin(self, connection: Connection, person_id: UUID) -> SignedIn:
        """Begin a family."""
        return await self._next(connection, person_id, uuid4())

    async def go_on(self, refresh_token: str) -> SignedIn:
        """Use a token up and give the next; UnauthenticatedError if it is not good, and its family ends with it."""
        hashed = {"token_hash": _hash(refresh_token)}
        async with authenticating(self.pool) as connection:
            row = await (await connection.execute(_SQL["use_token"], hashed)).fetchone()
            if row is not None:
                return await self._next(connection, row.person_id, row.family_id)
            await connection.execute(_SQL["revoke_family_of"], hashed)
        raise UnauthenticatedError

    async def end(self, refresh_token: str) -> None:
        """End the family of a token; nothing happens if there is none."""
        async with authenticating(self.pool) as connection:
            await connection.execute(_SQL["revoke_family_of"], {"token_hash": _hash(refresh_token)})

    async def _next(self, connection: Connection, person_id: UUID, family_id: UUID) -> SignedIn:
        roles = await (await connection.execute(_SQL["roles"], {"person_id": person_id})).fetchall()
        refresh_token = PREFIX + secrets.token_urlsafe(32)
        parameters = {
            "token_hash": _hash(refresh_token),
            "family_id": family_id,
            "person_id": person_id,
            "lifetime": LIFETIME,
        }
        await connection.execute(_SQL["add_token"], parameters)
        await connection.execute(_SQL["clean_tokens"])
        access_token = self.tokens.sign(Caller(person_id, family_id, {row.tenant_id: row.roles for row in roles}))
        return SignedIn(access_token, refresh_token)


def _hash(refresh_token: str) -> bytes:
    return sha256(refresh_token.encode()).digest()
