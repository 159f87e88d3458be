"""Replace the directory of a table's day as a whole, beside a live writer and readers, in one step of the file system.

The new directory is built where no reader looks, with a plan that says what it replaces. Then, while no writer
publishes, what came meanwhile is linked into it, the two directories change places, and a record tells of it. The old
one stays for `grace`: a reader that listed it before the exchange then misses a file, loudly, instead of seeing a
directory that is half deleted. No name is used twice, so that a file once listed is that file or is missing.

Readers look a listed name up once more before they open it (DuckDB, pyarrow, Polars do) and pass over one that is
missing, silently. So one name that goes stays for a moment as a stopper, a file that is no Parquet: whoever listed the
old directory finds it and stumbles over it, loudly. It is lifted when nobody has the old directory open any more.

A crash anywhere is settled by the next exchange of the table: a plan whose files are shown is recorded, any other is
dropped. Between two renames a day would be missing, silently, so a file system that cannot exchange is refused.
"""

import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from hashlib import file_digest
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import pyarrow.parquet as pq

from pipeline.fault import point
from pipeline.lake.commit import DataFile, LakeRefusedError, Swap, decode_swap
from pipeline.lake.draft import Draft
from pipeline.lake.folder import (
    COMMITS,
    PUBLISHING,
    append_record,
    list_files,
    locked,
    read_records,
    sync_directory,
    write_synced,
    writing,
)
from pipeline.lake.lake import Lake
from pipeline.lake.linux import EXCHANGE, NO_REPLACE, Openers, rename
from pipeline.lake.tables import TABLES, Table

UPKEEP: Final = "_upkeep"
OLD: Final = "old"
PLAN: Final = "plan.json"
SWAPS: Final = "swaps.jsonl"
GRACE_S: Final = 600.0
"""How long an old directory stays: longer than any reader takes from listing to opening its files."""
LINGER_S: Final = 0.03
"""How long a stopper stays at least: pyarrow and Polars look names up after they have closed the directory."""
LONGEST_S: Final = 2.0
"""And at most, should somebody keep the old directory open."""
UNSEEN_S: Final = 0.5
"""How long it stays from the exchange on where a crash ended the watch over the old directory."""

_NAME: Final = re.compile(r"(c-\d+|k(?P<part>\d+)-\d\d-(?P<seq>\d+))\.parquet")
_STOPPER: Final = b"read again"  # so short that whoever had it open before fails too; an empty one Polars passes over


class Plan(msgspec.Struct, frozen=True):
    """What an exchange will do, and the inode of the new directory: where that one is says whether it is done."""

    swap: Swap
    inode: int


@contextmanager
def exchanging(lake: Lake, table: Table, day: date, job: str) -> Iterator[Draft]:
    """Give a draft of the day's directory; when the block ends without error it takes the directory's place.

    A day may have had no directory, and has none afterwards if no file is left. A draft that changes nothing changes
    nothing. One exchange of a table at a time: another waits. Raises LakeRefusedError where the file system cannot
    exchange or the draft does not account for all rows, and LakeWriteError.
    """
    if lake.place is not None:
        from pipeline.lake import delta_exchange  # noqa: PLC0415 -- an extra, and slow to import

        with delta_exchange.exchanging(lake, lake.place, table, day, job) as draft:
            yield draft
        return
    place = lake.root / UPKEEP / f"{table.name}+{day}"
    with locked(lake.root, f"upkeep-{table.name}", fcntl.LOCK_EX):
        with writing(lake.root):
            settle(lake, table.name)
            (place / "new").mkdir(parents=True)
            _check_exchange(lake.root, place)
        draft = Draft(place / "new", tuple(recorded(lake, table, day)))
        with Openers(lake.root / table.name / f"event_date={day}") as readers:
            try:
                yield draft
            except BaseException:
                shutil.rmtree(place)
                raise
            with writing(lake.root):
                swap = _plan(lake.root, draft, table, day, job)
                if swap and _swap(lake.root, place, swap, whole=draft.whole):
                    _lift(_stopper(lake.root, swap), readers)
                    _put_away(place)
                    draft.done = True
                shutil.rmtree(place)
        point("exchange.settled")


def settle(lake: Lake, table: str) -> None:
    """Finish or drop what a crash left of exchanges of the table; its upkeep lock must be held."""
    for place in (lake.root / UPKEEP).glob(f"{table}+*"):
        plan = _read_plan(place)
        if plan and is_done(place, plan):
            with locked(lake.root, PUBLISHING, fcntl.LOCK_EX):
                if plan.swap.id not in {swap.id for swap in swaps(lake)}:
                    _record(lake.root, plan.swap)
            _lift_left(_stopper(lake.root, plan.swap))
            _put_away(place)
        elif plan:
            (place / PLAN).unlink()
        shutil.rmtree(place)


def settle_all(lake: Lake) -> None:
    """Finish or drop what crashes left of exchanges of any table: a stopper may be among it, on which readers fail."""
    if lake.place is None:
        for table in sorted({place.name.partition("+")[0] for place in (lake.root / UPKEEP).glob("*+*")}):
            alone = locked(lake.root, f"upkeep-{table}", fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(BlockingIOError), alone, writing(lake.root):  # whoever has it settles it
                settle(lake, table)


def stoppers(lake: Lake) -> set[str]:
    """Return the paths that may be stoppers now and are none later; the lock of publishing must be held."""
    plans = filter(None, (_read_plan(place) for place in (lake.root / UPKEEP).glob("*+*")))
    return {_stopper(lake.root, plan.swap).relative_to(lake.root).as_posix() for plan in plans if plan.swap.removed}


def swaps(lake: Lake) -> Iterator[Swap]:
    """Yield the record of every exchange, in order."""
    if lake.place is not None:
        from pipeline.lake import delta_exchange  # noqa: PLC0415 -- as above

        yield from delta_exchange.swaps(lake.place)
        return
    path = lake.root / COMMITS / SWAPS
    for line in read_records(path):
        yield decode_swap(line, str(path))


def unrecorded(lake: Lake) -> Iterator[Swap]:
    """Yield what readers see and no record tells of yet; the lock of publishing must be held."""
    known = {swap.id for swap in swaps(lake)}
    for place in sorted((lake.root / UPKEEP).glob("*+*")):
        plan = _read_plan(place)
        if plan and is_done(place, plan) and plan.swap.table in TABLES and plan.swap.id not in known:
            yield plan.swap


def is_done(place: Path, plan: Plan) -> bool:
    """Whether the directories have changed places."""
    new = place / "new"
    return not new.exists() or new.stat().st_ino != plan.inode


class Seen(NamedTuple):
    """A file that readers see, and that may be replaced."""

    name: str
    bytes: int
    added_s: float  # since 1970


def listing(lake: Lake, table: Table) -> dict[date, list[Seen]]:
    """Return the recorded files of each day of a table; a day that is being exchanged may be left out."""
    if lake.place is not None:
        from pipeline.lake import delta_exchange  # noqa: PLC0415 -- as above

        found = delta_exchange.days(lake.place, table.name)
        return {day: [Seen(*file) for file in files] for day, files in found.items()}
    days = {}
    for folder in (lake.root / table.name).glob("event_date=*"):
        day = date.fromisoformat(folder.name.partition("=")[2])
        with suppress(FileNotFoundError):
            stats = {path.name: path.stat() for path in recorded(lake, table, day)}
            days[day] = [Seen(name, stat.st_size, stat.st_mtime) for name, stat in stats.items()]
    return {day: files for day, files in days.items() if files}


def recorded(lake: Lake, table: Table, day: date) -> Iterator[Path]:
    """Yield the day's files that a record tells of: only these may be replaced.

    A sink partition's records have no gaps, so a file of the newest recorded commit or an earlier one is recorded.
    """
    committer = lake.committer()
    newest = {part: committer.published(part) for part in range(lake.format.sink_partitions)}
    for path in list_files(lake.root / table.name / f"event_date={day}"):
        if name := _NAME.fullmatch(path.name):
            commit = newest.get(int(name["part"])) if name["part"] else None
            if not name["part"] or (commit and int(name["seq"]) <= commit.seq):
                yield path


def sweep(lake: Lake, grace_s: float = GRACE_S) -> int:
    """Settle what crashes left, delete what exchanges replaced and whose grace is over; return how many still wait.

    Their age counts from this start of the machine, so a clock set back or forth changes nothing; what is of an earlier
    start has no reader any more.
    """
    if lake.place is not None:
        from pipeline.lake import delta_exchange  # noqa: PLC0415 -- as above

        return delta_exchange.sweep(lake.place, grace_s)
    settle_all(lake)
    root, waiting = lake.root, 0
    boot, now = _boot(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    with locked(root, "sweep", fcntl.LOCK_EX), writing(root):
        for place in sorted((root / UPKEEP / OLD).glob("*")):
            of, since, *_ = place.name.split("+")
            if of == boot and now - int(since) < grace_s * 1e9:
                waiting += 1
                continue
            shutil.rmtree(place)
            point("exchange.swept")
    return waiting


def _check_exchange(root: Path, place: Path) -> None:
    """Raise LakeRefusedError unless the lake's file system exchanges two directories."""
    probe = place / "probe"
    probe.mkdir()
    try:
        rename(probe, place / "new", EXCHANGE)
    except OSError as error:
        shutil.rmtree(place)
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY):
            raise
        raise LakeRefusedError(
            f"the file system of {root} cannot exchange two directories ({error.strerror}): upkeep would show readers "
            "a day without rows, so it does nothing. Put the lake on ext4, XFS or tmpfs; writing goes on as it is"
        ) from None
    probe.rmdir()


def _plan(root: Path, draft: Draft, table: Table, day: date, job: str) -> Swap | None:
    """Make the draft durable and write down what it is; None where it changes nothing."""
    added = tuple(_sealed(root, table, day, path) for path in sorted(draft.folder.iterdir()))
    sync_directory(draft.folder)
    swap = draft.account(table.name, day, job, added)
    if swap is None:
        return None
    point("exchange.built")
    place = draft.folder.parent
    write_synced(place / "plan.draft", msgspec.json.encode(Plan(swap, draft.folder.stat().st_ino)))
    (place / "plan.draft").rename(place / PLAN)
    sync_directory(place)
    sync_directory(place.parent)
    point("exchange.planned")
    return swap


def _sealed(root: Path, table: Table, day: date, path: Path) -> DataFile:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = file_digest(file, "sha256").hexdigest()
    shown = root / table.name / f"event_date={day}" / path.name
    rows = pq.read_metadata(path).num_rows
    return DataFile(table.name, shown.relative_to(root).as_posix(), rows, path.stat().st_size, digest)


def _swap(root: Path, place: Path, swap: Swap, *, whole: bool) -> bool:
    """Let the directories change places while no writer publishes, and record it.

    False, and nothing is done, if the day is to go `whole` and files would be left of it.
    """
    shown, new = root / swap.table / f"event_date={swap.day}", place / "new"
    with locked(root, PUBLISHING, fcntl.LOCK_EX):
        stay = _staying(shown, set(swap.removed))
        if whole and stay:
            return False
        _fill(shown, new, stay, _stopper(root, swap).name if swap.removed else None)
        point("exchange.linked")
        _change_places(shown, new)
        point("exchange.swapped")
        sync_directory(shown.parent)
        sync_directory(place)
        _record(root, swap)
    point("exchange.recorded")
    return True


def _staying(shown: Path, removed: set[str]) -> set[str]:
    """Return the names that stay, those that came meanwhile among them."""
    there = {path.name for path in shown.iterdir()} if shown.exists() else set()
    if missing := removed - there:
        raise LakeRefusedError(f"{shown / min(missing)} is gone: run parkpal lake audit, which says what is missing")
    return there - removed


def _fill(shown: Path, new: Path, stay: set[str], stopper: str | None) -> None:
    """Link every file that stays into the new directory, and put a stopper there unless nothing is left of the day."""
    for name in stay:
        os.link(shown / name, new / name)
    if stopper and any(new.iterdir()):
        write_synced(new / stopper, _STOPPER)
    sync_directory(new)


def _stopper(root: Path, swap: Swap) -> Path:
    """Return where an exchange puts its stopper: under a name that goes."""
    return root / swap.table / f"event_date={swap.day}" / min(swap.removed, default="none")


def _lift(stopper: Path, readers: Openers) -> None:
    """Take the stopper away once nobody is left who listed the old directory."""
    if stopper.exists():
        deadline = time.monotonic() + LONGEST_S
        time.sleep(LINGER_S)
        while readers.any() and time.monotonic() < deadline:
            time.sleep(LINGER_S / 10)
        _unlink(stopper)


def _lift_left(stopper: Path) -> None:
    """Take away the stopper of an exchange that a crash ended."""
    if stopper.exists():
        stood_s = time.time() - stopper.stat().st_mtime
        time.sleep(max(0.0, UNSEEN_S - max(0.0, stood_s)))
        _unlink(stopper)


def _unlink(stopper: Path) -> None:
    stopper.unlink()
    sync_directory(stopper.parent)
    point("exchange.lifted")


def _change_places(shown: Path, new: Path) -> None:
    if not shown.exists():
        shown.parent.mkdir(exist_ok=True)
        rename(new, shown, NO_REPLACE)
    elif any(new.iterdir()):
        rename(new, shown, EXCHANGE)
    else:
        shown.rename(new)  # nothing is left of the day


def _record(root: Path, swap: Swap) -> None:
    """Write the exchange down, but for roll-ups, which change all day long and whose footers say what they are of."""
    if swap.table in TABLES:
        append_record(root / COMMITS / SWAPS, msgspec.json.encode(swap))


def _read_plan(place: Path) -> Plan | None:
    try:
        return msgspec.json.decode((place / PLAN).read_bytes(), type=Plan)
    except FileNotFoundError:
        return None


def _put_away(place: Path) -> None:
    """Move the old directory, if there was one, to where it waits for its grace to end."""
    old = place.parent / OLD
    if (place / "new").exists():
        old.mkdir(exist_ok=True)
        (place / "new").rename(old / f"{_boot()}+{time.clock_gettime_ns(time.CLOCK_BOOTTIME)}+{place.name}")
        sync_directory(old)
        sync_directory(place)
    point("exchange.moved")


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
