"""A quote is a signed price for one window of one place, no row: what was quoted is what is charged, until it ends.

It names the ways to pay that take its total. Where none does, it cannot be held, and says from which length of stay on
there is one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import msgspec

from api.bookings.money import Rail
from api.bookings.places import QUARTER, Place, Window
from api.bookings.policy import Policy
from api.bookings.tariff import VehicleKind, price

GOOD_FOR: Final = timedelta(minutes=10)

Kind = Literal["booking", "walk_up", "extension"]


class Quote(msgspec.Struct, frozen=True):
    """What is promised, to whom, at what price. shortest_s: the shortest stay that can be paid, if this one cannot."""

    place_id: UUID
    driver_id: UUID
    kind: Kind
    extends: UUID | None
    starts_at: datetime
    ends_at: datetime
    vehicle: VehicleKind
    currency: str
    total_minor: int
    rails: tuple[str, ...]
    shortest_s: int | None
    tariff_id: UUID
    policy: Policy
    expires_at: datetime

    @property
    def window(self) -> Window:
        return Window(self.starts_at, self.ends_at)

    @property
    def can_be_paid(self) -> bool:
        return not self.total_minor or bool(self.rails)


def quote_place(
    place: Place, driver_id: UUID, window: Window, vehicle: VehicleKind, rails: Sequence[Rail], now: datetime
) -> Quote:
    """Price a window of a place for a driver."""
    total = price(place.tariff, *window, place.zone, vehicle)
    return _quote(place, driver_id, window, vehicle, rails, now, total, None)


def quote_extension(
    place: Place,
    driver_id: UUID,
    stay: tuple[UUID, Window, int],
    until: datetime,
    vehicle: VehicleKind,
    rails: Sequence[Rail],
    now: datetime,
) -> Quote:
    """Price more time of a stay (its id, its window so far, what that cost): the new total less what is paid."""
    booking_id, window, paid_minor = stay
    total = max(0, price(place.tariff, window.starts_at, until, place.zone, vehicle) - paid_minor)
    return _quote(place, driver_id, Window(window.ends_at, until), vehicle, rails, now, total, booking_id)


def _quote(
    place: Place,
    driver_id: UUID,
    window: Window,
    vehicle: VehicleKind,
    rails: Sequence[Rail],
    now: datetime,
    total: int,
    extends: UUID | None,
) -> Quote:
    taking = tuple(rail.name for rail in rails if total >= rail.minimum_minor) if total else ()
    unpayable = total > 0 and not taking
    return Quote(
        place.place_id,
        driver_id,
        "extension" if extends else "booking",
        extends,
        window.starts_at,
        window.ends_at,
        vehicle,
        place.tariff.currency,
        total,
        taking,
        _shortest_s(place, window, vehicle, rails) if unpayable else None,
        place.tariff_id,
        place.policy,
        now + GOOD_FOR,
    )


def _shortest_s(place: Place, window: Window, vehicle: VehicleKind, rails: Sequence[Rail]) -> int | None:
    """Return the length, in quarters of an hour up to a day, from which on some rail takes the price."""
    if not rails:
        return None
    least = min(rail.minimum_minor for rail in rails)
    for quarters in range(1, 97):
        end = window.starts_at + quarters * QUARTER
        if price(place.tariff, window.starts_at, end, place.zone, vehicle) >= least:
            return int((quarters * QUARTER).total_seconds())
    return None
