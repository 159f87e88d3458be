"""The pure rules of money: shares, taxes, signatures, machines, postings."""

import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.payments.fees import (
    PAYMONGO_RAILS,
    Withholding,
    is_refundable,
    payable_rails,
    share,
    split_price,
)
from api.payments.postings import CLASSES, SOURCES, earn, freeze, move, reverse
from api.payments.signatures import is_fresh, is_signed, sign
from api.payments.states import DISPUTE, PAYMENT, PAYOUT, REFUND, Machine, sources

AMOUNT = st.integers(0, 10**12)
POINTS = st.integers(0, 10_000)
BOOKING, HOST = UUID(int=1), UUID(int=2)


@given(AMOUNT, POINTS)
def test_a_share_is_the_exact_one_rounded_half_up(amount: int, points: int) -> None:
    exact = Fraction(amount * points, 10_000)
    assert share(amount, points) == int(exact + Fraction(1, 2))


@given(AMOUNT, POINTS)
def test_a_split_loses_nothing(amount: int, points: int) -> None:
    split = split_price(amount, points)
    assert split.platform + split.host == amount
    assert split.platform >= 0 <= split.host


@pytest.mark.parametrize(("amount", "fee"), [(10, 1), (9, 0), (30, 2), (15_000, 750), (1, 0)])
def test_five_per_cent_are_rounded_half_up(amount: int, fee: int) -> None:
    assert split_price(amount, 500).platform == fee


def test_no_share_of_less_than_nothing() -> None:
    with pytest.raises(ValueError):
        share(-1, 500)


@given(st.lists(st.integers(1, 10**9), max_size=20))
def test_tax_is_kept_back_of_what_lies_beyond_the_threshold_however_it_is_remitted(remittances: list[int]) -> None:
    """Each remittance rounds twice; in total that is no more than a unit each away from the tax of the whole."""
    rule, before, kept = Withholding(), 0, 0
    for remittance in remittances:
        kept += rule.of(before, remittance)
        before += remittance
    beyond = max(0, before - rule.threshold)
    assert abs(kept - Fraction(beyond, 200)) <= len(remittances)
    assert (kept == 0) or before > rule.threshold


def test_a_rail_takes_its_minimum_and_gives_back_within_its_window() -> None:
    assert payable_rails(9_999, PAYMONGO_RAILS) == ("gcash", "paymaya", "qrph")
    assert payable_rails(1_999, PAYMONGO_RAILS) == ()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert is_refundable("card", at, at + timedelta(days=59), PAYMONGO_RAILS)
    assert not is_refundable("card", at, at + timedelta(days=60), PAYMONGO_RAILS)
    assert not is_refundable("qrph", at, at, PAYMONGO_RAILS)
    assert not is_refundable("new rail", at, at, PAYMONGO_RAILS)


@given(st.binary(max_size=200), st.text(min_size=1, max_size=20))
def test_a_signature_is_of_one_body_one_secret_and_one_mode(body: bytes, secret: str) -> None:
    header = f"t=1700000000,te={sign(secret, '1700000000', body)},li="
    assert is_signed(header, body, secret, "te")
    assert not is_signed(header, body, secret, "li")
    assert not is_signed(header, body + b" ", secret, "te")
    assert not is_signed(header, body, secret + "x", "te")
    assert not is_signed(header.replace("t=17", "t=18"), body, secret, "te")


def test_of_two_signatures_one_true_one_is_enough_while_a_secret_is_replaced() -> None:
    good = sign("new", "1", b"body")
    assert is_signed(f"t=1,v1={'0' * 64},v1={good}", b"body", "new", "v1")


@given(st.text(max_size=100))
def test_no_header_makes_the_check_fail(header: str) -> None:
    assert not is_signed(header, b"", "secret", "v1")
    assert is_fresh(header, 0.0) in (True, False)


def test_without_a_secret_nothing_is_signed() -> None:
    assert not is_signed(f"t=1,v1={sign('', '1', b'')}", b"", "", "v1")


def test_a_signature_is_fresh_for_300_s() -> None:
    now = time.time()
    assert is_fresh(f"t={int(now) - 299},v1=x", now)
    assert not is_fresh(f"t={int(now) - 302},v1=x", now)
    assert not is_fresh("v1=x", now)


@pytest.mark.parametrize("machine", [PAYMENT, REFUND, PAYOUT, DISPUTE])
def test_every_state_is_reached_from_the_first_and_none_leads_nowhere_known(machine: Machine) -> None:
    first = [state for state, before in machine.items() if not before]
    assert len(first) == 1
    reached = set(first)
    for _ in machine:
        reached |= {state for state in machine if reached & set(sources(machine, state))}
    assert reached == set(machine)
    assert all(source in machine for before in machine.values() for source in before)
    with pytest.raises(ValueError):
        sources(machine, "nowhere")


@given(st.integers(1, 10**12), POINTS, st.integers(0, 10**12))
def test_postings_sum_to_zero_and_leave_no_class_of_account_out(amount: int, points: int, held: int) -> None:
    earned = earn(amount, BOOKING, HOST, points)
    frozen = freeze(amount, held, BOOKING, HOST, points)
    moved = move(amount, "captured", None, "unallocated", BOOKING)
    for postings in (earned, frozen, moved, reverse(frozen)):
        assert sum(posting.amount for posting in postings) == 0
        assert all(posting.amount and posting.account in CLASSES.keys() | SOURCES for posting in postings)
    assert sum(line.amount for line in earned if CLASSES.get(line.account) == "earned") == amount


def test_nothing_is_not_moved() -> None:
    with pytest.raises(ValueError):
        move(0, "held", BOOKING, "refund_due", BOOKING)


@given(st.integers(1, 10**9), POINTS)
def test_what_was_earned_and_is_disputed_goes_back_as_it_was_split(amount: int, points: int) -> None:
    both = (*earn(amount, BOOKING, HOST, points), *freeze(amount, 0, BOOKING, HOST, points))
    host = sum(line.amount for line in both if line.account == "host_payable")
    assert host == 0
    assert sum(line.amount for line in both if line.account == "disputed") == amount
