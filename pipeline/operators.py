"""The engine's operators: chunks of a partition to rows of its shards, rows of a shard to rows of the lake."""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
from bytewax.operators import StatefulBatchLogic

from geo.holding import FOREVER
from pipeline import facts, fault, live
from pipeline.batch import Malformed
from pipeline.batch.rows import events_to_json
from pipeline.connectors import Chunk, SinkItem, sink_key
from pipeline.heard import heard
from pipeline.lake.commit import Extent
from pipeline.lake.tables import TABLES
from pipeline.lake.tombstones import Tombstones
from pipeline.layout import Layout, Part
from pipeline.log import POSITIONS
from pipeline.network import Roads
from pipeline.partition import SHARDS, hash_ids, partition_of
from pipeline.rows import Rows
from pipeline.shard import Fences, Shard

TICK_SHARDS_EVERY_MS: Final = 30_000
"""A shard without rows hears of the clock this often: a tick makes the engine snapshot the shard."""

Keyed = tuple[str, Rows | SinkItem]


def is_for_sink(keyed: Keyed) -> bool:
    """Tell what goes straight to the lake from what goes to a shard."""
    return keyed[0].startswith("k")


def is_live(keyed: tuple[str, tuple[str, pa.RecordBatch]]) -> bool:
    """Tell the rows that go out live."""
    return keyed[1][0] in live.TABLES


def is_for_lake(keyed: tuple[str, tuple[str, pa.RecordBatch]]) -> bool:
    """Tell the rows that the lake keeps."""
    return keyed[1][0] in TABLES


class Split:
    """Parts a chunk by shard; what cannot go to a shard goes to the lake, with the offsets that were read."""

    def __init__(self, layout: Layout) -> None:
        self._layout, self._partitions = layout, layout.counts[POSITIONS]
        self._told: dict[int, int] = {}

    def __call__(self, chunk: Chunk) -> Iterator[Keyed]:
        """Yield the keyed items of the chunk."""
        decoded, (stream, partition) = chunk.decoded, chunk.part
        to_lake = sink_key(self._layout.sink(chunk.part))
        rows = len(decoded.rows) + len(decoded.malformed)
        if chunk.known:
            yield from self._shards(chunk, self._place(chunk)[0]) if stream == POSITIONS else ()
            return
        yield to_lake, Extent(stream, partition, chunk.first, chunk.next, rows)
        if stream == POSITIONS:
            shard_of_id, astray = self._place(chunk)
            if astray:
                yield to_lake, ("rejected", facts.rejected(stream, partition, astray))
            yield from self._shards(chunk, shard_of_id)
        if decoded.malformed:
            yield to_lake, ("rejected", facts.rejected(stream, partition, decoded.malformed))

    def _place(self, chunk: Chunk) -> tuple[np.ndarray, list[Malformed]]:
        """Return each device's shard, SHARDS where it is of another partition, and those rows set apart."""
        decoded, h = chunk.decoded, hash_ids(chunk.decoded.device_ids)
        right = partition_of(h, self._partitions) == chunk.part.partition
        if right.all():
            return h % SHARDS, []
        detail = f"device_id: does not belong to partition {chunk.part.partition} of {self._partitions}"
        which = np.flatnonzero(~right[decoded.device])
        device_ids = [decoded.device_ids[i].decode() for i in decoded.device[which].tolist()]
        astray = [
            Malformed(int(offset), int(row), "wrong_partition", detail, device_id, int(received), payload, len(payload))
            for offset, row, received, device_id, payload in zip(
                decoded.offset[which],
                decoded.row[which],
                decoded.rows["receive_time"][which],
                device_ids,
                events_to_json(decoded.rows[which], device_ids),
                strict=True,
            )
        ]
        return np.where(right, h % SHARDS, SHARDS), astray

    def _shards(self, chunk: Chunk, shard_of_id: np.ndarray) -> Iterator[Keyed]:
        """Yield the rows of each shard of the partition that has any, or is due to hear of the clock."""
        decoded, partition = chunk.decoded, chunk.part.partition
        shard = shard_of_id[decoded.device]
        order = np.argsort(shard, kind="stable")
        by_shard = np.argsort(shard_of_id, kind="stable")
        rank = np.empty(len(by_shard), np.int32)
        rank[by_shard] = np.arange(len(by_shard))
        row_ends = np.searchsorted(shard[order], np.arange(SHARDS + 1))
        id_ends = np.searchsorted(shard_of_id[by_shard], np.arange(SHARDS + 1))
        due = chunk.clock >= self._told.get(partition, -FOREVER) + TICK_SHARDS_EVERY_MS
        if due:
            self._told[partition] = chunk.clock
        for s in range(partition, SHARDS, self._partitions):
            which = order[row_ends[s] : row_ends[s + 1]]
            if not len(which) and not due:
                continue
            first, end = id_ends[s], id_ends[s + 1]
            yield (
                f"{s:02d}",
                Rows(
                    partition,
                    chunk.clock,
                    [decoded.device_ids[i] for i in by_shard[first:end]],
                    rank[decoded.device[which]] - first,
                    decoded.rows[which],
                    chunk.arrival[which],
                    decoded.offset[which],
                    decoded.row[which],
                    chunk.known,
                ),
            )


class ShardLogic(StatefulBatchLogic[Rows, tuple[str, tuple[str, pa.RecordBatch]], bytes]):
    """Hands the engine's calls to a shard. The engine's end of input decides nothing: the source says when it ends."""

    @heard
    def __init__(
        self,
        layout: Layout,
        fences: Fences,
        snapshot: bytes | None,
        tombstones: Tombstones,
        kept_ms: int,
        roads: Roads | None,
    ) -> None:
        self._layout, self._shard = layout, Shard(fences, snapshot, tombstones.devices, kept_ms, roads)

    @heard
    def on_batch(self, values: list[Rows]) -> tuple[Iterable[tuple[str, tuple[str, pa.RecordBatch]]], bool]:
        fault.point("flow.detect")
        decided = [(rows, out) for rows in values for out in self._shard.advance(rows)]
        out = [(self._key(rows.partition), out) for rows, out in decided if not rows.known]
        return out, StatefulBatchLogic.RETAIN

    def _key(self, partition: int) -> str:
        return sink_key(self._layout.sink(Part(POSITIONS, partition)))

    def snapshot(self) -> bytes:
        fault.point("flow.snapshot")
        return self._shard.snapshot()
