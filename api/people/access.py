"""An access token is a JWT, good for 15 minutes: it says who asks, from which sign-in, with which roles.

Signed with Ed25519. Only that algorithm is taken, whatever a token's header says; audience, issuer, end and the
key's id are checked. Roles in it are a hint for pages: what moves money reads them from the database.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.errors import UnauthenticatedError

LIFETIME: Final = timedelta(minutes=15)
ISSUER: Final = "parkpal"
AUDIENCE: Final = "parkpal-api"
ALGORITHM: Final = "EdDSA"

Roles = dict[str, list[str]]
"""Roles by tenant id."""


class Caller(NamedTuple):
    """A person who asks."""

    person_id: UUID
    family_id: UUID
    roles: Roles


class AccessTokens:
    """Signs and checks access tokens. seed: 32 random bytes, the private key."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key()
        self._key_id = sha256(self._public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]

    def sign(self, caller: Caller) -> str:
        """Return a token for the next 15 minutes."""
        now = datetime.now(UTC)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(caller.person_id),
            "sid": str(caller.family_id),
            "jti": str(uuid4()),
            "iat": now,
            "exp": now + LIFETIME,
            "roles": caller.roles,
        }
        return jwt.encode(claims, self._private, ALGORITHM, headers={"kid": self._key_id})

    def check(self, token: str) -> Caller:
        """Return who asks; UnauthenticatedError for anything that we did not sign or that has ended."""
        try:
            if jwt.get_unverified_header(token).get("kid") != self._key_id:
                raise UnauthenticatedError
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public,
                [ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": ["exp", "iat", "sub", "aud", "iss", "sid"]},
            )
            return Caller(UUID(claims["sub"]), UUID(claims["sid"]), dict(claims["roles"]))
        except (jwt.InvalidTokenError, ValueError, KeyError, TypeError):
            raise UnauthenticatedError from None
