"""Attack bookings: random concurrent operations over 64 connections, killed between any two statements.

    python -m tests.crash.bookings --operations 1000000 --seed 1 [--folder DIR]

Four processes with 16 connections each hold, confirm, pay, cancel, extend, check in and out, walk in, and let time
pass, on few spaces and small lots, so that rivals meet. At one statement in 2,000 the connection is cut there, or just
before its commit; and now and then a whole process is killed with SIGKILL and begun again. Requests are repeated with
their key. All that chance decides comes from the seed; which rival is first does not. The same command in the same
folder goes on where it stopped. At the end, and every second from a snapshot, it is counted, from the rows alone, what
must be nought: see `CHECKS`.

Money is a table of two columns here (`Books`); `tests.crash.payments` puts ledger, providers and faults in its place.
"""

import argparse
import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from api.bookings.booking import lock_booking
from api.bookings.changes import cancel, confirm_free
from api.bookings.clock import BookingClock
from api.bookings.holding import Taking, hold
from api.bookings.money import Charge, Earning, Money, Rail
from api.bookings.paid import confirm_paid
from api.bookings.places import QUARTER, Vehicle, Window, read_place
from api.bookings.quotes import quote_extension, quote_place
from api.bookings.stays import check_in, check_out, walk_in
from api.database import Connection, load_migrations, migrate
from api.embedded_postgres import EMBEDDED_SCHEME, open_database
from api.errors import ApiError
from api.idempotency import Scope, once
from api.tenancy import acting, at_desk, go_to_desk

PROCESSES: Final = 4
CONNECTIONS: Final = 16
SPACES, LOTS, DRIVERS = 24, 4, 60
KILL_ONE_IN: Final = 2000
STEP: Final = timedelta(seconds=3)
"""So much time passes from one operation of a process to its next."""
FIRST: Final = datetime(2031, 3, 29, tzinfo=UTC)
TENANT: Final = UUID(int=1)

CHECKS: Final = {
    "double bookings": """
        SELECT count(*) FROM bookings a JOIN bookings b ON a.place_id = b.place_id AND a.booking_id < b.booking_id
        WHERE a.place_kind = 'space' AND b.place_kind = 'space' AND a.during && b.during
            AND a.status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
            AND b.status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')""",
    "stays on one space at a time": """
        SELECT count(*) FROM bookings a JOIN bookings b ON a.space_id = b.space_id AND a.booking_id < b.booking_id
        WHERE a.checked_in_at IS NOT NULL AND b.checked_in_at IS NOT NULL AND a.extends IS NULL AND b.extends IS NULL
            AND a.checked_in_at < coalesce(b.checked_out_at, 'infinity')
            AND b.checked_in_at < coalesce(a.checked_out_at, 'infinity')
            AND a.status IN ('ACTIVE', 'OVERSTAY') AND b.status IN ('ACTIVE', 'OVERSTAY')""",
    "oversold quarters of lots": """
        SELECT count(*) FROM (
            SELECT place_id, quarter
            FROM bookings, generate_series(lower(during), upper(during) - interval '15 min', interval '15 min') quarter
            WHERE place_kind = 'lot' AND status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
            GROUP BY 1, 2
            HAVING count(*) > (SELECT capacity FROM places p WHERE p.place_id = bookings.place_id)
        ) AS oversold""",
    "quarters whose count is not that of their bookings": """
        SELECT count(*) FROM lot_buckets u
        WHERE starts_at > (SELECT max(at) FROM attack_clock) + interval '1 hour' AND used <> (
            SELECT count(*) FROM bookings b
            WHERE b.place_id = u.lot_id AND b.status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
                AND b.during @> u.starts_at)""",
    "bookings whose history does not end in their status": """
        SELECT count(*) FROM bookings b WHERE status <> (
            SELECT to_status FROM booking_history h WHERE h.booking_id = b.booking_id
            ORDER BY entry_id DESC LIMIT 1)""",
    "changes that no transition allows": """
        SELECT count(*) FROM booking_history h
        WHERE from_status <> to_status AND from_status IS NOT NULL
            AND (from_status, to_status) NOT IN (SELECT from_status, to_status FROM booking_transitions)""",
    "requests that happened twice": """
        SELECT count(*) FROM (
            SELECT FROM bookings WHERE extends IS NULL AND replaces IS NULL GROUP BY plate HAVING count(*) > 1
        ) AS twice""",
    "paid bookings that are over and do not add up": """
        SELECT count(*) FROM bookings b
        WHERE status IN ('FULFILLED', 'CANCELED', 'NO_SHOW') AND payment_status = 'paid' AND total_minor <> (
            SELECT coalesce(sum(amount_minor), 0) FROM attack_books k
            WHERE k.booking_id = b.booking_id AND what IN ('earned', 'refund'))""",
}
"""What is counted; each must be 0."""


class KilledError(Exception):
    """The connection was cut on purpose."""


@dataclass
class Fate:
    """Decides, for a process, at which statement a connection dies."""

    draw: random.Random
    kills: int = 0

    async def strike(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Perhaps cut the connection."""
        if self.draw.randrange(KILL_ONE_IN) == 0:
            self.kills += 1
            await connection.close()
            raise KilledError


def build_fragile_pool(url: str, fate: Fate) -> AsyncConnectionPool[Any]:
    """Describe a pool of connections that die before one statement in KILL_ONE_IN."""

    class Fragile(psycopg.AsyncConnection[Any]):
        async def execute(self, *args: Any, **kwargs: Any) -> Any:
            if self.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                await fate.strike(self)
            return await super().execute(*args, **kwargs)

    settings = {"autocommit": True, "row_factory": namedtuple_row, "options": "-c timezone=UTC"}
    return AsyncConnectionPool(
        url, connection_class=Fragile, kwargs=settings, min_size=CONNECTIONS, max_size=CONNECTIONS, open=False
    )


class Books:
    """Money as lines of a table, written in the same transaction."""

    def rails(self, currency: str) -> list[Rail]:
        """Return one rail."""
        return [Rail("card", 1)]

    async def earned(self, connection: Connection, booking_id: UUID, amount_minor: int, kind: Earning) -> None:
        """Write a line."""
        await self._put(connection, booking_id, "earned", amount_minor)

    async def refund_due(self, connection: Connection, booking_id: UUID, amount_minor: int, reason: str) -> None:
        """Write a line."""
        await self._put(connection, booking_id, "refund", amount_minor)

    async def charge_due(self, connection: Connection, booking_id: UUID, amount_minor: int, kind: Charge) -> None:
        """Write a line."""
        await self._put(connection, booking_id, "charge", amount_minor)

    async def compensate(self, connection: Connection, booking_id: UUID, amount_minor: int, reason: str) -> None:
        """Write a line."""
        await self._put(connection, booking_id, "compensation", amount_minor)

    async def subsidise(self, connection: Connection, booking_id: UUID, amount_minor: int) -> None:
        """Write a line."""
        await self._put(connection, booking_id, "subsidy", amount_minor)

    async def _put(self, connection: Connection, booking_id: UUID, what: str, amount_minor: int) -> None:
        query = "INSERT INTO attack_books VALUES (%s, %s, %s)"
        await connection.execute(query, [booking_id, what, amount_minor])


@dataclass
class Attacker:
    """One process: does its share of the operations, each drawn from the seed and its number."""

    pool: AsyncConnectionPool[Any]
    fate: Fate
    seed: int
    worker: int
    places: list[UUID]
    drivers: list[UUID]
    books: Money = field(default_factory=Books)
    outcomes: Counter[str] = field(default_factory=Counter)

    async def operate(self, number: int) -> None:
        """Do operation `number`; who was killed comes again with the same key."""
        now = FIRST + number * STEP
        for _ in range(3):
            draw = random.Random(f"{self.seed}/{self.worker}/{number}")
            action = draw.choices(self.actions, self.weights)[0]
            name = action.__name__.lstrip("_")
            try:
                await action(draw, now, number)
                self.outcomes[name] += 1
                break
            except ApiError as error:
                self.outcomes[f"{name}: {type(error).__name__}"] += 1
                break
            except (KilledError, psycopg.OperationalError) as error:
                self.outcomes[f"{name}: killed" if isinstance(error, KilledError) else type(error).__name__] += 1

    @property
    def actions(self) -> list[Callable[[random.Random, datetime, int], Awaitable[None]]]:
        """Return what can be done."""
        return [
            *(self._hold, self._walk_up, self._confirm, self._pay, self._cancel),
            *(self._extend, self._check_in, self._check_out, self._tick),
        ]

    weights = (30, 6, 14, 14, 8, 6, 14, 8, 1)

    async def _hold(self, draw: random.Random, now: datetime, number: int) -> None:
        await self._take(draw, now, number, walk_up=False)

    async def _walk_up(self, draw: random.Random, now: datetime, number: int) -> None:
        await self._take(draw, now, number, walk_up=True)

    async def _take(self, draw: random.Random, now: datetime, number: int, *, walk_up: bool) -> None:
        place_id, driver_id = draw.choice(self.places), draw.choice(self.drivers)
        begin = now - timedelta(seconds=now.timestamp() % 900)
        start = begin if walk_up else begin + draw.randrange(1, 16) * QUARTER
        window = Window(start, start + draw.randrange(1, 13) * QUARTER)
        vehicle = Vehicle(f"W{self.worker}N{number}", "car")

        async def work(connection: Connection) -> str:
            await go_to_desk(connection)
            place = await read_place(connection, place_id)
            quote = quote_place(place, driver_id, window, "car", self.books.rails("PHP"), now)
            quote = msgspec.structs.replace(quote, kind="walk_up" if walk_up else "booking")
            booking_id = await hold(connection, Taking(quote, vehicle, pay_later=walk_up), now)
            if walk_up:
                await walk_in(connection, booking_id, now)
            await self.fate.strike(connection)
            return str(booking_id)

        scope = Scope(driver_id, "attack", vehicle.plate, bytes(32))
        await once(acting(self.pool, driver_id), scope, str, work)

    async def _confirm(self, draw: random.Random, now: datetime, _: int) -> None:
        await self._change(draw, ("HELD",), lambda connection, one: confirm_free(connection, one, now))

    async def _pay(self, draw: random.Random, now: datetime, _: int) -> None:
        statuses = ("HELD",) if draw.random() < 0.9 else ("EXPIRED",)
        await self._change(draw, statuses, lambda connection, one: confirm_paid(connection, one, now))

    async def _cancel(self, draw: random.Random, now: datetime, _: int) -> None:
        by: Any = draw.choice(["driver", "driver", "host", "platform"])
        statuses = ("HELD", "RESERVED")
        await self._change(draw, statuses, lambda connection, one: cancel(connection, self.books, one, by, "", now))

    async def _check_in(self, draw: random.Random, now: datetime, _: int) -> None:
        await self._change(draw, ("RESERVED",), lambda connection, one: check_in(connection, self.books, one, now))

    async def _check_out(self, draw: random.Random, now: datetime, _: int) -> None:
        statuses = ("ACTIVE", "OVERSTAY")
        await self._change(draw, statuses, lambda connection, one: check_out(connection, self.books, one, now))

    async def _extend(self, draw: random.Random, now: datetime, _: int) -> None:
        async def work(connection: Connection, booking_id: UUID) -> None:
            booking = await lock_booking(connection, booking_id, now)
            if booking.status not in {"RESERVED", "ACTIVE"} or booking.extends or booking.extension_held:
                return
            place = await read_place(connection, booking.place_id)
            stay = (booking_id, booking.stay, booking.total_minor + booking.extension_minor)
            until = booking.stay_ends_at + draw.randrange(1, 5) * QUARTER
            quote = quote_extension(place, booking.driver_id, stay, until, "car", self.books.rails("PHP"), now)
            await hold(connection, Taking(quote, Vehicle(booking.plate, "car"), pay_later=booking.pay_later), now)

        await self._change(draw, ("RESERVED", "ACTIVE"), work)

    async def _tick(self, _draw: random.Random, now: datetime, _: int) -> None:
        await BookingClock(self.pool, self.books, lambda: now).tick()

    async def _change(
        self, draw: random.Random, statuses: tuple[str, ...], work: Callable[[Connection, UUID], Awaitable[Any]]
    ) -> None:
        place_id, number = draw.choice(self.places), draw.randrange(1000)
        async with at_desk(self.pool) as connection:
            found = await connection.execute(
                "SELECT booking_id FROM bookings WHERE place_id = %s AND status = ANY (%s)"
                " ORDER BY created_at DESC, booking_id LIMIT 12",
                [place_id, list(statuses)],
            )
            rows = await found.fetchall()
        if not rows:
            return
        booking_id = rows[number % len(rows)].booking_id
        async with at_desk(self.pool) as connection:
            await work(connection, booking_id)
            await self.fate.strike(connection)


async def run_worker(
    url: str, seed: int, worker: int, operations: int, build: Callable[..., Attacker] = Attacker
) -> None:
    """Do the rest of this worker's share, CONNECTIONS operations at once."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as plain:
        places = [row[0] for row in await (await plain.execute("SELECT place_id FROM places ORDER BY 1")).fetchall()]
        drivers = [row[0] for row in await (await plain.execute("SELECT person_id FROM people ORDER BY 1")).fetchall()]
        found = await plain.execute("SELECT done FROM attack_progress WHERE worker = %s", [worker])
        ((begin,),) = await found.fetchall()
        fate = Fate(random.Random(f"{seed}/{worker}/{begin}/{time.time_ns()}"))
        pool = build_fragile_pool(url, fate)
        await pool.open()
        attacker = build(pool, fate, seed, worker, places, drivers)
        for first in range(begin, operations, CONNECTIONS * 4):
            numbers = iter(range(first, min(first + CONNECTIONS * 4, operations)))

            async def work_off(numbers: Any = numbers) -> None:
                for number in numbers:
                    await attacker.operate(number)

            await asyncio.gather(*(work_off() for _ in range(CONNECTIONS)))
            await _note(plain, attacker, min(first + CONNECTIONS * 4, operations))
        await pool.close()


async def _note(plain: psycopg.AsyncConnection[Any], attacker: Attacker, done: int) -> None:
    query = "UPDATE attack_progress SET done = %s, kills = kills + %s WHERE worker = %s"
    await plain.execute(query, [done, attacker.fate.kills, attacker.worker])
    await plain.execute("UPDATE attack_clock SET at = greatest(at, %s)", [FIRST + done * STEP])
    for what, count in attacker.outcomes.items():
        await plain.execute(
            "INSERT INTO attack_outcomes AS o VALUES (%s, %s) ON CONFLICT (what) DO UPDATE SET count = o.count + %s",
            [what, count, count],
        )
    attacker.outcomes.clear()
    attacker.fate.kills = 0


def prepare(url: str) -> None:
    """Make the schema and the town, once."""
    migrate(url, load_migrations())
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('attack_progress')").fetchone() != (None,):
            return
        connection.execute("CREATE TABLE attack_progress (worker int PRIMARY KEY, done bigint, kills bigint)")
        connection.execute("CREATE TABLE attack_clock (at timestamptz)")
        connection.execute("INSERT INTO attack_clock VALUES (%s)", [FIRST])
        connection.execute("CREATE TABLE attack_outcomes (what text PRIMARY KEY, count bigint)")
        connection.execute("CREATE TABLE attack_books (booking_id uuid, what text, amount_minor bigint)")
        connection.execute("CREATE INDEX ON attack_books (booking_id)")
        connection.execute("GRANT INSERT ON attack_books TO parkpal_desk")
        for worker in range(PROCESSES):
            connection.execute("INSERT INTO attack_progress VALUES (%s, 0, 0)", [worker])
        _build_town(connection)


def _build_town(connection: psycopg.Connection[Any]) -> None:
    connection.execute("INSERT INTO tenants (tenant_id, kind, name) VALUES (%s, 'operator', 'Mall')", [TENANT])
    for number, rate in enumerate((0, 4000)):
        rules = Jsonb({"currency": "PHP", "rates": [{"rate": rate}]})
        query = "INSERT INTO tariffs (tariff_id, tenant_id, name, currency, rules) VALUES (%s, %s, 'one', 'PHP', %s)"
        connection.execute(query, [UUID(int=10 + number), TENANT, rules])
    for number in range(SPACES + LOTS):
        is_lot = number >= SPACES
        query = """
            INSERT INTO places (place_id, tenant_id, kind, name, lat, lon, shown_lat, shown_lon, time_zone, capacity,
                tariff_id, policy)
            VALUES (%s, %s, %s, 'P', 14.55, %s, 14.55, %s, 'Asia/Manila', %s, %s, %s)"""
        lon, capacity = 121 + number / 5000, 3 + number % 3 if is_lot else 1
        place = [UUID(int=100 + number), TENANT, "lot" if is_lot else "space", lon, lon, capacity]
        connection.execute(query, [*place, UUID(int=10 + number % 2), Jsonb({"grace_s": 300})])
        for bay in range(capacity if is_lot else 0):
            bays = "INSERT INTO bays (lot_id, tenant_id, name) VALUES (%s, %s, %s)"
            connection.execute(bays, [UUID(int=100 + number), TENANT, f"B{bay}"])
    for number in range(DRIVERS):
        query = "INSERT INTO people (person_id, email, name) VALUES (%s, %s, 'D')"
        connection.execute(query, [UUID(int=1000 + number), f"d{number}@example.ph"])


def check(url: str) -> dict[str, int]:
    """Count, in one snapshot, what must be nought."""
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return {name: (connection.execute(query.encode()).fetchone() or (-1,))[0] for name, query in CHECKS.items()}


def attack(url: str, operations: int, seed: int) -> bool:
    """Run the attack to its end; print what was found; return whether all is well."""
    prepare(url)
    share = -(-operations // PROCESSES)
    draw, began, sigkills, snapshots = random.Random(seed), time.monotonic(), 0, 0
    workers = {worker: _begin(url, seed, worker, share) for worker in range(PROCESSES)}
    next_kill = time.monotonic() + draw.uniform(15, 45)
    while workers:
        time.sleep(1)
        wrong = {name: count for name, count in check(url).items() if count}
        snapshots += 1
        for worker, process in list(workers.items()):
            if process.poll() is None:
                continue
            del workers[worker]
            if process.returncode == -signal.SIGKILL:
                workers[worker] = _begin(url, seed, worker, share)
            elif process.returncode:
                wrong["workers that failed"] = process.returncode
        if wrong:
            for process in workers.values():
                process.kill()
            print(f"WRONG, seed {seed}: {wrong}")
            return False
        if workers and time.monotonic() > next_kill:
            os.kill(workers[draw.choice(sorted(workers))].pid, signal.SIGKILL)
            sigkills += 1
            next_kill = time.monotonic() + draw.uniform(15, 45)
    return _report(
        url, operations, seed, f"{time.monotonic() - began:.0f} s, {sigkills} SIGKILLs, {snapshots} snapshots"
    )


def _begin(url: str, seed: int, worker: int, share: int) -> subprocess.Popen[bytes]:
    options = ["--worker", str(worker), "--database-url", url, "--operations", str(share), "--seed", str(seed)]
    return subprocess.Popen([sys.executable, "-m", "tests.crash.bookings", *options])


def _report(url: str, operations: int, seed: int, how: str) -> bool:
    found = check(url)
    with psycopg.connect(url) as connection:
        ((kills,),) = connection.execute("SELECT sum(kills) FROM attack_progress").fetchall()
        rows = connection.execute("SELECT what, count FROM attack_outcomes ORDER BY what").fetchall()
        statuses = connection.execute("SELECT status, count(*) FROM bookings GROUP BY 1 ORDER BY 1").fetchall()
    print(f"{operations} operations, seed {seed}: {how}; {kills} connections cut between two statements")
    print("outcomes:", ", ".join(f"{what} {count}" for what, count in rows))
    print("bookings:", ", ".join(f"{status} {count}" for status, count in statuses))
    for name, count in found.items():
        print(f"{count:6} {name}")
    return not any(found.values())


def main() -> int:
    """Read the command line and attack."""
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns of every connection that we cut
    parser = argparse.ArgumentParser()
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the database lies; the same one goes on")
    parser.add_argument("--database-url")
    parser.add_argument("--worker", type=int)
    options = parser.parse_args()
    if options.worker is not None:
        asyncio.run(run_worker(options.database_url, options.seed, options.worker, options.operations))
        return 0
    folder = (options.folder or Path(mkdtemp(prefix="parkpal-attack-"))).absolute()
    print(f"seed {options.seed}, folder {folder}", flush=True)
    with open_database(options.database_url or f"{EMBEDDED_SCHEME}:///{folder / 'postgres'}") as url:
        return 0 if attack(url, options.operations, options.seed) else 1


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
