"""What a change of plans costs: cancelling, staying away, staying too long. Pure; a booking keeps its first policy.

Cancelling a day or more before is always free. Whatever a host, an operator or the platform cancels is refunded whole.
"""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from api.bookings.tariff import Tariff, VehicleKind, price

Canceler = Literal["driver", "host", "operator", "platform"]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]

EARLY: Final = timedelta(minutes=15)
"""So long before its start a booking can be checked in, if the space is free."""
PAY_LATER_WAIT: Final = timedelta(minutes=30)
OVERSTAY_PERCENT: Final = 150


class Policy(msgspec.Struct, frozen=True):
    """full_refund_before_s: cancelled so long before the start, all is refunded; later, late_refund_percent of it.

    no_show_after_s: the operator gives a place up so long after the start; null, at the end, since it is paid for.
    auto_check_out_s: a stay that nobody ends is ended so long after its time was over.
    """

    full_refund_before_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 86_400
    late_refund_percent: Percent = 50
    no_show_refund_percent: Percent = 0
    no_show_after_s: Annotated[int, msgspec.Meta(ge=900, le=86_400)] | None = None
    grace_s: Annotated[int, msgspec.Meta(ge=0, le=7200)] = 900
    auto_check_out_s: Annotated[int, msgspec.Meta(ge=7200, le=86_400)] = 43_200


def percent_of(amount_minor: int, percent: int) -> int:
    """Return so many per cent of an amount, half rounded up."""
    return (amount_minor * percent + 50) // 100


def cancel_refund(policy: Policy, total_minor: int, start: datetime, now: datetime, by: Canceler) -> int:
    """Return what of a paid total is refunded when it is cancelled now."""
    if by != "driver" or start - now >= timedelta(seconds=policy.full_refund_before_s):
        return total_minor
    return percent_of(total_minor, policy.late_refund_percent)


def no_show_at(policy: Policy, start: datetime, end: datetime, *, pay_later: bool) -> datetime:
    """Return when a reserved booking that nobody checked in is given up."""
    if pay_later:
        return min(start + PAY_LATER_WAIT, end)
    if policy.no_show_after_s is not None:
        return min(start + timedelta(seconds=policy.no_show_after_s), end)
    return end


def overrun_at(policy: Policy, end: datetime) -> datetime:
    """Return when a stay that has not ended becomes an overstay."""
    return end + timedelta(seconds=policy.grace_s)


def forgotten_at(policy: Policy, end: datetime) -> datetime:
    """Return when a stay that nobody has ended is ended."""
    return end + timedelta(seconds=policy.auto_check_out_s)


def overstay_fee(
    policy: Policy,
    tariff: Tariff,
    stay: tuple[datetime, datetime],
    left: datetime,
    zone: ZoneInfo,
    vehicle: VehicleKind,
) -> int:
    """Return what leaving so late costs: what the stay would have cost more, times 1.5; within the grace nothing.

    At most the time until it is ended by itself counts, and never more than the tariff's daily maximum.
    """
    start, end = stay
    left = min(left, forgotten_at(policy, end))
    if left < overrun_at(policy, end) or left <= end:
        return 0
    more = price(tariff, start, left, zone, vehicle) - price(tariff, start, end, zone, vehicle)
    fee = percent_of(max(0, more), OVERSTAY_PERCENT)
    return fee if tariff.maximum_fee is None else min(fee, tariff.maximum_fee)
