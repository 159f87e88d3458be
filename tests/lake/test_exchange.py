"""The directory of a day is replaced whole, by what the draft says, whenever the process dies; writers go on."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline import fault
from pipeline.lake import exchange
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.compaction import compact
from pipeline.lake.erasure import finish, take_down
from pipeline.lake.exchange import Draft, exchanging, settle, settle_all, swaps, sweep
from pipeline.lake.lake import Lake
from pipeline.lake.tables import POSITIONS
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import write_messages

DAY = date(2026, 3, 7)
POINTS = tuple(name for name in fault.POINTS if name.startswith("exchange."))
MESSAGES = 6


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three commits of two messages each: twelve positions of one day."""
    lake = Lake.create(str(tmp_path / "lake"))
    write(lake, 0, MESSAGES)
    return lake


def write(lake: Lake, part: int, messages: int) -> None:
    writer = PartitionWriter.open(lake, part, None)
    for first in range(0, messages, 2):
        write_messages(writer, part, first, first + 2)
        writer.snapshot()
    writer.close()
    publish_pending(lake)


def merge(draft: Draft) -> None:
    """Replace all files by one with the same rows."""
    draft.replace(draft.present)
    pq.write_table(pq.read_table(list(draft.present), partitioning=None), draft.path())


def seen(lake: Lake) -> list[tuple[str, int]]:
    return duckdb.execute(f"SELECT device_id, seq FROM '{lake.root}/positions/**/*.parquet' ORDER BY ALL").fetchall()


def names(lake: Lake) -> list[str]:
    return sorted(path.name[:3] for path in (lake.root / "positions" / f"event_date={DAY}").glob("*"))


ALL = [("device-0", seq) for seq in range(2 * MESSAGES)]


def test_the_draft_takes_the_place_of_the_day_and_a_record_says_so(lake: Lake) -> None:
    with exchanging(lake, POSITIONS, DAY, "test") as draft:
        merge(draft)
    assert seen(lake) == ALL
    assert len(names(lake)) == 1
    (swap,) = swaps(lake)
    assert (swap.job, swap.table, swap.day, swap.removed_rows, swap.dropped) == (
        "test",
        "positions",
        "2026-03-07",
        12,
        0,
    )
    assert len(swap.removed) == 3
    assert [file.rows for file in swap.added] == [12]


def test_the_old_directory_is_whole_until_its_grace_is_over(lake: Lake) -> None:
    with exchanging(lake, POSITIONS, DAY, "test") as draft:
        merge(draft)
    (old,) = (lake.root / "_upkeep" / "old").iterdir()
    assert len(list(old.iterdir())) == 3
    assert sweep(lake) == 1
    assert old.exists()
    assert sweep(lake, 0) == 0
    assert not old.exists()


def test_a_clock_set_back_or_forth_neither_shortens_nor_lengthens_the_grace(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (-400, 400):
        now = time.time_ns() + day * 86_400 * 10**9
        monkeypatch.setattr(exchange.time, "time_ns", lambda now=now: now)
        with exchanging(lake, POSITIONS, DAY, "test") as draft:
            merge(draft)
        assert sweep(lake) == 1
        assert sweep(lake, 0) == 0


def test_a_clock_that_stands_still_gives_no_name_twice(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([5, 5, 5, 6, 7, 7, 8, 9, 10, 11])
    monkeypatch.setattr(exchange.time, "time_ns", lambda: next(ticks))
    for _ in range(2):
        with exchanging(lake, POSITIONS, DAY, "test") as draft:
            merge(draft)
    first, second = swaps(lake)
    assert second.removed == (first.added[0].path.rpartition("/")[2],)
    assert second.added[0].path != first.added[0].path
    assert seen(lake) == ALL


def test_what_came_meanwhile_stays(lake: Lake) -> None:
    with exchanging(lake, POSITIONS, DAY, "test") as draft:
        merge(draft)
        write(lake, 1, 2)
    assert seen(lake) == ALL + [("device-1", seq) for seq in range(4)]
    assert [name[0] for name in names(lake)] == ["c", "k"]


def test_a_file_without_a_record_is_not_offered_and_stays(lake: Lake) -> None:
    writer = PartitionWriter.open(lake, 1, None)
    write_messages(writer, 1, 0, 2)
    writer.snapshot()
    writer.close()
    (pending,) = lake.committer().staged()
    shown = next(file.path for file in pending.files if file.table == "positions")
    (next((lake.root / "_staging").glob("*positions*.parquet"))).rename(lake.root / shown)
    with exchanging(lake, POSITIONS, DAY, "test") as draft:
        assert len(draft.present) == 3
        merge(draft)
    assert (lake.root / shown).exists()
    publish_pending(lake)
    assert len(seen(lake)) == 16


def test_a_day_of_which_nothing_is_left_goes_and_one_that_was_not_comes(lake: Lake) -> None:
    with exchanging(lake, POSITIONS, DAY, "test") as draft:
        rows = pq.read_table(list(draft.present), partitioning=None)
        draft.replace(draft.present)
        draft.dropped = rows.num_rows
    assert not (lake.root / "positions" / f"event_date={DAY}").exists()
    assert seen(lake) == []
    with exchanging(lake, POSITIONS, DAY, "test") as draft:
        assert draft.present == ()
        draft.dropped = None
        pq.write_table(rows, draft.path())
    assert seen(lake) == ALL


def change(lake: Lake, build: Callable[[Draft], None]) -> None:
    """Exchange the day's directory for what `build` makes of a draft."""
    with exchanging(lake, POSITIONS, DAY, "test") as draft:
        build(draft)


def test_a_draft_that_changes_nothing_or_fails_leaves_all_as_it_was(lake: Lake) -> None:
    before = names(lake)
    change(lake, lambda _: None)
    with pytest.raises(ZeroDivisionError):
        change(lake, lambda draft: merge(draft) or draft.replace([Path(str(1 // 0))]))
    assert names(lake) == before
    assert list(swaps(lake)) == []
    assert list((lake.root / "_upkeep").iterdir()) == []


def test_rows_that_are_not_accounted_for_are_refused(lake: Lake) -> None:
    with pytest.raises(LakeRefusedError, match="12 rows replaced by 0, 0 dropped"):
        change(lake, lambda draft: draft.replace(draft.present))
    assert seen(lake) == ALL


def test_a_file_that_is_not_offered_cannot_be_replaced(lake: Lake) -> None:
    with pytest.raises(ValueError, match="no recorded file of this day"):
        change(lake, lambda draft: draft.replace([lake.root / "lake.duckdb"]))


def test_a_file_that_somebody_deletes_meanwhile_is_named_and_no_other_is_lost(lake: Lake) -> None:
    with pytest.raises(LakeRefusedError, match="is gone: run parkpal lake audit"):
        change(lake, lambda draft: merge(draft) or draft.present[0].unlink())
    change(lake, lambda _: None)
    assert len(seen(lake)) == 8
    assert list(swaps(lake)) == []


class SlowReader:
    """A reader that lists a day, looks each name up once more as DuckDB does, and is slow between the two."""

    def __init__(self, lake: Lake) -> None:
        self.folder = lake.root / "positions" / f"event_date={DAY}"
        self._opened = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        self._inode = os.fstat(self._opened).st_ino
        self.names = sorted(os.listdir(self._opened))  # noqa: PTH208 -- as opened, wherever it is now

    def await_exchange(self) -> None:
        while self.folder.stat().st_ino == self._inode:
            time.sleep(0.001)

    def read(self, looked_up: Iterable[str] = ()) -> int:
        """Count the rows of the names that were looked up before, and of those that are there now."""
        there = [name for name in self.names if name in looked_up or (self.folder / name).exists()]
        os.close(self._opened)
        paths = [str(self.folder / name) for name in there]
        found = duckdb.execute("SELECT count(*) FROM read_parquet($paths)", {"paths": paths}).fetchall()
        return int(found[0][0])


def exchange_beside_a_reader(lake: Lake) -> tuple[SlowReader, threading.Thread]:
    """Merge the day in a thread, which began before a reader listed it; return when the directories are exchanged."""
    readers: list[SlowReader] = []
    has_listed = threading.Event()

    def run() -> None:
        with exchanging(lake, POSITIONS, DAY, "test") as draft:
            merge(draft)
            write(lake, 1, 2)
            readers.append(SlowReader(lake))
            has_listed.set()

    thread = threading.Thread(target=run)
    thread.start()
    has_listed.wait()
    readers[0].await_exchange()
    return readers[0], thread


@pytest.mark.parametrize("looked_up", range(5))
def test_who_listed_the_old_directory_fails_and_never_reads_less(lake: Lake, looked_up: int) -> None:
    reader, exchange_thread = exchange_beside_a_reader(lake)
    assert len(reader.names) == 4  # three that go, and one that came meanwhile
    with pytest.raises(duckdb.Error):
        reader.read(reader.names[:looked_up])
    exchange_thread.join()
    assert seen(lake) == ALL + [("device-1", seq) for seq in range(4)]


def test_who_keeps_the_old_directory_open_holds_nobody_up_for_long(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "LONGEST_S", 0.1)
    reader, exchange_thread = exchange_beside_a_reader(lake)
    exchange_thread.join()
    assert len(seen(lake)) == 16
    assert reader.read() == 4  # so late it misses rows: which is why nobody may list a directory for so long


def died(run: Callable[[], None]) -> int:
    """Run in a child that may kill itself; return its exit status or signal."""
    child = os.fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("name", POINTS)
def test_killed_anywhere_the_next_exchange_goes_on(lake: Lake, name: str) -> None:
    def run() -> None:
        fault.arm(f"{name}:1")
        with exchanging(lake, POSITIONS, DAY, "killed") as draft:
            merge(draft)
        sweep(lake, 0)

    assert died(run) == signal.SIGKILL
    if name in {"exchange.swapped", "exchange.recorded"}:
        with pytest.raises(duckdb.InvalidInputException):
            seen(lake)
        settle_all(lake)
    assert seen(lake) == ALL
    with exchanging(lake, POSITIONS, DAY, "next") as draft:
        merge(draft)
    sweep(lake, 0)
    assert seen(lake) == ALL
    jobs = [swap.job for swap in swaps(lake)]
    assert jobs == ["next"] if name in {"exchange.built", "exchange.planned", "exchange.linked"} else ["killed", "next"]
    assert [path.name for path in (lake.root / "_upkeep").iterdir()] == ["old"]
    assert list((lake.root / "_upkeep" / "old").iterdir()) == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_erasure_goes_on_where_a_killed_job_left_a_stopper(lake: Lake) -> None:
    def run() -> None:
        fault.arm("exchange.recorded:1")
        compact(lake, files=1)

    assert died(run) == signal.SIGKILL
    take_down(lake, ["device-0"])
    assert finish(lake) == {"positions": 12}


def test_settling_twice_records_once(lake: Lake) -> None:
    with exchanging(lake, POSITIONS, DAY, "test") as draft:
        merge(draft)
    settle(lake, "positions")
    settle(lake, "positions")
    assert len(list(swaps(lake))) == 1
