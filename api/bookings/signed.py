"""A signed text: what we said, in a form that comes back from a stranger and is still what we said.

`<key id>.<payload>.<HMAC-SHA256>`, base64url. The purpose is part of the key, so that a quote is never a QR code.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Signer(Generic[T]):
    """Signs values of one kind for one purpose. seed: 32 random bytes."""

    def __init__(self, seed: bytes, purpose: str, kind: type[T]) -> None:
        self._key = hmac.digest(seed, f"parkpal {purpose} v1".encode(), "sha256")
        self._key_id = sha256(self._key).hexdigest()[:8]
        self._decoder = msgspec.json.Decoder(kind)

    def sign(self, value: T) -> str:
        """Return the value as a signed text."""
        head = f"{self._key_id}.{_encode(msgspec.json.encode(value))}"
        return f"{head}.{_encode(self._mac(head))}"

    def check(self, text: str) -> T | None:
        """Return the value of a text that we signed, None for any other."""
        head, _, mac = text.rpartition(".")
        key_id, _, payload = head.partition(".")
        if key_id != self._key_id:
            return None
        try:
            if not hmac.compare_digest(_decode(mac), self._mac(head)):
                return None
            return self._decoder.decode(_decode(payload))
        except (ValueError, msgspec.DecodeError):
            return None

    def _mac(self, head: str) -> bytes:
        return hmac.digest(self._key, head.encode(), "sha256")


def _encode(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
