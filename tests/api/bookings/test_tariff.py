"""Prices: what malls charge, on days of 23, 24 and 25 hours, and never less in two parts than in one by accident."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from api.bookings.tariff import Rate, Surcharge, Tariff, check_tariff, price, validated_price

MANILA, BERLIN = ZoneInfo("Asia/Manila"), ZoneInfo("Europe/Berlin")
MALL = Tariff(
    "PHP",
    (Rate(5000, "hour", 3, 0, 3), Rate(2000, "hour", 1, 3)),
    rates_of={"motorcycle": (Rate(3000, "day"),)},
    surcharges=(Surcharge(20_000, 120, 360),),
    free_min=15,
    validated_free_min=180,
    progressive=True,
)
HOURLY = Tariff("PHP", (Rate(4000),), maximum_fee=25_000)


def at(text: str, zone: ZoneInfo = MANILA) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("start", "end", "minor"),
    [
        ("2031-03-03 10:00", "2031-03-03 10:15", 0),
        ("2031-03-03 10:00", "2031-03-03 10:16", 5000),
        ("2031-03-03 10:00", "2031-03-03 13:00", 5000),
        ("2031-03-03 10:00", "2031-03-03 13:01", 7000),
        ("2031-03-03 10:00", "2031-03-03 15:00", 9000),
        ("2031-03-03 23:00", "2031-03-04 02:00", 5000),
        ("2031-03-03 23:00", "2031-03-04 02:01", 5000 + 2000 + 20_000),
        ("2031-03-03 05:59", "2031-03-03 08:00", 25_000),
        ("2031-03-03 06:00", "2031-03-03 09:00", 5000),
        ("2031-03-03 01:00", "2031-03-05 01:00", 5000 + 45 * 2000 + 2 * 20_000),
    ],
)
def test_a_mall_charges_as_its_sign_says(start: str, end: str, minor: int) -> None:
    """50 for the first three hours, 20 for each further one or part, 200 for a night, 15 minutes free."""
    assert price(MALL, at(start), at(end), MANILA) == minor


def test_motorcycles_pay_flat_and_shoppers_three_hours_less() -> None:
    start = at("2031-03-03 10:00")
    assert price(MALL, start, start + timedelta(hours=9), MANILA, "motorcycle") == 3000
    assert validated_price(MALL, start, start + timedelta(hours=2), MANILA, "car") == 0
    assert validated_price(MALL, start, start + timedelta(hours=5), MANILA, "car") == 4000


@pytest.mark.parametrize(("day", "hours"), [("2031-03-30", 23), ("2031-03-29", 24), ("2031-10-26", 25)])
def test_a_night_in_which_the_clocks_change_costs_what_it_lasts(day: str, hours: int) -> None:
    start = at(day, BERLIN)
    end = start + timedelta(days=1)  # on the wall clock
    assert price(Tariff("EUR", (Rate(100),)), start, end, BERLIN) == hours * 100
    capped = Tariff("EUR", (Rate(100),), maximum_fee=1000, maximum_fee_period="calendar")
    assert price(capped, start, end, BERLIN) == 1000


def test_a_daily_maximum_rolls_or_keeps_to_the_calendar() -> None:
    start, end = at("2031-03-03 20:00"), at("2031-03-04 08:00")
    rolling = Tariff("PHP", (Rate(1000),), maximum_fee=5000)
    assert price(rolling, start, end, MANILA) == 5000
    calendar = msgspec.structs.replace(rolling, maximum_fee_period="calendar")
    assert price(calendar, start, end, MANILA) == 4000 + 5000
    assert price(rolling, start, start + timedelta(hours=26), MANILA) == 5000 + 2000


@pytest.mark.parametrize(
    ("tariff", "reason"),
    [
        (msgspec.structs.replace(MALL, progressive=False), "3:00:00 and then 3:00:00"),
        (Tariff("PHP", (Rate(1, start_duration=1),)), "the first begins at 0"),
        (Tariff("PHP", (Rate(1, end_duration=1),)), "the last has no end"),
        (Tariff("PHP", (Rate(2, end_duration=2), Rate(1, start_duration=3))), "where the one before ends"),
        (Tariff("PHP", (Rate(2, "minute", 10),)), "15 minutes"),
        (Tariff("PHP", (Rate(2, "hour", 2, 0, 3), Rate(1, start_duration=3))), "whole increments"),
        (Tariff("PHP", (Rate(2),), surcharges=(Surcharge(1, 360, 120),)), "behind from_minute"),
    ],
)
def test_a_tariff_that_cannot_be_meant_is_refused(tariff: Tariff, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_tariff(tariff)


tiers = st.tuples(st.integers(0, 500), st.sampled_from([15, 30, 60, 120, 180]), st.integers(1, 3))


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    rates, begin = [], 0
    *first, last = draw(st.lists(tiers, min_size=1, max_size=3))
    for rate, minutes, times in first:
        rates.append(Rate(rate, "minute", minutes, begin, begin + minutes * times))
        begin += minutes * times
    rates.append(Rate(last[0], "minute", last[1], begin))
    return Tariff(
        "PHP",
        tuple(rates),
        maximum_fee=draw(st.none() | st.integers(0, 5000)),
        maximum_fee_period=draw(st.sampled_from(["rolling", "calendar"])),
    )


def plain_price(tariff: Tariff, start: datetime, end: datetime, zone: ZoneInfo) -> int:
    """Walk minute by minute: an increment is paid for when it begins."""
    total = today = minutes = 0
    now, next_increment = start.astimezone(UTC), 0
    while now < end:
        capped = tariff.maximum_fee is not None
        local = now.astimezone(zone)
        midnight = (local.hour, local.minute) == (0, 0)
        new_day = midnight if tariff.maximum_fee_period == "calendar" else minutes == 1440
        if capped and new_day and now != start:
            total, today, minutes, next_increment = total + today, 0, 0, 0
        if minutes == next_increment:
            (rate,) = [
                one
                for one in tariff.rates
                if one.start_duration <= minutes and (one.end_duration is None or minutes < one.end_duration)
            ]
            today += rate.rate
            today = today if tariff.maximum_fee is None else min(today, tariff.maximum_fee)
            next_increment += rate.increment_duration
        minutes += 1
        now += timedelta(minutes=1)
    return total + today


starts = st.integers(0, 4 * 1440).map(
    lambda minute: at("2031-03-29", BERLIN).astimezone(UTC) + timedelta(minutes=minute)
)


@settings(deadline=None, max_examples=50)
@given(tariffs(), starts, st.integers(1, 3 * 1440))
def test_the_price_is_what_walking_minute_by_minute_finds(tariff: Tariff, start: datetime, minutes: int) -> None:
    end = start + timedelta(minutes=minutes)
    assert price(tariff, start, end, BERLIN) == plain_price(tariff, start, end, BERLIN)


@settings(deadline=None)
@given(tariffs(), starts, st.integers(1, 1440), st.integers(1, 1440))
def test_no_accepted_tariff_makes_the_whole_dearer_than_its_parts(
    tariff: Tariff, start: datetime, first: int, second: int
) -> None:
    try:
        check_tariff(tariff)
    except ValueError:
        assume(False)
    middle, end = start + timedelta(minutes=first), start + timedelta(minutes=first + second)
    parts = price(tariff, start, middle, BERLIN) + price(tariff, middle, end, BERLIN)
    assert price(tariff, start, end, BERLIN) <= parts


@given(tariffs(), starts, st.integers(1, 3 * 1440))
def test_longer_is_never_cheaper(tariff: Tariff, start: datetime, minutes: int) -> None:
    end = start + timedelta(minutes=minutes)
    assert price(tariff, start, end, BERLIN) <= price(tariff, start, end + timedelta(minutes=1), BERLIN)
