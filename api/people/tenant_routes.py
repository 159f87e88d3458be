"""`/v1/operators`: operators of lots, and the people who work for them."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Request, Router, delete, get, post, put
from litestar.params import JSONBody, PathParameter

from api.errors import (
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    RoleMissingError,
    UnauthenticatedError,
    UnavailableError,
    responses,
)
from api.people.accounts import read_contact
from api.people.auth_routes import ContactText
from api.people.principal import Guard, caller_of, person_routes
from api.people.tenants import Member, Tenants

_ALWAYS: Final = (UnauthenticatedError, RoleMissingError, NotFoundError, InvalidRequestError, UnavailableError)

AnyRequest = Request[Any, Any, Any]
Role = Literal["attendant", "operator_analyst", "operator_admin", "host"]
TenantId = Annotated[UUID, PathParameter(description="The operator")]


class NewOperator(msgspec.Struct, frozen=True):
    """An operator, and the contact of the person who is its first admin."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    admin_contact: ContactText


class Operator(msgspec.Struct, frozen=True):
    """An operator."""

    operator_id: UUID
    name: str


class NewMember(msgspec.Struct, frozen=True):
    """A role for the person with this contact."""

    contact: ContactText
    role: Role


def tenant_routes(tenants: Tenants, guard: Guard) -> Router:
    """Build `/v1/operators`."""

    @post("/", responses=responses(*_ALWAYS))
    async def add_operator(data: JSONBody[NewOperator], request: AnyRequest) -> Operator:
        """Add an operator; for the platform's admins."""
        contact = read_contact(data.admin_contact)
        return Operator(await tenants.add_operator(caller_of(request), data.name, contact), data.name)

    @get("/{operator_id:uuid}/members", responses=responses(*_ALWAYS))
    async def list_members(operator_id: TenantId, request: AnyRequest) -> list[Member]:
        """Return who works for the operator, by role."""
        return await tenants.members(caller_of(request), operator_id)

    @put("/{operator_id:uuid}/members", status_code=204, responses=responses(*_ALWAYS, RateLimitedError))
    async def put_member(operator_id: TenantId, data: JSONBody[NewMember], request: AnyRequest) -> None:
        """Give a person with an account a role."""
        await tenants.grant(caller_of(request), operator_id, read_contact(data.contact), data.role)

    @delete("/{operator_id:uuid}/members/{person_id:uuid}/{role:str}", responses=responses(*_ALWAYS))
    async def delete_member(
        operator_id: TenantId,
        person_id: Annotated[UUID, PathParameter(description="The person")],
        role: Annotated[str, PathParameter(max_length=40, description="The role to take away")],
        request: AnyRequest,
    ) -> None:
        """Take a role away."""
        await tenants.revoke(caller_of(request), operator_id, person_id, role)

    return person_routes("/v1/operators", [add_operator, list_members, put_member, delete_member], guard, "people")
