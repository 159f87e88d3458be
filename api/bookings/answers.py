"""What people are told of a booking, by what they are to it.

Drivers learn the exact place and how to get in only while it is theirs; those who run it, whose vehicle comes, only
around the stay.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from api.bookings.policy import Policy
from api.database import Connection, fetch_row, load_queries

AROUND: Final = timedelta(hours=24)
"""So long before and after a stay those who run the place see whose it is."""
_SEEN: Final = frozenset({"RESERVED", "ACTIVE", "OVERSTAY"})
_SQL: Final = load_queries("api.bookings", "desk.sql")


class Where(msgspec.Struct, frozen=True):
    """The place of a booking; exact, with how to get in, while it is reserved, else within 150 m for a private one."""

    place_id: UUID
    kind: str
    name: str
    lat: float
    lon: float
    exact: bool
    address: str | None
    access_note: str | None
    time_zone: str
    bay: str | None


class BookingAnswer(msgspec.Struct, frozen=True):
    """A booking; driver_name and plate are null for those who run the place, but around the stay."""

    booking_id: UUID
    kind: str
    status: str
    payment_status: str
    reason: str
    place: Where
    driver_name: str | None
    plate: str | None
    vehicle_kind: str
    starts_at: datetime
    ends_at: datetime
    stay_ends_at: datetime
    currency: str
    total_minor: int
    overstay_minor: int
    pay_later: bool
    hold_expires_at: datetime | None
    arrives_at: datetime | None
    approval: str | None
    extends: UUID | None
    replaces: UUID | None
    pass_id: UUID | None
    policy: Policy
    checked_in_at: datetime | None
    checked_out_at: datetime | None
    created_at: datetime


class HistoryLine(msgspec.Struct, frozen=True):
    """One change of status, place or window."""

    at: datetime
    from_status: str | None
    to_status: str
    place_id: UUID
    space_id: UUID | None
    starts_at: datetime
    ends_at: datetime
    reason: str


class ReportAnswer(msgspec.Struct, frozen=True):
    """What a driver said is wrong at the space, and what came of it: moved, refunded, or nothing."""

    report_id: UUID
    kind: str
    note: str
    photo_id: UUID | None
    outcome: str
    created_at: datetime


async def read_answer(connection: Connection, booking_id: UUID, now: datetime) -> BookingAnswer:
    """Describe, at the desk, a booking that the acting person was found to see."""
    (answer,) = await read_answers(connection, [booking_id], now)
    return answer


async def read_answers(connection: Connection, booking_ids: Sequence[UUID], now: datetime) -> list[BookingAnswer]:
    """Describe, at the desk, bookings that the acting person was found to see."""
    viewer = (await fetch_row(connection, b"SELECT acting_person() AS person_id", {})).person_id
    rows = await (await connection.execute(_SQL["details"], {"booking_ids": list(booking_ids)})).fetchall()
    return [_describe(row, viewer, now) for row in rows]


def _describe(row: Any, viewer: UUID, now: datetime) -> BookingAnswer:  # noqa: ANN401  # a named tuple
    is_driver = row.driver_id == viewer
    seen = row.status in _SEEN or not is_driver
    around = is_driver or row.starts_at - AROUND <= now < row.stay_ends_at + AROUND
    may_enter = row.status in _SEEN and (row.status != "RESERVED" or now < row.stay_ends_at)
    where = Where(
        row.place_id,
        row.place_kind,
        row.place_name,
        row.lat if seen else row.shown_lat,
        row.lon if seen else row.shown_lon,
        seen,
        row.address if seen else None,
        row.access_note if may_enter else None,
        row.time_zone,
        row.bay,
    )
    shared = {name: getattr(row, name) for name in BookingAnswer.__struct_fields__ if hasattr(row, name)}
    guest = {"driver_name": row.driver_name, "plate": row.plate} if around else {"driver_name": None, "plate": None}
    return BookingAnswer(**shared | guest | {"place": where, "policy": msgspec.convert(row.policy, Policy)})
