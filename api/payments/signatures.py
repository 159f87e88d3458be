"""Whether a webhook was signed by who shares our secret, decided over the raw bytes and in constant time.

PayMongo signs `t + "." + body` with HMAC-SHA256 in hex and sends `t=<unix>,te=<test>,li=<live>`; Stripe signs the same
text and sends `t=<unix>,v1=<hex>`, more than one `v1` while a secret is being replaced. A true signature that is older
than 300 s is not thrown away: what it announces is looked up at the provider, as for every event about money.
"""

import hmac
from hashlib import sha256
from typing import Final, NamedTuple

TOLERANCE_S: Final = 300
MAX_HEADER: Final = 1_024


class Signature(NamedTuple):
    """A signature header, taken apart: when it was made, and the hex digests by label."""

    timestamp: str
    digests: tuple[tuple[str, str], ...]


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the hex HMAC-SHA256 of `timestamp.body`."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, sha256).hexdigest()


def is_signed(header: str, body: bytes, secret: str, label: str) -> bool:
    """Return whether a digest of this label (`te`, `li` or `v1`) is the secret's over this body."""
    signature = _read(header)
    if signature is None or not secret:
        return False
    expected = sign(secret, signature.timestamp, body).encode()
    return any(hmac.compare_digest(expected, each.encode()) for name, each in signature.digests if name == label)


def is_fresh(header: str, now_s: float) -> bool:
    """Return whether the header's time is within 300 s of now, either way."""
    signature = _read(header)
    return signature is not None and abs(now_s - int(signature.timestamp)) <= TOLERANCE_S


def _read(header: str) -> Signature | None:
    pairs = [part.strip().partition("=") for part in header[:MAX_HEADER].split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
        return None
    return Signature(times[0], tuple((name, value) for name, _, value in pairs if name != "t"))
