"""Where photos lie: an object store behind one protocol, here a folder. S3 is `api.photos.s3`.

Names are ids that we drew, so nothing in a store tells what is on a photo. A URL opens one photo for an hour or two.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID, uuid4

import msgspec

from api.bookings.clock import utc_now
from api.bookings.signed import Signer

GOOD_FOR: Final = timedelta(hours=1)


class PhotoStore(Protocol):
    """Keeps photos. Each method raises OSError where the store does not answer as it should."""

    async def put(self, photo_id: UUID, data: bytes) -> None:
        """Keep a JPEG; durable when this returns."""

    async def delete(self, photo_id: UUID) -> None:
        """Delete a photo; one that is not there is no error."""

    async def urls(self, photo_ids: Sequence[UUID]) -> list[str]:
        """Return, in this order, an URL of each for whoever may see it, good for GOOD_FOR at least."""


class Shown(msgspec.Struct, frozen=True):
    """What a signed URL says: which photo may be seen, until when (seconds since 1970)."""

    photo_id: UUID
    until: int


class FolderStore:
    """Photos as files of a folder, shown by our own API at signed URLs."""

    def __init__(self, folder: Path, seed: bytes, public_url: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._folder = folder
        self._signer: Signer[Shown] = Signer(seed, "photo", Shown)
        self._public_url = public_url.rstrip("/")
        self._clock = clock

    async def put(self, photo_id: UUID, data: bytes) -> None:
        await asyncio.to_thread(self._write, self._path(photo_id), data)

    async def delete(self, photo_id: UUID) -> None:
        await asyncio.to_thread(self._path(photo_id).unlink, missing_ok=True)

    async def urls(self, photo_ids: Sequence[UUID]) -> list[str]:
        return [self._url(photo_id) for photo_id in photo_ids]

    async def read(self, photo_id: UUID, signature: str) -> bytes | None:
        """Return the photo that a signed URL names; None if we did not sign it, it has ended, or nothing is there."""
        shown = self._signer.check(signature)
        if shown is None or shown.photo_id != photo_id or self._clock().timestamp() >= shown.until:
            return None
        try:
            return await asyncio.to_thread(self._path(photo_id).read_bytes)
        except FileNotFoundError:
            return None

    def _url(self, photo_id: UUID) -> str:
        """Return the same URL for a whole hour, so that browsers may keep what it shows."""
        hour_s = int(GOOD_FOR.total_seconds())
        until = (int(self._clock().timestamp()) // hour_s + 2) * hour_s
        return f"{self._public_url}/v1/photos/{photo_id}?signature={self._signer.sign(Shown(photo_id, until))}"

    def _path(self, photo_id: UUID) -> Path:
        return self._folder / f"{photo_id}.jpg"

    def _write(self, path: Path, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f".{uuid4()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
