"""What happens because time passes: holds end, people do not come, stay too long, or are reminded of the end.

Any number of processes may run this: each change is a transaction of its own, under the lock of its stay, and a
compare-and-swap, so that what another has done is found done.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import psycopg

from api.bookings.booking import Booking, lock_booking, move
from api.bookings.holding import give_back, to_quarter
from api.bookings.letters import tell_driver
from api.bookings.money import Money
from api.bookings.places import QUARTER
from api.bookings.policy import forgotten_at, no_show_at, overrun_at, percent_of
from api.bookings.relocation import relocate_or_refund
from api.bookings.stays import check_out, go_on
from api.database import Connection, Pool, load_queries
from api.idempotency import KEPT_HOURS
from api.tenancy import at_desk

POLL_S: Final = 5.0
BATCH: Final = 200
REMIND_BEFORE: Final = timedelta(minutes=15)
SUCCESSOR_WITHIN: Final = timedelta(minutes=60)

_SQL: Final = load_queries("api.bookings", "clock.sql")
_STAYS_SQL: Final = load_queries("api.bookings", "stays.sql")
_KEYS_SQL: Final = load_queries("api", "idempotency.sql")
log = logging.getLogger(__name__)

Step = Callable[[Connection, UUID, datetime], Awaitable[bool]]


def utc_now() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


class BookingClock(NamedTuple):
    """Lets time pass for bookings."""

    pool: Pool
    money: Money
    now: Callable[[], datetime] = utc_now

    async def run(self) -> None:
        """Run for ever; a database that does not answer is asked again."""
        while True:
            try:
                await self.tick()
            except psycopg.Error as error:
                log.warning("bookings' clock missed a beat", extra={"error": type(error).__name__})
            await asyncio.sleep(POLL_S)

    async def tick(self) -> int:
        """Do what is due now; return how many bookings changed."""
        now, changed = self.now(), 0
        steps: tuple[tuple[str, Step], ...] = (
            ("overdue_holds", self._expire),
            ("perhaps_no_shows", self._miss),
            ("perhaps_late", self._be_late),
            ("perhaps_ending", self._remind),
        )
        for query, step in steps:
            for booking_id in await self._due(query, now):
                changed += await self._take(step, booking_id, now)
        async with at_desk(self.pool) as connection:
            await connection.execute(_KEYS_SQL["clean"], {"hours": KEPT_HOURS})
            await connection.execute(_SQL["clean_codes"], {"now": now})
        return changed

    async def _take(self, step: Step, booking_id: UUID, now: datetime) -> bool:
        """Take a step of one booking; one that fails stops no other."""
        try:
            async with at_desk(self.pool) as connection:
                return await step(connection, booking_id, now)
        except psycopg.OperationalError:
            raise  # the database is away, or wants this tried again
        except Exception as error:  # noqa: BLE001  whatever is wrong with a row
            log.error("a booking was passed over", extra={"booking": str(booking_id), "error": type(error).__name__})  # noqa: TRY400  the trace may hold its data
            return False

    async def _due(self, query: str, now: datetime) -> list[UUID]:
        parameters = {"now": now, "soon": now + REMIND_BEFORE, "most": BATCH}
        async with at_desk(self.pool) as connection:
            return [row.booking_id for row in await (await connection.execute(_SQL[query], parameters)).fetchall()]

    async def _expire(self, connection: Connection, booking_id: UUID, now: datetime) -> bool:
        return await expire(connection, booking_id, now)

    async def _miss(self, connection: Connection, booking_id: UUID, now: datetime) -> bool:
        booking = await lock_booking(connection, booking_id, now)
        gives_up = no_show_at(booking.policy, booking.starts_at, booking.stay_ends_at, pay_later=booking.pay_later)
        if booking.status != "RESERVED" or now < gives_up:
            return False
        await self._miss_one(connection, booking, now)
        for row in await (await connection.execute(_STAYS_SQL["extensions"], {"booking_id": booking_id})).fetchall():
            extension = await lock_booking(connection, row.booking_id, now)
            if extension.status == "HELD":
                await move(connection, extension, "cancel", "nobody came", now)
                await give_back(connection, [extension.booking_id], extension.starts_at)
            else:
                await self._miss_one(connection, extension, now)
        await tell_driver(connection, booking, "booking_no_show")
        return True

    async def _miss_one(self, connection: Connection, booking: Booking, now: datetime) -> None:
        await move(connection, booking, "no_show", "nobody came", now)
        await give_back(connection, [booking.booking_id], max(booking.starts_at, to_quarter(now) + QUARTER))
        if booking.pay_later:
            return
        refund = percent_of(booking.total_minor, booking.policy.no_show_refund_percent)
        await self.money.earned(connection, booking.booking_id, booking.total_minor - refund, "no_show")
        await self.money.refund_due(connection, booking.booking_id, refund, "no_show")

    async def _be_late(self, connection: Connection, booking_id: UUID, now: datetime) -> bool:
        booking = await lock_booking(connection, booking_id, now)
        if booking.status not in {"ACTIVE", "OVERSTAY"} or now < booking.stay_ends_at:
            return False
        if booking.status == "ACTIVE" and await go_on(connection, self.money, booking, now):
            return True
        await _count_late(connection, booking, now)
        if booking.status == "OVERSTAY":
            return await self._end_forgotten(connection, booking, now)
        if now < overrun_at(booking.policy, booking.stay_ends_at) or booking.extension_held:
            return False
        await move(connection, booking, "overrun", "did not leave in time", now)
        await tell_driver(connection, booking, "booking_overstay")
        await self._make_way(connection, booking, now)
        return True

    async def _make_way(self, connection: Connection, booking: Booking, now: datetime) -> None:
        parameters = {
            "place_id": booking.place_id,
            "ended_at": booking.stay_ends_at,
            "soon": now + SUCCESSOR_WITHIN,
        }
        row = await (await connection.execute(_SQL["successor"], parameters)).fetchone()
        if row is None or booking.place_kind == "lot":
            return
        successor = await lock_booking(connection, row.booking_id, now)
        if successor.status == "RESERVED":
            await relocate_or_refund(connection, self.money, successor, "the one before has not left", now)

    async def _end_forgotten(self, connection: Connection, booking: Booking, now: datetime) -> bool:
        if now < forgotten_at(booking.policy, booking.stay_ends_at):
            return False
        await check_out(connection, self.money, booking.booking_id, now, why="auto_check_out")
        await tell_driver(connection, booking, "booking_auto_check_out")
        return True

    async def _remind(self, connection: Connection, booking_id: UUID, now: datetime) -> bool:
        booking = await lock_booking(connection, booking_id, now)
        if booking.status != "ACTIVE" or now < booking.stay_ends_at - REMIND_BEFORE:
            return False
        await connection.execute(_SQL["reminded"], {"booking_id": booking_id, "now": now})
        await tell_driver(connection, booking, "booking_ending")
        return True


async def expire(connection: Connection, booking_id: UUID, now: datetime) -> bool:
    """End a hold that has run out; return whether it was one."""
    booking = await lock_booking(connection, booking_id, now)
    if booking.status != "HELD" or booking.hold_expires_at is None or booking.hold_expires_at > now:
        return False
    await move(connection, booking, "expire", "the hold ran out", now)
    await give_back(connection, [booking_id], booking.starts_at)
    return True


async def _count_late(connection: Connection, booking: Booking, now: datetime) -> None:
    """Count who has not left a lot, for the quarter under way and the next."""
    since = booking.late_until or booking.stay_ends_at
    until = to_quarter(now) + 2 * QUARTER
    if booking.place_kind == "lot" and since < until:
        parameters = {"booking_id": booking.booking_id, "place_id": booking.place_id, "since": since, "until": until}
        await connection.execute(_STAYS_SQL["count_late"], parameters)
        await connection.execute(_STAYS_SQL["set_late"], parameters)
