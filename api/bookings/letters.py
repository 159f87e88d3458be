"""What drivers and hosts are told of a booking: rows of the outbox, written in the transaction that causes them."""

from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from api.bookings.booking import Booking
from api.contacts import Contact
from api.database import Connection, load_queries
from api.outbox.messages import put_message, put_pushes

_SQL: Final = load_queries("api.bookings", "stays.sql")


async def tell_driver(connection: Connection, booking: Booking, template: str, **more: str) -> None:
    """Write to the driver, and to the phones they registered; to nobody whose account was erased."""
    row = await (await connection.execute(_SQL["recipient"], {"person_id": booking.driver_id})).fetchone()
    if row is not None:
        await _put(connection, row, booking, template, more)
        await put_pushes(connection, booking.driver_id, template, row.locale, _fields(booking) | more)


async def tell_owners(connection: Connection, booking: Booking, template: str, **more: str) -> None:
    """Write to the hosts or the operator's admins."""
    rows = await (await connection.execute(_SQL["owners"], {"tenant_id": booking.tenant_id})).fetchall()
    for row in rows:
        await _put(connection, row, booking, template, more)


def local_text(instant: datetime, zone: ZoneInfo) -> str:
    """Return an instant as the clocks at the place show it."""
    return instant.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def amount_text(amount_minor: int, currency: str) -> str:
    """Return an amount for people; every currency of our countries has two decimals."""
    return f"{currency} {amount_minor // 100:,}.{amount_minor % 100:02d}"


async def _put(connection: Connection, person: Any, booking: Booking, template: str, more: dict[str, str]) -> None:  # noqa: ANN401  # a named tuple
    to = Contact("email", person.email) if person.email else Contact("phone", person.phone)
    await put_message(connection, to, template, person.locale, _fields(booking) | more)


def _fields(booking: Booking) -> dict[str, str]:
    return {
        "booking": str(booking.booking_id),
        "place": booking.place_name,
        "plate": booking.plate,
        "start": local_text(booking.starts_at, booking.zone),
        "end": local_text(booking.stay_ends_at, booking.zone),
        "total": amount_text(booking.total_minor, booking.currency),
    }
