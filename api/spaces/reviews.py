"""Reviews: after a stay, once, both ways; anybody signed in may report one, support hides it."""

from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID, uuid4

import msgspec
import psycopg

from api.bookings.desk import OWNERS, find_party
from api.database import Connection, Pool, load_queries
from api.errors import NotFoundError, ReviewExistsError, RoleMissingError, WrongStateError
from api.idempotency import Scope, once
from api.people.access import Caller
from api.tenancy import acting, at_desk, go_to_desk

_SQL: Final = load_queries("api.spaces", "reviews.sql")
_SUPPORT: Final = "SELECT FROM memberships WHERE person_id = %s AND role IN ('support', 'platform_admin')"


class Review(msgspec.Struct, frozen=True):
    """What a driver says of a place, or a host of a guest."""

    review_id: UUID
    booking_id: UUID
    place_id: UUID
    author: Literal["driver", "host"]
    stars: int
    text: str
    created_at: datetime


class Reviews(NamedTuple):
    """Takes and shows reviews."""

    pool: Pool

    async def add(self, caller: Caller, scope: Scope, booking_id: UUID, stars: int, text: str) -> Review:
        """Review a stay, as its driver or as who runs the place; WrongStateError, ReviewExistsError."""
        parameters = {"review_id": uuid4(), "booking_id": booking_id, "stars": stars, "text": text}

        async def work(connection: Connection) -> Review:
            party = await find_party(connection, booking_id)
            party.require(OWNERS)
            await go_to_desk(connection)
            author = {"author": "driver" if party.is_driver else "host"}
            try:
                async with connection.transaction():
                    row = await (await connection.execute(_SQL["add"], parameters | author)).fetchone()
            except psycopg.errors.UniqueViolation:
                raise ReviewExistsError from None
            if row is None:
                raise WrongStateError("Only a stay that is over can be reviewed.")
            return Review(*row)

        return await once(acting(self.pool, caller.person_id), scope, Review, work)

    async def of_place(self, caller: Caller, place_id: UUID, limit: int) -> list[Review]:
        """Return what drivers say of a place, newest first."""
        return await self._list(caller, "of_place", {"place_id": place_id, "limit": limit})

    async def about_me(self, caller: Caller, limit: int) -> list[Review]:
        """Return what hosts say of the caller."""
        return await self._list(caller, "about_me", {"limit": limit})

    async def report(self, caller: Caller, review_id: UUID) -> None:
        """Ask for a review to be looked at; NotFoundError."""
        await self._set(caller, "report", review_id)

    async def hide(self, caller: Caller, review_id: UUID) -> None:
        """Hide a review, as support; RoleMissingError, NotFoundError."""
        async with at_desk(self.pool, caller.person_id) as connection:
            if await (await connection.execute(_SUPPORT, [caller.person_id])).fetchone() is None:
                raise RoleMissingError("This needs the role support.")
        await self._set(caller, "hide", review_id)

    async def _set(self, caller: Caller, query: str, review_id: UUID) -> None:
        async with at_desk(self.pool, caller.person_id) as connection:
            if await (await connection.execute(_SQL[query], {"review_id": review_id})).fetchone() is None:
                raise NotFoundError("There is no such review.")

    async def _list(self, caller: Caller, query: str, parameters: dict[str, object]) -> list[Review]:
        async with acting(self.pool, caller.person_id) as connection:
            rows = await (await connection.execute(_SQL[query], parameters)).fetchall()
        return [Review(*row) for row in rows]
