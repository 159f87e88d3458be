"""The ledger against a plain model of the same rules: whatever happens in whatever order, both have the same money."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.database import Pool, build_pool
from api.metrics import Metrics
from api.payments.capturing import record
from api.payments.parts import Payments, PaymentsConfig
from api.payments.postings import CLASSES
from api.payments.provider import Captured, Disputed, Refunded
from api.tenancy import at_desk
from tests.api.bookings.conftest import NOON, Ground
from tests.api.payments.conftest import build_provider
from tests.crash.money_audit import QUERIES, totals

pytestmark = pytest.mark.postgres

PRICE = 15_000
DAYS = iter(range(10_000))
"""One for each example's booking, since all have the same space."""
STEPS = (
    "pay",
    "pay again",
    "pay wrong",
    "earn",
    "refund",
    "charge",
    "compensate",
    "dispute",
    "win",
    "lose",
    "refund done",
)


@dataclass
class Model:
    """One booking's money, as anybody would write it down."""

    status: str = "HELD"
    at: Counter[str] = field(default_factory=Counter)
    due: list[int] = field(default_factory=list)
    frozen: tuple[int, int] | None = None
    put_off: int = 0
    disputed: bool = False

    def capture(self, amount: int, place: str) -> None:
        """Take money in."""
        self.at["source"] -= amount
        self.at[place] += amount
        if place == "refund due":
            self.due.append(amount)

    def move(self, amount: int, source: str, target: str) -> None:
        """Move money."""
        self.at[source] -= amount
        self.at[target] += amount


class Bench:
    """The real thing and the model, side by side."""

    def __init__(self, ground: Ground, pool: Pool, number: int) -> None:
        config = PaymentsConfig(providers=(build_provider("stripe", "http://127.0.0.1:9"),))
        self.ground, self.pool, self.model = ground, pool, Model()
        self.payments = Payments(pool, config, Metrics())
        start = NOON + timedelta(days=number)
        self.booking_id = ground.add_booking(start, total_minor=PRICE)
        self.earned_once = False

    async def do(self, step: str, amount: int) -> None:
        """Do a step on both, if its rules allow it."""
        await getattr(self, "_" + step.replace(" ", "_"))(amount)

    async def _pay(self, _: int) -> None:
        await self._capture(PRICE)
        if self.model.status == "HELD":
            self.model.status = "RESERVED"
            self.model.capture(PRICE, "held")
        else:
            self.model.capture(PRICE, "refund due")

    async def _pay_again(self, amount: int) -> None:
        await self._pay(amount)

    async def _pay_wrong(self, amount: int) -> None:
        await self._capture(PRICE + amount)
        self.model.capture(PRICE + amount, "refund due")

    async def _earn(self, amount: int) -> None:
        if self.model.status != "RESERVED" or self.earned_once or amount > self.model.at["held"] + self._open():
            return
        self.earned_once = True
        async with at_desk(self.pool) as connection:
            await self.payments.money.earned(connection, self.booking_id, amount, "stay")
        now = min(amount, self.model.at["held"])
        self.model.move(now, "held", "earned")
        self.model.put_off += amount - now

    async def _refund(self, amount: int) -> None:
        if self.model.status != "RESERVED" or amount > self.model.at["held"]:
            return
        async with at_desk(self.pool) as connection:
            await self.payments.money.refund_due(connection, self.booking_id, amount, "because")
        self.model.move(amount, "held", "refund due")
        self.model.due.append(amount)

    async def _charge(self, amount: int) -> None:
        if self.model.status == "RESERVED":
            async with at_desk(self.pool) as connection:
                await self.payments.money.charge_due(connection, self.booking_id, amount, "overstay")
            row = self.ground.run(
                "SELECT charge_id FROM charges WHERE booking_id = %s AND status = 'open'", self.booking_id
            )
            await self._capture(amount, charge_id=row[0][0])
            self.model.capture(amount, "earned")

    async def _compensate(self, amount: int) -> None:
        async with at_desk(self.pool) as connection:
            await self.payments.money.compensate(connection, self.booking_id, amount, uuid4().hex)
        self.model.capture(amount, "credit")

    async def _dispute(self, _: int) -> None:
        found = self.ground.run(
            "SELECT capture_id, amount_minor - back_minor FROM captures "
            "WHERE booking_id = %s AND allocation = 'held' AND charge_id IS NULL",
            self.booking_id,
        )
        if self.model.disputed or not found or not found[0][1]:
            return
        self.capture_id, amount = found[0]
        self.dispute_id, self.model.disputed = uuid4().hex, True
        await self.payments.disputes.take(self.capture_id, Disputed(self.dispute_id, amount, "open"))
        held = min(amount, self.model.at["held"])
        self.model.frozen = held, amount - held
        self.model.move(held, "held", "disputed")
        self.model.move(amount - held, "earned", "disputed")

    async def _win(self, _: int) -> None:
        if self.model.frozen is not None:
            await self.payments.disputes.take(self.capture_id, Disputed(self.dispute_id, 0, "won"))
            held, earned = self.model.frozen
            self.model.move(held, "disputed", "held")
            self.model.move(earned, "disputed", "earned")
            self.model.move(self.model.put_off, "held", "earned")
            self.model.frozen, self.model.put_off = None, 0

    async def _lose(self, _: int) -> None:
        if self.model.frozen is not None:
            await self.payments.disputes.take(self.capture_id, Disputed(self.dispute_id, 0, "lost"))
            self.model.move(sum(self.model.frozen), "disputed", "refunded")
            self.model.frozen, self.model.put_off = None, 0

    async def _refund_done(self, _: int) -> None:
        rows = self.ground.run("SELECT refund_id, amount_minor FROM refunds WHERE status = 'due' AND way = 'rail'")
        for refund_id, amount in rows[:1]:
            await self.payments.refunds.note(refund_id, Refunded("re_1", "done", ""))
            self.model.move(amount, "refund due", "refunded")

    def _open(self) -> int:
        return self.model.frozen[0] - self.model.put_off if self.model.frozen is not None else 0

    async def _capture(self, amount: int, charge_id: UUID | None = None) -> None:
        payment_id = uuid4()
        self.ground.run(
            "INSERT INTO payments (payment_id, booking_id, driver_id, charge_id, provider, currency, amount_minor,"
            " status, closes_at) VALUES (%s, %s, %s, %s, 'stripe', 'PHP', %s, 'failed', now())",
            payment_id,
            self.booking_id,
            self.ground.driver_id,
            charge_id,
            PRICE if charge_id is None else amount,
        )
        captured = Captured(uuid4().hex, "", amount, "PHP", "card", 0, datetime.now(UTC))
        async with at_desk(self.pool) as connection:
            await record(connection, payment_id, captured)
        await self.payments.capturing.allocate_all()


def placed(url: str) -> Counter[str]:
    """Return the totals by class."""
    return Counter({name: amount for name, amount in totals(url).items() if amount})


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, PRICE)), min_size=4, max_size=14))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_the_ledger_has_what_a_plain_model_has(ground: Ground, steps: list[tuple[str, int]]) -> None:
    before = placed(ground.url)

    async def run() -> Counter[str]:
        pool = build_pool(ground.url, max_size=2)
        await pool.open()
        bench = Bench(ground, pool, next(DAYS))
        for step, amount in steps:
            await bench.do(step, amount)
        ground.run("UPDATE bookings SET status = 'CANCELED', hold_expires_at = NULL WHERE status = 'HELD'")
        ground.run("UPDATE refunds SET status = 'sent' WHERE status = 'due'")
        await bench.payments.close()
        await pool.close()
        return bench.model.at

    model = asyncio.run(run())
    after = placed(ground.url)
    assert {
        name: after[name] - before[name] for name in {*CLASSES.values(), "source"} if after[name] != before[name]
    } == {name: amount for name, amount in model.items() if amount}
    for name, query in QUERIES.items():
        if name not in {"paid_bookings", "ended_bookings", "double_bookings"}:
            assert ground.run(query.decode()) == [], name
