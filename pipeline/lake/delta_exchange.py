"""The exchange of a day's files in an object store: one transaction of a table's log takes old files out, new ones in.

The day's files are fetched, the job writes the new ones beside the copies, these are put where no reader looks, and a
plan tells what the transaction will do. The transaction carries the plan's number, so that after a crash the log tells
whether it took place. The old files stay for `grace`: a reader that listed them before then misses a file, loudly.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from pipeline.fault import point
from pipeline.lake.commit import DataFile, LakeRefusedError, Swap, decode_swap
from pipeline.lake.delta import HOOKS, RETRY_S, TRIES, DeltaCommitter, add_action, at_once
from pipeline.lake.draft import Draft
from pipeline.lake.encoding import statistics
from pipeline.lake.folder import locked
from pipeline.lake.lake import Lake
from pipeline.lake.place import Place, delete, fetch, get, list_paths, storing
from pipeline.lake.tables import Table

UPKEEP: Final = "_upkeep"
SWAPS: Final = "_swaps"
OLD: Final = "_old"


@contextmanager
def exchanging(lake: Lake, place: Place, table: Table, day: date, job: str) -> Iterator[Draft]:
    """Do what `pipeline.lake.exchange.exchanging` does for a folder."""
    with locked(lake.root, f"upkeep-{table.name}", fcntl.LOCK_EX), TemporaryDirectory(dir=lake.root) as folder:
        settle(place, table.name)
        log = DeltaCommitter(place).table(table.name)
        (Path(folder) / "new").mkdir()
        present = tuple(_fetch(place, log, table, day, Path(folder)))
        draft = Draft(Path(folder) / "new", present, version=log.transaction_version(UPKEEP) or 0)
        yield draft
        made = sorted(draft.folder.iterdir())
        added = tuple(_described(table, day, path) for path in made)
        swap = draft.account(table.name, day, job, added)
        if swap:
            with storing(place):
                at_once(partial(_put_file, place), list(zip(made, added, strict=True)))
                point("exchange.built")
                _put(place, _plan(swap), swap)
                point("exchange.planned")
                draft.done = _commit(place, swap, draft)
                if draft.done:
                    point("exchange.swapped")
                    _finish(place, swap)
                else:
                    delete(place, [_plan(swap)])
        point("exchange.settled")


def settle(place: Place, table: str) -> None:
    """Finish or drop what a crash left of an exchange of the table; its upkeep lock must be held."""
    data = get(place, f"{UPKEEP}/{table}.json")
    if data is None:
        return
    swap = decode_swap(data, f"{place.name}/{UPKEEP}/{table}.json")
    if _is_done(place, swap):
        _finish(place, swap)
        return
    with storing(place):
        delete(place, [*(file.path for file in swap.added), _plan(swap)])


def swaps(place: Place) -> Iterator[Swap]:
    """Yield the record of every exchange, in order, and of those that took place and have no record yet."""
    with storing(place):
        paths = list_paths(place, SWAPS)
        planned = [_get(place, path) for path in list_paths(place, UPKEEP)]
        recorded = at_once(partial(_get, place), paths)
    known = {swap.id for swap in recorded}
    late = [swap for swap in planned if swap.id not in known and _is_done(place, swap)]
    yield from sorted([*recorded, *late], key=lambda swap: swap.id)


def sweep(place: Place, grace_s: float) -> int:
    """Delete the old files of exchanges whose grace is over; return how many exchanges still wait."""
    waiting = 0
    with storing(place):
        for path in list_paths(place, OLD):
            swap = _get(place, path)
            if swap.at / 1000 + grace_s > time.time():
                waiting += 1
                continue
            folder = f"{swap.table}/event_date={swap.day}"
            delete(place, [*(f"{folder}/{name}" for name in swap.removed), path])
            point("exchange.swept")
    return waiting


def days(place: Place, table: str) -> dict[date, list[tuple[str, int, float]]]:
    """Return the files of each day that readers see: name, bytes, and when it was added, seconds since 1970."""
    found: dict[date, list[tuple[str, int, float]]] = {}
    with storing(place):
        for action in pa.table(DeltaCommitter(place).table(table).get_add_actions()).to_pylist():
            name = action["path"].rpartition("/")[2]
            file = name, action["size_bytes"], action["modification_time"] / 1000
            found.setdefault(action["partition"]["event_date"], []).append(file)
    return found


def _fetch(place: Place, log: DeltaTable, table: Table, day: date, folder: Path) -> list[Path]:
    """Copy the day's files into the folder."""
    paths = [f"{table.name}/event_date={day}/{name}" for name in _listed(log, day)]
    fetch(place, paths, folder)
    return sorted(folder / path for path in paths)


def _listed(log: DeltaTable, day: date) -> list[str]:
    """Return the names of the day's files that readers see."""
    found = pa.table(log.get_add_actions()).to_pylist()
    return [one["path"].rpartition("/")[2] for one in found if one["partition"]["event_date"] == day]


def _described(table: Table, day: date, path: Path) -> DataFile:
    data, rows = path.read_bytes(), pq.read_table(path, partitioning=None)
    where, digest = f"{table.name}/event_date={day}/{path.name}", sha256(data).hexdigest()
    return DataFile(table.name, where, rows.num_rows, len(data), digest, statistics(table, rows))


def _put_file(place: Place, made: tuple[Path, DataFile]) -> None:
    path, file = made
    obstore.put(place.store, file.path, path, use_multipart=False)


def _commit(place: Place, swap: Swap, draft: Draft) -> bool:
    """Let the log take the old files out and the new ones in; where a writer came between, try again behind it.

    False, and nothing is done, if the draft wants the day whole and files would be left of it.
    """
    for tries_left in reversed(range(TRIES)):
        log = DeltaCommitter(place).table(swap.table)
        version = log.transaction_version(UPKEEP) or 0
        if version == swap.id:
            break
        if version != draft.version:
            raise LakeRefusedError(f"{place.name}/{swap.table}: another machine's upkeep was first; run this again")
        if draft.whole and set(_listed(log, date.fromisoformat(swap.day))) - set(swap.removed):
            return False
        try:
            log.create_write_transaction(
                _actions(swap, draft),
                mode="append",
                schema=log.schema(),
                partition_by=["event_date"],
                commit_properties=CommitProperties(app_transactions=[Transaction(UPKEEP, swap.id)]),
                post_commithook_properties=HOOKS,
            )
        except DeltaError:
            if not tries_left:
                raise
            time.sleep(RETRY_S)
    return True


def _actions(swap: Swap, draft: Draft) -> list[AddAction | RemoveAction]:
    """Return what the log takes; rows that only change their place are told from rows that are gone or new."""
    changes = swap.dropped != 0
    day: dict[str, str | None] = {"event_date": swap.day}
    return [
        *(
            RemoveAction(f"event_date={swap.day}/{p.name}", changes, swap.at, p.stat().st_size, day)
            for p in draft.replaced
        ),
        *(add_action(file, data_change=changes) for file in swap.added),
    ]


def _is_done(place: Place, swap: Swap) -> bool:
    with storing(place):
        return (DeltaCommitter(place).table(swap.table).transaction_version(UPKEEP) or 0) >= swap.id


def _finish(place: Place, swap: Swap) -> None:
    """Record what took place, and what is to be deleted for it one day."""
    with storing(place):
        _put(place, f"{OLD}/{swap.id}.json", swap)
        _put(place, f"{SWAPS}/{swap.id}.json", swap)
        point("exchange.recorded")
        delete(place, [_plan(swap)])


def _plan(swap: Swap) -> str:
    return f"{UPKEEP}/{swap.table}.json"


def _put(place: Place, path: str, swap: Swap) -> None:
    obstore.put(place.store, path, msgspec.json.encode(swap), use_multipart=False)


def _get(place: Place, path: str) -> Swap:
    return decode_swap(bytes(obstore.get(place.store, path).bytes()), f"{place.name}/{path}")
