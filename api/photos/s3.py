"""Photos in a bucket of S3 or what speaks its language, shown by the store itself at presigned URLs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final
from uuid import UUID

import obstore
from obstore.exceptions import BaseError

from api.photos.store import GOOD_FOR

_JPEG: Final = {"Content-Type": "image/jpeg"}


class S3PhotoStore:
    """Photos below a prefix of a bucket. store: an S3Store of obstore."""

    def __init__(self, store: Any) -> None:  # noqa: ANN401  # obstore's own classes are not for annotations
        self._store = store

    async def put(self, photo_id: UUID, data: bytes) -> None:
        with _storing():
            await obstore.put_async(self._store, _name(photo_id), data, attributes=_JPEG, use_multipart=False)

    async def delete(self, photo_id: UUID) -> None:
        with _storing(), suppress(FileNotFoundError):
            await obstore.delete_async(self._store, _name(photo_id))

    async def urls(self, photo_ids: Sequence[UUID]) -> list[str]:
        if not photo_ids:
            return []
        with _storing():
            names = [_name(photo_id) for photo_id in photo_ids]
            return list(await obstore.sign_async(self._store, "GET", names, GOOD_FOR))


def _name(photo_id: UUID) -> str:
    return f"{photo_id}.jpg"


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except BaseError as error:
        raise OSError("the object store does not answer as it should") from error
