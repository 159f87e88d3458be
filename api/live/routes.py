"""`/v1/live`: what the dataflow has just decided, pushed over a WebSocket to whoever has a key with the scope.

The first message is a Greeting, each further one a LiveMessage. A row has no device id and no place finer than a cell.
A key sees events of the zones of its contract, and those that concern no zone within its areas.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final

import h3
import msgspec
from litestar import Router, WebSocket, get, websocket
from litestar.handlers import send_websocket_stream
from litestar.params import QueryParameter

from api.analytics.boxes import AREA_RESOLUTION
from api.api_keys import API_KEY_SECURITY, LIVE_READ, Guard, Sight, build_guard, sight_of
from api.database import Pool
from api.errors import (
    PROBLEM_JSON,
    TABLE,
    ApiError,
    InsufficientScopeError,
    InvalidRequestError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
    UpgradeRequiredError,
    error_to_problem,
    responses,
)
from api.live.feed import SIGN_OF_LIFE_S, Feed, Held, LiveEvent

MAX_FOLLOWERS: Final = 1_000
MAX_PLACES: Final = 100
_POLICY: Final = 1008
"""The close code of a connection whose key is no longer good."""

After = Annotated[int | None, QueryParameter(ge=0, le=2**63 - 1, description="cursor of the last message seen")]
Places = Annotated[
    list[str] | None, QueryParameter(name="fence_id", max_items=MAX_PLACES, description="only of these fences; repeat")
]


class Greeting(msgspec.Struct, frozen=True, tag="greeting", tag_field="type"):
    """Where following begins; `complete` is false if events behind the cursor asked for are no longer held."""

    cursor: int
    complete: bool


class LiveMessage(msgspec.Struct, frozen=True, tag="event", tag_field="type"):
    """A row of `table`, at least once: drop repeats by its id. Come back with `after=cursor`."""

    cursor: int
    table: str
    row: dict[str, Any]


def live_routes(pool: Pool, feed: Feed) -> Router:
    """Build `/v1/live`."""
    guard = build_guard(pool, LIVE_READ)

    @websocket("/")
    async def follow_live(socket: WebSocket[Any, Any, Any], after: After = None, fence_id: Places = None) -> None:
        """Send events as they are decided, until the client goes or its key ends."""
        try:
            await guard(socket, socket.route_handler)
            if feed.followers >= MAX_FOLLOWERS:
                raise OverloadedError(retry_after_s=10)
        except ApiError as error:
            await _refuse(socket, error)
            return
        await socket.accept()
        cursor = feed.newest() if after is None else after
        await socket.send_text(_encode(Greeting(cursor, feed.holds(cursor))))
        events = feed.follow(cursor, frozenset(fence_id) if fence_id else None)
        stream = _messages(socket, guard, events)
        await send_websocket_stream(socket, stream, listen_for_disconnect=True, warn_on_data_discard=False)

    @get(
        "/",
        guards=[guard],
        responses=responses(
            InvalidRequestError,
            UnauthenticatedError,
            InsufficientScopeError,
            UpgradeRequiredError,
            OverloadedError,
            UnavailableError,
        ),
    )
    async def get_live(after: After = None, fence_id: Places = None) -> LiveMessage:  # noqa: ARG001  the WebSocket's
        """Open a WebSocket here: it first sends a greeting, then events as they are decided."""
        raise UpgradeRequiredError

    return Router("/v1/live", route_handlers=[follow_live, get_live], security=API_KEY_SECURITY, tags=["live"])


async def _messages(
    socket: WebSocket[Any, Any, Any], guard: Guard, events: AsyncGenerator[list[Held], None]
) -> AsyncGenerator[str, None]:
    """Yield what is sent; the key is looked at again once a minute, and ends the stream if it has ended."""
    clock = asyncio.get_running_loop().time
    looked_at = clock()
    async for batch in events:
        if not batch or clock() >= looked_at + SIGN_OF_LIFE_S:
            try:
                await guard(socket, socket.route_handler)
            except (UnauthenticatedError, InsufficientScopeError):
                await socket.close(_POLICY, "the key is no longer good")
                return
            looked_at = clock()
        for held in batch:
            if _may_see(sight_of(socket), held.event):
                yield _encode(LiveMessage(held.cursor, held.event.table, _shown(held.event.row)))


def _may_see(sight: Sight, event: LiveEvent) -> bool:
    """Tell whether a contract lets see an event: by its zone, or by its cell where it is in none."""
    if event.place is not None:
        return sight.shows_zone(event.place)
    cell = event.row.get("h3_r9")
    return sight.areas is None or (cell is not None and sight.shows_area(_area_of(cell)))


def _area_of(cell: int) -> int:
    return int(h3.str_to_int(h3.cell_to_parent(h3.int_to_str(cell), AREA_RESOLUTION)))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its cells as people write them."""
    return {
        name: h3.int_to_str(value) if name.startswith("h3_") and value is not None else value
        for name, value in row.items()
    }


def _encode(message: Greeting | LiveMessage) -> str:
    return msgspec.json.encode(message).decode()


async def _refuse(socket: WebSocket[Any, Any, Any], error: ApiError) -> None:
    """Answer the handshake with a problem instead of an upgrade."""
    problem = error_to_problem(error, "")
    headers = [(b"content-type", PROBLEM_JSON.encode())]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    status, body = TABLE[type(error)].status, msgspec.json.encode(problem)
    await socket.send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await socket.send({"type": "websocket.http.response.body", "body": body, "more_body": False})
