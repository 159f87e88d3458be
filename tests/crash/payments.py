"""The attack on bookings, with money: `python -m tests.crash.payments --operations 20000 --seed 1 [--folder DIR]`.

The same operations, connections and kills as `tests.crash.bookings`, but paying means opening a checkout at the
simulator, a process of its own, and paying there; with calls that are lost before or after they are done, refunds that
fail, money that is late, twice, or of another amount, disputes, and webhooks of which most never come. A connection is
cut between any two statements of payments too. Every 100 ms an auditor reads one snapshot and holds ledger, captures,
refunds and bookings to each other and to the provider (`money_audit`). At the end the faults cease, everything is let
drain, and it must be complete: nothing unallocated, nothing due.
"""

import argparse
import asyncio
import logging
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import httpx
import psycopg

from api.database import build_pool
from api.embedded_postgres import EMBEDDED_SCHEME, open_database
from api.metrics import Metrics
from api.payments.fees import RailRule
from api.payments.money import BookingMoney
from api.payments.parts import Payments, PaymentsConfig
from api.payments.paymongo import PayMongo
from api.payments.provider import ProviderDownError, ProviderRefusedError
from api.payments.stripe import Stripe
from api.tenancy import at_desk
from parkpal.settings import EXAMPLE_SECRET
from tests.api.payments.conftest import Simulator, run_simulator
from tests.crash import bookings
from tests.crash.bookings import FIRST, Attacker, prepare
from tests.crash.money_audit import audit, totals

PROCESSES: Final = bookings.PROCESSES
FAULTS: Final = {"lose_request": 0.02, "lose_answer": 0.02, "refuse_refund": 0.05}
AUDIT_EVERY_S: Final = 0.1
LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)


PROVIDERS: Final = ("paymongo", "stripe")
CHECKS: Final = {name: query for name, query in bookings.CHECKS.items() if "attack_books" not in query}


@dataclass
class PayingAttacker(Attacker):
    """An attacker whose drivers pay at the simulator, as payers do."""

    config: PaymentsConfig = field(default_factory=PaymentsConfig)
    http: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)
    metrics: Metrics = field(default_factory=Metrics)

    def payments_at(self, now: datetime) -> Payments:
        """Return payments whose clock shows the attack's time."""
        return Payments(self.pool, self.config, self.metrics, lambda: now)

    async def _pay(self, draw: random.Random, now: datetime, _: int) -> None:
        """Open the checkout of a hold or a balance; pay there, rightly or as faults are; perhaps be told of it."""
        booking = await self._somebody(draw)
        if booking is None:
            return
        checkouts = self.payments_at(now).checkouts
        payment = await checkouts.open(booking.driver_id, booking.booking_id, draw.choice(PROVIDERS))
        fault = draw.random()
        rail = "card" if payment.provider == "stripe" else draw.choice(["gcash", "gcash", "qrph"])
        body: dict[str, Any] = {"checkout_id": payment.checkout_id, "rail": rail, "force": fault < 0.1}
        body |= {"amount": 777_700} if fault < 0.02 else {}
        with suppress(httpx.HTTPError):  # a payer whose connection breaks may or may not have paid
            for _ in range(2 if 0.02 <= fault < 0.06 else 1):
                await self.http.post("/control/pay", json=body)
        if draw.random() < 0.7:
            with suppress(ProviderDownError, ProviderRefusedError):
                await checkouts.look(payment)

    async def _tick(self, draw: random.Random, now: datetime, number: int) -> None:
        """Let time pass for bookings and for money."""
        await super()._tick(draw, now, number)
        payments = self.payments_at(now)
        await payments.reconciliation.close_checkouts()
        await payments.refunds.send_due()
        await self._dispute(draw, payments)

    async def _dispute(self, draw: random.Random, payments: Payments) -> None:
        query = (
            "SELECT capture_id, provider_ref FROM captures WHERE provider = 'stripe' ORDER BY recorded_at DESC LIMIT 40"
        )
        async with at_desk(self.pool) as connection:
            rows = await (await connection.execute(query)).fetchall()
        if rows and draw.random() < 0.3:
            capture = draw.choice(rows)
            with suppress(ProviderDownError, ProviderRefusedError, httpx.HTTPError):
                found = await self.http.post(f"/control/payments/{capture.provider_ref}/dispute")
                if draw.random() < 0.7:
                    body = {"status": draw.choice(["won", "lost"])}
                    await self.http.post(f"/control/disputes/{found.json()['dispute_id']}", json=body)
                for disputed in await self.config.providers[1].disputes(capture.provider_ref):
                    await payments.disputes.take(capture.capture_id, disputed)

    async def _somebody(self, draw: random.Random) -> Any:
        place_id, number = draw.choice(self.places), draw.randrange(1000)
        status = "HELD" if draw.random() < 0.85 else "FULFILLED"
        query = (
            "SELECT booking_id, driver_id FROM bookings WHERE place_id = %s AND status = %s AND total_minor > 0"
            " ORDER BY created_at DESC, booking_id LIMIT 12"
        )
        async with at_desk(self.pool) as connection:
            rows = await (await connection.execute(query, [place_id, status])).fetchall()
        return rows[number % len(rows)] if rows else None


def build_config(simulator_url: str) -> PaymentsConfig:
    """Return payments with both providers at the simulator."""
    paymongo, stripe = (f"{EXAMPLE_SECRET}_{name}" for name in PROVIDERS)
    rails = {"gcash": RailRule(2_000, 180), "qrph": RailRule(2_000, 0)}
    return PaymentsConfig(
        providers=(
            PayMongo(f"{simulator_url}/paymongo", paymongo, "x", livemode=False, rails=rails),
            Stripe(f"{simulator_url}/stripe", stripe, "x", livemode=False),
        )
    )


async def run_worker(url: str, simulator_url: str, seed: int, worker: int, operations: int) -> None:
    """Do the rest of this worker's share."""
    config = build_config(simulator_url)
    async with httpx.AsyncClient(base_url=simulator_url, timeout=60) as http:

        def build(*parts: Any) -> Attacker:
            attacker = PayingAttacker(*parts, config=config, http=http)
            attacker.books = BookingMoney(config.rules)
            return attacker

        await bookings.run_worker(url, seed, worker, operations, build)
    for provider in config.providers:
        await provider.close()


async def drain(url: str, simulator_url: str) -> None:
    """Let all money come to its end, now that nothing fails."""
    http = httpx.AsyncClient(base_url=simulator_url, timeout=60)
    await http.put("/control/faults", json={})
    for dispute in (await http.get("/control/money")).json()["disputes"]:
        if dispute["status"] == "needs_response":
            await http.post(f"/control/disputes/{dispute['dispute_id']}", json={"status": "won"})
    await http.aclose()
    config = build_config(simulator_url)
    pool = build_pool(url, max_size=8)
    await pool.open()
    payments = Payments(pool, config, Metrics(), lambda: FIRST + timedelta(days=3_650))
    for _ in range(20):
        for name in PROVIDERS:
            await payments.reconciliation.compare(name, LONG_AGO)
        async with at_desk(pool) as connection:
            await connection.execute("UPDATE refunds SET due_at = now() WHERE status IN ('due', 'sent')")
        done = [await step() for step in (payments.reconciliation.close_checkouts, payments.capturing.allocate_all)]
        while await payments.refunds.send_due():
            done.append(1)
        if not any(done):
            break
    await payments.close()
    await pool.close()


def check(url: str, simulator_url: str, *, complete: bool = False) -> list[str]:
    """Return what is wrong in one snapshot."""
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        rows = [(name, (connection.execute(query.encode()).fetchone() or (-1,))[0]) for name, query in CHECKS.items()]
    return [f"{count} {name}" for name, count in rows if count] + audit(url, simulator_url, complete=complete)


def attack(url: str, simulator: Simulator, operations: int, seed: int) -> bool:
    """Run the attack to its end; print what was found; return whether all is well."""
    prepare(url)
    simulator.faults(**FAULTS)
    share = -(-operations // PROCESSES)
    draw, began, sigkills, snapshots = random.Random(seed), time.monotonic(), 0, 0
    workers = {worker: _begin(url, simulator.url, seed, worker, share) for worker in range(PROCESSES)}
    next_kill, wrong = time.monotonic() + draw.uniform(15, 45), list[str]()
    while workers and not wrong:
        time.sleep(AUDIT_EVERY_S)
        wrong, snapshots = check(url, simulator.url), snapshots + 1
        for worker, process in list(workers.items()):
            if process.poll() == -signal.SIGKILL:
                workers[worker] = _begin(url, simulator.url, seed, worker, share)
            elif process.poll() is not None:
                wrong += [f"worker {worker} failed"] if process.returncode else []
                del workers[worker]
        if workers and time.monotonic() > next_kill:
            workers[draw.choice(sorted(workers))].kill()
            sigkills, next_kill = sigkills + 1, time.monotonic() + draw.uniform(15, 45)
    for process in workers.values():
        process.kill()
    if not wrong:
        asyncio.run(drain(url, simulator.url))
        wrong = check(url, simulator.url, complete=True)
    took = f"{time.monotonic() - began:.0f} s, {sigkills} SIGKILLs, {snapshots} snapshots"
    _report(url, f"{operations} operations, seed {seed}: {took}")
    print(
        f"WRONG: {wrong[:10]}" if wrong else "0 double bookings, 0 oversold, every centavo in one account, all drained"
    )
    return not wrong


def _begin(url: str, simulator_url: str, seed: int, worker: int, share: int) -> subprocess.Popen[bytes]:
    options = {
        "--worker": worker,
        "--database-url": url,
        "--simulator": simulator_url,
        "--operations": share,
        "--seed": seed,
    }
    words = [str(word) for option in options.items() for word in option]
    return subprocess.Popen([sys.executable, "-m", "tests.crash.payments", *words])


def _report(url: str, how: str) -> None:
    with psycopg.connect(url) as connection:
        ((kills,),) = connection.execute("SELECT sum(kills) FROM attack_progress").fetchall()
        counts = [
            (
                table,
                connection.execute(f"SELECT status, count(*) FROM {table} GROUP BY 1 ORDER BY 1".encode()).fetchall(),
            )
            for table in ("bookings", "payments", "refunds", "disputes")
        ]
        returned = connection.execute("SELECT allocation, count(*) FROM captures GROUP BY 1 ORDER BY 1").fetchall()
    print(f"{how}; {kills} connections cut between two statements")
    for table, rows in [*counts, ("captures", returned)]:
        print(f"{table}:", ", ".join(f"{what} {count}" for what, count in rows))
    print("minor units:", ", ".join(f"{name} {amount}" for name, amount in totals(url).items()))


def main() -> int:
    """Read the command line and attack."""
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns of every connection that we cut
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=8_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where database and simulator lie; the same one goes on")
    parser.add_argument("--database-url")
    parser.add_argument("--simulator")
    parser.add_argument("--worker", type=int)
    options = parser.parse_args()
    if options.worker is not None:
        work = run_worker(options.database_url, options.simulator, options.seed, options.worker, options.operations)
        asyncio.run(work)
        return 0
    folder = (options.folder or Path(mkdtemp(prefix="parkpal-attack-"))).absolute()
    print(f"seed {options.seed}, folder {folder}", flush=True)
    database = open_database(options.database_url or f"{EMBEDDED_SCHEME}:///{folder / 'postgres'}")
    with database as url, run_simulator(folder, options.seed) as simulator:
        return 0 if attack(url, simulator, options.operations, options.seed) else 1


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
