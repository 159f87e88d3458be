"""Passwords are argon2id hashes; at most as many are computed at once as there are cores, and few may wait."""

import asyncio
import os
from collections.abc import Callable
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from api.errors import OverloadedError

_T = TypeVar("_T")

MOST_WAITING: Final = 32
# 19 MiB and 2 passes: the least that OWASP's password storage guide advises for argon2id, so that a small server can.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class Passwords:
    """Hashes and checks passwords in threads."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(os.cpu_count() or 1)
        self._waiting = 0
        self._nobodys = _HASHER.hash(os.urandom(16))

    async def hash(self, password: str) -> str:
        """Return the hash to store."""
        return await self._run(_HASHER.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tell whether the password is right; for nobody's (None) this takes as long."""
        return await self._run(_is_right, password_hash or self._nobodys, password) and password_hash is not None

    async def _run(self, work: Callable[..., _T], *args: str) -> _T:
        if self._waiting >= MOST_WAITING:
            raise OverloadedError(retry_after_s=2)
        self._waiting += 1
        try:
            async with self._free:
                return await asyncio.to_thread(work, *args)
        finally:
            self._waiting -= 1


def _is_right(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (Argon2Error, InvalidHashError):
        return False
