"""The stay itself: check in, walk in, check out. Nobody waits for money at the exit.

Check-in is refused while another stands on the space: a unique index decides. A lot gives its space now, the first
that is free. What is still owed after check-out is a balance due.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import psycopg

from api.bookings.booking import Booking, lock_booking, move
from api.bookings.holding import end_overdue, give_back, sell, to_quarter
from api.bookings.money import Money
from api.bookings.places import QUARTER, Window
from api.bookings.policy import EARLY, overstay_fee
from api.bookings.relocation import relocate_or_refund
from api.bookings.states import Event
from api.bookings.tariff import price, validated_price
from api.database import Connection, load_queries
from api.errors import PlaceTakenError, TooEarlyError, WrongStateError

_SQL: Final = load_queries("api.bookings", "stays.sql")


async def check_in(connection: Connection, money: Money, booking_id: UUID, now: datetime) -> Booking:
    """Begin a reserved stay, or move it elsewhere if another stands on its space though its time has come.

    TooEarlyError, PlaceTakenError, WrongStateError.
    """
    try:
        async with connection.transaction():
            return await _begin_reserved(connection, booking_id, now)
    except PlaceTakenError:
        booking = await lock_booking(connection, booking_id, now)
        if now < booking.starts_at:
            raise
        return await relocate_or_refund(connection, money, booking, "another vehicle stands there", now)


async def walk_in(connection: Connection, booking_id: UUID, now: datetime) -> Booking:
    """Begin the stay of a walk-up that was held a moment ago."""
    return await _begin(connection, await lock_booking(connection, booking_id, now), "walk_in", now)


async def _begin_reserved(connection: Connection, booking_id: UUID, now: datetime) -> Booking:
    booking = await lock_booking(connection, booking_id, now)
    if booking.status == "RESERVED":
        _check_time(booking, now)
        if now < booking.starts_at:
            await _begin_early(connection, booking, now)
    return await _begin(connection, booking, "check_in", now)


async def _begin(connection: Connection, booking: Booking, event: Event, now: datetime) -> Booking:
    """Let a stay begin on its space, or on the first free one of its lot; PlaceTakenError, WrongStateError."""
    if booking.place_kind == "lot" and booking.space_id is None:
        booking = await _give_bay(connection, booking)
    try:
        async with connection.transaction():
            return await move(connection, booking, event, event, now)
    except psycopg.errors.UniqueViolation:
        raise PlaceTakenError("Another vehicle is checked in on this space.") from None


async def check_out(
    connection: Connection, money: Money, booking_id: UUID, now: datetime, *, why: str = "check_out"
) -> Booking:
    """End a stay with its extensions, and settle what it cost; WrongStateError."""
    booking = await lock_booking(connection, booking_id, now)
    ended = await move(connection, booking, "check_out", why, now)
    if why != "check_out" or not await _keep_rest(connection, booking, now):
        await _give_back_rest(connection, booking, now)
    await _settle(connection, money, booking, now, flagged=why == "auto_check_out")
    await _close_extensions(connection, money, booking, now)
    return ended


def price_so_far(booking: Booking) -> int:
    """Return what the stay with its extensions costs by now; time that a pass covers counts as paid for."""
    covered = 0
    if booking.pass_id is not None:
        covered = price(booking.tariff, booking.starts_at, booking.ends_at, booking.zone, booking.vehicle_kind)
    return booking.total_minor + booking.extension_minor + covered


async def go_on(connection: Connection, money: Money, booking: Booking, now: datetime) -> bool:
    """Let a vehicle whose pass goes on where its window ends stand where it is; return whether it did."""
    parameters = {"booking_id": booking.booking_id, "ends_at": booking.stay_ends_at}
    row = await (await connection.execute(_SQL["follows_on"], parameters)).fetchone()
    if row is None:
        return False
    await check_out(connection, money, booking.booking_id, now, why="the pass goes on")
    await connection.execute(_SQL["put_in_space"], {"booking_id": row.booking_id, "space_id": booking.space_id})
    await _begin_reserved(connection, row.booking_id, now)
    return True


def owed(booking: Booking, now: datetime) -> tuple[int, int]:
    """Return what a stay that ends now costs by itself and for staying too long, less what its extensions cost."""
    zone, vehicle = booking.zone, booking.vehicle_kind
    late = overstay_fee(booking.policy, booking.tariff, booking.stay, now, zone, vehicle)
    if not booking.pay_later and booking.validated_at is None:
        return booking.total_minor, late
    left = min(max(now, booking.starts_at + timedelta(minutes=1)), booking.ends_at)
    cost = price if booking.validated_at is None else validated_price
    until = left if booking.pay_later else booking.ends_at
    return min(booking.total_minor, cost(booking.tariff, booking.starts_at, until, zone, vehicle)), late


async def _settle(connection: Connection, money: Money, booking: Booking, now: datetime, *, flagged: bool) -> None:
    stay, late = owed(booking, now)
    parameters = {"booking_id": booking.booking_id, "overstay_minor": late, "flagged": flagged}
    await connection.execute(_SQL["set_overstay"], parameters)
    if booking.pay_later:
        await money.charge_due(connection, booking.booking_id, stay, "stay")
    else:
        await money.earned(connection, booking.booking_id, stay, "stay")
        await money.refund_due(connection, booking.booking_id, booking.total_minor - stay, "validated")
    await money.charge_due(connection, booking.booking_id, late, "overstay")


async def _close_extensions(connection: Connection, money: Money, booking: Booking, now: datetime) -> None:
    parameters = {"booking_id": booking.booking_id}
    for row in await (await connection.execute(_SQL["extensions"], parameters)).fetchall():
        extension = await lock_booking(connection, row.booking_id, now)
        if extension.status == "HELD":
            await move(connection, extension, "cancel", "the stay has ended", now)
            await give_back(connection, [extension.booking_id], extension.starts_at)
            continue
        await move(connection, extension, "close", "the stay has ended", now)
        await _give_back_rest(connection, extension, now)
        if extension.pay_later:
            await money.charge_due(connection, extension.booking_id, extension.total_minor, "stay")
        else:
            await money.earned(connection, extension.booking_id, extension.total_minor, "stay")


async def _keep_rest(connection: Connection, booking: Booking, now: datetime) -> bool:
    """Keep the rest of a pass's window for whoever comes back; return whether there is one."""
    if booking.pass_id is None or booking.ends_at - now <= QUARTER:
        return False
    since = to_quarter(now) if booking.place_kind == "lot" else now
    parameters = {"booking_id": booking.booking_id, "since": since, "now": now}
    return await (await connection.execute(_SQL["keep_rest"], parameters)).fetchone() is not None


async def _give_back_rest(connection: Connection, booking: Booking, now: datetime) -> None:
    """Give back the quarters that have not begun, and stop counting who is late."""
    if booking.place_kind != "lot":
        return
    following = to_quarter(now) + QUARTER
    await give_back(connection, [booking.booking_id], max(following, booking.starts_at))
    if booking.late_until is not None and booking.late_until > following:
        parameters = {"place_id": booking.place_id, "since": following, "until": booking.late_until}
        await connection.execute(_SQL["uncount_late"], parameters)


def _check_time(booking: Booking, now: datetime) -> None:
    if now < booking.starts_at - EARLY:
        raise TooEarlyError(facts={"from": (booking.starts_at - EARLY).isoformat()})
    if now >= booking.stay_ends_at:
        raise WrongStateError("The paid time is over.", facts={"status": booking.status})


async def _begin_early(connection: Connection, booking: Booking, now: datetime) -> None:
    """Let the window grow back to now, if the place is free from now; TooEarlyError says from when it is booked."""
    since = to_quarter(now) if booking.place_kind == "lot" else now
    try:
        async with connection.transaction():
            window = Window(since, booking.starts_at)
            await end_overdue(connection, booking.place_id, booking.place_kind, window, now)
            if booking.place_kind == "lot" and not await sell(connection, booking.place_id, window):
                raise TooEarlyError(facts={"from": booking.starts_at.isoformat()})
            await connection.execute(_SQL["grow"], {"booking_id": booking.booking_id, "starts_at": since})
    except psycopg.errors.ExclusionViolation:
        raise TooEarlyError(facts={"from": booking.starts_at.isoformat()}) from None


async def _give_bay(connection: Connection, booking: Booking) -> Booking:
    row = await (await connection.execute(_SQL["free_bay"], {"place_id": booking.place_id})).fetchone()
    if row is None:
        raise PlaceTakenError("No space of the lot is free.")
    await connection.execute(_SQL["put_in_space"], {"booking_id": booking.booking_id, "space_id": row.space_id})
    return booking._replace(space_id=row.space_id)
