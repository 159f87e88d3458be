"""Prove the derived tables by deciding them again: complete days hold the rows that the facts give, and no other.

On a day that is still being decided every row found must be among those the facts give; the rest may come yet. Rows
that an earlier version of a detector decided are counted and not compared. A day whose facts retention has begun to
take is not proved, nor are the days after it for as long as the detectors remember.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import duckdb
import pyarrow as pa

from geo import geofence, trips
from geo.fence_index import FenceIndex
from pipeline.lake.at_hand import days_at_hand
from pipeline.lake.audit import Problem
from pipeline.lake.exchange import listing
from pipeline.lake.lake import Lake
from pipeline.lake.named_sql import load_named
from pipeline.lake.tables import POSITIONS, TABLES, Table
from pipeline.lake.tombstones import Tombstones
from pipeline.network import Roads, detector
from pipeline.recompute import DERIVED, Days, Decided, first_whole_day, is_settled, recompute, settled_until

COMPARED: Final = tuple(name for name in DERIVED if "detector" in TABLES[name].schema.names)
"""Search hints are what was said live, and tell of no detector: they are not proved."""
_SQL: Final = load_named(__package__, "proof.sql")


@dataclass
class Proof:
    """What does not hold, what is worth knowing, and how many rows were proved."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: int = 0


@dataclass
class _Difference:
    """Of a day of a table: rows missing, rows that should not be there, and rows of other detectors."""

    missing: int = 0
    surplus: int = 0
    others: dict[str, int] = field(default_factory=dict)


def prove(lake: Lake, index: FenceIndex, roads: Roads | None = None) -> Proof:
    """Decide every derived row of the lake again and compare; `index` holds the fences that the flow was given.

    A flow may run meanwhile.
    """
    proof = Proof()
    detectors = {geofence.DETECTOR, trips.DETECTOR, detector(roads)}
    days = _provable(lake, proof)
    if days is None:
        return proof
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        _load_found(connection, lake, days)  # before the facts: these then are at least as new
        until = settled_until(lake)
        _load_decided(connection, recompute(lake, index, days, roads))
        open_days = [day for day in days.each() if not is_settled(day, until)]
        if open_days:
            proof.notes.append(f"days from {open_days[0]} on are still being decided: rows may be missing there")
        for table in COMPARED:
            proof.rows += _count(connection, table)
            for day, found in sorted(_compare(connection, table, detectors).items()):
                _judge(proof, table, day, found, settled=day not in open_days)
    return proof


def _provable(lake: Lake, proof: Proof) -> Days | None:
    """Return the days whose facts are all there, with those before them that the detectors remember."""
    listed = [*listing(lake, POSITIONS), *(day for table in COMPARED for day in listing(lake, TABLES[table]))]
    if not listed:
        return None
    first, last, whole = min(listed), max(listed), first_whole_day(lake)
    if whole > first:
        first = whole
        proof.notes.append(f"days before {first} are not proved: their facts, or what led up to them, are expired")
    return Days(first, last) if first <= last else None


def _load_found(connection: duckdb.DuckDBPyConnection, lake: Lake, days: Days) -> None:
    """Make a table `found_...` of each derived table, without erased devices."""
    connection.register("erased", pa.table({"device_id": pa.array(sorted(Tombstones(lake).devices()), pa.string())}))
    tables = [TABLES[name] for name in COMPARED]
    with days_at_hand(lake, tables, days.first, days.last) as root:
        for table in tables:
            paths = str(root / table.name / "**" / "*.parquet")
            parameters = {"paths": paths, "first": days.first, "last": days.last}
            connection.execute(_query("found", table), parameters)


def _load_decided(connection: duckdb.DuckDBPyConnection, decided: Iterable[Decided]) -> None:
    """Make tables `certain_...` and `possible_...` of what was decided again, the second with all of the first."""
    rows: defaultdict[str, list[Decided]] = defaultdict(list)
    for each in decided:
        rows[each.table].append(each)
    for name in COMPARED:
        for kind in ("certain", "possible"):
            batches = [each.rows for each in rows[name] if each.certain or kind == "possible"]
            connection.register("decided", pa.Table.from_batches(batches, TABLES[name].schema))
            connection.execute(_query("decided", TABLES[name], kind))


def _query(name: str, table: Table, kind: str = "") -> str:
    """Return a query for one table; the names that are put in are the program's own."""
    text = _SQL[name].replace("{columns}", ", ".join(table.schema.names)).replace("{date}", table.date_column)
    return text.replace("{table}", table.name).replace("{kind}", kind)


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.execute(_query("count", TABLES[table])).fetchall()[0][0])


def _compare(connection: duckdb.DuckDBPyConnection, table: str, detectors: Collection[str]) -> dict[date, _Difference]:
    differences: defaultdict[date, _Difference] = defaultdict(_Difference)
    for day, name, rows in connection.execute(_query("surplus", TABLES[table])).fetchall():
        if name in detectors:
            differences[day].surplus += rows
        else:
            differences[day].others[name] = rows
    for day, rows in connection.execute(_query("missing", TABLES[table])).fetchall():
        differences[day].missing += rows
    return differences


def _judge(proof: Proof, table: str, day: date, found: _Difference, *, settled: bool) -> None:
    mend = f"parkpal lake rebuild --tables {table} --from {day} --to {day}"
    if found.others:
        told = ", ".join(f"{rows} by {detector}" for detector, rows in sorted(found.others.items()))
        proof.notes.append(f"{table} of {day} was decided {told}: not compared. {mend} decides it as of now")
        return
    wrong = list(_wrongs(found, settled=settled))
    if wrong:
        when = "" if settled else ", once the day is complete"
        proof.problems.append(Problem(f"{table} of {day}: {' and '.join(wrong)}", f"{mend}{when}"))


def _wrongs(found: _Difference, *, settled: bool) -> Iterator[str]:
    if found.missing and settled:
        yield f"{found.missing} rows that the facts give are missing"
    if found.surplus:
        yield f"{found.surplus} rows are there that the facts do not give"
