"""What a webhook carries, by Standard Webhooks: its id, when it was sent, and a signature over both and the body.

Every secret that holds signs, so that who rotates one need not change both sides at once.
"""

import base64
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
_NONCE_BYTES: Final = 12


def make_secret() -> str:
    """Draw a secret as its receiver configures it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def encode_body(kind: str, occurred_at: datetime, data: dict[str, Any]) -> bytes:
    """Return what is sent, the same at every attempt."""
    return msgspec.json.encode({"type": kind, "timestamp": occurred_at, "data": data})


def sign(event_id: UUID, sent_at: datetime, body: bytes, holding: Iterable[str]) -> dict[bytes | str, bytes | str]:
    """Return the three headers."""
    stamp = str(int(sent_at.timestamp()))
    signed = b"%s.%s.%s" % (str(event_id).encode(), stamp.encode(), body)
    keys = [base64.b64decode(secret.removeprefix(PREFIX)) for secret in holding]
    signatures = [base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys]
    return {
        "webhook-id": str(event_id),
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


class Seal:
    """Keeps secrets in the database so that the database alone does not tell them. key: 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(hmac.digest(key, b"parkpal webhook secrets v1", "sha256"))

    def close(self, secret: str) -> bytes:
        """Encrypt."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), None)

    def open(self, sealed: bytes) -> str:
        """Decrypt."""
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None).decode()
