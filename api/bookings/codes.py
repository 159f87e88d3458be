"""A QR code opens one action of one booking once, in a short span of time; what it says is signed.

Whoever scans it needs no list: booking, place, action, span and a number of its own (`jti`) stand in it. That it was
used is a row, written in the transaction of the action.
"""

from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID, uuid4

import msgspec

from api.bookings.booking import Booking
from api.bookings.signed import Signer
from api.database import Connection
from api.errors import WrongStateError, WrongTokenError

GOOD_FOR: Final = timedelta(minutes=10)

Action = Literal["check-in", "check-out"]

_USE: Final = "INSERT INTO used_codes (jti, action) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING jti"
_OPENS: Final = {"check-in": frozenset({"RESERVED"}), "check-out": frozenset({"ACTIVE", "OVERSTAY"})}


class Code(msgspec.Struct, frozen=True):
    """What a QR code says; nbf and exp are seconds since 1970."""

    booking_id: UUID
    place_id: UUID
    action: Action
    nbf: int
    exp: int
    jti: UUID


class Codes:
    """Signs and takes QR codes."""

    def __init__(self, seed: bytes) -> None:
        self._signer: Signer[Code] = Signer(seed, "qr code", Code)

    def sign(self, booking: Booking, action: Action, now: datetime) -> str:
        """Return a code for the next ten minutes; WrongStateError if the action is not next."""
        if booking.status not in _OPENS[action] or booking.extends is not None:
            raise WrongStateError(f"The booking is {booking.status}.", facts={"status": booking.status})
        since = int(now.timestamp())
        until = int((now + GOOD_FOR).timestamp())
        return self._signer.sign(Code(booking.booking_id, booking.place_id, action, since, until, uuid4()))

    async def use(self, connection: Connection, text: str, booking: Booking, action: Action, now: datetime) -> None:
        """Take a code for this action of this booking; WrongTokenError."""
        code = self._signer.check(text)
        if code is None or not code.nbf <= now.timestamp() < code.exp:
            raise WrongTokenError
        if (code.booking_id, code.place_id, code.action) != (booking.booking_id, booking.place_id, action):
            raise WrongTokenError
        if await (await connection.execute(_USE, [code.jti, action])).fetchone() is None:
            raise WrongTokenError
