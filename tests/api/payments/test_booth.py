"""Cash and days at the booth: every centavo in one place, taken once, and in one day."""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from api.booth.cash import Cash, Taking
from api.booth.days import Count, Days
from api.errors import (
    CannotPayError,
    DayClosedError,
    NotFoundError,
    RoleMissingError,
    UnavailableError,
    WrongStateError,
)
from api.idempotency import Scope
from api.people.access import Caller
from tests.api.payments.conftest import Till

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

EVENING = datetime(2031, 3, 3, 14, tzinfo=UTC)
"""Ten in the evening of Monday, 3 March, in Manila."""
MONDAY = date(2031, 3, 3)


def scope(person_id: UUID) -> Scope:
    return Scope(person_id, "POST /test", uuid4().hex, bytes(32))


class Booth:
    """A lot with an attendant, at a time that the test sets."""

    def __init__(self, till: Till) -> None:
        self.till, self.now = till, EVENING
        self.lot_id = till.ground.add_place("lot", 5)
        self.tenant_id = till.ground.tenant_id
        self.attendant = self.hire("attendant")
        self.days = Days(till.pool, self.clock)
        self.cash = Cash(till.pool, till.payments.checkouts, till.payments.capturing, self.clock)

    def clock(self) -> datetime:
        return self.now

    def hire(self, role: str) -> Caller:
        person_id = self.till.ground.add_person()
        query = "INSERT INTO memberships (tenant_id, person_id, role, tenant_kind) VALUES (%s, %s, %s, 'host')"
        self.till.ground.run(query, self.tenant_id, person_id, role)
        return Caller(person_id, uuid4(), ())

    async def owing(self, amount: int = 15_000) -> UUID:
        """Let a stay that has ended owe something; return its booking."""
        booking_id = self.till.ground.add_booking(
            place_id=self.lot_id,
            place_kind="lot",
            space_id=None,
            status="FULFILLED",
            hold_expires_at=None,
            total_minor=amount,
            pay_later=True,
            checked_in_at=self.now - timedelta(hours=2),
            checked_out_at=self.now,
        )
        await self.till.at_desk(self.till.payments.money.charge_due, booking_id, amount, "stay")
        return booking_id

    async def take(self, booking_id: UUID, amount: int = 15_000, **more: Any) -> Taking:
        key = more.get("scope") or scope(self.attendant.person_id)
        return await self.cash.take(self.attendant, key, self.tenant_id, booking_id, amount)

    async def add(self, **count: int) -> Any:
        return await self.days.add(
            self.attendant, scope(self.attendant.person_id), self.tenant_id, self.lot_id, Count(**count)
        )

    async def close(self, day: date, counted: int = 0) -> Any:
        key = scope(self.attendant.person_id)
        return await self.days.close(self.attendant, key, self.tenant_id, self.lot_id, day, counted, "")


@pytest.fixture
def booth(till: Till) -> Booth:
    return Booth(till)


async def test_cash_pays_what_is_owed_once_and_the_operator_keeps_it(booth: Booth) -> None:
    """Of 150.00 in the drawer the platform's fee, 7.50, is what the operator's next payout is short of."""
    till, booking_id, key = booth.till, await booth.owing(), scope(booth.attendant.person_id)
    assert (await booth.cash.due(booth.attendant, booth.tenant_id, booking_id)).due_minor == 15_000
    with pytest.raises(CannotPayError) as wrong:
        await booth.take(booking_id, 14_999)
    assert wrong.value.facts == {"due_minor": 15_000}
    first = await booth.take(booking_id, scope=key)
    assert await booth.take(booking_id, scope=key) == first
    with pytest.raises(WrongStateError):
        await booth.take(booking_id)
    assert till.payment_status(booking_id) == "paid"
    assert till.placed() == {"source": -15_000, "earned": 15_000}
    assert till.ground.run("SELECT sum(amount_minor)::bigint FROM host_earnings") == [(-750,)]
    query = "SELECT sum(amount_minor)::bigint FROM ledger_postings WHERE account = %s"
    found = {name: till.ground.run(query, name)[0][0] for name in ("host_payable", "paid_out", "platform_fee")}
    assert found == {"host_payable": -750, "paid_out": 15_000, "platform_fee": 750}
    till.check()


async def test_two_attendants_take_it_once_and_an_open_checkout_is_closed_first(booth: Booth) -> None:
    till, booking_id = booth.till, await booth.owing()
    payment = await till.checkout(booking_id)
    outcomes = await asyncio.gather(*(booth.take(booking_id) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(one, Taking) for one in outcomes) == 1
    assert all(isinstance(one, Taking | WrongStateError | UnavailableError) for one in outcomes)
    assert (await till.payments.checkouts.read(payment.payment_id)).status == "closed"
    assert till.ground.run("SELECT count(*) FROM cash_takings") == [(1,)]
    till.check()


async def test_what_was_paid_at_the_provider_meanwhile_is_not_taken_again(booth: Booth) -> None:
    till, booking_id = booth.till, await booth.owing()
    payment = await till.checkout(booking_id)
    till.simulator.pay(payment.checkout_id, "card")
    with pytest.raises(WrongStateError):
        await booth.take(booking_id)
    assert till.payment_status(booking_id) == "paid"
    assert till.ground.run("SELECT count(*) FROM cash_takings") == [(0,)]
    till.check()


async def test_a_day_is_closed_once_and_what_comes_later_belongs_to_the_next(booth: Booth) -> None:
    """Closed at ten in the evening: a count and a payment at half past belong to Tuesday."""
    await booth.add(entered=7, departed=2)
    await booth.take(await booth.owing())
    open_day = await booth.days.read(booth.attendant, booth.tenant_id, booth.lot_id)
    assert (open_day.day, open_day.entered, open_day.cash_minor, open_day.counted_minor) == (MONDAY, 7, 15_000, None)
    booth.now += timedelta(minutes=1)
    closed = await booth.close(MONDAY, 14_000)
    assert (closed.entered, closed.departed, closed.check_ins, closed.check_outs) == (7, 2, 1, 1)
    assert (closed.entered_without_booking, closed.cash_minor, closed.counted_minor) == (6, 15_000, 14_000)
    booth.now += timedelta(minutes=30)
    await booth.add(entered=1)
    unpaid = await booth.owing(4_000)
    booth.now += timedelta(minutes=1)
    tuesday = await booth.days.read(booth.attendant, booth.tenant_id, booth.lot_id)
    assert (tuesday.day, tuesday.since, tuesday.entered) == (MONDAY + timedelta(days=1), closed.until, 1)
    assert (tuesday.check_outs, tuesday.unpaid_minor, tuesday.cash_minor) == (1, 4_000, 0)
    await booth.take(unpaid, 4_000)
    for day, refusal in ((MONDAY, DayClosedError), (MONDAY - timedelta(days=1), DayClosedError)):
        with pytest.raises(refusal):
            await booth.close(day)
    with pytest.raises(WrongStateError):
        await booth.close(MONDAY + timedelta(days=1))
    booth.now += timedelta(hours=2)
    assert (await booth.close(MONDAY + timedelta(days=1))).cash_minor == 4_000
    listed = await booth.days.closed(booth.attendant, booth.tenant_id, booth.lot_id, 10)
    assert [one.day for one in listed] == [MONDAY + timedelta(days=1), MONDAY]


@pytest.mark.parametrize("table", ["gate_counts", "day_closes"])
async def test_the_database_refuses_what_would_change_a_closed_day(booth: Booth, table: str) -> None:
    """Also of code that is wrong; and what was written down is neither changed nor deleted."""
    await booth.add(entered=1)
    await booth.close(MONDAY)
    copied = f"INSERT INTO {table} SELECT * FROM {table}"
    if table == "gate_counts":
        columns = "lot_id, tenant_id, day, counted_by, counted_at, entered, departed"
        copied = f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}"
    with pytest.raises(psycopg.errors.CheckViolation, match="is closed"):
        booth.till.ground.run(copied)
    for change in (f"UPDATE {table} SET day = day + 1", f"DELETE FROM {table}"):
        with pytest.raises(psycopg.Error):
            booth.till.ground.run(change)


async def test_counts_and_the_closing_at_once_leave_none_between_the_days(booth: Booth) -> None:
    """Every count is in the report of the day, or belongs to the next."""
    outcomes = await asyncio.gather(
        *(booth.add(entered=1) for _ in range(6)), booth.close(MONDAY), *(booth.add(entered=1) for _ in range(6))
    )
    booth.now += timedelta(seconds=1)
    tuesday = await booth.days.read(booth.attendant, booth.tenant_id, booth.lot_id)
    assert outcomes[6].entered + tuesday.entered == 12


async def test_occupancy_is_what_was_counted_last_and_who_came_and_went_since(booth: Booth) -> None:
    async def later(**count: int) -> Any:
        booth.now += timedelta(minutes=1)
        return await booth.add(**count)

    assert (await later(entered=3)).standing is None
    assert (await later(standing=2)).standing == 2
    assert (await later(entered=3, departed=1)).standing == 4
    assert (await later(departed=9)).standing == 0
    full = await later(standing=5, entered=1)
    assert (full.standing, full.capacity, full.checked_in, full.counted_at) == (5, 5, 0, booth.now)


@pytest.mark.parametrize(
    "ask",
    [
        lambda booth, who: booth.days.occupancy(who, booth.tenant_id, booth.lot_id),
        lambda booth, who: booth.days.add(who, scope(who.person_id), booth.tenant_id, booth.lot_id, Count(entered=1)),
        lambda booth, who: booth.days.close(who, scope(who.person_id), booth.tenant_id, booth.lot_id, MONDAY, 0, ""),
        lambda booth, who: booth.cash.due(who, booth.tenant_id, uuid4()),
        lambda booth, who: booth.cash.take(who, scope(who.person_id), booth.tenant_id, uuid4(), 1),
    ],
)
async def test_only_who_works_there_may(booth: Booth, ask: Callable[[Booth, Caller], Any]) -> None:
    stranger = Caller(booth.till.ground.driver_id, uuid4(), ())
    with pytest.raises(NotFoundError):
        await ask(booth, stranger)
    with pytest.raises((NotFoundError, RoleMissingError)):
        await ask(booth, booth.hire("host"))


async def test_another_tenants_lot_and_booking_do_not_exist(booth: Booth) -> None:
    booking_id = await booth.owing()
    other = uuid4()
    booth.till.ground.run("INSERT INTO tenants (tenant_id, kind, name) VALUES (%s, 'host', 'Cy')", other)
    query = "INSERT INTO memberships (tenant_id, person_id, role, tenant_kind) VALUES (%s, %s, 'attendant', 'host')"
    booth.till.ground.run(query, other, booth.attendant.person_id)
    booth.tenant_id = other
    asked: list[Any] = [booth.add(entered=1), booth.close(MONDAY), booth.take(booking_id)]
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(outcome, NotFoundError)
