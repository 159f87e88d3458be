"""`/v1/operators/{operator_id}/contracts` and `/keys`: what a customer may see, and the keys they see it with."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.params import JSONBody, PathParameter

from api.customers.contracts import Contract, Contracts, ContractScope, Key, KeyOnce, Terms
from api.errors import (
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    RoleMissingError,
    TooManyKeysError,
    UnauthenticatedError,
    UnavailableError,
    WrongStateError,
    responses,
)
from api.people.principal import PERSON_SECURITY, Guard, caller_of
from api.people.tenant_routes import TenantId

_ALWAYS: Final = (UnauthenticatedError, RoleMissingError, NotFoundError, InvalidRequestError, UnavailableError)
_MAKES: Final = (*_ALWAYS, RateLimitedError, TooManyKeysError)

AnyRequest = Request[Any, Any, Any]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Scopes = Annotated[list[ContractScope], msgspec.Meta(min_length=1, max_length=3)]
ZoneIds = Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=128)]], msgspec.Meta(max_length=1000)]
Areas = Annotated[list[Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{15}$")]], msgspec.Meta(max_length=1000)]
ContractId = Annotated[UUID, PathParameter(description="The contract")]
KeyId = Annotated[str, PathParameter(pattern="^[0-9a-f]{16}$", description="The key, by the id within it")]


class NewContract(msgspec.Struct, frozen=True):
    """What a customer may see: fences by id, cells within H3 cells of resolution 6; null for all, empty for none."""

    name: Name
    scopes: Scopes
    zone_ids: ZoneIds | None
    areas: Areas | None
    ends_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class NewKey(msgspec.Struct, frozen=True):
    """A key within a contract, with its scopes or fewer."""

    contract_id: UUID
    name: Name
    scopes: Scopes


def customer_routes(contracts: Contracts, guard: Guard) -> Router:
    """Build the router."""

    @get("/contracts", responses=responses(*_ALWAYS))
    async def list_contracts(operator_id: TenantId, request: AnyRequest) -> list[Contract]:
        """Return what the operator may see."""
        return await contracts.contracts(caller_of(request), operator_id)

    @post("/contracts", responses=responses(*_ALWAYS))
    async def post_contract(operator_id: TenantId, data: JSONBody[NewContract], request: AnyRequest) -> Contract:
        """Let the operator see more; for the platform's admins. It is never changed: end it, and make another."""
        terms = Terms(data.name, data.scopes, data.zone_ids, data.areas, data.ends_at)
        return await contracts.add(caller_of(request), operator_id, terms)

    @delete("/contracts/{contract_id:uuid}", responses=responses(*_ALWAYS))
    async def end_contract(operator_id: TenantId, contract_id: ContractId, request: AnyRequest) -> None:
        """End a contract now; its keys open nothing any more."""
        await contracts.end(caller_of(request), operator_id, contract_id)

    @get("/keys", responses=responses(*_ALWAYS))
    async def list_keys(operator_id: TenantId, request: AnyRequest) -> list[Key]:
        """Return all keys that the operator ever had."""
        return await contracts.keys(caller_of(request), operator_id)

    @post("/keys", responses=responses(*_MAKES))
    async def post_key(operator_id: TenantId, data: JSONBody[NewKey], request: AnyRequest) -> KeyOnce:
        """Make a key. Its text is in this answer and nowhere else."""
        return await contracts.add_key(caller_of(request), operator_id, data.contract_id, data.name, data.scopes)

    @post("/keys/{key_id:str}/rotate", responses=responses(*_MAKES, WrongStateError))
    async def rotate_key(operator_id: TenantId, key_id: KeyId, request: AnyRequest) -> KeyOnce:
        """Make the key that follows this one, which stays good for 24 hours."""
        return await contracts.rotate(caller_of(request), operator_id, key_id)

    @delete("/keys/{key_id:str}", responses=responses(*_ALWAYS))
    async def revoke_key(operator_id: TenantId, key_id: KeyId, request: AnyRequest) -> None:
        """Let a key open nothing from now on."""
        await contracts.revoke(caller_of(request), operator_id, key_id)

    return Router(
        "/v1/operators/{operator_id:uuid}",
        route_handlers=[list_contracts, post_contract, end_contract, list_keys, post_key, rotate_key, revoke_key],
        guards=[guard],
        security=PERSON_SECURITY,
        tags=["operators"],
        request_max_body_size=262_144,
    )
