"""The seam between bookings and money: what each asks of the other, always inside the caller's own transaction.

Bookings ask `Money`. They say what a change of a booking means for its money, in the transaction of that change, as
role `parkpal_desk`; no method may go to the network. Amounts are integer minor units of the booking's currency.

- `rails` before a quote: how a total can be paid. A quote without one cannot be held.
- `earned`: of what was captured for the booking, this much now belongs to the host (and the platform's fee).
- `refund_due`: of what was captured, this much goes back to the driver. Earned plus refund due is never more than what
  was captured; where only a part is named, the rest stays held for the booking.
- `charge_due`: the driver owes this much more (a walk-up's stay, an overstay). Money sets the booking's
  `payment_status` to `balance_due` and later to `paid`; a balance due blocks new holds, never an exit.
- `compensate`: the driver gets this much from the platform, on top of any refund.
- `subsidise`: the booking was moved to a dearer place: its host gets this much from the platform, on top of what is
  earned.

Payments call `api.bookings.paid`, in their transaction, as role `parkpal_desk` (`api.tenancy.at_desk`):

- `confirm_paid`: the full price was captured. `Confirmed(booking_id)` names the booking that now has the place: the
  same one, or, where the money came after the hold had expired, another one that replaces it (`bookings.replaces`)
  and to which the captured money belongs from now on. `Lost` means that no place can be had: refund it all.
- `set_payment_status`.

A booking with nothing to pay never meets any of this: it is confirmed by the driver alone.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

from api.database import Connection

Earning = Literal["stay", "no_show", "late_cancel", "overstay"]
Charge = Literal["stay", "overstay"]


class Rail(NamedTuple):
    """A way to pay, and the smallest amount that it takes."""

    name: str
    minimum_minor: int


class Money(Protocol):
    """What bookings ask of payments."""

    @property
    def compensation_minor(self) -> int:
        """Return what a driver whose place is gone gets at most, in minor units of the booking's currency."""

    def rails(self, currency: str) -> Sequence[Rail]:
        """Return the ways to pay in this currency."""

    async def earned(self, connection: Connection, booking_id: UUID, amount_minor: int, kind: Earning) -> None:
        """Book a part of the captured money as earned."""

    async def refund_due(self, connection: Connection, booking_id: UUID, amount_minor: int, reason: str) -> None:
        """Book a part of the captured money as due to the driver."""

    async def charge_due(self, connection: Connection, booking_id: UUID, amount_minor: int, kind: Charge) -> None:
        """Ask the driver for more."""

    async def compensate(self, connection: Connection, booking_id: UUID, amount_minor: int, reason: str) -> None:
        """Give the driver something of the platform's own."""

    async def subsidise(self, connection: Connection, booking_id: UUID, amount_minor: int) -> None:
        """Promise the host of the booking's place something of the platform's own."""
