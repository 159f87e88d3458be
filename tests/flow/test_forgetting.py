"""A shard forgets an erased device: nothing of it is in the state, and nobody else's rows change."""

import numpy as np
import pyarrow as pa
import pytest

from geo.fence_index import FenceIndex, build_index
from geo.holding import FOREVER
from pipeline.rows import Rows
from pipeline.shard import Shard
from tests.flow.traffic import START, Upload, traffic

GONE = "gone" * 8


class NoFences:
    """A history that is known up to `known`."""

    def __init__(self, known: int = FOREVER) -> None:
        self.known = known

    def current(self) -> tuple[FenceIndex, int]:
        return build_index(()), self.known

    def close(self) -> None:
        """Nothing is open."""


def rows_of(upload: Upload, clock: int) -> Rows:
    n = len(upload.rows)
    return Rows(
        0,
        clock,
        [upload.device_id],
        np.zeros(n, np.int32),
        upload.rows,
        upload.rows["receive_time"].copy(),
        np.arange(n),
        np.zeros(n, np.int32),
    )


def feed(shard: Shard, uploads: list[Upload]) -> list[tuple[str, pa.RecordBatch]]:
    return [out for upload in uploads for out in shard.advance(rows_of(upload, upload.receive_time - 60_000))]


def tick(shard: Shard, clock: int) -> list[tuple[str, pa.RecordBatch]]:
    nobody = Upload(clock, b"", traffic(1, 1)[0].rows[:0])
    return shard.advance(rows_of(nobody, clock)._replace(device_ids=[]))


@pytest.mark.parametrize("known", [FOREVER, START])
def test_an_erased_device_is_forgotten_at_the_next_tick_held_and_waiting_rows_too(known: int) -> None:
    uploads = traffic(3, devices=6)
    gone = max((upload for upload in uploads), key=lambda upload: len(upload.rows))._replace(device_id=GONE.encode())
    gone.rows["seq"] += 7  # beyond a gap: its rows are on hold
    erased: list[str] = []
    shard = Shard(NoFences(known), erased=lambda: erased)
    feed(shard, [*uploads[:30], gone])
    assert GONE.encode() in shard.snapshot()
    erased.append(GONE)
    tick(shard, gone.receive_time + 60_000)
    if known != FOREVER:  # the clock does not pass what is known of fences
        shard._fences.known = FOREVER
        tick(shard, gone.receive_time + 120_000)
    state = shard.snapshot()
    assert GONE.encode() not in state
    assert not any(row.tobytes() in state for row in gone.rows)


def test_others_decide_as_if_the_device_had_never_been() -> None:
    uploads = traffic(4, devices=8)
    victim = uploads[0].device_id
    others = [upload for upload in uploads if upload.device_id != victim]
    alone, together = Shard(NoFences()), Shard(NoFences(), erased=lambda: [victim.decode()])
    expected, found = feed(alone, others), feed(together, uploads)
    expected += tick(alone, FOREVER)
    found += tick(together, FOREVER)
    assert decided(found, victim) == decided(expected, victim)
    assert together.snapshot().find(victim) == -1


def decided(out: list[tuple[str, pa.RecordBatch]], without: bytes) -> list[tuple[object, ...]]:
    """List the derived rows of others, in an order of their own."""
    rows = [
        (table, *map(str, row.values()))
        for table, batch in out
        for row in batch.to_pylist()
        if table not in ("positions", "rejected") and row["device_id"] != without.decode()
    ]
    return sorted(rows)
