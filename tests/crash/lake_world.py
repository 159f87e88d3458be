"""A small lake under writers, upkeep and readers, each a process of its own that may be killed at any moment.

What must be there can be said of every device: its rows are numbered, so that a reader sees a prefix of them or, once
its day may be dropped, none. The processes share a few numbers in memory: how many messages of each sink partition are
published, and which days may be gone or must be. They are forked from a parent that has loaded everything and started
no thread, so that a life costs its work and not its start.
"""

import ctypes
import importlib
import json
import mmap
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
import numpy as np

from pipeline import fault
from pipeline.lake.audit import LogPartition, audit
from pipeline.lake.commit import Extent, LakeRefusedError
from pipeline.lake.compaction import compact
from pipeline.lake.erasure import finish, take_down
from pipeline.lake.exchange import VANISHED, sweep
from pipeline.lake.lake import Lake
from pipeline.lake.retention import Expired, retain
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import NOON, positions, rejected

with suppress(ImportError):
    importlib.import_module("pandas")  # pyarrow loads it, where it is, with the first array, so each life would

PARTS: Final = 3
READERS: Final = 2
DAY_MS: Final = 86_400_000
FIRST: Final = date(2026, 3, 7)
KEPT_DAYS: Final = 2
MESSAGES_A_DAY: Final = 10
"""Of each sink partition."""
ERASED_EVERY: Final = 4
"""On every so manieth day the prompt devices ask that their rows be erased."""
MESSAGE_ROWS: Final = 4
"""Two fixes of the day, one of the day before, one reject."""
GRACE_S: Final = 3.0

QUERY: Final = "SELECT device_id, count(*), min(seq), max(seq), sum(seq)::BIGINT FROM read_parquet($glob) GROUP BY 1"


_PR_SET_PDEATHSIG: Final = 1


class Shared:
    """Numbers that all processes see; each has one writer at a time."""

    def __init__(self) -> None:
        values = np.frombuffer(mmap.mmap(-1, 4096), np.int64)
        self.published = values[:PARTS]
        self.may_go = values[8:9]
        """Days before this one may be gone."""
        self.gone = values[9:10]
        """Days before this one must be gone."""
        self.may_go[0] = self.gone[0] = -1  # the day before the first has rows that came late
        self.stop = values[10:11]
        self.erasing = values[11:12]
        """Devices that are to be erased up to this day may be gone."""
        self.erased = values[12:13]
        """Those up to this day must be gone."""
        self.erasing[0] = self.erased[0] = -1
        self.reads, self.loud, self.wrong, self.backward, self.again = (
            values[16 + 8 * at : 16 + 8 * at + READERS] for at in range(5)
        )

    def counts(self) -> dict[str, int]:
        """Return what the readers met: reads, loud errors at first and again, wrong reads, reads that went back."""
        names = ("reads", "loud", "again", "wrong", "backward")
        return {name: int(getattr(self, name).sum()) for name in names}


class Device(NamedTuple):
    """A device of the world: whose rows come as they happen, or a day late."""

    part: int
    day: int
    late: bool

    @property
    def id(self) -> str:
        return f"{self.part}.{self.day}.{'late' if self.late else 'prompt'}"

    @classmethod
    def parse(cls, text: str) -> "Device":
        part, day, kind = text.split(".")
        return cls(int(part), int(day), kind == "late")

    def is_erased(self, until: int) -> bool:
        """Whether it is one of those to be erased, up to a day."""
        return not self.late and self.day % ERASED_EVERY == ERASED_EVERY - 1 and self.day <= until

    def rows(self, messages: int) -> int:
        """Return how many of its rows are in the first messages of its sink partition."""
        sent = self.day + self.late
        of_day = min(MESSAGES_A_DAY, max(0, messages - sent * MESSAGES_A_DAY)) if sent >= 0 else 0
        return of_day if self.late else 2 * of_day


class World:
    """The lake, where its writers keep their states, and what the processes share."""

    def __init__(self, folder: Path, pace_s: float = 0.004) -> None:
        """Take an empty folder; a writer rests up to `pace_s` after an epoch."""
        self.folder = folder
        self.pace_s = pace_s
        self.shared = Shared()
        self.glob = f"{folder}/lake/positions/**/*.parquet"

    @property
    def lake(self) -> Lake:
        return Lake.open(str(self.folder / "lake"))

    def create(self) -> None:
        """Make the empty lake and stores."""
        Lake.create(str(self.folder / "lake"))
        for part in range(PARTS):
            (self.folder / f"store-{part}").mkdir()

    def devices(self, day: int) -> list[Device]:
        return [Device(part, day, late) for part in range(PARTS) for late in (False, True)]

    def write(self, part: int, seed: int) -> None:
        """Write epochs of a sink partition until told to stop, then end cleanly."""
        store, choice = Store(self.folder / f"store-{part}"), random.Random(seed)
        epoch, at, state = store.resume(choice)
        writer = PartitionWriter.open(self.lake, part, state)
        published = at
        self._publish(part, published)
        while not self.shared.stop[0]:
            for _ in range(choice.randint(1, 4)):
                _write_message(writer, part, at)
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

        retain(self.lake, {"positions": KEPT_DAYS, "rejected": KEPT_DAYS}, tell)
        # A day that compaction replaced at this moment is left for the next run, so what is there decides.
        there = [path.name.partition("=")[2] for path in (self.lake.root / "positions").glob("event_date=*")]
        oldest = min(((date.fromisoformat(day) - FIRST).days for day in there if day > "1970-01-01"), default=-1)
        self.shared.gone[0] = max(self.shared.gone[0], min(self.shared.may_go[0], oldest))

    def erase(self) -> None:
        """Erase the devices that ask for it, up to the present day, whose rows still come; say so before and after."""
        today = int(min(self.shared.published)) // MESSAGES_A_DAY
        devices = [each for day in range(today + 1) for each in self.devices(day) if each.is_erased(today)]
        self.shared.erasing[0] = max(self.shared.erasing[0], today)
        take_down(self.lake, [each.id for each in devices])
        with suppress(LakeRefusedError):  # a killed writer has a commit pending: once more when it is back
            finish(self.lake, patience_s=1)
            self.shared.erased[0] = max(self.shared.erased[0], today)

    def look(self, reader: int, *, pause_s: float = 0.0) -> None:
        """Read the bare glob until told to stop, and count what must never be."""
        seen: dict[Device, int] = {}
        with duckdb.connect(config={"threads": 1}) as connection:
            while not self.shared.stop[0]:
                floor, gone = self.shared.published.copy(), int(self.shared.gone[0])
                erased = int(self.shared.erased[0])
                rows = self._read(connection, reader)
                if rows is not None:
                    self._judge(reader, rows, seen, floor, gone, erased)
                    self.shared.reads[reader] += 1
                time.sleep(pause_s)

    def messages(self, part: int) -> int:
        """Return how many messages of the sink partition its newest state knows."""
        return Store(self.folder / f"store-{part}").newest()[1]

    def verdict(self) -> dict[str, int]:
        """After all processes ended cleanly: publish, and count what is lost, doubled, and wrong by the audit."""
        publish_pending(self.lake)
        self.compact()
        self.retain()
        self.erase()
        messages = [self.messages(part) for part in range(PARTS)]
        with duckdb.connect(config={"threads": 1}) as connection:
            found = {Device.parse(each): (rows, last) for each, rows, _, last, _ in self._query(connection)}
        days = range(int(self.shared.gone[0]), 1 + max(messages) // MESSAGES_A_DAY)
        left = [each for day in days for each in self.devices(day) if not each.is_erased(int(self.shared.erased[0]))]
        expected = {each: each.rows(messages[each.part]) for each in left}
        lost = sum(max(0, rows - found.get(each, (0, 0))[0]) for each, rows in expected.items())
        doubled = sum(max(0, rows - expected.get(each, 0)) for each, (rows, _) in found.items())
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

    def _publish(self, part: int, messages: int) -> None:
        self.shared.published[part] = max(self.shared.published[part], messages)

    def _query(self, connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int, int, int, int]]:
        return connection.execute(QUERY, {"glob": self.glob}).fetchall()

    def _read(self, connection: duckdb.DuckDBPyConnection, reader: int) -> list[tuple[str, int, int, int, int]] | None:
        """Read; a loud error is counted and tried once more, as the api's reader does."""
        for count in (self.shared.loud, self.shared.again):
            try:
                return self._query(connection)
            except VANISHED:
                count[reader] += 1
        return None

    def _judge(
        self,
        reader: int,
        rows: list[tuple[str, int, int, int, int]],
        seen: dict[Device, int],
        floor: "np.ndarray[tuple[int], np.dtype[np.int64]]",
        gone: int,
        erased: int,
    ) -> None:
        """Compare a read with what was published before it began and what may have gone before it ended."""
        may_go, erasing = int(self.shared.may_go[0]), int(self.shared.erasing[0])
        found = {Device.parse(each): values for each, *values in rows}
        for each, (n, first, last, total) in found.items():
            is_gone = each.day < gone or each.is_erased(erased)
            if (first, last + 1, total) != (0, n, n * (n - 1) // 2) or is_gone:
                what = f"{each}: {n} rows, {first} to {last}, sum {total}, gone {gone}, erased {erased}"
                self._report(self.shared.wrong, reader, what)
        last_day = int(floor.max()) // MESSAGES_A_DAY
        days = range(may_go, last_day + 1)
        for each in (each for day in days for each in self.devices(day) if not each.is_erased(erasing)):
            n = found[each][0] if each in found else 0
            if n < each.rows(int(floor[each.part])):
                self._report(self.shared.wrong, reader, f"{each}: {n} rows, {floor} messages published")
            if n < seen.get(each, 0):
                self._report(self.shared.backward, reader, f"{each}: {n} rows after {seen[each]}")
            seen[each] = n

    @staticmethod
    def _report(count: "np.ndarray[tuple[int], np.dtype[np.int64]]", reader: int, what: str) -> None:
        count[reader] += 1
        print(f"WRONG READ {what}", flush=True)


class Store:
    """The recovery store of one sink partition: states by epoch, and which one is durable for certain."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

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


def _write_message(writer: PartitionWriter, part: int, at: int) -> None:
    day, number = divmod(at, MESSAGES_A_DAY)
    noon = NOON + day * DAY_MS
    prompt, late = Device(part, day, late=False), Device(part, day - 1, late=True)
    writer.append("positions", positions(prompt.id, [2 * number, 2 * number + 1], event_time=[noon, noon + number]))
    writer.append("positions", positions(late.id, [number], event_time=[noon - DAY_MS]))
    writer.append("rejected", rejected(part, at, 1, receive_time=noon))
    writer.extend(Extent("positions", part, at, at + 1, MESSAGE_ROWS))
