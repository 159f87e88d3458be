"""A pass is so many bookings, made in one transaction or not at all, by the rules and constraints of every booking.

It is issued by who works at the place, to somebody with an account, at a price that is owed from then on and paid at
the booth or by the driver. Its bookings cost nothing; whoever leaves keeps the rest of the window and may come back.
"""

from datetime import date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
from psycopg.types.json import Jsonb

from api.bookings.booking import Booking, lock_booking, move
from api.bookings.holding import Taking, give_back, take, to_quarter
from api.bookings.hours import Hours
from api.bookings.letters import amount_text, tell_driver
from api.bookings.money import Money
from api.bookings.paid import set_payment_status
from api.bookings.places import FURTHEST_AHEAD, Place, Vehicle, Window, check_obstacles, lock_place
from api.bookings.quotes import quote_place
from api.database import Connection, load_queries
from api.errors import InvalidRequestError, NotFoundError, PlaceClosedError, PlaceTakenError, WrongStateError
from api.passes.windows import pass_windows

_SQL: Final = load_queries("api.passes", "passes.sql")


class Terms(NamedTuple):
    """What a pass is to be."""

    tenant_id: UUID
    place_id: UUID
    driver_id: UUID
    vehicle: Vehicle
    month: date
    hours: tuple[Hours, ...]
    price_minor: int


async def issue(connection: Connection, money: Money, terms: Terms, now: datetime) -> UUID:
    """Issue a pass, with all its bookings; return its id.

    PlaceTakenError and PlaceClosedError, with the windows that cannot be had; InvalidRequestError.
    """
    place = await lock_place(connection, terms.place_id)
    if place.tenant_id != terms.tenant_id:
        raise NotFoundError("There is no such place.")
    place = place._replace(by_approval=False)
    place.check_vehicle(terms.vehicle)
    since = to_quarter(now) if place.kind == "lot" else now
    windows = pass_windows(terms.hours, place.zone, terms.month, since)
    if not windows or windows[0].starts_at > now + FURTHEST_AHEAD:
        raise InvalidRequestError("month, hours: nothing of this is to come within a year.")
    pass_id = uuid4()
    await connection.execute(_SQL["add"], _columns(terms, place, pass_id, now))
    bookings = [await _reserve(connection, place, terms, pass_id, window, now) for window in windows]
    await money.charge_due(connection, bookings[0].booking_id, terms.price_minor, "stay")
    price = amount_text(terms.price_minor, place.tariff.currency)
    await tell_driver(connection, bookings[0], "pass_issued", price=price, last=f"{terms.month:%Y-%m}")
    return pass_id


async def end(connection: Connection, tenant_id: UUID, pass_id: UUID, reason: str, now: datetime) -> None:
    """End a pass: what is to come of it is free again, a stay goes on; NotFoundError, WrongStateError.

    A price that nobody has begun to pay is not owed any more. What was paid is given back by support.
    """
    parameters = {"pass_id": pass_id, "tenant_id": tenant_id, "reason": reason, "now": now}
    row = await (await connection.execute(_SQL["lock"], parameters)).fetchone()
    if row is None:
        raise NotFoundError("There is no such pass.")
    if row.ended_at is not None:
        raise WrongStateError("The pass has ended.")
    await connection.execute(_SQL["end"], parameters)
    for waived in await (await connection.execute(_SQL["waive"], parameters)).fetchall():
        await set_payment_status(connection, waived.booking_id, "none")
    for to_come in await (await connection.execute(_SQL["to_come"], parameters)).fetchall():
        booking = await lock_booking(connection, to_come.booking_id, now)
        if booking.status in {"HELD", "RESERVED"}:
            await move(connection, booking, "cancel", f"the pass was ended: {reason}", now)
            await give_back(connection, [booking.booking_id], booking.starts_at)


async def _reserve(
    connection: Connection, place: Place, terms: Terms, pass_id: UUID, window: Window, now: datetime
) -> Booking:
    facts: dict[str, Any] = {"starts_at": window.starts_at.isoformat(), "ends_at": window.ends_at.isoformat()}
    try:
        place.check_window(window, now, walk_up=True)
        await check_obstacles(connection, place, window, now, None)
    except PlaceClosedError as error:
        raise PlaceClosedError(error.detail, facts=facts) from None
    priced = quote_place(place, terms.driver_id, window, terms.vehicle.kind, (), now)
    policy = msgspec.structs.replace(priced.policy, no_show_after_s=None)
    quote = msgspec.structs.replace(priced, total_minor=0, rails=(), shortest_s=None, policy=policy)
    booking_id = await take(connection, place, Taking(quote, terms.vehicle), now)
    if booking_id is None:
        raise PlaceTakenError("Not all of the pass is free.", facts=facts)
    await connection.execute(_SQL["put_in"], {"pass_id": pass_id, "booking_id": booking_id})
    booking = await lock_booking(connection, booking_id, now)
    return await move(connection, booking, "confirm", "part of a pass", now)


def _columns(terms: Terms, place: Place, pass_id: UUID, now: datetime) -> dict[str, Any]:
    return terms._asdict() | {
        "pass_id": pass_id,
        "plate": terms.vehicle.plate,
        "vehicle_kind": terms.vehicle.kind,
        "hours": Jsonb(msgspec.to_builtins(terms.hours)),
        "currency": place.tariff.currency,
        "now": now,
    }
