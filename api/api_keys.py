"""A customer's key is `pp_live_<id>_<secret>`; the database holds a hash of the secret, its scopes and its end.

The secret has 256 random bits, so a plain SHA-256 of it is as good as a slow hash. A key is good for what its contract
lets see (`Sight`) while the contract lasts; a key without one is the installation's own and sees everything.
"""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import SecurityRequirement

from api.database import Pool, load_queries
from api.errors import InsufficientScopeError, UnauthenticatedError
from api.keys import write_once
from api.tenancy import authenticating

PREFIX: Final = "pp_live"
ANALYTICS_READ: Final = "analytics:read"
GEOFENCES_READ: Final = "geofences:read"
GEOFENCES_WRITE: Final = "geofences:write"
LIVE_READ: Final = "live:read"
SCOPES: Final = (ANALYTICS_READ, GEOFENCES_READ, GEOFENCES_WRITE, LIVE_READ)

API_KEY_SECURITY: Final[list[SecurityRequirement]] = [{"apiKey": []}]
DEVICE_SECURITY: Final[list[SecurityRequirement]] = [{"deviceToken": []}]

_SQL: Final = load_queries("api", "api_keys.sql")

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]


class Sight(NamedTuple):
    """What a contract lets see: fences by id, and cells within H3 cells of resolution 6; None for all."""

    zone_ids: frozenset[str] | None = None
    areas: frozenset[int] | None = None

    def shows_zone(self, zone_id: str) -> bool:
        """Tell whether a fence may be spoken of."""
        return self.zone_ids is None or zone_id in self.zone_ids

    def shows_area(self, area: int) -> bool:
        """Tell whether cells within a cell of resolution 6 may be spoken of."""
        return self.areas is None or area in self.areas


class NewKey(NamedTuple):
    """A key as its owner sees it, once, and as the database keeps it."""

    key_id: str
    text: str
    secret_hash: bytes


def make_key() -> NewKey:
    """Draw a key."""
    return parse_key(f"{PREFIX}_{secrets.token_hex(8)}_{secrets.token_hex(32)}")


def parse_key(text: str) -> NewKey:
    """Split a key; ValueError if it has not the shape of one."""
    scheme, mode, key_id, secret = text.split("_")
    if f"{scheme}_{mode}" != PREFIX:
        raise ValueError("no ParkPal key")
    return NewKey(key_id, text, hashlib.sha256(secret.encode()).digest())


def ensure_first_key(database_url: str, path: Path) -> bool:
    """Give an installation without any key its first one, with every scope; return whether one was made now.

    The key is written to `path` (mode 0600) before the database knows it, so a crash between the two is mended by the
    next start.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET ROLE parkpal_auth")
        if connection.execute(_SQL["any"]).fetchone() is not None:
            return False
        write_once(path, f"{make_key().text}\n".encode())
        key = parse_key(path.read_text("utf-8").strip())
        connection.execute(_SQL["add"], [key.key_id, key.secret_hash, "first key", list(SCOPES)])
    return True


def bearer(connection: Connection) -> str:
    """Return the credentials of the Authorization header; UnauthenticatedError if there are none."""
    scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credentials.strip():
        raise UnauthenticatedError("Send the credentials as `Authorization: Bearer ...`.")
    return credentials.strip()


def build_guard(pool: Pool, scope: str) -> Guard:
    """Return a guard that lets a request pass whose key is live and carries the scope; `sight_of` is what it sees."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        try:
            key = parse_key(bearer(connection))
        except ValueError:
            raise UnauthenticatedError from None
        async with authenticating(pool) as database:
            row = await (await database.execute(_SQL["live"], [key.key_id])).fetchone()
        if row is None or not hmac.compare_digest(row.secret_hash, key.secret_hash):
            raise UnauthenticatedError
        if scope not in row.scopes:
            raise InsufficientScopeError(f"The key needs the scope {scope}.")
        connection.state.sight = Sight(
            None if row.zone_ids is None else frozenset(row.zone_ids),
            None if row.areas is None else frozenset(row.areas),
        )

    return guard


def sight_of(connection: Connection) -> Sight:
    """Return what the key that the guard let pass lets see."""
    sight: Sight = connection.state.sight
    return sight
