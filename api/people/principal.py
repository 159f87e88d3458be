"""Who asks: guards that let a request pass, the person they found, and the routes behind them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from uuid import UUID

from litestar import Request, Router
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import SecurityRequirement
from litestar.types import ControllerRouterHandler

from api.api_keys import bearer
from api.database import Pool
from api.errors import NotFoundError, RoleMissingError
from api.people.access import AccessTokens, Caller
from api.tenancy import acting

PERSON_SECURITY: Final[list[SecurityRequirement]] = [{"accessToken": []}]
MAX_BODY_BYTES: Final = 16_384

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]


def build_person_guard(tokens: AccessTokens) -> Guard:
    """Return a guard that lets signed-in people pass; `caller_of` then tells who it is."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        connection.state.caller = tokens.check(bearer(connection))

    return guard


def person_routes(
    path: str, handlers: Sequence[ControllerRouterHandler], guard: Guard, tag: str, max_body: int = MAX_BODY_BYTES
) -> Router:
    """Build the routes of signed-in people below a path."""
    return Router(
        path,
        route_handlers=handlers,
        guards=[guard],
        security=PERSON_SECURITY,
        tags=[tag],
        request_max_body_size=max_body,
    )


def caller_of(request: Request[Any, Any, Any]) -> Caller:
    """Return the person that the guard let pass."""
    caller: Caller = request.state.caller
    return caller


async def require_role(pool: Pool, caller: Caller, tenant_id: UUID, *roles: str) -> None:
    """Return if the person has one of the roles in the tenant now, as the database says.

    NotFoundError if the person has no role there at all, so that nobody learns which tenants there are;
    RoleMissingError if it is another one.
    """
    async with acting(pool, caller.person_id) as connection:
        rows = await (
            await connection.execute(
                "SELECT role FROM memberships WHERE tenant_id = %s AND person_id = acting_person()", [tenant_id]
            )
        ).fetchall()
    held = {row.role for row in rows}
    if not held:
        raise NotFoundError
    if not held & set(roles):
        raise RoleMissingError(f"This needs one of the roles {', '.join(roles)}.")


async def require_platform_role(pool: Pool, caller: Caller, *roles: str) -> None:
    """Return if the person has one of the roles on the platform itself now; else RoleMissingError."""
    async with acting(pool, caller.person_id) as connection:
        held = await connection.execute(
            "SELECT FROM memberships WHERE person_id = acting_person() AND tenant_kind = 'platform' "
            "AND role = ANY (%s)",
            [list(roles)],
        )
        if await held.fetchone() is None:
            raise RoleMissingError(f"This needs one of the roles {', '.join(roles)}.")
