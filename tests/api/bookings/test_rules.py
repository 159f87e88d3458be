"""The other pure rules: hours, states, what a change of plans costs, and signed texts."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.bookings.hours import Hours, check_hours, is_open, open_windows
from api.bookings.policy import (
    Policy,
    cancel_refund,
    forgotten_at,
    no_show_at,
    overstay_fee,
    percent_of,
)
from api.bookings.signed import Signer
from api.bookings.states import TRANSITIONS, advance
from api.bookings.tariff import Rate, Tariff
from api.outbox.relay import render

BERLIN, MANILA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Manila")
NOON = datetime(2031, 3, 3, 4, tzinfo=UTC)  # Monday noon in Manila
HOUR = timedelta(hours=1)
WEEKDAYS = [Hours(day, 8 * 60, 20 * 60) for day in range(1, 6)]


def test_a_place_is_open_in_its_hours_and_without_any_always() -> None:
    assert is_open(WEEKDAYS, MANILA, NOON, NOON + 8 * HOUR)
    assert not is_open(WEEKDAYS, MANILA, NOON, NOON + 9 * HOUR)
    assert not is_open(WEEKDAYS, MANILA, NOON - timedelta(days=1), NOON - timedelta(days=1) + HOUR)
    assert is_open([], MANILA, NOON, NOON + timedelta(days=40))


def test_hours_past_midnight_and_hours_that_touch_are_one_opening() -> None:
    weekend = [Hours(5, 18 * 60, 42 * 60), Hours(6, 18 * 60, 24 * 60)]
    friday_night = datetime(2031, 3, 7, 19, tzinfo=MANILA)
    assert is_open(weekend, MANILA, friday_night, friday_night + 28 * HOUR)
    assert not is_open(weekend, MANILA, friday_night, friday_night + 30 * HOUR)


@pytest.mark.parametrize(("day", "hours"), [("2031-03-30", 23), ("2031-03-29", 24), ("2031-10-26", 25)])
def test_a_day_is_open_as_long_as_it_lasts(day: str, hours: int) -> None:
    begins = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
    all_day = [Hours(begins.isoweekday(), 0, 1440)]
    ((opens, closes),) = open_windows(all_day, BERLIN, begins, begins + HOUR)
    assert closes - opens == hours * HOUR


def test_hours_that_cannot_be_meant_are_refused() -> None:
    for hours in ([Hours(1, 60, 60)], [Hours(1, 60, 1501)], [Hours(1, 60, 70), Hours(1, 60, 80)]):
        with pytest.raises(ValueError, match="hours"):
            check_hours(hours)


def test_the_database_has_the_same_transitions(database_url: str) -> None:
    mine = {(old, new, event == "close") for event, (olds, new) in TRANSITIONS.items() for old in olds}
    with psycopg.connect(database_url) as connection:
        assert set(connection.execute("TABLE booking_transitions").fetchall()) == mine


def test_an_extension_has_no_stay_and_only_it_closes() -> None:
    assert advance("RESERVED", "check_in") == "ACTIVE"
    assert advance("RESERVED", "check_in", extension=True) is None
    assert advance("RESERVED", "close", extension=True) == "FULFILLED"
    assert advance("RESERVED", "close") is None
    assert advance("EXPIRED", "confirm") is None


def test_cancelling_a_day_before_is_free_and_later_by_the_policy() -> None:
    policy = Policy(late_refund_percent=50)
    assert cancel_refund(policy, 999, NOON, NOON - 24 * HOUR, "driver") == 999
    assert cancel_refund(policy, 999, NOON, NOON - 23 * HOUR, "driver") == 500
    for by in ("host", "operator", "platform"):
        assert cancel_refund(policy, 999, NOON, NOON + HOUR, by) == 999  # type: ignore[arg-type]


def test_a_policy_asks_for_no_more_than_a_day() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"full_refund_before_s": 86401}', type=Policy)


def test_a_no_show_is_decided_at_the_end_of_paid_time_unless_the_policy_says_earlier() -> None:
    end = NOON + 4 * HOUR
    assert no_show_at(Policy(), NOON, end, pay_later=False) == end
    assert no_show_at(Policy(no_show_after_s=3600), NOON, end, pay_later=False) == NOON + HOUR
    assert no_show_at(Policy(), NOON, end, pay_later=True) == NOON + timedelta(minutes=30)
    assert no_show_at(Policy(), NOON, NOON + timedelta(minutes=15), pay_later=True) == NOON + timedelta(minutes=15)


def test_an_overstay_costs_half_more_than_the_tariff_after_the_grace_and_a_day_at_most() -> None:
    tariff, policy, stay = Tariff("PHP", (Rate(4000),), maximum_fee=30_000), Policy(grace_s=900), (NOON, NOON + HOUR)

    def fee(late: timedelta) -> int:
        return overstay_fee(policy, tariff, stay, NOON + HOUR + late, MANILA, "car")

    assert fee(timedelta(minutes=14)) == 0
    assert fee(timedelta(minutes=15)) == 6000
    assert fee(2 * HOUR) == 12_000
    assert fee(10 * HOUR) == fee(90 * HOUR) == 30_000


def test_a_stay_is_forgotten_when_the_policy_says_and_costs_nothing_after_that() -> None:
    policy = Policy(auto_check_out_s=7200)
    tariff = Tariff("PHP", (Rate(4000),))
    assert (forgotten_at(Policy(), NOON), forgotten_at(policy, NOON)) == (NOON + 12 * HOUR, NOON + 2 * HOUR)
    stay = (NOON, NOON + HOUR)
    fees = [overstay_fee(policy, tariff, stay, stay[1] + late, MANILA, "car") for late in (HOUR, 2 * HOUR, 9 * HOUR)]
    assert fees == [6_000, 12_000, 12_000]


@given(st.integers(0, 10**9), st.integers(0, 100))
def test_a_share_and_the_rest_are_the_whole(amount: int, percent: int) -> None:
    part = percent_of(amount, percent)
    assert 0 <= part <= amount
    assert abs(part * 100 - amount * percent) <= 50


@given(st.dictionaries(st.text(), st.integers()), st.binary(min_size=1, max_size=8))
def test_a_signed_text_comes_back_and_a_changed_one_does_not(value: dict[str, int], seed: bytes) -> None:
    signer: Signer[dict[str, int]] = Signer(bytes(32), "quote", dict[str, int])
    text = signer.sign(value)
    assert signer.check(text) == value
    assert Signer(bytes(32), "code", dict[str, int]).check(text) is None
    assert Signer(seed * 32, "quote", dict[str, int]).check(text) == (value if not any(seed) else None)
    for place in range(0, len(text), 7):
        changed = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        assert signer.check(changed) in (None, value)
    assert signer.check("é" + text) is None
    assert signer.check("") is None


LETTERS = sorted(path.stem for path in (files("api.outbox") / "templates" / "en").iterdir() if "_" in path.stem)


@pytest.mark.parametrize("locale", ["en", "fil"])
@pytest.mark.parametrize("template", [name for name in LETTERS if name.startswith(("booking_", "host_", "pass_"))])
def test_every_letter_can_be_written_in_every_language(template: str, locale: str) -> None:
    names = ("booking", "place", "plate", "start", "end", "total", "reason", "refund", "extra", "old_place")
    names += ("site", "arrives", "price", "last")
    letter = render(UUID(int=0), "email", "ana@example.ph", template, locale, {name: f"<{name}>" for name in names})
    assert "<place>" in letter.subject + letter.text
    assert "$" not in letter.subject + letter.text
