"""Holds, stays and their ends, on a real database, at times that the test sets."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from api.bookings.changes import approve, cancel, confirm_free, read_terms
from api.bookings.paid import Confirmed, Lost, confirm_paid
from api.bookings.policy import Canceler
from api.bookings.stays import check_in, check_out, walk_in
from api.errors import (
    BalanceDueError,
    CannotPayError,
    PlaceClosedError,
    PlaceTakenError,
    TooEarlyError,
    WrongStateError,
)
from tests.api.bookings.conftest import HOURLY, NOON, Desk, Ground

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

HOUR = timedelta(hours=1)


@pytest.fixture
def paid_ground(ground: Ground) -> Ground:
    """A ground whose only space costs 40 an hour."""
    ground.run("UPDATE places SET state = 'retired'")
    ground.place_id = ground.add_place(tariff_id=ground.add_tariff(HOURLY))
    return ground


async def test_of_rivals_for_a_space_one_has_it_and_the_others_learn_what_is_left(ground: Ground, desk: Desk) -> None:
    other = ground.add_place(name="Across the street", lat=14.5502)
    holds = [desk.hold(NOON + n * HOUR / 4, driver_id=ground.add_person()) for n in range(8)]
    outcomes = await asyncio.gather(*holds, return_exceptions=True)
    refusals = [one for one in outcomes if isinstance(one, PlaceTakenError)]
    assert len(refusals) == 7
    assert all(str(other) in one.facts["other_places"] for one in refusals)
    with pytest.raises(PlaceTakenError) as raised:
        await desk.hold(NOON - HOUR)
    assert raised.value.facts["latest_end"] >= NOON.isoformat()


async def test_a_hold_that_ran_out_is_ended_by_whoever_wants_the_place(ground: Ground, desk: Desk) -> None:
    first = await desk.hold()
    desk.now += timedelta(minutes=10)
    second = await desk.hold()
    assert (ground.status(first), ground.status(second)) == ("EXPIRED", "HELD")


async def test_what_is_free_is_confirmed_by_its_driver_and_the_rest_by_money(paid_ground: Ground, desk: Desk) -> None:
    paid = await desk.hold()
    with pytest.raises(CannotPayError):
        await desk.do(confirm_free, paid)
    assert await desk.do(confirm_paid, paid) == Confirmed(paid)
    free = await desk.hold(place_id=paid_ground.add_place())
    await desk.do(confirm_free, free)
    assert paid_ground.status(free) == paid_ground.status(paid) == "RESERVED"
    assert paid_ground.letters() == ["booking_reserved"] * 2


async def test_a_total_that_no_rail_takes_cannot_be_held_and_says_what_could(paid_ground: Ground, desk: Desk) -> None:
    cheap = {"currency": "PHP", "rates": [{"rate": 600, "rate_unit": "minute", "increment_duration": 15}]}
    place_id = paid_ground.add_place(tariff_id=paid_ground.add_tariff(cheap))
    with pytest.raises(CannotPayError) as raised:
        await desk.hold(hours=0.5, place_id=place_id)
    assert raised.value.facts == {"shortest_s": 3600}


async def test_who_owes_holds_nothing_new(ground: Ground, desk: Desk) -> None:
    ground.add_booking(NOON - 5 * HOUR, status="FULFILLED", hold_expires_at=None, payment_status="balance_due")
    with pytest.raises(BalanceDueError):
        await desk.hold()


async def test_money_that_is_late_gets_the_place_again_or_another_or_goes_back(ground: Ground, desk: Desk) -> None:
    first = await desk.hold()
    await desk.tick(minutes=11)
    assert ground.status(first) == "EXPIRED"
    outcome = await desk.do(confirm_paid, first)
    assert isinstance(outcome, Confirmed)
    assert outcome.booking_id != first
    assert ground.status(outcome.booking_id) == "RESERVED"
    assert await desk.do(confirm_paid, outcome.booking_id) == Lost("RESERVED")
    assert await desk.do(confirm_paid, first) == Lost("EXPIRED")
    second = await desk.hold(NOON + 4 * HOUR)
    await desk.tick(minutes=11)
    rival = await desk.hold(NOON + 4 * HOUR)
    assert await desk.do(confirm_paid, second) == Lost("EXPIRED")
    near = ground.add_place(lat=14.551)
    moved = await desk.do(confirm_paid, second)
    assert isinstance(moved, Confirmed)
    assert (await desk.read(moved.booking_id)).place_id == near
    assert ground.status(rival) == "HELD"
    assert ground.letters().count("booking_late_paid") == 2


async def test_a_lot_sells_each_quarter_as_often_as_it_has_spaces(ground: Ground, desk: Desk) -> None:
    lot_id = ground.add_place("lot", capacity=3)
    holds = [desk.hold(NOON + (n % 4) * HOUR / 4, place_id=lot_id) for n in range(12)]
    outcomes = await asyncio.gather(*holds, return_exceptions=True)
    assert sum(not isinstance(one, PlaceTakenError) for one in outcomes) == 3
    ((most,),) = ground.run("SELECT max(used) FROM lot_buckets")
    assert most == 3
    with pytest.raises(PlaceClosedError):
        await desk.hold(NOON + timedelta(minutes=5), place_id=lot_id)


async def test_a_lot_takes_back_what_is_canceled_or_runs_out(ground: Ground, desk: Desk) -> None:
    lot_id = ground.add_place("lot", capacity=1)
    first = await desk.hold(place_id=lot_id)
    await desk.do(cancel, desk.books, first, "driver", "")
    await desk.hold(NOON + HOUR, place_id=lot_id)
    desk.now += timedelta(minutes=10)
    third = await desk.hold(place_id=lot_id)
    assert ground.status(third) == "HELD"
    assert ground.run("SELECT DISTINCT used FROM lot_buckets WHERE starts_at < %s", NOON + 2 * HOUR) == [(1,)]
    assert ground.run("SELECT DISTINCT used FROM lot_buckets WHERE starts_at >= %s", NOON + 2 * HOUR) == [(0,)]


async def test_a_lot_gives_its_space_at_check_in_and_none_twice(ground: Ground, desk: Desk) -> None:
    lot_id = ground.add_place("lot", capacity=2)
    ground.add_bays(lot_id, 2)
    booked = [await desk.hold(place_id=lot_id) for _ in range(2)]
    for booking_id in booked:
        assert (await desk.do(confirm_free, booking_id)).space_id is None
    desk.now = NOON
    stays = await asyncio.gather(*(desk.do(check_in, desk.books, booking_id) for booking_id in booked))
    assert len({stay.space_id for stay in stays}) == 2


async def test_check_in_is_possible_a_quarter_early_if_the_space_is_free(ground: Ground, desk: Desk) -> None:
    booking_id, rival = await desk.hold(), await desk.hold(NOON - HOUR, 1)
    for one in (booking_id, rival):
        await desk.do(confirm_free, one)
    desk.now = NOON - timedelta(minutes=16)
    with pytest.raises(TooEarlyError):
        await desk.do(check_in, desk.books, booking_id)
    desk.now = NOON - timedelta(minutes=14)
    with pytest.raises(TooEarlyError) as raised:
        await desk.do(check_in, desk.books, booking_id)
    assert raised.value.facts == {"from": NOON.isoformat()}
    await desk.do(cancel, desk.books, rival, "driver", "")
    desk.now = NOON - 2 * HOUR
    await desk.hold(NOON - HOUR, 1)  # runs out, and is in nobody's way
    desk.now = NOON - timedelta(minutes=14)
    await desk.do(check_in, desk.books, booking_id)
    assert (await desk.read(booking_id)).starts_at == desk.now


async def test_a_space_opens_to_one_stay_and_the_next_is_moved_or_gets_everything_back(
    paid_ground: Ground, desk: Desk
) -> None:
    first, second = await desk.hold(), await desk.hold(NOON + 2 * HOUR)
    for booking_id in (first, second):
        await desk.do(confirm_paid, booking_id)
    desk.now = NOON
    await desk.do(check_in, desk.books, first)
    desk.now = NOON + 2 * HOUR
    near = paid_ground.add_place(lat=14.551, tariff_id=paid_ground.add_tariff({**HOURLY, "rates": [{"rate": 5000}]}))
    moved = await desk.do(check_in, desk.books, second)
    assert (moved.place_id, moved.status) == (near, "RESERVED")
    assert desk.books.short() == [("subsidy", 2000)]
    assert (await desk.do(check_in, desk.books, second)).status == "ACTIVE"


async def test_an_overstay_costs_makes_way_for_the_next_and_ends_by_itself(paid_ground: Ground, desk: Desk) -> None:
    """And whoever loses the place by it gets everything back, and at most what the platform has set besides."""
    desk.books.compensation_minor = 2_500
    first, second = await desk.hold(), await desk.hold(NOON + 2 * HOUR)
    for booking_id in (first, second):
        await desk.do(confirm_paid, booking_id)
    desk.now = NOON
    await desk.do(check_in, desk.books, first)
    await desk.tick(hours=1.8)
    assert paid_ground.letters().count("booking_ending") == 1
    await desk.tick(minutes=30)
    assert paid_ground.status(first) == "OVERSTAY"
    assert paid_ground.status(second) == "CANCELED"
    assert desk.books.lines == [
        ("refund", second, 8000, "the one before has not left"),
        ("compensation", second, 2500, "the one before has not left"),
    ]
    await desk.tick(hours=12)
    assert paid_ground.status(first) == "FULFILLED"
    assert desk.books.short()[2:] == [("earned", 8000), ("charge", 30_000)]
    assert paid_ground.run("SELECT overstay_minor, flagged FROM bookings WHERE booking_id = %s", first) == [
        (30_000, True)
    ]
    assert {"booking_overstay", "booking_lost", "booking_auto_check_out"} <= set(paid_ground.letters())


async def test_who_does_not_come_pays_at_the_end_of_the_paid_time(paid_ground: Ground, desk: Desk) -> None:
    booking_id = await desk.hold()
    await desk.do(confirm_paid, booking_id)
    await desk.tick(hours=3)
    assert paid_ground.status(booking_id) == "RESERVED"
    await desk.tick(hours=1)
    assert paid_ground.status(booking_id) == "NO_SHOW"
    assert desk.books.short() == [("earned", 8000)]


async def test_late_check_in_is_allowed_while_the_time_is_paid(paid_ground: Ground, desk: Desk) -> None:
    booking_id = await desk.hold()
    await desk.do(confirm_paid, booking_id)
    desk.now = NOON + timedelta(minutes=119)
    await desk.do(check_in, desk.books, booking_id)
    desk.now += timedelta(minutes=10)
    await desk.do(check_out, desk.books, booking_id)
    assert desk.books.short() == [("earned", 8000)]


async def test_a_late_cancel_costs_half_and_a_host_who_cancels_gives_all_back(paid_ground: Ground, desk: Desk) -> None:
    first, second = await desk.hold(), await desk.hold(NOON + 3 * HOUR)
    for booking_id in (first, second):
        await desk.do(confirm_paid, booking_id)
    await desk.do(cancel, desk.books, first, "driver", "")
    await desk.do(cancel, desk.books, second, "host", "flooded")
    assert desk.books.short() == [("refund", 4000), ("earned", 4000), ("refund", 8000)]
    assert paid_ground.run("SELECT reason FROM bookings WHERE booking_id = %s", second) == [
        ("canceled by host: flooded",)
    ]


async def test_an_extension_is_more_of_the_same_stay(paid_ground: Ground, desk: Desk) -> None:
    booking_id = await desk.hold()
    await desk.do(confirm_paid, booking_id)
    desk.now = NOON
    await desk.do(check_in, desk.books, booking_id)
    extension = await desk.extend(booking_id, 1)
    await desk.do(confirm_paid, extension)
    await desk.tick(hours=2)
    assert (await desk.read(booking_id)).stay_ends_at == NOON + 3 * HOUR
    await desk.tick(minutes=30)
    assert paid_ground.status(booking_id) == "ACTIVE"
    await desk.do(check_out, desk.books, booking_id)
    assert paid_ground.status(extension) == "FULFILLED"
    assert desk.books.short() == [("earned", 8000), ("earned", 4000)]
    third = await desk.hold(NOON + 3 * HOUR)
    assert paid_ground.status(third) == "HELD"


async def test_an_extension_meets_the_next_booking_and_a_stay_that_has_ended(paid_ground: Ground, desk: Desk) -> None:
    booking_id = await desk.hold()
    await desk.do(confirm_paid, booking_id)
    await desk.hold(NOON + 4 * HOUR)
    with pytest.raises(PlaceTakenError) as raised:
        await desk.extend(booking_id, 3)
    assert raised.value.facts["latest_end"] == (NOON + 4 * HOUR).isoformat()
    extension = await desk.extend(booking_id, 2)
    desk.now = NOON
    await desk.do(check_in, desk.books, booking_id)
    await desk.do(check_out, desk.books, booking_id)
    assert await desk.do(confirm_paid, extension) == Lost("CANCELED")


async def test_a_walk_up_begins_at_once_and_pays_for_what_it_used(paid_ground: Ground, desk: Desk) -> None:
    desk.now = NOON
    booking_id = await desk.hold(NOON, 5, pay_later=True)
    await desk.do(walk_in, booking_id)
    desk.now += timedelta(minutes=90)
    await desk.do(check_out, desk.books, booking_id)
    assert desk.books.short() == [("charge", 8000)]


async def test_what_is_paid_early_is_not_charged_at_the_end(paid_ground: Ground, desk: Desk) -> None:
    """Found by tests.crash.bookings, seed 2: more time of a walk-up, paid for when it was held."""
    desk.now = NOON
    booking_id = await desk.hold(NOON, 1, pay_later=True)
    await desk.do(walk_in, booking_id)
    extension = await desk.extend(booking_id, 1)
    await desk.do(confirm_paid, extension)
    desk.now += timedelta(minutes=90)
    await desk.do(check_out, desk.books, booking_id)
    assert desk.books.short() == [("charge", 4000), ("earned", 4000)]


async def test_who_is_late_in_a_lot_takes_what_is_not_sold_yet(ground: Ground, desk: Desk) -> None:
    lot_id = ground.add_place("lot", capacity=1)
    ground.add_bays(lot_id, 1)
    booking_id = await desk.hold(place_id=lot_id)
    await desk.do(confirm_free, booking_id)
    desk.now = NOON
    await desk.do(check_in, desk.books, booking_id)
    await desk.tick(hours=2, minutes=5)
    with pytest.raises(PlaceTakenError):
        await desk.hold(NOON + 2 * HOUR + HOUR / 4, place_id=lot_id)
    await desk.do(check_out, desk.books, booking_id)
    await desk.hold(NOON + 2 * HOUR + HOUR / 4, place_id=lot_id)
    assert ground.run("SELECT DISTINCT over FROM lot_buckets WHERE starts_at > %s", NOON + 2 * HOUR) == [(0,)]


async def test_leaving_a_lot_early_gives_back_what_has_not_begun(ground: Ground, desk: Desk) -> None:
    lot_id = ground.add_place("lot", capacity=1)
    ground.add_bays(lot_id, 1)
    booking_id = await desk.hold(place_id=lot_id)
    await desk.do(confirm_free, booking_id)
    desk.now = NOON
    await desk.do(check_in, desk.books, booking_id)
    desk.now += timedelta(minutes=20)
    await desk.do(check_out, desk.books, booking_id)
    await desk.hold(NOON + HOUR / 2, 1, place_id=lot_id)
    desk.now = NOON + HOUR / 4
    with pytest.raises(PlaceTakenError):
        await desk.hold(NOON + HOUR / 4, 0.25, place_id=lot_id)


async def test_a_host_may_ask_to_be_asked(ground: Ground, desk: Desk) -> None:
    place_id = ground.add_place(by_approval=True)
    booking_id = await desk.hold(NOON + 2 * HOUR, place_id=place_id)
    with pytest.raises(WrongStateError):
        await desk.do(confirm_free, booking_id)
    await desk.do(approve, booking_id)
    with pytest.raises(WrongStateError):
        await desk.do(approve, booking_id)
    await desk.do(confirm_free, booking_id)
    unanswered = await desk.hold(NOON + 30 * HOUR, place_id=place_id)
    await desk.tick(hours=24)
    assert ground.status(unanswered) == "EXPIRED"


async def test_hours_blocks_pauses_and_notice_are_kept(ground: Ground, desk: Desk) -> None:
    closed = ground.add_place()
    hours = "INSERT INTO opening_hours (place_id, tenant_id, weekday, opens_min, closes_min) VALUES (%s, %s, 2, 0, 60)"
    ground.run(hours, closed, ground.tenant_id)
    blocked = ground.add_place()
    block = "INSERT INTO blocks (place_id, tenant_id, during) VALUES (%s, %s, tstzrange(%s, %s))"
    ground.run(block, blocked, ground.tenant_id, NOON + HOUR, NOON + 2 * HOUR)
    paused = ground.add_place(buffer=HOUR / 2)
    await desk.hold(NOON - 2 * HOUR, place_id=paused)
    early, paused_off = ground.add_place(lead_time=3 * HOUR), ground.add_place(state="paused")
    for place_id in (closed, blocked, paused, early, paused_off):
        with pytest.raises(PlaceClosedError):
            await desk.hold(place_id=place_id)
    await desk.hold(place_id=blocked, hours=1)
    await desk.hold(NOON + HOUR / 2, place_id=paused)


async def test_a_blocked_space_of_a_lot_is_not_sold(ground: Ground, desk: Desk) -> None:
    lot_id = ground.add_place("lot", capacity=2)
    block = "INSERT INTO blocks (place_id, tenant_id, during, spaces) VALUES (%s, %s, tstzrange(%s, %s), 1)"
    ground.run(block, lot_id, ground.tenant_id, NOON, NOON + HOUR)
    await desk.hold(place_id=lot_id)
    with pytest.raises(PlaceTakenError):
        await desk.hold(place_id=lot_id)
    await desk.hold(NOON + HOUR, place_id=lot_id)


async def test_nothing_happens_to_what_is_over(ground: Ground, desk: Desk) -> None:
    booking_id = await desk.hold()
    await desk.do(cancel, desk.books, booking_id, "driver", "")
    for action in (confirm_free, approve, walk_in):
        with pytest.raises(WrongStateError):
            await desk.do(action, booking_id)
    assert await desk.do(confirm_paid, booking_id) == Lost("CANCELED")
    with pytest.raises(LookupError):
        await desk.do(confirm_paid, uuid4())


async def test_a_booking_that_cannot_be_read_stops_no_other(desk: Desk, ground: Ground) -> None:
    broken = await desk.hold()
    sound = await desk.hold(NOON + timedelta(hours=4))
    ground.run("UPDATE bookings SET policy = '{\"grace_s\": -1}' WHERE booking_id = %s", broken)
    assert await desk.tick(minutes=20) == 1
    assert (ground.status(broken), ground.status(sound)) == ("HELD", "EXPIRED")


@pytest.mark.parametrize(("by", "refund"), [("driver", 2_500), ("host", 5_000), ("platform", 5_000)])
async def test_what_cancelling_would_come_to_is_what_it_comes_to(
    desk: Desk, ground: Ground, by: Canceler, refund: int
) -> None:
    """Half a day before a stay that was paid, a driver gets half of it; asking changes nothing."""
    booking_id = ground.add_booking(NOON, status="RESERVED", hold_expires_at=None, payment_status="paid")
    desk.now = NOON - timedelta(hours=12)
    terms = await desk.do(read_terms, booking_id, by)
    assert (terms.paid_minor, terms.refund_minor, terms.free_until) == (5_000, refund, NOON - timedelta(hours=24))
    assert ground.status(booking_id) == "RESERVED"
    await desk.do(cancel, desk.books, booking_id, by, "flooded")
    assert desk.books.short()[0] == ("refund", terms.refund_minor)
    with pytest.raises(WrongStateError):
        await desk.do(read_terms, booking_id, by)
