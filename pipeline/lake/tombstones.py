"""Whose rows the lake takes no more: a tombstone is laid before anything is erased, and stays.

It names pseudonyms, which are good for a month each, and never the device. From the moment it lies no commit is staged
with a row of theirs: writers stage under a lock that laying a tombstone takes alone. A row that still comes, from a log
that is read again, is counted in `rejected` as `erased`, with nothing of the device in it; so the proof that every row
of the log is somewhere holds.
"""

import fcntl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.fault import point
from pipeline.lake.commit import VERSION, decode_known
from pipeline.lake.folder import locked, sync_directory, write_synced, writing
from pipeline.lake.lake import Lake
from pipeline.lake.tables import POSITIONS, REASONS, REJECTED, enum

TOMBSTONES: Final = "_tombstones"
DONE: Final = ".done"
_LOCK: Final = "tombstones"
ERASED: Final = "erased"
"""The reason in `rejected`."""


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """Devices, by their pseudonyms, whose rows are to be nowhere; `at` is ms UTC."""

    version: int = VERSION
    id: int
    at: int
    devices: tuple[str, ...]


class Laid(NamedTuple):
    """A tombstone, and whether everything that was there before it is erased."""

    tombstone: Tombstone
    done: bool


class Tombstones:
    """All tombstones of a lake, read again when one is laid."""

    def __init__(self, lake: Lake) -> None:
        self._root = lake.root
        self._names: frozenset[str] = frozenset()
        self._devices: frozenset[str] = frozenset()

    def devices(self) -> frozenset[str]:
        """Return the pseudonyms of all tombstones."""
        names = frozenset(path.name for path in _files(self._root))
        if names != self._names:
            read = (_read(self._root / TOMBSTONES / name) for name in names)
            self._devices = frozenset(device for tombstone in read for device in tombstone.devices)
            self._names = names
        return self._devices

    @contextmanager
    def held(self) -> Iterator[frozenset[str]]:
        """Give the pseudonyms; none is added before the block ends."""
        with locked(self._root, _LOCK, fcntl.LOCK_SH):
            yield self.devices()


def lay(lake: Lake, devices: Iterable[str]) -> Tombstone:
    """Lay a tombstone: no commit staged after this returns holds a row of these devices. Raises LakeWriteError."""
    now = time.time_ns()
    tombstone = Tombstone(id=now, at=now // 1_000_000, devices=tuple(sorted(set(devices))))
    folder = lake.root / TOMBSTONES
    with writing(lake.root), locked(lake.root, _LOCK, fcntl.LOCK_EX):
        folder.mkdir(exist_ok=True)
        draft = folder / f"{now}.draft"
        write_synced(draft, msgspec.json.encode(tombstone))
        draft.rename(folder / f"{now}.json")
        sync_directory(folder)
        sync_directory(lake.root)
    point("erase.laid")
    return tombstone


def laid(lake: Lake) -> list[Laid]:
    """Return all tombstones, oldest first."""
    return [Laid(_read(path), path.with_suffix(DONE).exists()) for path in sorted(_files(lake.root))]


def note_done(lake: Lake, tombstone: Tombstone) -> None:
    """Note that nothing is left of what was there before the tombstone."""
    with writing(lake.root):
        write_synced(lake.root / TOMBSTONES / f"{tombstone.id}{DONE}", b"")
        sync_directory(lake.root / TOMBSTONES)


def names_any(table: str, rows: pa.RecordBatch | pa.Table, devices: Iterable[str]) -> pa.Array:
    """Tell which rows name one of the devices: as theirs, or in a reject's payload."""
    known = pa.array(sorted(devices), pa.string())
    column = rows["device_id"]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    named = pc.is_in(column.cast(kind), value_set=known)
    if table == REJECTED.name:
        for device in known.to_pylist():
            named = pc.or_(named, pc.fill_null(pc.match_substring(rows["payload"], device), False))
    return named


def without(table: str, rows: pa.RecordBatch, devices: Iterable[str]) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
    """Return the rows of others, and what `rejected` is to hold in place of facts and rejects that went, if any did."""
    named = names_any(table, rows, devices)
    if not pc.any(named).as_py():
        return rows, None
    kept = rows.filter(pc.invert(named))
    return kept, _blank(rows.filter(named)) if table in (POSITIONS.name, REJECTED.name) else None


def _blank(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows of `rejected` that keep when something was received, and where in the log it lay if that is known."""
    n, held = rows.num_rows, dict(zip(rows.schema.names, rows.columns, strict=True))
    reason = enum(np.full(n, REASONS.index(ERASED), np.int8), REASONS)
    kept = {name: held[name] for name in held if name.startswith("source_")} | {"receive_time": held["receive_time"]}
    columns = kept | {"reason": reason, "detail": pa.array([""] * n, pa.string()), "payload_bytes": pa.array([0] * n)}
    arrays = [columns.get(field.name, pa.nulls(n, field.type)) for field in REJECTED.schema]
    return pa.RecordBatch.from_arrays(arrays, schema=REJECTED.schema)


def _files(root: Path) -> Iterator[Path]:
    return (root / TOMBSTONES).glob("*.json")


def _read(path: Path) -> Tombstone:
    return decode_known(_TOMBSTONE, path.read_bytes(), str(path))


_TOMBSTONE: Final = msgspec.json.Decoder(Tombstone)
