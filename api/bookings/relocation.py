"""Another place for somebody whose place is gone: as good or better, at most 500 m away, at the price that was agreed.

Used where an overstayer stands in the way, where a space turns out to be taken, and where money came after its hold had
run out. The platform bears what the other place costs more. Where there is none, the driver gets everything back, and
a compensation.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
import psycopg

from api.bookings.booking import Booking, lock_booking, move, swap
from api.bookings.holding import Taking, give_back, sell, take
from api.bookings.letters import amount_text, tell_driver, tell_owners
from api.bookings.money import Money
from api.bookings.places import (
    Place,
    Vehicle,
    Window,
    check_obstacles,
    lock_place,
    places_near,
)
from api.bookings.quotes import Quote
from api.bookings.tariff import price
from api.database import Connection, load_queries
from api.errors import PlaceClosedError

_T = TypeVar("_T")

_SQL: Final = load_queries("api.bookings", "relocation.sql")


async def relocate_or_refund(
    connection: Connection, money: Money, booking: Booking, reason: str, now: datetime
) -> Booking:
    """Move a reserved booking elsewhere, or cancel it with everything back and a compensation."""
    moved = await relocate(connection, money, booking, reason, now)
    return moved or await _give_up(connection, money, booking, reason, now)


async def relocate(
    connection: Connection, money: Money, booking: Booking, reason: str, now: datetime
) -> Booking | None:
    """Move a booking with its extensions to the nearest place that takes it; None if there is none."""
    window = Window(max(booking.starts_at, min(now, booking.stay_ends_at)), booking.stay_ends_at)
    near = await places_near(connection, booking.place_id, window, booking.vehicle_kind, booking.currency, now)
    for place_id in near:
        place = await lock_place(connection, place_id)
        if await _move_to(connection, booking, place, reason, now):
            await _pay_difference(connection, money, booking, place)
            moved = await lock_booking(connection, booking.booking_id, now)
            await tell_driver(connection, moved, "booking_relocated", old_place=booking.place_name)
            await tell_owners(connection, moved, "host_booking")
            return moved
    return None


async def replace_late(connection: Connection, booking_id: UUID, now: datetime) -> UUID | None:
    """Make a booking for money that came after its hold had run out: the same place if it is free, else another.

    Return the id of the booking that is reserved instead; None if no place can be had, the time is over, or another
    payment has had one already.
    """
    expired = await lock_booking(connection, booking_id, now)
    if expired.status != "EXPIRED" or expired.ends_at <= now:
        return None
    quote = await _quote_of(connection, booking_id)
    if quote is None:
        return None
    near: list[UUID] = []
    if expired.extends is None:
        near = await places_near(
            connection, expired.place_id, expired.window, expired.vehicle_kind, expired.currency, now
        )
    for place_id in (expired.place_id, *near):
        replacing = await _take_again(connection, expired, msgspec.structs.replace(quote, place_id=place_id), now)
        if replacing is not None:
            await connection.execute(_SQL["paid"], {"booking_id": replacing})
            await tell_driver(connection, await lock_booking(connection, replacing, now), "booking_late_paid")
            return replacing
    return None


async def _take_again(connection: Connection, expired: Booking, quote: Quote, now: datetime) -> UUID | None:
    place = await lock_place(connection, quote.place_id)

    async def work() -> UUID | None:
        place.check_window(quote.window, now, walk_up=True)
        await check_obstacles(connection, place, quote.window, now, quote.extends)
        return await take(connection, place, Taking(quote, Vehicle(expired.plate, expired.vehicle_kind)), now)

    booking_id = await _whole_or_not(connection, work)
    if booking_id is not None:
        parameters = {"booking_id": booking_id, "replaces": expired.booking_id}
        await connection.execute(_SQL["replaces"], parameters)
        await swap(connection, booking_id, "HELD", "RESERVED", "paid after the hold had run out", now)
    return booking_id


async def _whole_or_not(connection: Connection, work: Callable[[], Awaitable[_T | None]]) -> _T | None:
    """Do the work in a savepoint; None, and nothing is done, if it gives None or the place does not take it."""
    try:
        async with connection.transaction() as savepoint:
            done = await work()
            if done is not None:
                return done
            savepoint.force_rollback = True
    except (PlaceClosedError, psycopg.errors.ExclusionViolation):
        pass
    return None


async def _quote_of(connection: Connection, booking_id: UUID) -> Quote | None:
    """Return what was quoted; None if another payment has had it already."""
    row = await (await connection.execute(_SQL["unreplaced_quote"], {"booking_id": booking_id})).fetchone()
    return None if row is None else msgspec.convert(row.quote, Quote)


async def _move_to(connection: Connection, booking: Booking, place: Place, reason: str, now: datetime) -> bool:
    async def work() -> bool | None:
        place.check_window(booking.stay, now, walk_up=True)
        await check_obstacles(connection, place, booking.stay, now, booking.booking_id)
        rows = await _with_extensions(connection, booking)
        await give_back(connection, [row.booking_id for row in rows], booking.starts_at)
        if place.kind == "lot" and not await sell(connection, place.place_id, booking.stay):
            return None
        for row in rows:
            await connection.execute(_SQL["relocate"], _new_place(place) | row._asdict() | {"reason": reason})
        return True

    return await _whole_or_not(connection, work) or False


async def _with_extensions(connection: Connection, booking: Booking) -> list[Any]:
    parameters = {"booking_id": booking.booking_id}
    return await (await connection.execute(_SQL["with_extensions"], parameters)).fetchall()


def _new_place(place: Place) -> dict[str, Any]:
    return {
        "tenant_id": place.tenant_id,
        "place_id": place.place_id,
        "place_kind": place.kind,
        "space_id": place.place_id if place.kind == "space" else None,
    }


async def _pay_difference(connection: Connection, money: Money, booking: Booking, place: Place) -> None:
    agreed = booking.total_minor + booking.extension_minor
    dearer = price(place.tariff, *booking.stay, place.zone, booking.vehicle_kind) - agreed
    if dearer > 0:
        await money.subsidise(connection, booking.booking_id, dearer)


async def _give_up(connection: Connection, money: Money, booking: Booking, reason: str, now: datetime) -> Booking:
    rows = await _with_extensions(connection, booking)
    for row in rows:
        one = await lock_booking(connection, row.booking_id, now)
        await move(connection, one, "cancel", f"canceled by platform: {reason}", now)
        if not one.pay_later and one.status == "RESERVED":
            await money.refund_due(connection, one.booking_id, one.total_minor, reason)
    await give_back(connection, [row.booking_id for row in rows], booking.starts_at)
    paid = booking.total_minor + booking.extension_minor if booking.status == "RESERVED" else 0
    compensation = min(money.compensation_minor, paid)
    await money.compensate(connection, booking.booking_id, compensation, reason)
    texts = {"refund": amount_text(paid, booking.currency), "extra": amount_text(compensation, booking.currency)}
    await tell_driver(connection, booking, "booking_lost", **texts)
    return booking._replace(status="CANCELED")
