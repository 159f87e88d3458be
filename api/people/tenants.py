"""Tenants and who does what in them: given and taken by their admins, each change with its actor in the audit entries.

The platform's own admins come from the command line (`parkpal grant`); they make operators and name their first admins.
"""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from api.contacts import Contact
from api.database import Connection, Pool, load_queries
from api.errors import InvalidRequestError, NotFoundError
from api.limiter import Limiter
from api.people.access import Caller
from api.people.principal import require_platform_role, require_role
from api.tenancy import acting, authenticating

PLATFORM_ADMIN: Final = "platform_admin"
OPERATOR_ADMIN: Final = "operator_admin"
HOST: Final = "host"
PLATFORM_ROLES: Final = (PLATFORM_ADMIN, "support")

_SQL: Final = load_queries("api.people", "tenants.sql")


class Member(msgspec.Struct, frozen=True):
    """A person with a role in the tenant."""

    person_id: UUID
    name: str
    contact: str | None
    role: str
    granted_at: datetime


class Tenants(NamedTuple):
    """Makes tenants and gives roles in them. grants: how often a person may ask whether a contact has an account."""

    pool: Pool
    grants: Limiter

    async def add_operator(self, caller: Caller, name: str, admin: Contact) -> UUID:
        """Add an operator with its first admin; RoleMissingError unless the caller is the platform's admin."""
        await require_platform_role(self.pool, caller, PLATFORM_ADMIN)
        tenant_id, person_id = uuid4(), await self._person_of(admin)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            await connection.execute(_SQL["add"], {"tenant_id": tenant_id, "name": name})
            await _audit(connection, "tenant.added", name=name)
            await _grant(connection, person_id, OPERATOR_ADMIN)
        return tenant_id

    async def members(self, caller: Caller, tenant_id: UUID) -> list[Member]:
        """Return who has which role; as `require_role`."""
        await require_role(self.pool, caller, tenant_id, OPERATOR_ADMIN, HOST)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            return [Member(*row) for row in await (await connection.execute(_SQL["members"])).fetchall()]

    async def grant(self, caller: Caller, tenant_id: UUID, contact: Contact, role: str) -> None:
        """Give somebody with an account a role; NotFoundError if there is none, RateLimitedError, as `require_role`."""
        await require_role(self.pool, caller, tenant_id, OPERATOR_ADMIN, HOST)
        await self.grants.take(str(caller.person_id))
        person_id = await self._person_of(contact)
        try:
            async with acting(self.pool, caller.person_id, tenant_id) as connection:
                await _grant(connection, person_id, role)
        except psycopg.errors.CheckViolation:
            raise InvalidRequestError(f"The role {role} does not exist in a tenant of this kind.") from None

    async def revoke(self, caller: Caller, tenant_id: UUID, person_id: UUID, role: str) -> None:
        """Take a role away; NotFoundError if the person does not have it, and as `require_role`."""
        await require_role(self.pool, caller, tenant_id, OPERATOR_ADMIN, HOST)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            parameters = {"person_id": person_id, "role": role}
            if await (await connection.execute(_SQL["revoke"], parameters)).fetchone() is None:
                raise NotFoundError
            await _audit(connection, "member.revoked", person_id=str(person_id), role=role)

    async def _person_of(self, contact: Contact) -> UUID:
        async with authenticating(self.pool) as connection:
            row = await (await connection.execute(_SQL["person_of"], {"contact": contact.text})).fetchone()
        if row is None:
            raise NotFoundError("Nobody with this contact has an account.")
        return UUID(str(row.person_id))


async def _grant(connection: Connection, person_id: UUID, role: str) -> None:
    if await (await connection.execute(_SQL["grant"], {"person_id": person_id, "role": role})).fetchone() is not None:
        await _audit(connection, "member.granted", person_id=str(person_id), role=role)


async def _audit(connection: Connection, action: str, **details: str) -> None:
    await connection.execute(_SQL["audit"], {"action": action, "details": Jsonb(details)})


def grant_platform_role(database_url: str, contact: Contact, role: str) -> bool:
    """Give somebody with an account a role on the platform itself; return whether there is one who lacked it."""
    with psycopg.connect(database_url) as connection:
        parameters = {"contact": contact.text, "role": role}
        row = connection.execute(_SQL["grant_platform"], parameters).fetchone()
        if row is None:
            return False
        details = Jsonb({"person_id": str(row[0]), "role": role})
        connection.execute(_SQL["audit_platform"], {"tenant_id": row[1], "details": details})
    return True
