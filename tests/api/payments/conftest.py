"""The simulator of the providers as a process of its own, and the adapters that talk to it."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.payments.paymongo import PayMongo
from api.payments.provider import Order, Provider
from api.payments.stripe import Stripe
from parkpal.settings import EXAMPLE_SECRET


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
