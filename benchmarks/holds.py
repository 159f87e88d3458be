"""Holds per second: the exclusion constraint against check-then-insert and against a lock of the space's row.

    python -m benchmarks.holds [--seconds 6] [--rounds 3] [--seed 1] [--spaces 1 20 1000]

Each transaction does the same round the one statement that differs: takes its idempotency key, shares the place's row,
ends overdue holds, inserts the booking with its history, writes a letter, stores the answer. `constraint` inserts with
ON CONFLICT DO NOTHING; `check` looks for an overlap and then inserts, where there is no constraint; `lock` does so
too, but has locked the place's row FOR UPDATE in place of sharing it. Sixteen connections in each of four processes,
on 1, 20 and 1,000 spaces, one variant after the other in every round. Two databases of one server: with and without the
constraint, whose index both have.

Beside the ratios it prints the processor time that a request takes of the clients and of the server: there can be at
most as many requests a second as there are cores in their sum, and of row locks on one space one while a lock is held.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psutil
import psycopg
from psycopg.types.json import Jsonb

from api.bookings.holding import HOLD_FOR
from api.bookings.places import Window
from api.contacts import Contact
from api.database import Connection, Pool, build_pool, load_migrations, load_queries, migrate
from api.embedded_postgres import EMBEDDED_SCHEME, open_database
from api.idempotency import Scope, Stored, claim, keep
from api.outbox.messages import put_message
from api.tenancy import at_desk

PROCESSES, CONNECTIONS = 4, 16
SIZES: Final = (1, 20, 1000)
VARIANTS: Final = ("constraint", "check", "lock")
NOW: Final = datetime(2031, 1, 1, tzinfo=UTC)
SLOTS: Final = 20_000
TENANT, DRIVER = UUID(int=1), UUID(int=2)

_SQL: Final = load_queries("api.bookings", "holding.sql")
_SHARE: Final = load_queries("api.bookings", "places.sql")["share"]
_LOCK: Final = _SHARE.replace(b"FOR SHARE", b"FOR UPDATE")
_TAKEN: Final = b"""
    SELECT FROM bookings
    WHERE uuidrange(space_id, space_id, '[]') && uuidrange(%(place_id)s, %(place_id)s, '[]')
        AND during && tstzrange(%(starts_at)s, %(ends_at)s)
        AND place_kind = 'space' AND status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
    LIMIT 1"""
_DOUBLE: Final = """
    SELECT count(*) FROM bookings a JOIN bookings b ON a.place_id = b.place_id AND a.booking_id < b.booking_id
        AND a.during && b.during"""


class Result(NamedTuple):
    """What one process did: seconds of each transaction, how many got the place, and its processor time."""

    latencies: list[float]
    held: int
    cpu_s: float


class Cost(NamedTuple):
    """Processor time of all requests of a variant, of clients and of the server, and how many there were."""

    client_s: float = 0.0
    server_s: float = 0.0
    requests: int = 0

    def plus(self, client_s: float, server_s: float, requests: int) -> "Cost":
        """Return the sum."""
        return Cost(self.client_s + client_s, self.server_s + server_s, self.requests + requests)

    def __str__(self) -> str:
        each = [1e6 * cpu_s / max(self.requests, 1) for cpu_s in (self.client_s, self.server_s)]
        return f"us CPU a request: client {each[0]:.0f}, server {each[1]:.0f}"


def work(url: str, variant: str, spaces: int, seconds: float, seed: int) -> Result:
    """Hold for so many seconds over CONNECTIONS connections."""
    return asyncio.run(_work(url, variant, spaces, seconds, random.Random(seed)))  # noqa: S311  # a seeded benchmark


async def _work(url: str, variant: str, spaces: int, seconds: float, draw: random.Random) -> Result:
    pool = build_pool(url, max_size=CONNECTIONS)
    await pool.open()
    latencies: list[float] = []
    held = 0
    cpu_began, end = time.process_time(), time.perf_counter() + seconds

    async def go() -> None:
        nonlocal held
        while time.perf_counter() < end:
            place_id = UUID(int=1000 + draw.randrange(spaces))
            start = NOW + draw.randrange(SLOTS) * timedelta(minutes=15)
            began = time.perf_counter()
            held += await _hold(pool, variant, place_id, Window(start, start + timedelta(minutes=60)))
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(go() for _ in range(CONNECTIONS)))
    await pool.close()
    return Result(latencies, held, time.process_time() - cpu_began)


def server_cpu_s(url: str) -> float:
    """Return the processor time of the server's backends that have ended: a run's connections close with it."""
    with psycopg.connect(url) as connection:
        ((text,),) = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchall()
    spent = psutil.Process(int(text.split()[0])).cpu_times()
    return float(spent.children_user + spent.children_system)


async def _hold(pool: Pool, variant: str, place_id: UUID, window: Window) -> bool:
    scope = Scope(DRIVER, "POST /v1/bookings", uuid4().hex, bytes(32))
    parameters = {"place_id": place_id, "now": NOW, **window._asdict()}
    async with at_desk(pool, DRIVER) as connection:
        await claim(connection, scope)
        await connection.execute(_LOCK if variant == "lock" else _SHARE, parameters)
        await connection.execute(_SQL["expire_overdue"], parameters)
        held = await _take(connection, variant, parameters)
        await put_message(connection, Contact("email", "d@example.ph"), "booking_reserved", "en", {})
        await keep(connection, scope, Stored(200, b"{}"))
    return held


async def _take(connection: Connection, variant: str, parameters: dict[str, Any]) -> bool:
    if variant != "constraint" and await (await connection.execute(_TAKEN, parameters)).fetchone() is not None:
        return False
    return await (await connection.execute(_SQL["put"], _columns(parameters))).fetchone() is not None


def _columns(parameters: dict[str, Any]) -> dict[str, Any]:
    return parameters | {
        "booking_id": uuid4(),
        "tenant_id": TENANT,
        "place_kind": "space",
        "space_id": parameters["place_id"],
        "driver_id": DRIVER,
        "plate": "ABC1234",
        "vehicle_kind": "car",
        "kind": "booking",
        "reason": "",
        "currency": "PHP",
        "total_minor": 0,
        "pay_later": False,
        "hold_expires_at": NOW + HOLD_FOR,
        "approval": None,
        "extends": None,
        "quote": Jsonb({}),
        "policy": Jsonb({}),
    }


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Give a server's two databases, with the constraint and without, by variant."""
    with TemporaryDirectory() as folder, open_database(f"{EMBEDDED_SCHEME}:///{Path(folder) / 'postgres'}") as server:
        urls = {}
        for name in ("with_constraint", "without"):
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            urls[name] = urlsplit(server)._replace(path=f"/{name}").geturl()
            migrate(urls[name], load_migrations())
            _build_town(urls[name], constraint=name == "with_constraint")
        yield {variant: urls["with_constraint" if variant == "constraint" else "without"] for variant in VARIANTS}


def _build_town(url: str, *, constraint: bool) -> None:
    with psycopg.connect(url) as connection:
        if not constraint:
            found = connection.execute("SELECT pg_get_indexdef('bookings_no_overlap'::regclass)").fetchone() or ("",)
            connection.execute("ALTER TABLE bookings DROP CONSTRAINT bookings_no_overlap")
            connection.execute(str(found[0]).encode())
        connection.execute("INSERT INTO tenants (tenant_id, kind, name) VALUES (%s, 'host', 'H')", [TENANT])
        connection.execute("INSERT INTO people (person_id, email, name) VALUES (%s, 'd@example.ph', 'D')", [DRIVER])
        rules = Jsonb({"currency": "PHP", "rates": [{"rate": 0}]})
        connection.execute("INSERT INTO tariffs VALUES (%s, %s, 'free', 'PHP', %s)", [TENANT, TENANT, rules])
        for number in range(max(SIZES)):
            query = """
                INSERT INTO places (place_id, tenant_id, kind, name, lat, lon, shown_lat, shown_lon, time_zone,
                    tariff_id, policy)
                VALUES (%s, %s, 'space', 'P', 14, 121, 14, 121, 'Asia/Manila', %s, '{}')"""
            connection.execute(query, [UUID(int=1000 + number), TENANT, TENANT])


def empty(url: str) -> None:
    """Forget all holds, so that each run begins alike."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # append-only tables refuse a TRUNCATE by trigger
        connection.execute("TRUNCATE bookings, booking_history, idempotency_keys, outbox CASCADE")
        connection.execute("VACUUM ANALYZE bookings")


def double_bookings(url: str) -> int:
    """Count pairs of holds that overlap."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_DOUBLE.encode()).fetchone()
        return int(row[0]) if row else -1


def main() -> None:
    """Measure and print ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--spaces", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    print(
        f"seed {options.seed}, {PROCESSES} x {CONNECTIONS} connections, {options.rounds} x {options.seconds:g} s each"
    )
    with databases() as urls, ProcessPoolExecutor(PROCESSES) as processes:
        for spaces in options.spaces:
            costs = dict.fromkeys(VARIANTS, Cost())
            rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
            latencies: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
            doubled = dict.fromkeys(VARIANTS, 0)
            for number in range(options.rounds):
                for variant in VARIANTS:
                    empty(urls[variant])
                    server_began_s = server_cpu_s(urls[variant])
                    seeds = [options.seed * 1000 + number * 10 + process for process in range(PROCESSES)]
                    shares = [(urls[variant], variant, spaces, options.seconds, seed) for seed in seeds]
                    results = list(processes.map(work, *zip(*shares, strict=True)))
                    server_s = server_cpu_s(urls[variant]) - server_began_s
                    requests = sum(len(one.latencies) for one in results)
                    costs[variant] = costs[variant].plus(sum(one.cpu_s for one in results), server_s, requests)
                    rates[variant].append(sum(len(one.latencies) for one in results) / options.seconds)
                    latencies[variant] += [latency for one in results for latency in one.latencies]
                    doubled[variant] += double_bookings(urls[variant])
            _print(spaces, rates, latencies, doubled)
            for variant, cost in costs.items():
                print(f"{spaces:5} spaces  {variant:10}  {cost}", flush=True)


def _print(
    spaces: int, rates: dict[str, list[float]], latencies: dict[str, list[float]], doubled: dict[str, int]
) -> None:
    for variant in VARIANTS:
        ratio = median(mine / other for mine, other in zip(rates["constraint"], rates[variant], strict=True))
        ordered = sorted(latencies[variant])
        print(
            f"{spaces:5} spaces  {variant:10}  {median(rates[variant]):7.0f} requests/s  constraint is {ratio:5.2f}x"
            f"  p50 {ordered[len(ordered) // 2] * 1000:6.1f} ms  p99 {ordered[len(ordered) * 99 // 100] * 1000:7.1f} ms"
            f"  double bookings {doubled[variant]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
