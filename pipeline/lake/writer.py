"""A sink partition: rows in, one commit an epoch out, each row exactly once whatever dies when.

The engine keeps the state that `snapshot` returns and calls `snapshot` again only after that state is durable on all
workers. Hence the order in it: first publish what the last state lists as pending, then stage this epoch's rows. After
a crash the state that resumes is the newest one or the one before: what it lists as pending is published, and anything
else in staging belongs to an epoch that did not happen and is read again from the log.
"""

import os
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from typing import Final, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.fault import point
from pipeline.lake.adoption import ids_to_leave_out, key_of, read_adoption
from pipeline.lake.commit import Commit, Committer, Extent, LakeRefusedError, Offset, Slice, State, decode_state
from pipeline.lake.encoding import PROVED
from pipeline.lake.lake import Lake
from pipeline.lake.tables import REJECTED, TABLES, Table
from pipeline.lake.tombstones import Tombstones, without

DAY_MS: Final = 86_400_000
WAYS_OUT: Final = (
    "Restore lake and recovery store from the same moment, take the lake over without its recovery store "
    "(parkpal lake adopt), or begin with an empty lake and an empty recovery store"
)


class PartitionWriter:
    """The writer of one sink partition; it holds the partition's lock until `close`."""

    def __init__(
        self,
        committer: Committer,
        tombstones: Tombstones,
        part: int,
        lock: int,
        last: Commit | None,
        left_out: Mapping[str, pa.Array],
    ) -> None:
        self._committer = committer
        self._tombstones = tombstones
        self._part = part
        self._lock = lock
        self._left_out = left_out
        self._last = last or Commit(part=part, seq=0)
        self._pending: Commit | None = None
        self._rows: defaultdict[tuple[str, int], list[pa.RecordBatch]] = defaultdict(list)
        self._extents: list[Extent] = []
        self._offsets = {(at.stream, at.partition): at.next for at in self._last.offsets}

    @classmethod
    def open(cls, lake: Lake, part: int, state: bytes | None) -> Self:
        """Lock the sink partition and settle what an earlier process left, as `state` (its last snapshot) says.

        Raises LakeLockedError, LakeWriteError, and LakeRefusedError if lake and state do not belong together.
        """
        lock = lake.lock(part)
        try:
            committer = lake.committer()
            last = _settle(committer, part, state, _adopted_seq(lake, part))
            left_out = ids_to_leave_out(lake, part, last)
        except BaseException:
            os.close(lock)
            raise
        point("lake.opened")
        return cls(committer, Tombstones(lake), part, lock, last, left_out)

    def append(self, table: str, batch: pa.RecordBatch) -> None:
        """Take rows of a table, in its schema; ValueError for another one, or a null in the date column."""
        kind = TABLES[table]
        if not batch.schema.equals(kind.schema):
            raise ValueError(f"{table}: expected columns {kind.schema}, got {batch.schema}")
        if table in self._left_out:
            batch = batch.filter(pc.invert(pc.is_in(key_of(table, batch), value_set=self._left_out[table])))
        for day, rows in by_day(kind, batch):
            self._rows[table, day].append(rows)

    def extend(self, extent: Extent) -> None:
        """Take the interval of the log that rows of this epoch were decoded from.

        Raises ValueError for offsets that this sink partition has already committed.
        """
        source = extent.stream, extent.partition
        if not self._offsets.get(source, 0) <= extent.first < extent.next:
            raise ValueError(f"{extent} does not go on from offset {self._offsets.get(source, 0)}")
        self._offsets[source] = extent.next
        self._extents.append(extent)

    def snapshot(self) -> bytes:
        """Publish what the last snapshot staged, stage what came since, and return the state to resume from.

        Raises LakeWriteError; ValueError if the epoch's extents count other rows than positions and rejected hold.
        """
        self._check_rows()
        if self._pending is not None:
            self._committer.publish(self._pending)
            self._pending = None
        if self._rows or self._extents:
            with self._tombstones.held() as erased:
                self._forget(erased)
                self._last = self._pending = self._committer.stage(self._commit(), self._slices())
            self._rows.clear()
            self._extents.clear()
        return msgspec.json.encode(State(part=self._part, seq=self._last.seq, pending=self._pending))

    def close(self) -> None:
        """Give up the lock; nothing is published or lost."""
        os.close(self._lock)

    def _forget(self, erased: frozenset[str]) -> None:
        """Leave out what is of erased devices."""
        if not erased:
            return
        blanks = []
        for (table, day), batches in self._rows.items():
            split = [without(table, rows, erased) for rows in batches]
            self._rows[table, day] = [kept for kept, _ in split if kept.num_rows]
            blanks += [blank for _, blank in split if blank is not None]
        for blank in blanks:
            self.append(REJECTED.name, blank)
        self._rows = defaultdict(list, {key: batches for key, batches in self._rows.items() if batches})

    def _check_rows(self) -> None:
        held = sum(rows.num_rows for (table, _), batches in self._rows.items() if table in PROVED for rows in batches)
        decoded = sum(extent.rows for extent in self._extents)
        if held != decoded:
            raise ValueError(f"sink partition {self._part}: {decoded} rows decoded, {held} in positions and rejected")

    def _commit(self) -> Commit:
        newest = [pc.max(rows["receive_time"]).value for rows in self._batches(PROVED)]
        return Commit(
            part=self._part,
            seq=self._last.seq + 1,
            extents=tuple(_joined(self._extents)),
            offsets=tuple(Offset(*source, at) for source, at in sorted(self._offsets.items())),
            receive_time=max((at for at in (self._last.receive_time, *newest) if at is not None), default=None),
        )

    def _batches(self, tables: frozenset[str]) -> Iterator[pa.RecordBatch]:
        for (table, _), batches in self._rows.items():
            if table in tables:
                yield from batches

    def _slices(self) -> Iterator[Slice]:
        for (table, day), batches in sorted(self._rows.items()):
            yield Slice(TABLES[table], day, pa.Table.from_batches(batches))


def publish_pending(lake: Lake, parts: Container[int] | None = None) -> int:
    """Publish what the last snapshots left pending, of these sink partitions; return the number of commits.

    To be called after a clean end of all writers, never after a crash: there only the resumed state knows what counts.
    Raises LakeLockedError if a writer still runs.
    """
    committer = lake.committer()
    pending = [commit for commit in committer.staged() if parts is None or commit.part in parts]
    for commit in pending:
        lock = lake.lock(commit.part)
        try:
            committer.publish(commit)
        finally:
            os.close(lock)
    return len(pending)


def _adopted_seq(lake: Lake, part: int) -> int:
    """Return the commit from which a lake is gone on with that has no state."""
    adopted = read_adoption(lake).parts.get(str(part))
    return adopted.seq if adopted else 0


def _settle(committer: Committer, part: int, state: bytes | None, adopted: int) -> Commit | None:
    """Publish what the state lists as pending, delete what else is staged, return the newest commit."""
    last = committer.published(part)
    resumed = decode_state(state) if state is not None else State(part=part, seq=adopted)
    _check_fits(last, resumed, part)
    if resumed.pending is not None:
        committer.publish(resumed.pending)
        last = resumed.pending
    committer.discard(part)
    _check_no_strays(committer, part, resumed.seq)
    return last


def _check_fits(last: Commit | None, resumed: State, part: int) -> None:
    """Refuse unless the commits end where the state says, or just before what it lists as pending."""
    done = last.seq if last else 0
    if resumed.part != part:
        reason = f"its recovery state is of sink partition {resumed.part}"
    elif done > resumed.seq:
        reason = f"it holds {done} commits, its recovery state knows {resumed.seq}: that one is lost or older"
    elif done < resumed.seq - (resumed.pending is not None):
        reason = f"it holds {done} commits, its recovery state knows {resumed.seq}: the lake is lost or older"
    elif last and resumed.pending and done == resumed.seq and last.files != resumed.pending.files:
        reason = f"its commit {done} is not the one of its recovery state: they belong to different runs"
    else:
        return
    raise LakeRefusedError(
        f"sink partition {part} refuses to go on: {reason}. Going on would double or lose rows. {WAYS_OUT}"
    )


def _check_no_strays(committer: Committer, part: int, seq: int) -> None:
    for path in committer.files():
        name = path.rpartition("/")[2].removesuffix(".parquet")
        if name.startswith(f"k{part}-") and int(name.rpartition("-")[2]) > seq:
            raise LakeRefusedError(
                f"{path} is of no commit that the recovery state knows: its recovery store is lost or older. {WAYS_OUT}"
            )


def by_day(table: Table, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Split rows by day since 1970 UTC, order kept within a day."""
    column = batch.column(table.date_column)
    if column.null_count:
        raise ValueError(f"{table.name}.{table.date_column} holds a null")
    if not len(column):
        return
    days = column.view(pa.int64()).to_numpy() // DAY_MS
    if (days == days[0]).all():
        yield int(days[0]), batch
        return
    for day in np.unique(days):
        yield int(day), batch.filter(pa.array(days == day))


def _joined(extents: list[Extent]) -> list[Extent]:
    """Join extents that touch, so that a footer grows with the partitions of the log and not with its messages."""
    joined: list[Extent] = []
    for extent in sorted(extents, key=lambda each: (each.stream, each.partition, each.first)):
        last = joined[-1] if joined else None
        if last and (last.stream, last.partition, last.next) == (extent.stream, extent.partition, extent.first):
            joined[-1] = Extent(last.stream, last.partition, last.first, extent.next, last.rows + extent.rows)
        else:
            joined.append(extent)
    return joined
