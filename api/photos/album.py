"""Which photos there are: a row is written before the picture, and deleted after it, so that none is ever forgotten.

The store is asked between two transactions, never within one. Whoever dies in between leaves a row that says so, and
`clean` takes it, and what the store has of it, away. The database holds how many a place may have, and their order.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import psycopg

from api.bookings.desk import find_party
from api.database import Connection, Pool, fetch_row, load_queries
from api.errors import InvalidRequestError, NotFoundError, TooManyPhotosError, UnavailableError
from api.idempotency import Scope, Stored, claim, keep
from api.limiter import Limiter
from api.people.access import Caller
from api.people.principal import require_role
from api.photos.picture import Picture, to_picture
from api.photos.store import PhotoStore
from api.tenancy import acting, at_desk

ADMINS: Final = ("host", "operator_admin")
COMING_FOR: Final = timedelta(minutes=10)
"""An upload that has not ended after so long is given up."""
POLL_S: Final = 30.0
BATCH: Final = 50

_SQL: Final = load_queries("api.photos", "album.sql")
log = logging.getLogger(__name__)


class Photo(msgspec.Struct, frozen=True):
    """A photo; its URL opens it for an hour at least. The first of a place stands for it."""

    photo_id: UUID
    url: str
    width_px: int
    height_px: int
    added_at: datetime


class Album:
    """Adds, orders, shows and removes photos."""

    def __init__(self, pool: Pool, store: PhotoStore, uploads: Limiter) -> None:
        self._pool = pool
        self._store = store
        self._uploads = uploads
        self._one_at_a_time = asyncio.Semaphore(1)  # of what is decoded: each may need 200 MB

    async def add_to_place(self, caller: Caller, scope: Scope, place_id: UUID, data: bytes) -> Photo:
        """Add a photo to a place, as who runs it; InvalidRequestError, TooManyPhotosError, UnavailableError."""
        tenant_id = await self._tenant(caller, place_id)
        return await self._add(caller, scope, data, {"tenant_id": tenant_id, "place_id": place_id, "booking_id": None})

    async def add_to_booking(self, caller: Caller, scope: Scope, booking_id: UUID, data: bytes) -> Photo:
        """Add a photo to a booking, as its driver, to be named in a report; as `add_to_place`."""
        async with acting(self._pool, caller.person_id) as connection:
            (await find_party(connection, booking_id)).require(frozenset())
            query = b"SELECT tenant_id FROM bookings WHERE booking_id = %(booking_id)s"
            tenant_id = (await fetch_row(connection, query, {"booking_id": booking_id})).tenant_id
        of = {"tenant_id": tenant_id, "place_id": None, "booking_id": booking_id}
        return await self._add(caller, scope, data, of)

    async def of_place(self, caller: Caller, place_id: UUID) -> list[Photo]:
        """Return a place's photos in order."""
        async with acting(self._pool, caller.person_id) as connection:
            return (await self.shown(connection, [place_id])).get(place_id, [])

    async def of_booking(self, caller: Caller, booking_id: UUID) -> list[Photo]:
        """Return the photos that a driver added to a booking; NotFoundError."""
        async with acting(self._pool, caller.person_id) as connection:
            await find_party(connection, booking_id)
            return (await self.shown(connection, [booking_id])).get(booking_id, [])

    async def shown(self, connection: Connection, ids: Sequence[UUID]) -> dict[UUID, list[Photo]]:
        """Return the photos of places and bookings, as far as the connection's person may see them."""
        rows = await (await connection.execute(_SQL["shown"], {"ids": list(ids)})).fetchall()
        found: dict[UUID, list[Photo]] = {}
        for row, url in zip(rows, await self._urls([row.photo_id for row in rows]), strict=True):
            photo = Photo(row.photo_id, url, row.width_px, row.height_px, row.added_at)
            found.setdefault(row.place_id or row.booking_id, []).append(photo)
        return found

    async def order(self, caller: Caller, place_id: UUID, photo_ids: Sequence[UUID]) -> list[Photo]:
        """Put a place's photos in this order; InvalidRequestError unless each is named once."""
        if len(set(photo_ids)) < len(photo_ids):
            raise InvalidRequestError("photo_ids: one stands there twice.")
        tenant_id = await self._tenant(caller, place_id)
        parameters = {"place_id": place_id, "photo_ids": list(photo_ids)}
        async with acting(self._pool, caller.person_id, tenant_id) as connection:
            await _alone(connection, place_id)
            ordered = await connection.execute(_SQL["order"], parameters)
            if ordered.rowcount != len(photo_ids):
                raise InvalidRequestError("photo_ids: must name each photo of the place.")
            return (await self.shown(connection, [place_id])).get(place_id, [])

    async def drop(self, caller: Caller, place_id: UUID, photo_id: UUID) -> None:
        """Remove a photo of a place; it is shown no more from now on. NotFoundError."""
        tenant_id = await self._tenant(caller, place_id)
        parameters = {"place_id": place_id, "photo_id": photo_id}
        async with acting(self._pool, caller.person_id, tenant_id) as connection:
            await _alone(connection, place_id)
            if await (await connection.execute(_SQL["drop"], parameters)).fetchone() is None:
                raise NotFoundError("There is no such photo.")
            await connection.execute(_SQL["close_gaps"], parameters)

    async def run(self) -> None:
        """Clean for ever."""
        while True:
            try:
                while await self.clean() == BATCH:
                    pass
            except (psycopg.Error, OSError) as error:
                log.warning("photos not cleaned up", extra={"error": type(error).__name__})
            await asyncio.sleep(POLL_S)

    async def clean(self) -> int:
        """Delete from the store what is to go; return how many photos that was. OSError."""
        async with at_desk(self._pool) as connection:
            parameters = {"coming_for": COMING_FOR, "most": BATCH}
            rows = await (await connection.execute(_SQL["unsettled"], parameters)).fetchall()
        for row in rows:
            await self._store.delete(row.photo_id)
            async with at_desk(self._pool) as connection:
                await connection.execute(_SQL["forget"], {"photo_id": row.photo_id})
        return len(rows)

    async def _add(self, caller: Caller, scope: Scope, data: bytes, of: dict[str, UUID | None]) -> Photo:
        await self._uploads.take(str(caller.person_id))
        async with acting(self._pool, caller.person_id) as connection:
            stored = await claim(connection, scope)
        if stored is not None:
            photo = msgspec.json.decode(stored.answer, type=Photo)
            return msgspec.structs.replace(photo, url=(await self._urls([photo.photo_id]))[0])
        picture, photo_id = await self._encode(data), uuid4()
        await self._write_down(caller, of, photo_id, picture)
        try:
            await self._store.put(photo_id, picture.data)
        except OSError:
            raise UnavailableError("The photo could not be stored.", retry_after_s=5) from None
        async with at_desk(self._pool, caller.person_id) as connection:
            row = await (await connection.execute(_SQL["show"], {"photo_id": photo_id})).fetchone()
            if row is None:
                raise UnavailableError("Storing the photo took too long.", retry_after_s=5)
            photo = Photo(photo_id, "", row.width_px, row.height_px, row.added_at)
            await keep(connection, scope, Stored(200, msgspec.json.encode(photo)))
        return msgspec.structs.replace(photo, url=(await self._urls([photo_id]))[0])

    async def _encode(self, data: bytes) -> Picture:
        async with self._one_at_a_time:
            try:
                return await asyncio.to_thread(to_picture, data)
            except ValueError as error:
                raise InvalidRequestError(f"The photo {error}.") from None

    async def _write_down(self, caller: Caller, of: dict[str, Any], photo_id: UUID, picture: Picture) -> None:
        size = {"width_px": picture.width, "height_px": picture.height, "size_bytes": len(picture.data)}
        try:
            async with at_desk(self._pool, caller.person_id) as connection:
                await _alone(connection, of["place_id"] or of["booking_id"])
                await connection.execute(_SQL["add"], of | size | {"photo_id": photo_id})
        except psycopg.errors.CheckViolation:
            raise TooManyPhotosError from None

    async def _tenant(self, caller: Caller, place_id: UUID) -> UUID:
        """Return whose a place is, if the caller runs it; NotFoundError, RoleMissingError."""
        async with at_desk(self._pool, caller.person_id) as connection:
            row = await (await connection.execute(_SQL["tenant_of_place"], {"place_id": place_id})).fetchone()
        if row is None:
            raise NotFoundError("There is no such place.")
        await require_role(self._pool, caller, row.tenant_id, *ADMINS)
        return UUID(str(row.tenant_id))

    async def _urls(self, photo_ids: Sequence[UUID]) -> list[str]:
        try:
            return await self._store.urls(photo_ids)
        except OSError:
            raise UnavailableError("The photos cannot be shown now.", retry_after_s=5) from None


async def drop_photos(connection: Connection, place_id: UUID) -> None:
    """Remove all photos of a place, within the transaction of what retires it."""
    await connection.execute(_SQL["drop_all"], {"place_id": place_id})


async def _alone(connection: Connection, of: UUID) -> None:
    """Let one transaction at a time change the photos of a place or booking."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('photos:' || %s::text, 0))", [of])
