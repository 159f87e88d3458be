"""What customers may see is agreed with the platform; the keys for it they make, rotate and revoke themselves.

A contract is made by the platform's admins and never changed, only ended: another one takes its place. Within it the
customer's admins make keys, of the contract's scopes or fewer. A rotated key stays good for OVERLAP beside the one that
follows it. A key's text is answered once, and stored nowhere; so no answer is kept for repeats either: who lost it
revokes the key and makes another.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import h3
import msgspec
import psycopg
from psycopg.types.json import Jsonb

from api.analytics.boxes import AREA_RESOLUTION
from api.api_keys import ANALYTICS_READ, GEOFENCES_READ, LIVE_READ, make_key
from api.database import Connection, Pool, fetch_row, load_queries
from api.errors import InvalidRequestError, NotFoundError, TooManyKeysError, WrongStateError
from api.limiter import Limiter
from api.people.access import Caller
from api.people.principal import require_platform_role, require_role
from api.people.tenants import OPERATOR_ADMIN, PLATFORM_ADMIN
from api.tenancy import acting

OPERATOR_ANALYST: Final = "operator_analyst"
OVERLAP: Final = timedelta(hours=24)
MOST_KEYS: Final = 20
"""Live ones of one contract."""

ContractScope = Literal["analytics:read", "geofences:read", "live:read"]
CONTRACT_SCOPES: Final = (ANALYTICS_READ, GEOFENCES_READ, LIVE_READ)

_SQL: Final = load_queries("api.customers", "contracts.sql")


class Contract(msgspec.Struct, frozen=True):
    """What a customer may see: fences by id, cells within H3 cells of resolution 6; null for all, empty for none."""

    contract_id: UUID
    name: str
    scopes: list[ContractScope]
    zone_ids: list[str] | None
    areas: list[str] | None
    created_at: datetime
    ends_at: datetime | None


class Terms(NamedTuple):
    """What a contract is to say; `areas` as their customer writes H3 cells."""

    name: str
    scopes: list[ContractScope]
    zone_ids: list[str] | None
    areas: list[str] | None
    ends_at: datetime | None


class Key(msgspec.Struct, frozen=True):
    """A key, by all but its secret."""

    key_id: str
    contract_id: UUID
    name: str
    scopes: list[ContractScope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaces: str | None


class KeyOnce(msgspec.Struct, frozen=True):
    """A new key with its text, which is not shown again."""

    key: Key
    text: str


class Contracts(NamedTuple):
    """Contracts and keys; roles are read from the database, every change leaves an audit entry."""

    pool: Pool
    limiter: Limiter

    async def add(self, caller: Caller, tenant_id: UUID, terms: Terms) -> Contract:
        """Make a contract with a customer; RoleMissingError, InvalidRequestError, NotFoundError."""
        await require_platform_role(self.pool, caller, PLATFORM_ADMIN)
        areas = None if terms.areas is None else sorted({_read_area(cell) for cell in terms.areas})
        parameters = terms._asdict() | {"areas": areas, "scopes": sorted(set(terms.scopes))}
        try:
            async with acting(self.pool, caller.person_id, tenant_id) as connection:
                row = await fetch_row(connection, _SQL["add"], parameters)
                await _audit(connection, "contract.added", contract_id=str(row.contract_id))
        except psycopg.errors.ForeignKeyViolation:
            raise NotFoundError("There is no such operator.") from None
        return _contract(row)

    async def contracts(self, caller: Caller, tenant_id: UUID) -> list[Contract]:
        """Return a customer's contracts, to its admins and analysts."""
        await require_role(self.pool, caller, tenant_id, OPERATOR_ADMIN, OPERATOR_ANALYST)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            return [_contract(row) for row in await (await connection.execute(_SQL["contracts"])).fetchall()]

    async def end(self, caller: Caller, tenant_id: UUID, contract_id: UUID) -> None:
        """End a contract now, and with it what its keys see; RoleMissingError, NotFoundError."""
        await require_platform_role(self.pool, caller, PLATFORM_ADMIN)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            if await (await connection.execute(_SQL["end"], {"contract_id": contract_id})).fetchone() is None:
                raise NotFoundError("There is no such contract, or it has ended.")
            await _audit(connection, "contract.ended", contract_id=str(contract_id))

    async def keys(self, caller: Caller, tenant_id: UUID) -> list[Key]:
        """Return all keys that a customer ever had."""
        await require_role(self.pool, caller, tenant_id, OPERATOR_ADMIN)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            return [Key(*row) for row in await (await connection.execute(_SQL["keys"])).fetchall()]

    async def add_key(
        self, caller: Caller, tenant_id: UUID, contract_id: UUID, name: str, scopes: list[ContractScope]
    ) -> KeyOnce:
        """Make a key; NotFoundError, TooManyKeysError, InvalidRequestError for scopes that the contract has not."""
        await self._may_change(caller, tenant_id)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            of = {"contract_id": contract_id, "name": name, "expires_at": None, "replaces": None}
            return await _put(connection, of, scopes)

    async def rotate(self, caller: Caller, tenant_id: UUID, key_id: str) -> KeyOnce:
        """Make the key that follows another, good for OVERLAP still; as `add_key`, WrongStateError if it has one."""
        await self._may_change(caller, tenant_id)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            row = await (await connection.execute(_SQL["live_key"], {"key_id": key_id})).fetchone()
            if row is None:
                raise NotFoundError("There is no such key, or it is not good any more.")
            of = {"contract_id": row.contract_id, "name": row.name, "expires_at": None, "replaces": key_id}
            new = await _put(connection, of, row.scopes)
            await connection.execute(_SQL["let_run_out"], {"key_id": key_id, "overlap": OVERLAP})
            return new

    async def revoke(self, caller: Caller, tenant_id: UUID, key_id: str) -> None:
        """Let a key open nothing from now on; NotFoundError."""
        await require_role(self.pool, caller, tenant_id, OPERATOR_ADMIN)
        async with acting(self.pool, caller.person_id, tenant_id) as connection:
            if await (await connection.execute(_SQL["revoke"], {"key_id": key_id})).fetchone() is None:
                raise NotFoundError("There is no such key.")
            await _audit(connection, "key.revoked", key_id=key_id)

    async def _may_change(self, caller: Caller, tenant_id: UUID) -> None:
        await require_role(self.pool, caller, tenant_id, OPERATOR_ADMIN)
        await self.limiter.take(str(caller.person_id))


async def _put(connection: Connection, of: dict[str, Any], scopes: list[ContractScope]) -> KeyOnce:
    contract = await (await connection.execute(_SQL["lock"], of)).fetchone()
    if contract is None:
        raise NotFoundError("There is no such contract, or it has ended.")
    if not set(scopes) <= set(contract.scopes):
        raise InvalidRequestError(f"The contract has the scopes {', '.join(contract.scopes)}.")
    if (await fetch_row(connection, _SQL["live_keys"], of)).count >= MOST_KEYS:
        raise TooManyKeysError(f"A contract has at most {MOST_KEYS}: revoke one.")
    key = make_key()
    parameters = of | {"key_id": key.key_id, "secret_hash": key.secret_hash, "scopes": sorted(set(scopes))}
    row = await (await connection.execute(_SQL["put_key"], parameters)).fetchone()
    if row is None:
        raise WrongStateError("The key was rotated before.", facts={"status": "rotated"})
    details = {"key_id": key.key_id} | ({"replaces": of["replaces"]} if of["replaces"] else {})
    await _audit(connection, "key.rotated" if of["replaces"] else "key.made", **details)
    return KeyOnce(Key(*row), key.text)


async def _audit(connection: Connection, action: str, **details: str) -> None:
    await connection.execute(_SQL["audit"], {"action": action, "details": Jsonb(details)})


def _read_area(cell: str) -> int:
    if not h3.is_valid_cell(cell) or h3.get_resolution(cell) != AREA_RESOLUTION:
        raise InvalidRequestError(f"areas: {cell} is no H3 cell of resolution {AREA_RESOLUTION}.")
    return int(h3.str_to_int(cell))


def _contract(row: Any) -> Contract:  # noqa: ANN401  # a row
    values = row._asdict()
    areas = None if row.areas is None else [h3.int_to_str(area) for area in row.areas]
    return Contract(**values | {"areas": areas})
