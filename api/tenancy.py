"""A transaction acts as somebody: PostgreSQL's row-level security then decides which rows there are.

`parkpal_auth` works before it is known who asks (sign-in, codes, relay). `parkpal_app` sees what is the acting
person's, and within a tenant what is the tenant's. Whoever opens a transaction with a tenant has checked that the
person belongs to it.

`parkpal_desk` decides between rivals for a place, and about money: it sees the bookings of all. A request comes to it
in two steps of one transaction: `acting` finds what the person may see, then `go_to_desk` does what they asked for.
"""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final
from uuid import UUID

from api.database import Connection, Pool

_ACT: Final = """
    SELECT set_config('role', %s, true) AS role, set_config('parkpal.person', %s, true) AS person,
        set_config('parkpal.tenant', %s, true) AS tenant"""
"""As SET LOCAL ROLE and two settings, in one statement."""


class Transaction:
    """A transaction that acts as somebody, begun when it is entered; whoever has to try again enters it again."""

    def __init__(self, pool: Pool, role: str, person_id: UUID | None = None, tenant_id: UUID | None = None) -> None:
        self._pool = pool
        self._as = [role, str(person_id or ""), str(tenant_id or "")]
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Connection:
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self._pool.connection())
            await stack.enter_async_context(connection.transaction())
            await connection.execute(_ACT, self._as)
            self._open = stack.pop_all()
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._open.__aexit__(kind, error, trace)


def acting(pool: Pool, person_id: UUID, tenant_id: UUID | None = None) -> Transaction:
    """Give a transaction that sees what this person, within this tenant, may see."""
    return Transaction(pool, "parkpal_app", person_id, tenant_id)


def authenticating(pool: Pool) -> Transaction:
    """Give a transaction that sees accounts, codes and tokens, and nothing else of anybody."""
    return Transaction(pool, "parkpal_auth")


def at_desk(pool: Pool, person_id: UUID | None = None) -> Transaction:
    """Give a transaction of the booking desk, for this person, or for the clock or a payment provider if None."""
    return Transaction(pool, "parkpal_desk", person_id)


async def go_to_desk(connection: Connection) -> None:
    """Let the rest of the transaction act as the booking desk."""
    await connection.execute("SET LOCAL ROLE parkpal_desk")
