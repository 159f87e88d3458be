"""The town that is attacked: few spaces, small lots, and drivers enough to be rivals. And its time.

Time passes with every operation of anybody: the processes of an attack agree on it as servers' clocks do, however
unevenly they come forward. It lies in a file, so it goes on after a kill.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from api.database import load_migrations, migrate

SPACES, LOTS, DRIVERS = 24, 4, 60
STEP: Final = timedelta(seconds=0.75)
"""So much time passes with each operation."""
FIRST: Final = datetime(2031, 3, 29, tzinfo=UTC)
TENANT: Final = UUID(int=1)


class TownClock:
    """The town's time, from the operations that each worker has done."""

    def __init__(self, path: Path, workers: int) -> None:
        if not path.exists():
            np.zeros(workers, np.int64).tofile(path)
        self._done = np.memmap(path, np.int64, "r+", shape=(workers,))

    def advance(self, worker: int) -> None:
        """Let an operation of this worker be done."""
        self._done[worker] += 1

    def now(self) -> datetime:
        """Return the time."""
        return FIRST + int(self._done.sum()) * STEP


def prepare(url: str, workers: int) -> None:
    """Make the schema, the town, and where the attack notes how far it is; once."""
    migrate(url, load_migrations())
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('attack_progress')").fetchone() != (None,):
            return
        connection.execute("CREATE TABLE attack_progress (worker int PRIMARY KEY, done bigint, kills bigint)")
        connection.execute("CREATE TABLE attack_outcomes (what text PRIMARY KEY, count bigint)")
        connection.execute("CREATE TABLE attack_pieces (took_s float8, sigkills bigint, snapshots bigint)")
        connection.execute("CREATE TABLE attack_books (booking_id uuid, what text, amount_minor bigint)")
        connection.execute("CREATE INDEX ON attack_books (booking_id)")
        connection.execute("CREATE INDEX attack_plates ON bookings (plate)")
        connection.execute("GRANT INSERT ON attack_books TO parkpal_desk")
        for worker in range(workers):
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
