"""A device is known behind the api only by keyed hashes, one for each UTC month of its events.

The month is the event's, not the request's, so that a retry over month's end meets its first copy. Who destroys a
month's key has made that month anonymous.
"""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from api.keys import KeyFolder

PSEUDONYM_BYTES: Final = 16
_KEY_PREFIX: Final = "pseudonym-"


class Pseudonyms:
    """Pseudonyms by device and month; each month's key is fetched once, by name, when first needed."""

    def __init__(self, key: Callable[[str], bytes]) -> None:
        self._key = lru_cache(maxsize=None)(lambda month: key(key_name(month)))
        self._of_month = lru_cache(maxsize=65_536)(self._compute)

    def pseudonym(self, device_id: str, month: str) -> bytes:
        """Return HMAC-SHA256 of the id, its first 16 bytes in hex, with the key of the month (`2026-11`)."""
        return self._of_month(device_id, month)

    def _compute(self, device_id: str, month: str) -> bytes:
        return hmac.digest(self._key(month), device_id.encode(), "sha256")[:PSEUDONYM_BYTES].hex().encode()


def key_name(month: str) -> str:
    """Name the key of a UTC month (`2026-11`)."""
    return f"{_KEY_PREFIX}{month}"


def pseudonyms_of(device_id: str, keys: KeyFolder) -> list[str]:
    """Return the device's pseudonym of each month whose key is not yet destroyed."""
    known = Pseudonyms(keys.read)
    months = [name.removeprefix(_KEY_PREFIX) for name in keys.names() if name.startswith(_KEY_PREFIX)]
    return [known.pseudonym(device_id, month).decode() for month in months]


def month_of(time_ms: int) -> str:
    """Return the UTC month of an instant in ms since 1970."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m")
