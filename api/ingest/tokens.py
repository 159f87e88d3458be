"""A device token is its own proof: the device's id and a signature, good for pushing that device's events and no more.

`pd_<device_id>_<signature>`: 32 hex digits, then HMAC-SHA256 over them in unpadded base64url. Nothing is looked up to
check it; who may no longer push stands in the list of `consents`.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from typing import Final

PREFIX: Final = "pd"
_PURPOSE: Final = b"parkpal device token v1:"


def new_device_id() -> str:
    """Draw 128 random bits, in hex."""
    return secrets.token_hex(16)


def encode_token(key: bytes, device_id: str) -> str:
    """Sign a device's id."""
    return f"{PREFIX}_{device_id}_{_signature(key, device_id)}"


def decode_token(key: bytes, token: str) -> str | None:
    """Return the device's id, or None unless the token is one that `encode_token` gave with this key."""
    prefix, _, rest = token.partition("_")
    device_id, _, signature = rest.partition("_")
    genuine = hmac.compare_digest(_signature(key, device_id).encode(), signature.encode())
    return device_id if genuine and prefix == PREFIX else None


def _signature(key: bytes, device_id: str) -> str:
    return urlsafe_b64encode(hmac.digest(key, _PURPOSE + device_id.encode(), "sha256")).rstrip(b"=").decode()
