"""What must be nought, counted from the rows alone, all of it in one snapshot.

A look is complete, or at what has changed since the last one: then history is read from some entries before the last
that was seen, for transactions do not commit in the order of their entries' numbers.
"""

from datetime import datetime
from typing import Any, Final

import psycopg

from api.database import load_queries

QUERIES: Final = load_queries("tests.crash", "bookings_audit.sql")
OPEN_ENTRIES: Final = 5_000
"""Far more than the connections of an attack write in one transaction each."""


class Auditor:
    """Looks again and again, over a connection of its own. money: whether the attack's own books are held to it."""

    def __init__(self, url: str, *, money: bool = True) -> None:
        self._connection = psycopg.connect(url)
        kept = {name: query for name, query in QUERIES.items() if money or b"attack_books" not in query}
        self._queries = {name.replace("_", " "): query for name, query in kept.items()}
        self._seen = 0
        self.snapshots = 0

    def look(self, now: datetime, *, complete: bool = False) -> dict[str, int]:
        """Count, in one snapshot, what must be nought."""
        parameters = {"now": now, "since": 0 if complete else self._seen - OPEN_ENTRIES}
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._seen = self._one("SELECT coalesce(max(entry_id), 0) FROM booking_history", {})
            counts = {name: self._one(query, parameters) for name, query in self._queries.items()}
        self.snapshots += 1
        return counts

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def _one(self, query: str | bytes, parameters: dict[str, Any]) -> int:
        text = query if isinstance(query, bytes) else query.encode()
        ((count,),) = self._connection.execute(text, parameters).fetchall()
        return int(count)
