"""`/v1/operators/{operator_id}/webhooks`: where an operator is told of its bookings."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.params import JSONBody, PathParameter, QueryParameter

from api.errors import (
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    RoleMissingError,
    TooManyEndpointsError,
    UnauthenticatedError,
    UnavailableError,
    responses,
)
from api.people.principal import PERSON_SECURITY, Guard, caller_of
from api.people.tenant_routes import TenantId
from api.webhooks.endpoints import Delivery, Endpoint, EndpointOnce, Endpoints, Kind, Outcome, Replayed

_ALWAYS: Final = (UnauthenticatedError, RoleMissingError, NotFoundError, InvalidRequestError, UnavailableError)
_CHANGES: Final = (*_ALWAYS, RateLimitedError)

AnyRequest = Request[Any, Any, Any]
EndpointId = Annotated[UUID, PathParameter(description="The endpoint")]
EventId = Annotated[UUID, PathParameter(description="The event, by its webhook-id")]


class NewEndpoint(msgspec.Struct, frozen=True):
    """A URL that is to be told of these changes."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    kinds: Annotated[list[Kind], msgspec.Meta(min_length=1, max_length=8)]


class Replay(msgspec.Struct, frozen=True):
    """Since when what was given up is to be sent again."""

    since: Annotated[datetime, msgspec.Meta(tz=True)]


def webhook_out_routes(endpoints: Endpoints, guard: Guard) -> Router:
    """Build the router."""

    @get("/", responses=responses(*_ALWAYS))
    async def list_webhooks(operator_id: TenantId, request: AnyRequest) -> list[Endpoint]:
        """Return the operator's endpoints."""
        return await endpoints.endpoints(caller_of(request), operator_id)

    @post("/", responses=responses(*_CHANGES, TooManyEndpointsError))
    async def post_webhook(operator_id: TenantId, data: JSONBody[NewEndpoint], request: AnyRequest) -> EndpointOnce:
        """Add an endpoint. Its secret is in this answer and nowhere else; it signs as Standard Webhooks says."""
        return await endpoints.add(caller_of(request), operator_id, data.url, data.kinds)

    @delete("/{endpoint_id:uuid}", responses=responses(*_CHANGES))
    async def delete_webhook(operator_id: TenantId, endpoint_id: EndpointId, request: AnyRequest) -> None:
        """Remove an endpoint with all that waits for it."""
        await endpoints.drop(caller_of(request), operator_id, endpoint_id)

    @post("/{endpoint_id:uuid}/rotate", status_code=200, responses=responses(*_CHANGES))
    async def rotate_webhook(operator_id: TenantId, endpoint_id: EndpointId, request: AnyRequest) -> EndpointOnce:
        """Draw another secret; the one before it goes on signing, beside it, for 24 hours."""
        return await endpoints.rotate(caller_of(request), operator_id, endpoint_id)

    @post("/{endpoint_id:uuid}/enable", status_code=204, responses=responses(*_CHANGES))
    async def enable_webhook(operator_id: TenantId, endpoint_id: EndpointId, request: AnyRequest) -> None:
        """Send to an endpoint again that was disabled."""
        await endpoints.enable(caller_of(request), operator_id, endpoint_id)

    @get("/{endpoint_id:uuid}/deliveries", responses=responses(*_ALWAYS))
    async def list_deliveries(
        operator_id: TenantId,
        endpoint_id: EndpointId,
        request: AnyRequest,
        outcome: Annotated[Outcome | None, QueryParameter(description="only of this outcome")] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=200, description="deliveries on the page")] = 50,
    ) -> list[Delivery]:
        """Return what an endpoint was told, newest first; 30 days are kept."""
        return await endpoints.deliveries(caller_of(request), operator_id, endpoint_id, outcome, limit)

    @post("/{endpoint_id:uuid}/deliveries/{event_id:uuid}/replay", status_code=200, responses=responses(*_CHANGES))
    async def replay_delivery(
        operator_id: TenantId, endpoint_id: EndpointId, event_id: EventId, request: AnyRequest
    ) -> Replayed:
        """Send a delivery again, under the same id."""
        return await endpoints.replay(caller_of(request), operator_id, endpoint_id, event_id, None)

    @post("/{endpoint_id:uuid}/replay", status_code=200, responses=responses(*_CHANGES))
    async def replay_given_up(
        operator_id: TenantId, endpoint_id: EndpointId, data: JSONBody[Replay], request: AnyRequest
    ) -> Replayed:
        """Send again all that was given up since then."""
        return await endpoints.replay(caller_of(request), operator_id, endpoint_id, None, data.since)

    return Router(
        "/v1/operators/{operator_id:uuid}/webhooks",
        route_handlers=[
            *(list_webhooks, post_webhook, delete_webhook, rotate_webhook, enable_webhook),
            *(list_deliveries, replay_delivery, replay_given_up),
        ],
        guards=[guard],
        security=PERSON_SECURITY,
        tags=["operators"],
        request_max_body_size=16_384,
    )
