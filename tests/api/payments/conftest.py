"""The simulator of the providers as a process of its own, and the adapters that talk to it."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.database import Connection, Pool
from api.metrics import Metrics
from api.payments.parts import Payments, PaymentsConfig
from api.payments.paymongo import PayMongo
from api.payments.provider import Order, Provider
from api.payments.stripe import Stripe
from api.tenancy import at_desk
from parkpal.settings import EXAMPLE_SECRET
from tests.api.bookings.conftest import HOURLY, Desk, Ground, ground, pool
from tests.crash.money_audit import audit, totals

__all__ = ["ground", "pool"]


@dataclass
class Simulator:
    """A running simulator, and what only its control endpoint can do."""

    url: str
    http: httpx.Client

    def faults(self, **shares: float) -> None:
        """Set the faults; none given: none."""
        self.http.put("/control/faults", json=shares).raise_for_status()

    def webhooks_to(self, url: str) -> None:
        """Send webhooks to the api at this address, or nowhere."""
        hooks = {name: f"{url}/v1/payments/webhooks/{name}" for name in ("paymongo", "stripe")} if url else {}
        self.http.put("/control/webhooks", json=hooks).raise_for_status()

    def pay(self, checkout_id: str, rail: str = "card", **more: Any) -> dict[str, Any]:
        """Pay as the payer, or as a fault."""
        answer = self.http.post("/control/pay", json={"checkout_id": checkout_id, "rail": rail} | more)
        assert answer.status_code == 200, answer.text
        paid: dict[str, Any] = answer.json()
        return paid

    def dispute(self, payment_id: str) -> str:
        """Dispute as the payer; return the dispute's id."""
        answer = self.http.post(f"/control/payments/{payment_id}/dispute")
        return str(answer.raise_for_status().json()["dispute_id"])

    def decide(self, dispute_id: str, status: str) -> None:
        """Decide as the payer's bank."""
        self.http.post(f"/control/disputes/{dispute_id}", json={"status": status}).raise_for_status()

    def return_refund(self, refund_id: str) -> None:
        """Send a refund back as the payer's bank."""
        self.http.post(f"/control/refunds/{refund_id}/return").raise_for_status()

    def forget_keys(self) -> None:
        """Let a day pass for the keys of idempotency."""
        self.http.post("/control/forget-keys").raise_for_status()

    def money(self) -> dict[str, list[dict[str, Any]]]:
        """Return all that came in and went back."""
        shown: dict[str, list[dict[str, Any]]] = self.http.get("/control/money").json()
        return shown


@contextmanager
def run_simulator(folder: Path, seed: int = 0) -> Iterator[Simulator]:
    """Run `parkpal payments-simulator` on a free port."""
    command = [sys.executable, "-m", "parkpal", "payments-simulator", "--port", "0", "--seed", str(seed)]
    environ = os.environ | {"PARKPAL_DATA_DIR": str(folder)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert found is not None
        with httpx.Client(base_url=found[0]) as http:
            yield Simulator(found[0], http)
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def running_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """One process for all tests."""
    with run_simulator(tmp_path_factory.mktemp("simulator")) as simulator:
        yield simulator


@pytest.fixture
def simulator(running_simulator: Simulator) -> Simulator:
    """The simulator, without faults and without anybody who listens."""
    running_simulator.faults()
    running_simulator.webhooks_to("")
    return running_simulator


def build_provider(name: str, simulator_url: str) -> Provider:
    """Build the adapter that talks to the simulator."""
    key, webhook = f"{EXAMPLE_SECRET}_{name}", f"{EXAMPLE_SECRET}_{name}_webhook"
    if name == "paymongo":
        return PayMongo(f"{simulator_url}/paymongo", key, webhook, livemode=False)
    return Stripe(f"{simulator_url}/stripe", key, webhook, livemode=False)


@pytest.fixture(params=["paymongo", "stripe"])
async def provider(request: pytest.FixtureRequest, simulator: Simulator) -> AsyncIterator[Provider]:
    """Each adapter in turn."""
    provider = build_provider(request.param, simulator.url)
    yield provider
    await provider.close()


def order(**more: Any) -> Order:
    """Return an order for a checkout."""
    fields: dict[str, Any] = {
        "reference": uuid4().hex,
        "amount": 15_000,
        "currency": "PHP",
        "description": "Parking",
        "rails": ("card",),
        "closes_at": datetime.now(UTC) + timedelta(minutes=10),
        "success_url": "http://parkpal.test/paid",
        "cancel_url": "http://parkpal.test/back",
    }
    return Order(**fields | more)


@dataclass
class Till:
    """Payments over a real database and the running simulator, driven step by step."""

    ground: Ground
    simulator: Simulator
    payments: Payments
    pool: Pool

    async def checkout(self, booking_id: UUID, provider: str = "paymongo") -> Any:
        """Open a checkout as the driver; return the row of the payment."""
        return await self.payments.checkouts.open(self.ground.driver_id, booking_id, provider)

    async def paid(self, provider: str = "paymongo", rail: str = "card", **more: Any) -> UUID:
        """Hold, pay and reserve; return the booking's id."""
        booking_id = self.ground.add_booking(total_minor=15_000, **more)
        payment = await self.checkout(booking_id, provider)
        self.simulator.pay(payment.checkout_id, rail)
        await self.payments.checkouts.look(payment)
        assert self.ground.status(booking_id) == "RESERVED"
        return booking_id

    async def quoted(self) -> UUID:
        """Hold a space that costs something, by a real quote; return the booking's id."""
        place_id = self.ground.add_place(tariff_id=self.ground.add_tariff(HOURLY))
        return await Desk(self.ground, self.pool).hold(hours=4, place_id=place_id)

    async def at_desk(self, act: Callable[..., Awaitable[Any]], *parameters: Any) -> Any:
        """Do something of the seam in a transaction of its own."""
        async with at_desk(self.pool) as connection:
            return await act(connection, *parameters)

    @asynccontextmanager
    async def holding(self, table: str, key: str, row_id: UUID) -> AsyncIterator[Connection]:
        """Be a rival who has locked a row."""
        async with at_desk(self.pool) as rival:
            await rival.execute(f"SELECT FROM {table} WHERE {key} = %s FOR UPDATE".encode(), [row_id])
            yield rival

    async def somebody_waits(self) -> None:
        """Return when another transaction waits for a lock; TimeoutError if none comes to."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        for _ in range(3_000):
            if self.ground.run(query)[0][0]:
                return
            await asyncio.sleep(0.01)
        raise TimeoutError

    async def drain(self) -> None:
        """Let everything come to its end, however long its pauses are."""
        for _ in range(4):
            self.ground.run("UPDATE refunds SET due_at = now() WHERE status IN ('due', 'sent')")
            self.ground.run("UPDATE payments SET look_at = now() WHERE status IN ('creating', 'open')")
            self.ground.run("UPDATE webhook_events SET due_at = now() WHERE done_at IS NULL")
            for step in self.payments.reconciliation.steps():
                await step()

    def placed(self) -> dict[str, int]:
        """Return how much stands in each class of account, the empty ones left out."""
        return {name: amount for name, amount in totals(self.ground.url).items() if amount}

    def check(self, *, complete: bool = True) -> None:
        """Audit."""
        assert audit(self.ground.url, self.simulator.url, complete=complete) == []

    def payment_status(self, booking_id: UUID) -> str:
        """Return the second machine of a booking."""
        return str(self.ground.run("SELECT payment_status FROM bookings WHERE booking_id = %s", booking_id)[0][0])


@pytest.fixture
async def till(ground: Ground, pool: Pool, simulator: Simulator) -> AsyncIterator[Till]:
    """Payments with both providers."""
    config = PaymentsConfig(providers=tuple(build_provider(name, simulator.url) for name in ("paymongo", "stripe")))
    payments = Payments(pool, config, Metrics())
    ground.run("UPDATE money_jobs SET due_at = now() + interval '1 day'")
    yield Till(ground, simulator, payments, pool)
    await payments.close()
