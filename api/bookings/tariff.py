"""The price of a stay follows from its tariff, its first and last instant and the place's time zone, and nothing else.

The words are those of a Rate in the Curb Data Specification 1.1: `rate`, `rate_unit`, `increment_duration`,
`start_duration`, `end_duration`, `maximum_fee`, `rolling` and `calendar`. One thing differs: `rate` is the price of an
increment, begun or whole, not of a unit, since "50 for the first three hours" is no whole number an hour.

Hours are elapsed time: a night in which the clocks change costs what it lasts. With a `maximum_fee` the stay is cut
into days (24 h from its start, or at local midnight), each is priced for itself, and none costs more than that.
Surcharges come on top, once for each night in which the stay touches their local hours.

A stay may cost more than its parts booked one by one only in a tariff that calls itself `progressive`; any other in
which that could happen is refused (`find_split`). Free minutes are free for stays no longer than they, by their nature.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, partial
from itertools import pairwise
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

VehicleKind = Literal["car", "motorcycle", "van"]
Unit = Literal["minute", "hour", "day"]
Period = Literal["rolling", "calendar"]

DAY: Final = timedelta(days=1)
LONGEST_DAY: Final = timedelta(hours=25)
SHORTEST_INCREMENT: Final = timedelta(minutes=15)
LONGEST: Final = timedelta(days=366)
_UNITS: Final[dict[Unit, timedelta]] = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": DAY}
_MOST_MINOR: Final = 10**10

Minor = Annotated[int, msgspec.Meta(ge=0, le=_MOST_MINOR)]
Count = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
MinuteOfDay = Annotated[int, msgspec.Meta(ge=0, le=1439)]


class Rate(msgspec.Struct, frozen=True, omit_defaults=True):
    """The price of each begun increment between start_duration and end_duration of the stay, counted in rate_units."""

    rate: Minor
    rate_unit: Unit = "hour"
    increment_duration: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    start_duration: Count = 0
    end_duration: Count | None = None

    @property
    def increment(self) -> timedelta:
        return self.increment_duration * _UNITS[self.rate_unit]

    @property
    def start(self) -> timedelta:
        return self.start_duration * _UNITS[self.rate_unit]

    @property
    def end(self) -> timedelta | None:
        return None if self.end_duration is None else self.end_duration * _UNITS[self.rate_unit]


class Surcharge(msgspec.Struct, frozen=True):
    """An amount for each night in which the stay touches these local hours; `to` may lie behind midnight."""

    amount: Minor
    from_minute: MinuteOfDay
    to_minute: Annotated[int, msgspec.Meta(ge=1, le=2880)]


class Tariff(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rules of price in minor units of a currency. `rates_of` holds other rates for kinds of vehicles."""

    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    rates: Annotated[tuple[Rate, ...], msgspec.Meta(min_length=1, max_length=20)]
    rates_of: dict[VehicleKind, Annotated[tuple[Rate, ...], msgspec.Meta(min_length=1, max_length=20)]] = {}
    maximum_fee: Minor | None = None
    maximum_fee_period: Period = "rolling"
    surcharges: Annotated[tuple[Surcharge, ...], msgspec.Meta(max_length=5)] = ()
    free_min: Annotated[int, msgspec.Meta(ge=0, le=1440)] = 0
    validated_free_min: Annotated[int, msgspec.Meta(ge=0, le=1440)] = 0
    """So much of a stay that a shop has validated is free."""
    progressive: bool = False


def check_tariff(tariff: Tariff) -> None:
    """Raise ValueError, with the rule, for a tariff that cannot be meant."""
    for rates in (tariff.rates, *tariff.rates_of.values()):
        _check_rates(rates)
        split = None if tariff.progressive else find_split(tariff, rates)
        if split is not None:
            first, second = split
            raise ValueError(f"{first + second} costs more than {first} and then {second}: say progressive if so meant")
    if any(one.to_minute <= one.from_minute for one in tariff.surcharges):
        raise ValueError("surcharges: to_minute must lie behind from_minute")


def _check_rates(rates: tuple[Rate, ...]) -> None:
    if rates[0].start_duration or rates[-1].end_duration is not None:
        raise ValueError("rates: the first begins at 0, and the last has no end")
    for one, following in pairwise(rates):
        if one.end != following.start:
            raise ValueError("rates: each begins where the one before ends")
    for one in rates:
        if one.increment < SHORTEST_INCREMENT:
            raise ValueError("rates: an increment is 15 minutes or more")
        if one.end is not None and (one.end <= one.start or (one.end - one.start) % one.increment):
            raise ValueError("rates: from start_duration to end_duration are whole increments")


def price(tariff: Tariff, start: datetime, end: datetime, zone: ZoneInfo, vehicle: VehicleKind = "car") -> int:
    """Return what [start, end) costs in minor units; ValueError unless it is a window of at most 366 days."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)  # differences of local times would be wall-clock ones
    if not timedelta(0) < end - start <= LONGEST:
        raise ValueError("a stay ends after it begins, and lasts 366 days at most")
    if end - start <= timedelta(minutes=tariff.free_min):
        return 0
    rates = tariff.rates_of.get(vehicle, tariff.rates)
    nights = sum(one.amount * _nights(one, start, end, zone) for one in tariff.surcharges)
    if tariff.maximum_fee is None:
        return _elapsed_price(rates, end - start) + nights
    cuts = [start, *_cuts(tariff.maximum_fee_period, start, end, zone), end]
    return sum(min(tariff.maximum_fee, _elapsed_price(rates, to - since)) for since, to in pairwise(cuts)) + nights


def validated_price(tariff: Tariff, start: datetime, end: datetime, zone: ZoneInfo, vehicle: VehicleKind) -> int:
    """Return what the stay costs once a shop has validated it: all of it less what its free part costs."""
    free_until = min(end, start + timedelta(minutes=tariff.validated_free_min))
    free = price(tariff, start, free_until, zone, vehicle) if free_until > start else 0
    return max(0, price(tariff, start, end, zone, vehicle) - free)


def find_split(tariff: Tariff, rates: tuple[Rate, ...]) -> tuple[timedelta, timedelta] | None:
    """Return two durations that are cheaper one by one than together, None if there are none.

    A price is a step function of duration, so only the ends of steps need looking at.
    """
    calendar = tariff.maximum_fee is not None and tariff.maximum_fee_period == "calendar"
    horizon = LONGEST_DAY if calendar else 2 * max(DAY, rates[-1].start + rates[-1].increment)
    ends = sorted({*_step_ends(rates, horizon), DAY})
    cost = cache(partial(_day_price, tariff, rates))
    for first in ends:
        for second in ends:
            whole = first + second
            if second < first or whole > horizon:
                continue
            if cost(whole) > cost(first) + cost(second):
                return first, second
    return None


def _step_ends(rates: tuple[Rate, ...], horizon: timedelta) -> Iterator[timedelta]:
    for rate in rates:
        step = rate.start + rate.increment
        while step <= min(horizon, rate.end or horizon):
            yield step
            step += rate.increment


def _day_price(tariff: Tariff, rates: tuple[Rate, ...], elapsed: timedelta) -> int:
    if tariff.maximum_fee is None:
        return _elapsed_price(rates, elapsed)
    if tariff.maximum_fee_period == "calendar":
        return min(tariff.maximum_fee, _elapsed_price(rates, elapsed))
    days, rest = divmod(elapsed, DAY)
    whole = min(tariff.maximum_fee, _elapsed_price(rates, DAY))
    return days * whole + min(tariff.maximum_fee, _elapsed_price(rates, rest))


def _elapsed_price(rates: tuple[Rate, ...], elapsed: timedelta) -> int:
    total = 0
    for one in rates:
        inside = min(elapsed, one.end or elapsed) - one.start
        if inside > timedelta(0):
            total += one.rate * -(-inside // one.increment)
    return total


def _cuts(period: Period, start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    cut = start
    while True:
        cut = cut + DAY if period == "rolling" else _local(cut.astimezone(zone).date() + DAY, 0, zone)
        if cut >= end:
            return
        yield cut


def _nights(surcharge: Surcharge, start: datetime, end: datetime, zone: ZoneInfo) -> int:
    first = start.astimezone(zone).date() - DAY
    count = (end.astimezone(zone).date() - first).days + 1
    return sum(
        _local(day, surcharge.from_minute, zone) < end and start < _local(day, surcharge.to_minute, zone)
        for day in (first + DAY * number for number in range(count))
    )


def _local(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """Return the instant at which the clocks of the zone show this minute of this day."""
    days, rest = divmod(minute, 1440)
    shown = datetime.combine(day + DAY * days, time(rest // 60, rest % 60), zone)
    return shown.astimezone(UTC)
