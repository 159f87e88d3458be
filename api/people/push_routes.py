"""`/v1/me/push-tokens`: where the app lets the person be told by push."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, delete, put
from litestar.params import JSONBody, PathParameter

from api.errors import (
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
    responses,
)
from api.people.principal import PERSON_SECURITY, Guard, caller_of
from api.people.push import PushTokens

_ALWAYS: Final = (UnauthenticatedError, InvalidRequestError, UnavailableError)
_TOKEN: Final = "^[A-Za-z0-9_:.-]{1,4096}$"  # noqa: S105  what one looks like

AnyRequest = Request[Any, Any, Any]


class PushToken(msgspec.Struct, frozen=True):
    """The registration token that FCM gave the app's install."""

    token: Annotated[str, msgspec.Meta(pattern=_TOKEN)]


def push_routes(tokens: PushTokens, guard: Guard) -> Router:
    """Build the router."""

    @put("/", status_code=204, responses=responses(*_ALWAYS, RateLimitedError))
    async def put_push_token(data: JSONBody[PushToken], request: AnyRequest) -> None:
        """Let this install be told of the person's bookings, and nobody else's; its ten newest are kept."""
        await tokens.register(caller_of(request), data.token)

    @delete("/{token:str}", responses=responses(*_ALWAYS, NotFoundError))
    async def delete_push_token(
        token: Annotated[str, PathParameter(pattern=_TOKEN, description="The token")], request: AnyRequest
    ) -> None:
        """Tell this install nothing any more, as when its person signs out."""
        await tokens.forget(caller_of(request), token)

    return Router(
        "/v1/me/push-tokens",
        route_handlers=[put_push_token, delete_push_token],
        guards=[guard],
        security=PERSON_SECURITY,
        tags=["people"],
        request_max_body_size=16_384,
    )
