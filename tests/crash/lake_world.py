"""A small lake under writers, upkeep and readers, each a process of its own that may be killed at any moment.

The processes share a few numbers in memory: how many messages of each sink partition are published, and which days may
be gone, erased or rebuilt, or must be. They are forked from a parent that has loaded everything and started no thread,
so that a life costs its work and not its start.
"""

import ctypes
import importlib
import json
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final
from unittest import mock

import duckdb
import numpy as np

from pipeline import fault, recompute
from pipeline.lake.adoption import RECOVERY, adopt, read_adoption
from pipeline.lake.audit import LogPartition, audit
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.compaction import compact
from pipeline.lake.erasure import finish, take_down
from pipeline.lake.exchange import listing, sweep
from pipeline.lake.lake import Lake
from pipeline.lake.retention import Expired, retain
from pipeline.lake.tables import GEOFENCE_EVENTS
from pipeline.lake.vanished import AGAIN_S, forgiven
from pipeline.lake.writer import PartitionWriter, publish_pending
from pipeline.rebuild import rebuild
from pipeline.recompute import Days, first_whole_day, is_settled, settled_until
from tests.crash.lake_judge import EVENTS, FLOW, POSITIONS, REBUILT, Judge, Known
from tests.crash.lake_rows import FENCES, FIRST, MESSAGE_ROWS, MESSAGES_A_DAY, PARTS, Device, devices, write_message

with suppress(ImportError):
    importlib.import_module("pandas")  # pyarrow loads it, where it is, with the first array, so each life would

READERS: Final = 2
KEPT: Final = dict.fromkeys(("positions", "rejected", "geofence_events"), 3)
"""Days, by table."""
GRACE_S: Final = 3.0
DAYS: Final = 6_000
"""More than any run lives through."""

_PR_SET_PDEATHSIG: Final = 1


class Shared:
    """Numbers that all processes see; each has one writer at a time."""

    def __init__(self) -> None:
        values = np.frombuffer(mmap.mmap(-1, 8 * (64 + 2 * DAYS)), np.int64)
        self.published = values[:PARTS]
        self.may_go, self.gone, self.stop, self.erasing, self.erased = (values[at : at + 1] for at in range(8, 13))
        self.may_go[0] = self.gone[0] = -1  # the day before the first has rows that came late
        self.erasing[0] = self.erased[0] = -1
        self.reads, self.loud, self.wrong, self.backward, self.again = (
            values[16 + 8 * at : 16 + 8 * at + READERS] for at in range(5)
        )
        self.rebuilding, self.rebuilt = (values[64 + DAYS * at : 64 + DAYS * (at + 1)] for at in range(2))

    def known(self) -> Known:
        """Return what holds now."""
        single = (int(each[0]) for each in (self.may_go, self.gone, self.erasing, self.erased))
        return Known(self.published.copy(), *single, self.rebuilding.copy(), self.rebuilt.copy())

    def counts(self) -> dict[str, int]:
        """Return what the readers met: reads, loud errors at first and again, wrong reads, reads that went back."""
        names = ("reads", "loud", "again", "wrong", "backward")
        return {name: int(getattr(self, name).sum()) for name in names}


class World:
    """The lake, where its writers keep their states, and what the processes share."""

    def __init__(self, folder: Path, pace_s: float = 0.004) -> None:
        """Take an empty folder; a writer rests up to `pace_s` after an epoch."""
        self.folder = folder
        self.pace_s = pace_s
        self.shared = Shared()
        self._stores = folder / "lake" / RECOVERY

    @property
    def lake(self) -> Lake:
        return Lake.open(str(self.folder / "lake"))

    def create(self) -> None:
        """Make the empty lake."""
        Lake.create(str(self.folder / "lake"))

    def write(self, part: int, seed: int, messages: int = sys.maxsize) -> None:
        """Write epochs of a sink partition until told to stop, or there are so many messages, then end cleanly."""
        store, choice = Store(self._stores / str(part)), random.Random(seed)
        epoch, at, state = store.resume(choice)
        at = at if state else self._adopted(part)
        writer = PartitionWriter.open(self.lake, part, state)
        published = at
        self._publish(part, published)
        while not self.shared.stop[0] and at < messages:
            for _ in range(choice.randint(1, 4)):
                write_message(writer, part, at)
                at += 1
            store.is_durable(epoch)
            state = writer.snapshot()
            self._publish(part, published)
            epoch, published = epoch + 1, at
            store.keep(epoch, at, state)
            time.sleep(choice.random() * self.pace_s)
            while at > min(self.shared.published) + MESSAGES_A_DAY and not self.shared.stop[0]:
                time.sleep(0.01)  # the log's partitions keep together
        store.is_durable(epoch)
        writer.close()

    def adopt(self) -> None:
        """Take the lake over without its recovery stores; no writer may live."""
        adopt(self.lake)

    def compact(self) -> None:
        """Merge whatever is two files or more, and delete old directories; one time."""
        _no_refusal(compact(self.lake, files=2).refused)
        sweep(self.lake, GRACE_S)

    def retain(self) -> None:
        """Drop expired days, and say before and after which they are."""

        def tell(days: list[Expired]) -> list[Expired]:
            first = max(((day - FIRST).days + 1 for _, day in days), default=-1)
            self.shared.may_go[0] = max(self.shared.may_go[0], first)
            return days

        retain(self.lake, KEPT, tell)
        # A day that compaction replaced at this moment, or that still grew, is left for the next run, so what is there
        # decides.
        folders = [path for table in KEPT for path in (self.lake.root / table).glob("event_date=*")]
        there = [path.name.partition("=")[2] for path in folders]
        oldest = min(((date.fromisoformat(day) - FIRST).days for day in there if day > "1970-01-01"), default=-1)
        self.shared.gone[0] = max(self.shared.gone[0], min(self.shared.may_go[0], oldest))

    def erase(self) -> None:
        """Erase the devices that ask for it, up to the present day, whose rows still come; say so before and after."""
        today = int(min(self.shared.published)) // MESSAGES_A_DAY
        asking = [each for day in range(today + 1) for each in devices(day) if each.is_erased(today)]
        self.shared.erasing[0] = max(self.shared.erasing[0], today)
        take_down(self.lake, [each.id for each in asking])
        with suppress(LakeRefusedError):  # a killed writer has a commit pending: once more when it is back
            finish(self.lake, patience_s=1)
            self.shared.erased[0] = max(self.shared.erased[0], today)

    def rebuild(self) -> None:
        """Decide the events anew of every day that can be, and say so before and after."""
        with mock.patch.object(recompute, "WARM_UP", timedelta(0)):  # no device of this world lives two days
            self._rebuild()

    def _rebuild(self) -> None:
        until, whole = settled_until(self.lake), first_whole_day(self.lake)
        days = [day for day in listing(self.lake, GEOFENCE_EVENTS) if day >= whole and is_settled(day, until)]
        numbers = [(day - FIRST).days for day in days]
        if days:
            self.shared.rebuilding[numbers] = 1
            with suppress(LakeRefusedError), forgiven():  # retention came between
                rebuild(self.lake, FENCES, Days(min(days), max(days)), ["geofence_events"], lambda *_: None)
                self.shared.rebuilt[numbers] = 1

    def look(self, reader: int, *, pause_s: float = 0.0) -> None:
        """Read the bare glob of one table and another until told to stop, and count what must never be."""
        judge = Judge()
        with duckdb.connect(config={"threads": 1}) as connection:
            while not self.shared.stop[0]:
                for table, query, verdict in (
                    ("positions", POSITIONS, judge.positions),
                    ("geofence_events", EVENTS, judge.events),
                ):
                    before = self.shared.known()
                    rows = self._read(connection, reader, table, query)
                    if rows is not None:
                        self._report(reader, verdict(rows, before, self.shared.known()))
                        self.shared.reads[reader] += 1
                    time.sleep(pause_s)

    def messages(self, part: int) -> int:
        """Return how many messages of the sink partition its newest state knows."""
        _, at, state = Store(self._stores / str(part)).newest()
        return at if state else self._adopted(part)

    def verdict(self) -> dict[str, int]:
        """After all processes ended cleanly: publish, and count what is lost, doubled, and wrong by the audit."""
        publish_pending(self.lake)
        for job in (self.compact, self.retain, self.erase, self.rebuild):
            job()
        messages = [self.messages(part) for part in range(PARTS)]
        expected = self._expected(messages)
        found = self._found()
        lost = sum(max(0, rows - found.get(key, 0)) for key, rows in expected.items())
        doubled = sum(max(0, rows - expected.get(key, 0)) for key, rows in found.items())
        log = [
            LogPartition("positions", part, 0, n, [(at, MESSAGE_ROWS) for at in range(n)])
            for part, n in enumerate(messages)
        ]
        report = audit(self.lake, log)
        for problem in report.problems:
            print(problem.what, flush=True)
        gone = sum(rows for (job, table), rows in report.dropped.items() if (job, table) == ("erase", "positions"))
        rows, problems = sum(expected.values()), len(report.problems)
        return {"rows": rows, "lost": lost, "doubled": doubled, "problems": problems, "erased": gone}

    def _expected(self, messages: list[int]) -> dict[tuple[str, Device], int]:
        """Return how many rows of each device must be left, by table."""
        days = range(int(self.shared.gone[0]), 1 + max(messages) // MESSAGES_A_DAY)
        left = [each for day in days for each in devices(day) if not each.is_erased(int(self.shared.erased[0]))]
        rows = {("positions", each): each.rows(messages[each.part]) for each in left}
        for each in left:
            rebuilt = self.shared.rebuilt[each.day] and each.day >= 0
            events = REBUILT[0] if rebuilt else FLOW[0] * each.is_decided(messages[each.part])
            rows["geofence_events", each] = events
        return rows

    def _found(self) -> dict[tuple[str, Device], int]:
        with duckdb.connect(config={"threads": 1}) as connection:
            return {
                (table, Device.parse(each)): rows
                for table, query in (("positions", POSITIONS), ("geofence_events", EVENTS))
                for each, rows, *_ in self._query(connection, table, query)
            }

    def _adopted(self, part: int) -> int:
        """Return how many messages of the sink partition the lake held when it was adopted, 0 if it never was."""
        return next((at.next for at in read_adoption(self.lake).sources if at.partition == part), 0)

    def _publish(self, part: int, messages: int) -> None:
        self.shared.published[part] = max(self.shared.published[part], messages)

    def _query(self, connection: duckdb.DuckDBPyConnection, table: str, query: str) -> list[tuple[Any, ...]]:
        return connection.execute(query, {"glob": f"{self.folder}/lake/{table}/**/*.parquet"}).fetchall()

    def _read(
        self, connection: duckdb.DuckDBPyConnection, reader: int, table: str, query: str
    ) -> list[tuple[Any, ...]] | None:
        """Read; a loud error is counted and tried once more, as the api's reader does."""
        for count in (self.shared.loud, self.shared.again):
            with forgiven():
                return self._query(connection, table, query)
            count[reader] += 1
            time.sleep(AGAIN_S)
        return None

    def _report(self, reader: int, faults: Iterable[tuple[str, str]]) -> None:
        for kind, what in faults:
            getattr(self.shared, kind)[reader] += 1
            print(f"{kind.upper()} READ {what}", flush=True)


class Store:
    """The recovery store of one sink partition: states by epoch, and which one is durable for certain."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def newest(self) -> tuple[int, int, bytes | None]:
        """Return epoch, messages and state of the newest state."""
        epoch = max(self._epochs(), default=0)
        if not epoch:
            return 0, 0, None
        at, state = json.loads((self._folder / str(epoch)).read_text())
        return epoch, at, state.encode()

    def resume(self, choice: random.Random) -> tuple[int, int, bytes | None]:
        """Draw what survived the last crash: the newest state or, where it may be, the one before."""
        epoch = max(self._epochs(), default=0)
        sure = self._folder / "sure"
        if epoch > (int(sure.read_text()) if sure.exists() else 0) and choice.random() < 0.5:
            (self._folder / str(epoch)).unlink()
        found = self.newest()
        self.is_durable(found[0])  # what was resumed from survived
        return found

    def keep(self, epoch: int, at: int, state: bytes) -> None:
        """Store a state, and forget the ones that cannot be resumed from any more."""
        _replace(self._folder / str(epoch), json.dumps([at, state.decode()]))
        for old in self._epochs():
            if old < epoch - 1:
                (self._folder / str(old)).unlink()

    def is_durable(self, epoch: int) -> None:
        """Note that no crash goes back behind this epoch."""
        if epoch:
            _replace(self._folder / "sure", str(epoch))

    def _epochs(self) -> list[int]:
        return [int(path.name) for path in self._folder.glob("[0-9]*")]


def start(run: Callable[[], None], spec: str = "") -> int:
    """Fork a process that runs and ends, killed at the fault point of `spec` on the way; return its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody else would end it
        fault.arm(spec)
        run()
        status = 0
    except BaseException as error:  # noqa: BLE001 -- whatever it is, it must not run the parent's code
        print(f"FAILED {type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(status)


def _no_refusal(reasons: list[str]) -> None:
    if reasons:
        raise AssertionError(reasons)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(text)
    draft.replace(path)
