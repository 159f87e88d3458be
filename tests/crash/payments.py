"""The attack on bookings, with money: `python -m tests.crash.payments --operations 20000 --seed 1 [--folder DIR]`.

The same operations, connections and kills as `tests.crash.bookings`, but paying means opening a checkout at the
simulator, a process of its own, and paying there; with calls that are lost before or after they are done, refunds that
fail, money that is late, twice, or of another amount, disputes, and webhooks of which most never come. A connection is
cut between any two statements of payments too. An auditor reads snapshots, as often as there, and holds ledger,
captures, refunds and bookings to each other and to the provider (`money_audit`). At the end of a piece the faults
cease, everything is let drain, and it must be complete: nothing unallocated, nothing due.
"""

import argparse
import asyncio
import logging
import random
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
from tests.crash.bookings import PROCESSES, Attacker, Siege, note_piece, report
from tests.crash.bookings_audit import Auditor
from tests.crash.bookings_town import FIRST, TownClock, prepare
from tests.crash.money_audit import audit, totals

FAULTS: Final = {"lose_request": 0.02, "lose_answer": 0.02, "refuse_refund": 0.05}
LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)
PROVIDERS: Final = ("paymongo", "stripe")


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
        for step in (payments.reconciliation.close_checkouts, payments.refunds.send_due):
            with suppress(ProviderDownError, ProviderRefusedError):  # as the loop that runs them does
                await step()
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
        async with self.pool.connection() as connection:
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


async def run_worker(url: str, simulator_url: str, clock: TownClock, seed: int, worker: int, operations: int) -> None:
    """Do the rest of this worker's share."""
    config = build_config(simulator_url)
    async with httpx.AsyncClient(base_url=simulator_url, timeout=60) as http:

        def build(*parts: Any) -> Attacker:
            attacker = PayingAttacker(*parts, config=config, http=http)
            attacker.books = BookingMoney(config.rules)
            return attacker

        await bookings.run_worker(url, clock, seed, worker, operations, build)
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


def check(url: str, simulator_url: str, now: datetime, *, complete: bool = False) -> list[str]:
    """Return what is wrong, all of it looked at."""
    auditor = Auditor(url, money=False)
    found = _wrong(auditor.look(now, complete=True))
    auditor.close()
    return found + audit(url, simulator_url, complete=complete)


def _wrong(counts: dict[str, int]) -> list[str]:
    return [f"{count} {name}" for name, count in counts.items() if count]


def attack(url: str, folder: Path, simulator: Simulator, operations: int, seed: int, minutes: float) -> bool:
    """Attack, for this long at most; print what was found; return whether all is well."""
    prepare(url, PROCESSES)
    simulator.faults(**FAULTS)
    share = -(-operations // PROCESSES)
    clock, auditor, began = TownClock(folder / "clock", PROCESSES), Auditor(url, money=False), time.monotonic()

    def begin(worker: int) -> subprocess.Popen[bytes]:
        options = {
            "--worker": worker,
            "--folder": folder,
            "--database-url": url,
            "--simulator": simulator.url,
            "--operations": share,
            "--seed": seed,
        }
        words = [str(word) for option in options.items() for word in option]
        return subprocess.Popen([sys.executable, "-m", "tests.crash.payments", *words])

    def look() -> list[str]:
        return _wrong(auditor.look(clock.now())) + audit(url, simulator.url)

    siege = Siege(random.Random(f"{seed}/{clock.now()}"), begin, look)
    wrong = siege.hold(minutes)
    note_piece(url, time.monotonic() - began, siege)
    if not wrong:
        asyncio.run(drain(url, simulator.url))
        wrong = check(url, simulator.url, clock.now(), complete=True)
    report(url, operations, seed)
    _report_money(url)
    print(
        f"WRONG: {wrong[:10]}" if wrong else "0 double bookings, 0 oversold, every centavo in one account, all drained"
    )
    return not wrong


def _report_money(url: str) -> None:
    with psycopg.connect(url) as connection:
        for table in ("payments", "refunds", "disputes"):
            query = f"SELECT status, count(*) FROM {table} GROUP BY 1 ORDER BY 1".encode()
            _print_counts(table, connection.execute(query).fetchall())
        query = b"SELECT allocation, count(*) FROM captures GROUP BY 1 ORDER BY 1"
        _print_counts("captures", connection.execute(query).fetchall())
    print("minor units:", ", ".join(f"{name} {amount}" for name, amount in totals(url).items()))


def _print_counts(table: str, rows: list[Any]) -> None:
    print(f"{table}:", ", ".join(f"{what} {count}" for what, count in rows))


def main() -> int:
    """Read the command line and attack."""
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns of every connection that we cut
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=8_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where database and simulator lie; the same one goes on")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then; the same folder goes on")
    parser.add_argument("--database-url")
    parser.add_argument("--simulator")
    parser.add_argument("--worker", type=int)
    options = parser.parse_args()
    folder = (options.folder or Path(mkdtemp(prefix="parkpal-attack-"))).absolute()
    if options.worker is not None:
        clock, where = TownClock(folder / "clock", PROCESSES), (options.database_url, options.simulator)
        asyncio.run(run_worker(*where, clock, options.seed, options.worker, options.operations))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {options.seed}, folder {folder}", flush=True)
    database = open_database(options.database_url or f"{EMBEDDED_SCHEME}:///{folder / 'postgres'}")
    with database as url, run_simulator(folder, options.seed) as simulator:
        return 0 if attack(url, folder, simulator, options.operations, options.seed, options.minutes) else 1


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
