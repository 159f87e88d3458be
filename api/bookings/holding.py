"""Taking a place: PostgreSQL decides between rivals, and who comes second is told what else there is.

A single space is guarded by an exclusion constraint: of two live bookings whose windows overlap the second is not
inserted. A lot is sold by quarters of an hour, all of a window's, in time order, or none. Either way the transaction
first ends the holds of that place which have run out.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
from psycopg.types.json import Jsonb

from api.bookings.places import (
    QUARTER,
    Place,
    Vehicle,
    Window,
    check_obstacles,
    lock_place,
    places_near,
)
from api.bookings.quotes import Quote
from api.database import Connection, fetch_row, load_queries
from api.errors import BalanceDueError, CannotPayError, PlaceTakenError

HOLD_FOR: Final = timedelta(minutes=10)
APPROVAL_FOR: Final = timedelta(hours=24)

_SQL: Final = load_queries("api.bookings", "holding.sql")


class Taking(NamedTuple):
    """What is to be taken."""

    quote: Quote
    vehicle: Vehicle
    pay_later: bool = False
    bay_id: UUID | None = None
    """The space of a lot on which a walk-up stands."""


async def hold(connection: Connection, taking: Taking, now: datetime) -> UUID:
    """Hold the quote's place for its driver; return the booking's id.

    PlaceTakenError, PlaceClosedError, CannotPayError, BalanceDueError.
    """
    quote = taking.quote
    place = await lock_place(connection, quote.place_id)
    walk_up = quote.kind == "walk_up"
    if quote.kind != "extension":
        await _check_driver(connection, quote)
        place.check_vehicle(taking.vehicle)
    place.check_window(quote.window, now, walk_up=walk_up or quote.kind == "extension")
    await check_obstacles(connection, place, quote.window, now, quote.extends)
    booking_id = await take(connection, place, taking, now)
    if booking_id is None:
        raise PlaceTakenError(facts=await _other_ways(connection, place, taking, now))
    return booking_id


async def take(connection: Connection, place: Place, taking: Taking, now: datetime) -> UUID | None:
    """Insert the booking; None if a rival has the place. The place is locked, its rules are met."""
    await end_overdue(connection, place.place_id, place.kind, taking.quote.window, now)
    if place.kind == "lot" and not await sell(connection, place.place_id, taking.quote.window):
        return None
    row = await (await connection.execute(_SQL["put"], _columns(place, taking, now))).fetchone()
    return None if row is None else UUID(str(row.booking_id))


async def end_overdue(connection: Connection, place_id: UUID, kind: str, window: Window, now: datetime) -> None:
    """End the holds of a place that have run out and stand in the way of a window."""
    parameters = {"place_id": place_id, "now": now, **window._asdict()}
    ended = await (await connection.execute(_SQL["expire_overdue"], parameters)).fetchall()
    if ended and kind == "lot":
        span = {
            "starts_at": min(window.starts_at, *(row.starts_at for row in ended)),
            "ends_at": max(window.ends_at, *(row.ends_at for row in ended)),
        }
        await connection.execute(_SQL["lock_buckets"], parameters | span)
        await give_back(connection, [row.booking_id for row in ended], span["starts_at"])


async def sell(connection: Connection, lot_id: UUID, window: Window) -> bool:
    """Sell one space of a lot for all quarters of the window; False, with some sold, if one is full: roll back."""
    sold = await connection.execute(_SQL["sell_buckets"], {"place_id": lot_id, **window._asdict()})
    return sold.rowcount == (window.ends_at - window.starts_at) // QUARTER


async def give_back(connection: Connection, booking_ids: Sequence[UUID], since: datetime) -> None:
    """Give back what lot bookings have from this instant's quarter on; nothing happens for single spaces."""
    parameters = {"booking_ids": list(booking_ids), "since": to_quarter(since)}
    await connection.execute(_SQL["free_buckets"], parameters)


async def latest_end(connection: Connection, place: Place, starts_at: datetime, now: datetime) -> datetime | None:
    """Return until when the place is free from this instant on, None if for ever."""
    query = _SQL["latest_end" if place.kind == "space" else "latest_quarter"]
    parameters = {"place_id": place.place_id, "starts_at": starts_at, "now": now}
    found: datetime | None = (await fetch_row(connection, query, parameters)).latest_end
    return found


def to_quarter(instant: datetime) -> datetime:
    """Return the beginning of the quarter of an hour that is under way."""
    return instant - timedelta(seconds=instant.timestamp() % QUARTER.total_seconds())


async def _check_driver(connection: Connection, quote: Quote) -> None:
    if not quote.can_be_paid and quote.kind != "walk_up":
        raise CannotPayError(facts={} if quote.shortest_s is None else {"shortest_s": quote.shortest_s})
    owing = await (await connection.execute(_SQL["owing"], {"driver_id": quote.driver_id})).fetchall()
    if owing:
        raise BalanceDueError(facts={"bookings": [str(row.booking_id) for row in owing]})


def _columns(place: Place, taking: Taking, now: datetime) -> dict[str, Any]:
    quote = taking.quote
    by_approval = place.by_approval and quote.kind == "booking"
    return {
        "booking_id": uuid4(),
        "tenant_id": place.tenant_id,
        "place_id": place.place_id,
        "place_kind": place.kind,
        "space_id": place.place_id if place.kind == "space" else taking.bay_id,
        "driver_id": quote.driver_id,
        "plate": taking.vehicle.plate,
        "vehicle_kind": taking.vehicle.kind,
        "kind": quote.kind,
        "reason": "",
        "currency": quote.currency,
        "total_minor": quote.total_minor,
        "pay_later": taking.pay_later,
        "hold_expires_at": now + (APPROVAL_FOR if by_approval else HOLD_FOR),
        "approval": "asked" if by_approval else None,
        "extends": quote.extends,
        "quote": Jsonb(msgspec.to_builtins(quote)),
        "policy": Jsonb(msgspec.to_builtins(quote.policy)),
        "now": now,
        **quote.window._asdict(),
    }


async def _other_ways(connection: Connection, place: Place, taking: Taking, now: datetime) -> dict[str, Any]:
    window = taking.quote.window
    until = await latest_end(connection, place, window.starts_at, now)
    others = await places_near(connection, place.place_id, window, taking.vehicle.kind, taking.quote.currency, now)
    free = until is not None and until > window.starts_at
    facts: dict[str, Any] = {"other_places": [str(place_id) for place_id in others]}
    return facts | ({"latest_end": until.isoformat()} if until is not None and free else {})
