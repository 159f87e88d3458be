"""A transaction acts as somebody: PostgreSQL's row-level security then decides which rows there are.

`parkpal_auth` works before it is known who asks (sign-in, codes, relay). `parkpal_app` sees what is the acting
person's, and within a tenant what is the tenant's. Whoever opens a transaction with a tenant has checked that the
person belongs to it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from api.database import Connection, Pool


@asynccontextmanager
async def acting(pool: Pool, person_id: UUID, tenant_id: UUID | None = None) -> AsyncIterator[Connection]:
    """Give a transaction that sees what this person, within this tenant, may see."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL ROLE parkpal_app")
        await connection.execute(
            "SELECT set_config('parkpal.person', %s, true) AS person, set_config('parkpal.tenant', %s, true) AS tenant",
            [str(person_id), str(tenant_id or "")],
        )
        yield connection


@asynccontextmanager
async def authenticating(pool: Pool) -> AsyncIterator[Connection]:
    """Give a transaction that sees accounts, codes and tokens, and nothing else of anybody."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL ROLE parkpal_auth")
        yield connection
