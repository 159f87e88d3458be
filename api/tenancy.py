"""A transaction acts as somebody: PostgreSQL's row-level security then decides which rows there are.

`parkpal_auth` works before it is known who asks (sign-in, codes, relay). `parkpal_app` sees what is the acting
person's, and within a tenant what is the tenant's. Whoever opens a transaction with a tenant has checked that the
person belongs to it.

`parkpal_desk` decides between rivals for a place, and about money: it sees the bookings of all. A request comes to it
in two steps of one transaction: `acting` finds what the person may see, then `go_to_desk` does what they asked for.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from api.database import Connection, Pool

_ACT: Final = """
    SELECT set_config('role', %s, true) AS role, set_config('parkpal.person', %s, true) AS person,
        set_config('parkpal.tenant', %s, true) AS tenant"""
"""As SET LOCAL ROLE and two settings, in one statement."""


@asynccontextmanager
async def acting(pool: Pool, person_id: UUID, tenant_id: UUID | None = None) -> AsyncIterator[Connection]:
    """Give a transaction that sees what this person, within this tenant, may see."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(_ACT, ["parkpal_app", str(person_id), str(tenant_id or "")])
        yield connection


@asynccontextmanager
async def authenticating(pool: Pool) -> AsyncIterator[Connection]:
    """Give a transaction that sees accounts, codes and tokens, and nothing else of anybody."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL ROLE parkpal_auth")
        yield connection


@asynccontextmanager
async def at_desk(pool: Pool, person_id: UUID | None = None) -> AsyncIterator[Connection]:
    """Give a transaction of the booking desk, for this person, or for the clock or a payment provider if None."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(_ACT, ["parkpal_desk", str(person_id or ""), ""])
        yield connection


async def go_to_desk(connection: Connection) -> None:
    """Let the rest of the transaction act as the booking desk."""
    await connection.execute("SET LOCAL ROLE parkpal_desk")
