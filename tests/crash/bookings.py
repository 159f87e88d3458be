"""Attack bookings: random concurrent operations over 64 connections, killed between any two statements.

    python -m tests.crash.bookings --operations 1000000 --seed 1 [--folder DIR [--minutes M]]

Four processes with 16 connections each hold, confirm, pay, cancel, extend, check in and out, walk in, and let time
pass, on few spaces and small lots, so that rivals meet. At one statement in 4,000 the connection is cut there, or just
before its commit; and now and then a whole process is killed with SIGKILL and begun again. Requests are repeated with
their key. All that chance decides comes from the seed; which rival is first does not. The same command in the same
folder goes on where it stopped, and `--minutes` stops it. Ten times a second, as far as that takes a fifth of a core at
most, it is counted from a snapshot what must be nought (`bookings_audit.sql`): what has changed, and at the end of a
piece all.

Money is a table of two columns here (`Books`); `tests.crash.payments` puts ledger, providers and faults in its place.
"""

import argparse
import asyncio
import logging
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import namedtuple_row
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
from api.database import Connection
from api.embedded_postgres import EMBEDDED_SCHEME, open_database
from api.errors import ApiError
from api.idempotency import Scope, once
from api.tenancy import acting, at_desk, go_to_desk
from tests.crash.bookings_audit import Auditor
from tests.crash.bookings_town import TownClock, prepare

PROCESSES: Final = 4
CONNECTIONS: Final = 16
ROUND: Final = 64
"""So many operations a process does before it notes that they are done; one that was killed repeats them."""
KILL_ONE_IN: Final = 4000
SIGKILL_EVERY_S: Final = (10, 30)
LOOK_EVERY_S: Final = 0.1
LOOKING_SHARE: Final = 0.2


class KilledError(psycopg.OperationalError):
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

    settings = {
        "autocommit": True,
        "row_factory": namedtuple_row,
        "options": "-c timezone=UTC",
    }
    return AsyncConnectionPool(
        url, connection_class=Fragile, kwargs=settings, min_size=CONNECTIONS, max_size=CONNECTIONS, open=False
    )


class Books:
    """Money as lines of a table, written in the same transaction."""

    compensation_minor = 10_000

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
    clock: TownClock
    seed: int
    worker: int
    places: list[UUID]
    drivers: list[UUID]
    books: Money = field(default_factory=Books)
    outcomes: Counter[str] = field(default_factory=Counter)

    async def operate(self, number: int) -> None:
        """Do operation `number`; who was killed comes again with the same key."""
        now = self.clock.now()
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
            except psycopg.OperationalError as error:
                self.outcomes[f"{name}: {type(error).__name__}"] += 1
        self.clock.advance(self.worker)

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
        async with self.pool.connection() as connection:  # by itself, for whoever picks decides nothing
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
    url: str, clock: TownClock, seed: int, worker: int, operations: int, build: Callable[..., Attacker] = Attacker
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
        attacker = build(pool, fate, clock, seed, worker, places, drivers)
        for first in range(begin, operations, ROUND):
            numbers = iter(range(first, min(first + ROUND, operations)))

            async def work_off(numbers: Any = numbers) -> None:
                for number in numbers:
                    await attacker.operate(number)

            await asyncio.gather(*(work_off() for _ in range(CONNECTIONS)))
            await _note(plain, attacker, min(first + ROUND, operations))
        await pool.close()


async def _note(plain: psycopg.AsyncConnection[Any], attacker: Attacker, done: int) -> None:
    query = "UPDATE attack_progress SET done = %s, kills = kills + %s WHERE worker = %s"
    await plain.execute(query, [done, attacker.fate.kills, attacker.worker])
    query = """
        INSERT INTO attack_outcomes AS o SELECT * FROM unnest(%s::text[], %s::bigint[]) ORDER BY 1
        ON CONFLICT (what) DO UPDATE SET count = o.count + excluded.count"""
    await plain.execute(query, [list(attacker.outcomes), list(attacker.outcomes.values())])
    attacker.outcomes.clear()
    attacker.fate.kills = 0


@dataclass
class Siege:
    """Keeps the processes of an attack going: begins them, kills one now and then, and looks meanwhile.

    begin: starts a worker. look: returns what is wrong.
    """

    draw: random.Random
    begin: Callable[[int], subprocess.Popen[bytes]]
    look: Callable[[], list[str]]
    sigkills: int = 0
    looks: int = 0

    def hold(self, minutes: float) -> list[str]:
        """Go on until the work is done or the time is over; return what was found wrong."""
        workers = {worker: self.begin(worker) for worker in range(PROCESSES)}
        ends, next_kill = time.monotonic() + 60 * minutes, self._next_kill()
        wrong: list[str] = []
        while workers and not wrong and time.monotonic() < ends:
            wrong = self._look() + self._mend(workers)
            if workers and time.monotonic() > next_kill:
                workers[self.draw.choice(sorted(workers))].kill()
                self.sigkills, next_kill = self.sigkills + 1, self._next_kill()
        for process in workers.values():
            process.kill()
            process.wait()
        return wrong

    def _next_kill(self) -> float:
        return time.monotonic() + self.draw.uniform(*SIGKILL_EVERY_S)

    def _look(self) -> list[str]:
        """Look, then wait so long that looking takes its share of a core at most."""
        began = time.monotonic()
        wrong = self.look()
        self.looks += 1
        time.sleep(max(LOOK_EVERY_S, (time.monotonic() - began) * (1 / LOOKING_SHARE - 1)))
        return wrong

    def _mend(self, workers: dict[int, subprocess.Popen[bytes]]) -> list[str]:
        """Begin killed workers again, forget those that are done; return which have failed."""
        wrong = []
        for worker, process in list(workers.items()):
            if process.poll() == -signal.SIGKILL:
                workers[worker] = self.begin(worker)
            elif process.returncode is not None:
                wrong += [f"worker {worker} failed"] if process.returncode else []
                del workers[worker]
        return wrong


def attack(url: str, folder: Path, operations: int, seed: int, minutes: float) -> bool:
    """Attack, for this long at most; print what was found; return whether all is well."""
    prepare(url, PROCESSES)
    share = -(-operations // PROCESSES)
    clock, auditor, began = TownClock(folder / "clock", PROCESSES), Auditor(url), time.monotonic()

    def begin(worker: int) -> subprocess.Popen[bytes]:
        options = ["--worker", str(worker), "--database-url", url, "--operations", str(share), "--seed", str(seed)]
        return subprocess.Popen([sys.executable, "-m", "tests.crash.bookings", *options, "--folder", str(folder)])

    def look() -> list[str]:
        return [f"{count} {name}" for name, count in auditor.look(clock.now()).items() if count]

    siege = Siege(random.Random(f"{seed}/{clock.now()}"), begin, look)
    wrong = siege.hold(minutes)
    found = auditor.look(clock.now(), complete=True)
    note_piece(url, time.monotonic() - began, siege)
    report(url, operations, seed)
    for name, count in found.items():
        print(f"{count:6} {name}")
    print(f"WRONG: {wrong}" if wrong else "", end="\n" if wrong else "")
    return not wrong and not any(found.values())


def note_piece(url: str, took_s: float, siege: Siege) -> None:
    """Remember what one piece of the attack was."""
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO attack_pieces VALUES (%s, %s, %s)", [took_s, siege.sigkills, siege.looks])


def report(url: str, operations: int, seed: int) -> None:
    """Print what all pieces together have done."""
    with psycopg.connect(url) as connection:
        ((done, kills),) = connection.execute("SELECT sum(done)::bigint, sum(kills) FROM attack_progress").fetchall()
        pieces = "SELECT count(*), sum(took_s), sum(sigkills), sum(snapshots) FROM attack_pieces"
        ((count, took_s, sigkills, looks),) = connection.execute(pieces).fetchall()
        rows = connection.execute("SELECT what, count FROM attack_outcomes ORDER BY what").fetchall()
        statuses = connection.execute("SELECT status, count(*) FROM bookings GROUP BY 1 ORDER BY 1").fetchall()
    pace = f"{took_s:.0f} s of {count} pieces: {done / took_s:.0f} a second"
    print(f"{done} of {operations} operations, seed {seed}, in {pace}")
    print(f"{kills} connections cut between two statements, {sigkills} SIGKILLs, {looks} snapshots")
    print("outcomes:", ", ".join(f"{what} {count}" for what, count in rows))
    print("bookings:", ", ".join(f"{status} {count}" for status, count in statuses))


def main() -> int:
    """Read the command line and attack."""
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns of every connection that we cut
    parser = argparse.ArgumentParser()
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the database lies; the same one goes on")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then; the same folder goes on")
    parser.add_argument("--database-url")
    parser.add_argument("--worker", type=int)
    options = parser.parse_args()
    folder = (options.folder or Path(mkdtemp(prefix="parkpal-attack-"))).absolute()
    if options.worker is not None:
        clock = TownClock(folder / "clock", PROCESSES)
        asyncio.run(run_worker(options.database_url, clock, options.seed, options.worker, options.operations))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {options.seed}, folder {folder}", flush=True)
    with open_database(options.database_url or f"{EMBEDDED_SCHEME}:///{folder / 'postgres'}") as url:
        return 0 if attack(url, folder, options.operations, options.seed, options.minutes) else 1


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
