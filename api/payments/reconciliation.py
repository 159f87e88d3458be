"""What providers say is compared with what we know: on a hint, every five minutes while something is pending, daily.

A webhook is only a hint: it is stored, answered, and worked off here by reading the provider. What never was announced
is found all the same, by asking.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg

from api.database import Pool, load_queries
from api.errors import ApiError
from api.metrics import Metrics
from api.payments.capturing import Capturing
from api.payments.checkouts import Checkouts
from api.payments.disputes import Disputes
from api.payments.payouts import Payouts
from api.payments.provider import Captured, Provider, ProviderDownError, ProviderRefusedError
from api.payments.refunds import Refunds
from api.tenancy import at_desk

POLL_S: Final = 1.0
SELDOM: Final = 15
"""Every so many rounds that is done, too, for which nobody waits."""
EVERY: Final = timedelta(minutes=5)
DAILY: Final = timedelta(days=1)
OVERLAP: Final = timedelta(days=3)
"""How far a daily comparison looks back beyond the one before: money may take its time to show."""
LEASE: Final = timedelta(minutes=30)
AGAIN: Final = timedelta(seconds=20)
BATCH: Final = 50
AT_ONCE: Final = 4
FAILURES: Final = (psycopg.Error, ProviderDownError, ProviderRefusedError, ApiError, LookupError, ValueError)
"""What a provider, a database or a rival may do to us; the work is done later."""

Step = Callable[[], Awaitable[int]]

_SQL: Final = load_queries("api.payments", "payments.sql")
log = logging.getLogger(__name__)


class Reconciliation(NamedTuple):
    """Brings what we know up to what the providers know."""

    pool: Pool
    providers: dict[str, Provider]
    checkouts: Checkouts
    capturing: Capturing
    refunds: Refunds
    disputes: Disputes
    payouts: Payouts
    metrics: Metrics

    async def run(self) -> None:
        """Run for ever, in any number of processes; what fails is tried again."""
        for round_number in itertools.count():
            for step in self.steps() if round_number % SELDOM == 0 else self.often():
                try:
                    while await step():
                        pass
                except FAILURES as error:
                    log.warning("money put off", extra={"error": type(error).__name__})
            await asyncio.sleep(POLL_S)

    def steps(self) -> tuple[Step, ...]:
        """Return all that there is to do; each returns how much it did."""
        return (
            *self.often(),
            self.look_at_pending,
            self._allocate,
            self._compare_all,
            self._draft_payouts,
            self._measure,
        )

    def often(self) -> tuple[Step, ...]:
        """Return what somebody waits for."""
        return (self.work_off_hints, self.close_checkouts, self.refunds.send_due)

    async def work_off_hints(self) -> int:
        """Read from the providers what webhooks have hinted at."""
        return await self._each(await self._fetch("take_events", {"most": BATCH}), self._follow)

    async def close_checkouts(self) -> int:
        """Close checkouts whose time is over; those of holds before their places are let go."""
        rows = await self._fetch("take_closings", {"now": self.capturing.now(), "again": AGAIN, "most": BATCH})
        return await self._each(rows, self.checkouts.close)

    async def look_at_pending(self) -> int:
        """Read how open checkouts stand, each every five minutes."""
        return await self._each(await self._fetch("take_looks", {"every": EVERY, "most": BATCH}), self.checkouts.look)

    async def compare(self, name: str, since: datetime) -> int:
        """Compare all captures and disputes of a provider since then with ours; return how many were not known."""
        provider, unknown = self.providers[name], 0
        async for captured in provider.captures_since(since):
            unknown += await self._compare_one(name, captured)
        for row in await self._fetch("open_disputes", {"provider": name}):
            await self._look_at_disputes(name, row.provider_ref)
        async for capture_id in provider.disputed_since(since):
            await self._look_at_disputes(name, capture_id)
        return unknown

    async def _compare_one(self, name: str, captured: Captured) -> int:
        if await self._fetch("capture_of_provider", {"provider": name, "provider_ref": captured.capture_id}):
            return 0
        payment = await self._payment_of(captured.reference)
        if payment is None:
            return 0  # money of somebody else's who uses the same account
        await self.capturing.take(payment.payment_id, (captured,))
        return 1

    async def _payment_of(self, reference: str) -> Any:  # noqa: ANN401  # a row or None
        try:
            rows = await self._fetch("payment", {"payment_id": UUID(reference)})
        except ValueError:
            return None
        return rows[0] if rows else None

    async def _follow(self, event: Any) -> None:  # noqa: ANN401  # a row of webhook_events
        if event.refund_id:
            await self.refunds.look_at(event.provider, event.refund_id)
        if event.checkout_id:
            parameters = {"provider": event.provider, "checkout_id": event.checkout_id}
            for payment in await self._fetch("payment_of_checkout", parameters):
                await self.checkouts.look(payment)
        elif event.capture_id:
            await self._look_at_disputes(event.provider, event.capture_id)
        await self._fetch("event_done", event._asdict())

    async def _look_at_disputes(self, name: str, provider_ref: str) -> None:
        for capture in await self._fetch("capture_of_provider", {"provider": name, "provider_ref": provider_ref}):
            for disputed in await self.providers[name].disputes(provider_ref):
                await self.disputes.take(capture.capture_id, disputed)

    async def _allocate(self) -> int:
        await self.capturing.allocate_all()
        return 0

    async def _compare_all(self) -> int:
        for name in self.providers:
            job, began_at = f"reconcile:{name}", datetime.now(UTC)
            for row in await self._fetch("take_job", {"job": job, "lease": LEASE}):
                since = (row.ran_at or began_at) - OVERLAP
                unknown = await self.compare(name, since)
                await self._fetch("job_done", {"job": job, "began_at": began_at, "every": DAILY})
                await self._fetch("clean_events", {})
                if unknown:
                    log.warning("captures that nobody had told of", extra={"provider": name, "count": unknown})
        return 0

    async def _draft_payouts(self) -> int:
        for _ in await self._fetch("take_job", {"job": "draft_payouts", "lease": LEASE}):
            await self.payouts.draft_all()
            done = {"job": "draft_payouts", "began_at": datetime.now(UTC), "every": DAILY}
            await self._fetch("job_done", done)
        return 0

    async def _measure(self) -> int:
        rows = await self._fetch("waiting", {})
        for account in ("unallocated", "refund_due"):
            found = [row for row in rows if row.account == account]
            self.metrics.waiting_money.labels(account).set(sum(row.balance_minor for row in found))
            self.metrics.waiting_money_age.labels(account).set(max((row.age_s for row in found), default=0.0))
        return 0

    async def _each(self, rows: list[Any], act: Callable[[Any], Awaitable[None]]) -> int:
        """Do something for each, some at once; what fails is due again later, and keeps no other waiting."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(row: Any) -> None:  # noqa: ANN401  # a row
            async with gate:
                try:
                    await act(row)
                except FAILURES as error:
                    log.warning("money put off", extra={"error": type(error).__name__})

        await asyncio.gather(*map(one, rows))
        return len(rows)

    async def _fetch(self, query: str, parameters: dict[str, Any]) -> list[Any]:
        async with at_desk(self.pool) as connection:
            found = await connection.execute(_SQL[query], parameters)
            return await found.fetchall() if found.description else []
