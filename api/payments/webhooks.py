"""`/v1/payments/webhooks/{provider}`: believed by their signature, stored once, answered, and only then worked off.

Nothing of the body is kept but the ids it names: the state is read from the provider. No limit holds here, since a
provider that is turned away stops sending.
"""

import time
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from litestar import Request, Router, post
from litestar.openapi.spec import SecurityRequirement
from litestar.params import PathParameter

from api.database import Pool, load_queries
from api.errors import InvalidRequestError, NotFoundError, UnauthenticatedError, UnavailableError, responses
from api.payments.provider import Provider
from api.tenancy import at_desk

MAX_BODY: Final = 1 << 20
SECURITY: Final[list[SecurityRequirement]] = [{"webhookSignature": []}]

_SQL: Final = load_queries("api.payments", "payments.sql")


class Webhooks(NamedTuple):
    """Takes in what providers announce."""

    pool: Pool
    providers: dict[str, Provider]

    async def take(self, name: str, request: Request[Any, Any, Any]) -> None:
        """Store an event; UnauthenticatedError if nobody we know signed it, InvalidRequestError if it is none."""
        provider, body = self.providers.get(name), await request.body()
        if provider is None or not provider.is_signed(request.headers, body):
            raise UnauthenticatedError("The signature is missing or wrong.")
        try:
            hint = provider.read_hint(body)
        except (msgspec.DecodeError, ValueError):
            raise InvalidRequestError("This is no event.") from None
        if hint.livemode != provider.livemode:
            raise InvalidRequestError("The event is of the other mode, live or test.")
        parameters = hint._asdict() | {"provider": name, "fresh": provider.is_fresh(request.headers, time.time())}
        async with at_desk(self.pool) as connection:
            await connection.execute(_SQL["add_event"], parameters)


def webhook_routes(webhooks: Webhooks) -> Router:
    """Build `/v1/payments/webhooks`."""

    @post(
        "/{provider:str}",
        status_code=204,
        responses=responses(InvalidRequestError, UnauthenticatedError, NotFoundError, UnavailableError),
    )
    async def take_webhook(
        provider: Annotated[str, PathParameter(max_length=40, description="Who sends: paymongo or stripe")],
        request: Request[Any, Any, Any],
    ) -> None:
        """Take an event of a payment provider, signed over the raw body; it is acted on after the answer."""
        await webhooks.take(provider, request)

    return Router(
        "/v1/payments/webhooks",
        route_handlers=[take_webhook],
        security=SECURITY,
        tags=["payments"],
        request_max_body_size=MAX_BODY,
    )
