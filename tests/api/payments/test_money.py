"""A centavo's way: captured, held, earned, given back; and every fault that may meet it there."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from api.bookings.clock import expire
from api.errors import CannotPayError, NotFoundError, UnavailableError, WrongStateError
from api.payments.capturing import record
from api.payments.ledger import post
from api.payments.postings import Posting
from api.payments.provider import Disputed
from api.payments.stripe import Stripe
from tests.api.bookings.conftest import NOON
from tests.api.payments.conftest import Till

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_a_payment_reserves_the_booking_and_its_money_is_held(till: Till) -> None:
    booking_id = await till.paid()
    assert till.placed() == {"source": -15_375, "held": 15_000, "cost": 375}
    assert till.payment_status(booking_id) == "paid"
    till.check()


async def test_an_open_checkout_is_given_again_and_there_is_one(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    first, *others = await asyncio.gather(*(till.checkout(booking_id) for _ in range(6)))
    assert {each.checkout_id for each in others} == {first.checkout_id}
    assert till.payment_status(booking_id) == "pending"
    opened = [each for each in till.simulator.money()["checkouts"] if each["reference"] == first.payment_id.hex]
    assert [each["status"] for each in opened if each["checkout_id"] != first.checkout_id] == ["expired"] * (
        len(opened) - 1
    ), "rivals' checkouts are closed again"


async def test_another_provider_ends_the_older_checkout(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    older = await till.checkout(booking_id)
    newer = await till.checkout(booking_id, "stripe")
    statuses = {each["checkout_id"]: each["status"] for each in till.simulator.money()["checkouts"]}
    assert (statuses[older.checkout_id], statuses[newer.checkout_id]) == ("expired", "open")


async def test_a_lost_answer_is_resumed(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    till.simulator.faults(lose_answer=1)
    with pytest.raises(UnavailableError):
        await till.checkout(booking_id, "stripe")
    till.simulator.faults()
    payment = await till.checkout(booking_id, "stripe")
    opened = [each for each in till.simulator.money()["checkouts"] if each["reference"] == payment.payment_id.hex]
    assert len(opened) == 1


async def test_only_the_driver_pays_and_only_what_is_due(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    with pytest.raises(NotFoundError):
        await till.payments.checkouts.open(till.ground.add_person(), booking_id, "paymongo")
    cheap = till.ground.add_booking(NOON + timedelta(days=1), total_minor=100)
    with pytest.raises(CannotPayError):
        await till.checkout(cheap)
    asked = till.ground.add_booking(NOON + timedelta(days=2), total_minor=15_000, approval="asked")
    with pytest.raises(WrongStateError):
        await till.checkout(asked)
    assert till.payment_status(asked) == "none", "no capture before approval"


@pytest.mark.parametrize("wrong", [{"amount": 14_999}, {"amount": 15_001}, {"currency": "USD"}])
async def test_a_wrong_amount_or_currency_never_confirms_and_goes_back(till: Till, wrong: dict[str, object]) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    payment = await till.checkout(booking_id)
    till.simulator.pay(payment.checkout_id, force=True, **wrong)
    await till.payments.checkouts.look(payment)
    assert till.ground.status(booking_id) == "HELD"
    await till.drain()
    till.check()
    assert "refund due" not in till.placed()
    assert till.placed()["refunded"] > 0
    again = await till.checkout(booking_id)
    till.simulator.pay(again.checkout_id)
    await till.payments.checkouts.look(again)
    assert till.ground.status(booking_id) == "RESERVED", "and may still be paid in the right way"


async def test_a_second_payment_of_a_booking_goes_back(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    payment = await till.checkout(booking_id)
    till.simulator.pay(payment.checkout_id)
    till.simulator.pay(payment.checkout_id, force=True)
    await till.payments.checkouts.look(payment)
    await till.drain()
    placed = till.placed()
    assert (placed["held"], placed["refunded"]) == (15_000, 15_000)
    assert till.payment_status(booking_id) == "paid"
    till.check()


async def test_the_same_payment_told_of_many_times_at_once_counts_once(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    payment = await till.checkout(booking_id)
    till.simulator.pay(payment.checkout_id)
    await asyncio.gather(*(till.payments.checkouts.look(payment) for _ in range(8)))
    assert till.placed()["held"] == 15_000
    till.check()


async def test_late_money_takes_the_same_space_again_if_it_is_free(till: Till) -> None:
    booking_id = await till.quoted()
    payment = await till.checkout(booking_id)
    till.ground.run("UPDATE bookings SET status = 'EXPIRED', hold_expires_at = NULL")
    till.simulator.pay(payment.checkout_id, force=True)
    await till.payments.checkouts.look(payment)
    ((replacing, status),) = till.ground.run("SELECT booking_id, status FROM bookings WHERE replaces = %s", booking_id)
    assert (status, till.payment_status(replacing)) == ("RESERVED", "paid")
    assert till.placed()["held"] == 16_000
    assert "money_late" in till.ground.letters(), "the driver is always told"
    till.check()
    till.simulator.pay(payment.checkout_id, force=True)
    await till.payments.checkouts.look(payment)
    await till.drain()
    assert (till.placed()["held"], till.placed()["refunded"]) == (16_000, 16_000), "a second one goes back"
    till.check()


async def test_late_money_without_a_place_goes_back_and_the_driver_is_told(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    payment = await till.checkout(booking_id)
    till.ground.run("UPDATE bookings SET status = 'CANCELED', hold_expires_at = NULL")
    till.simulator.pay(payment.checkout_id, force=True)
    await till.payments.checkouts.look(payment)
    assert till.placed()["refund due"] == 15_000
    await till.drain()
    assert till.placed()["refunded"] == 15_000
    assert till.payment_status(booking_id) == "refunded"
    assert "money_back" in till.ground.letters()
    till.check()


async def test_the_checkout_of_an_overdue_hold_is_closed_before_the_place_is_let_go(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    payment = await till.checkout(booking_id)
    till.ground.run("UPDATE bookings SET hold_expires_at = now() - interval '1 second'")
    till.ground.run("UPDATE payments SET closes_at = now() - interval '1 second'")
    await till.payments.reconciliation.close_checkouts()
    (kept,) = [each for each in till.simulator.money()["checkouts"] if each["checkout_id"] == payment.checkout_id]
    assert kept["status"] == "expired"
    assert till.payment_status(booking_id) == "none", "the bookings' clock may end the hold now"
    assert await till.at_desk(expire, booking_id, datetime.now(UTC))


async def test_an_overdue_hold_that_turns_out_paid_is_confirmed(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    payment = await till.checkout(booking_id)
    till.ground.run("UPDATE bookings SET hold_expires_at = now() - interval '1 second'")
    till.ground.run("UPDATE payments SET closes_at = now() - interval '1 second'")
    till.simulator.pay(payment.checkout_id)
    await till.payments.reconciliation.close_checkouts()
    assert till.ground.status(booking_id) == "RESERVED"
    till.check()


async def test_a_capture_that_no_webhook_told_of_is_found_by_its_reference(till: Till) -> None:
    """Also where the checkout's id was never stored: the process died after the provider's answer."""
    for provider in ("paymongo", "stripe"):
        booking_id = till.ground.add_booking(NOON + timedelta(days=len(provider)), total_minor=15_000)
        payment = await till.checkout(booking_id, provider)
        till.simulator.pay(payment.checkout_id)
        till.ground.run(
            "UPDATE payments SET status = 'creating', checkout_id = NULL WHERE payment_id = %s", payment.payment_id
        )
        since = datetime.now(UTC) - timedelta(minutes=5)
        assert await till.payments.reconciliation.compare(provider, since) == 1
        assert await till.payments.reconciliation.compare(provider, since) == 0
        assert till.ground.status(booking_id) == "RESERVED"
    till.check()


async def test_a_stay_is_earned_by_host_and_platform(till: Till) -> None:
    booking_id = await till.paid()
    await till.at_desk(till.payments.money.earned, booking_id, 15_000, "stay")
    rows = till.ground.run("SELECT account, sum(amount_minor)::int FROM ledger_postings GROUP BY account")
    assert dict(rows) == {
        "captured": -15_000,
        "platform_cost": -375,
        "provider_fee": 375,
        "unallocated": 0,
        "held": 0,
        "host_payable": 14_250,
        "platform_fee": 750,
    }
    with pytest.raises(LookupError):
        await till.at_desk(till.payments.money.earned, booking_id, 1, "stay")
    till.ground.run("UPDATE bookings SET status = 'ACTIVE'")
    till.ground.run("UPDATE bookings SET status = 'FULFILLED'")
    till.check()


async def test_a_late_cancellation_is_divided_and_the_rest_goes_back(till: Till) -> None:
    booking_id = await till.paid("stripe")
    await till.at_desk(till.payments.money.refund_due, booking_id, 7_500, "canceled by driver")
    await till.at_desk(till.payments.money.earned, booking_id, 7_500, "late_cancel")
    till.ground.run("UPDATE bookings SET status = 'CANCELED'")
    assert till.payment_status(booking_id) == "part_refunded"
    await till.drain()
    assert (till.placed()["earned"], till.placed()["refunded"]) == (7_500, 7_500)
    till.check()


async def test_no_more_goes_back_than_was_captured(till: Till) -> None:
    booking_id = await till.paid()
    with pytest.raises(LookupError):
        await till.at_desk(till.payments.money.refund_due, booking_id, 15_001, "too much")
    assert till.placed()["held"] == 15_000


async def test_money_of_a_rail_without_refunds_becomes_credit_at_once(till: Till) -> None:
    booking_id = await till.paid(rail="qrph")
    await till.at_desk(till.payments.money.refund_due, booking_id, 15_000, "canceled by host")
    till.ground.run("UPDATE bookings SET status = 'CANCELED'")
    assert till.placed()["credit"] == 15_000
    assert till.payment_status(booking_id) == "credited"
    assert "money_credited" in till.ground.letters()
    till.check()


async def test_a_refund_that_fails_becomes_credit(till: Till) -> None:
    booking_id = await till.paid()
    till.simulator.faults(refuse_refund=1)
    await till.at_desk(till.payments.money.refund_due, booking_id, 15_000, "canceled by host")
    till.ground.run("UPDATE bookings SET status = 'CANCELED'")
    await till.drain()
    assert till.placed()["credit"] == 15_000
    till.check()


async def test_a_refund_that_the_bank_sends_back_becomes_credit(till: Till) -> None:
    booking_id = await till.paid("stripe")
    await till.at_desk(till.payments.money.refund_due, booking_id, 15_000, "canceled by host")
    till.ground.run("UPDATE bookings SET status = 'CANCELED'")
    await till.drain()
    assert till.placed()["refunded"] == 15_000
    ((ref,),) = till.ground.run("SELECT provider_ref FROM refunds")
    till.simulator.return_refund(ref)
    for _ in range(2):
        await till.payments.refunds.look_at("stripe", ref)
    assert till.placed()["credit"] == 15_000
    assert "refunded" not in till.placed()
    till.check()


async def test_a_key_that_the_provider_does_not_know_makes_no_refund_fail(till: Till) -> None:
    booking_id = await till.paid("stripe")
    await till.at_desk(till.payments.money.refund_due, booking_id, 15_000, "canceled by host")
    stripe = till.payments.providers["stripe"]
    till.payments.providers["stripe"] = Stripe(f"{till.simulator.url}/stripe", "sk_test_other", "x", livemode=False)
    await till.payments.refunds.send_due()
    await till.payments.providers["stripe"].close()
    assert till.placed()["refund due"] == 15_000
    till.payments.providers["stripe"] = stripe
    await till.drain()
    assert till.placed()["refunded"] == 15_000


@pytest.mark.parametrize("provider", ["paymongo", "stripe"])
async def test_a_refund_is_made_once_though_its_answer_is_lost(till: Till, provider: str) -> None:
    booking_id = await till.paid(provider)
    await till.at_desk(till.payments.money.refund_due, booking_id, 5_000, "part")
    till.simulator.faults(lose_answer=1)
    await till.payments.refunds.send_due()
    till.simulator.faults()
    await till.drain()
    assert till.placed()["refunded"] == 5_000
    assert till.placed()["held"] == 10_000


async def test_credit_pays_a_booking_in_full_or_not_at_all(till: Till) -> None:
    booking_id = await till.paid(rail="qrph")
    await till.at_desk(till.payments.money.refund_due, booking_id, 15_000, "canceled by host")
    till.ground.run("UPDATE bookings SET status = 'CANCELED'")
    await till.at_desk(till.payments.money.compensate, booking_id, 1_000, "sorry")
    pay = till.payments.checkouts.pay_with_credit
    dear = till.ground.add_booking(total_minor=16_001)
    with pytest.raises(CannotPayError):
        await pay(till.ground.driver_id, dear)
    next_one = till.ground.add_booking(NOON + timedelta(days=1), total_minor=15_500)
    payment = await pay(till.ground.driver_id, next_one)
    assert payment.status == "paid"
    assert till.ground.status(next_one) == "RESERVED"
    assert till.placed()["credit"] == 500
    again = await pay(till.ground.driver_id, next_one)
    assert again.payment_id == payment.payment_id, "a lost answer is given again"
    await till.at_desk(till.payments.money.refund_due, next_one, 15_500, "canceled by host")
    till.ground.run("UPDATE bookings SET status = 'CANCELED' WHERE booking_id = %s", next_one)
    kinds = till.ground.run(
        "SELECT account, balance_minor FROM ledger_balances WHERE owner = %s", till.ground.driver_id
    )
    assert dict(kinds) == {"credit": 15_000, "credit_given": 1_000}, "money stays money, gifts stay gifts"
    till.check()


async def test_a_stranger_closes_nobodys_checkout_by_paying_with_credit(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    opened = await till.checkout(booking_id)
    with pytest.raises(NotFoundError):
        await till.payments.checkouts.pay_with_credit(till.ground.add_person(), booking_id)
    kept = {each["checkout_id"]: each["status"] for each in till.simulator.money()["checkouts"]}
    assert kept[opened.checkout_id] == "open"
    assert till.payment_status(booking_id) == "pending"


async def test_paying_with_credit_closes_the_own_checkout_first(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    opened = await till.checkout(booking_id)
    await till.at_desk(
        till.payments.money.compensate, till.ground.add_booking(NOON + timedelta(days=9)), 20_000, "sorry"
    )
    payment = await till.payments.checkouts.pay_with_credit(till.ground.driver_id, booking_id)
    assert (payment.status, till.ground.status(booking_id)) == ("paid", "RESERVED")
    kept = {each["checkout_id"]: each["status"] for each in till.simulator.money()["checkouts"]}
    assert kept[opened.checkout_id] == "expired"


async def test_of_two_bookings_that_spend_the_same_credit_one_does(till: Till) -> None:
    await till.at_desk(till.payments.money.compensate, till.ground.add_booking(), 20_000, "sorry")
    both = [till.ground.add_booking(NOON + timedelta(days=n), total_minor=15_000) for n in (1, 2)]
    pay = till.payments.checkouts.pay_with_credit
    outcomes = await asyncio.gather(*(pay(till.ground.driver_id, each) for each in both), return_exceptions=True)
    assert sum(isinstance(each, CannotPayError) for each in outcomes) == 1
    assert sorted(till.ground.status(each) for each in both) == ["HELD", "RESERVED"]


async def test_a_balance_is_owed_until_it_is_paid_and_earned_then(till: Till) -> None:
    booking_id = await till.paid()
    await till.at_desk(till.payments.money.charge_due, booking_id, 12_000, "overstay")
    assert till.payment_status(booking_id) == "balance_due"
    payment = await till.checkout(booking_id)
    assert payment.amount_minor == 12_000
    till.simulator.pay(payment.checkout_id)
    await till.payments.checkouts.look(payment)
    assert till.payment_status(booking_id) == "paid"
    assert (till.placed()["held"], till.placed()["earned"]) == (15_000, 12_000)
    till.check()


async def test_the_checkout_of_a_balance_is_closed_after_its_hour_and_opened_anew(till: Till) -> None:
    """Nobody is asked every five minutes, for ever, after a page that nobody pays at."""
    booking_id = await till.paid()
    await till.at_desk(till.payments.money.charge_due, booking_id, 12_000, "overstay")
    first = await till.checkout(booking_id)
    till.ground.run("UPDATE payments SET closes_at = now() - interval '1 second' WHERE status = 'open'")
    await till.payments.reconciliation.close_checkouts()
    kept = {each["checkout_id"]: each["status"] for each in till.simulator.money()["checkouts"]}
    assert kept[first.checkout_id] == "expired"
    assert till.payment_status(booking_id) == "balance_due"
    again = await till.checkout(booking_id)
    assert (again.status, again.checkout_id != first.checkout_id) == ("open", True)


@pytest.mark.parametrize(
    ("provider", "status", "then"),
    [("stripe", "won", "held"), ("stripe", "lost", "refunded"), ("paymongo", "won", "held")],
)
async def test_a_dispute_freezes_money_that_is_held(till: Till, provider: str, status: str, then: str) -> None:
    booking_id = await till.paid(provider)
    await dispute(till, booking_id)
    assert till.placed()["disputed"] == 15_000
    assert till.payment_status(booking_id) == "disputed"
    await decide(till, status)
    assert till.placed()[then] == 15_000
    assert "disputed" not in till.placed()


async def test_a_dispute_takes_back_what_the_host_has_earned(till: Till) -> None:
    booking_id = await till.paid("stripe")
    await till.at_desk(till.payments.money.earned, booking_id, 15_000, "stay")
    await dispute(till, booking_id)
    assert host_payable(till) == 0
    assert till.placed()["disputed"] == 15_000
    await decide(till, "lost")
    assert till.placed()["refunded"] == 15_000
    assert host_payable(till) == 0


async def test_a_stay_under_dispute_earns_when_the_dispute_is_won(till: Till) -> None:
    booking_id = await till.paid("stripe")
    await dispute(till, booking_id)
    await till.at_desk(till.payments.money.earned, booking_id, 15_000, "stay")
    assert host_payable(till) == 0, "the exit did not wait, the money does"
    await decide(till, "won")
    assert host_payable(till) == 14_250
    assert "held" not in till.placed()


async def test_what_is_disputed_is_not_refunded(till: Till) -> None:
    booking_id = await till.paid("stripe")
    await till.at_desk(till.payments.money.refund_due, booking_id, 5_000, "part")
    await dispute(till, booking_id)
    await till.drain()
    ((ref,),) = till.ground.run("SELECT provider_ref FROM captures")
    assert [each for each in till.simulator.money()["refunds"] if each["payment_id"] == ref] == []
    assert till.placed()["refund due"] == 5_000
    await decide(till, "lost")
    await till.drain()
    assert till.placed()["refunded"] == 15_000, "the bank has given all of it back"
    assert "refund due" not in till.placed()


@pytest.mark.parametrize(("status", "then"), [("won", "credit"), ("lost", "refunded")])
async def test_money_that_goes_back_at_once_and_is_disputed_drains(till: Till, status: str, then: str) -> None:
    """The provider refuses its refund while the dispute is open, and then for good."""
    booking_id = till.ground.add_booking(total_minor=15_000)
    payment = await till.checkout(booking_id, "stripe")
    till.ground.run("UPDATE bookings SET status = 'CANCELED', hold_expires_at = NULL")
    paid = till.simulator.pay(payment.checkout_id, force=True)
    await till.payments.checkouts.look(payment)
    disputed = till.simulator.dispute(paid["payment_id"])
    await till.drain()
    assert till.placed()["refund due"] == 15_000
    till.simulator.decide(disputed, status)
    till.simulator.faults(refuse_refund=1)
    await till.drain()
    assert till.placed()[then] == 15_000
    assert "refund due" not in till.placed()


async def test_a_dispute_of_money_without_a_place_is_looked_at_again(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    payment = await till.checkout(booking_id, "stripe")
    paid = till.simulator.pay(payment.checkout_id)
    (captured,) = (await till.payments.providers["stripe"].read_checkout(payment.checkout_id)).captures
    await till.at_desk(record, payment.payment_id, captured)
    till.simulator.dispute(paid["payment_id"])
    (disputed,) = await till.payments.providers["stripe"].disputes(paid["payment_id"])
    ((capture_id,),) = till.ground.run("SELECT capture_id FROM captures")
    with pytest.raises(LookupError, match="no place yet"):
        await till.payments.disputes.take(capture_id, disputed)
    await till.payments.capturing.allocate_all()
    await till.payments.disputes.take(capture_id, disputed)
    assert till.placed()["disputed"] == 15_000


async def test_a_dispute_and_a_cancellation_lock_in_one_order(till: Till) -> None:
    """Who waits for the booking holds nothing of its money, so neither waits for the other."""
    booking_id = await till.paid("stripe")
    ((capture_id,),) = till.ground.run("SELECT capture_id FROM captures")
    async with till.holding("bookings", "booking_id", booking_id) as rival:
        taking = asyncio.create_task(till.payments.disputes.take(capture_id, Disputed("dp_1", 15_000, "open")))
        await till.somebody_waits()
        await rival.execute("SELECT FROM captures FOR UPDATE NOWAIT")
    await taking
    assert till.placed()["disputed"] == 15_000


async def test_ending_a_checkout_and_opening_one_lock_in_one_order(till: Till) -> None:
    booking_id = till.ground.add_booking(total_minor=15_000)
    payment = await till.checkout(booking_id)
    async with till.holding("bookings", "booking_id", booking_id) as rival:
        closing = asyncio.create_task(till.payments.checkouts.close(payment))
        await till.somebody_waits()
        await rival.execute("SELECT FROM payments FOR UPDATE NOWAIT")
    await closing
    assert till.payment_status(booking_id) == "none"


@pytest.mark.parametrize("ending", ["refund_due", "earned"])
async def test_a_booking_whose_dispute_was_lost_can_still_be_canceled_and_left(till: Till, ending: str) -> None:
    """Its money is back already: nobody gets it again, and the exit does not fail for want of it."""
    booking_id = await till.paid("stripe")
    await dispute(till, booking_id)
    await decide(till, "lost")
    await till.at_desk(getattr(till.payments.money, ending), booking_id, 15_000, "stay")
    assert till.placed()["refunded"] == 15_000
    assert not {"refund due", "earned", "held"} & till.placed().keys()


async def test_a_dispute_of_an_old_payment_is_found_though_no_webhook_told_of_it(till: Till) -> None:
    """The comparison of the day looks three days back: the payment is older, its dispute is not."""
    booking_id = await till.paid("stripe")
    ((ref,),) = till.ground.run("SELECT provider_ref FROM captures WHERE booking_id = %s", booking_id)
    await asyncio.sleep(1.1)  # Stripe's times are whole seconds
    since = datetime.now(UTC)
    till.simulator.dispute(ref)
    assert await till.payments.reconciliation.compare("stripe", since) == 0
    assert till.placed()["disputed"] == 15_000


async def dispute(till: Till, booking_id: UUID) -> None:
    ((ref,),) = till.ground.run("SELECT provider_ref FROM captures WHERE booking_id = %s", booking_id)
    till.simulator.dispute(ref)
    await compare(till)


async def decide(till: Till, status: str) -> None:
    (disputed,) = [each for each in till.simulator.money()["disputes"] if each["payment_id"] in captured_as(till)]
    till.simulator.decide(disputed["dispute_id"], status)
    await compare(till)


async def compare(till: Till) -> None:
    for provider in till.payments.providers:
        await till.payments.reconciliation.compare(provider, datetime.now(UTC) - timedelta(minutes=5))


def captured_as(till: Till) -> set[str]:
    return {row[0] for row in till.ground.run("SELECT provider_ref FROM captures")}


def host_payable(till: Till) -> int:
    query = "SELECT coalesce(sum(amount_minor), 0)::int FROM ledger_postings WHERE account = 'host_payable'"
    return int(till.ground.run(query)[0][0])


async def test_the_ledger_takes_nothing_that_does_not_sum_to_zero(till: Till) -> None:
    booking_id = till.ground.add_booking()
    lopsided = (Posting("held", booking_id, 5), Posting("captured", None, -4))
    with pytest.raises(psycopg.errors.CheckViolation, match="does not sum to zero"):
        await till.at_desk(post, "test", "test:1", booking_id, "PHP", lopsided)
    overdrawn = (Posting("held", booking_id, -5), Posting("captured", None, 5))
    with pytest.raises(psycopg.errors.CheckViolation, match="ledger_balances_not_below_zero"):
        await till.at_desk(post, "test", "test:2", booking_id, "PHP", overdrawn)
    assert till.placed() == {}


async def test_the_ledger_is_never_changed(till: Till) -> None:
    await till.paid()
    for table in ("ledger_postings", "ledger_transactions"):
        for change in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            with pytest.raises(psycopg.errors.RestrictViolation):
                till.ground.run(change)

    async def change(connection: psycopg.AsyncConnection[object]) -> None:
        await connection.execute("UPDATE ledger_postings SET amount_minor = 1")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await till.at_desk(change)


async def test_the_same_event_is_booked_once(till: Till) -> None:
    booking_id = till.ground.add_booking()
    lines = (Posting("held", booking_id, 5), Posting("captured", None, -5))
    assert await till.at_desk(post, "test", "test:1", booking_id, "PHP", lines)
    assert not await till.at_desk(post, "test", "test:1", booking_id, "PHP", lines)
    assert till.placed() == {"held": 5, "source": -5}
