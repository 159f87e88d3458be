"""One shard of the devices: its rows in log order become facts, rejects and events. No engine, no clock, no I/O.

Every row handed in comes out once, in `positions` or in `rejected`. Detection sees a row when order releases it and
the fence history is known up to its event time.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geo import order
from geo.fence_index import FenceIndex
from geo.holding import FOREVER, Released
from geo.order import OrderState, Verdict
from pipeline import facts, state
from pipeline.detection import Detection
from pipeline.network import Roads
from pipeline.rows import Rows
from pipeline.slots import Slots

EXPIRE_EVERY_MS: Final = 5_000
"""Looking for silent devices costs a pass over the shard, and waiting with it changes no result."""


class Fences(Protocol):
    """The fence history as far as it is known."""

    def current(self) -> tuple[FenceIndex, int]:
        """Return the index of all versions, and the event time (ms UTC) up to which it is complete."""

    def close(self) -> None:
        """End what keeps the history up to date."""


class Shard:
    """What is remembered of the devices of one shard."""

    def __init__(
        self,
        fences: Fences,
        snapshot: bytes | None = None,
        erased: Callable[[], Iterable[str]] = lambda: (),
        kept_ms: int = FOREVER,
        roads: Roads | None = None,
    ) -> None:
        """Begin with nothing, or with what `snapshot` gave.

        Devices that `erased` names are not remembered for long; rows older than `kept_ms` are too old.
        """
        self._kept_ms = kept_ms
        self._fences = fences
        self._erased = erased
        self._expired = -FOREVER
        self._devices = Slots()
        self._order = OrderState()
        self._roads = roads
        self._detection = Detection(roads=roads)
        if snapshot is not None:
            self._restore(state.unpack(snapshot))

    def advance(self, batch: Rows) -> list[tuple[str, pa.RecordBatch]]:
        """Take the next rows; return what is now decided, by table."""
        device_ids = pa.array(batch.device_ids, pa.string())
        slot = self._devices.take(batch.device_ids)[batch.device]
        self._order.grow(self._devices.capacity)
        self._detection.grow(self._devices.capacity)
        verdict, released = order.advance(self._order, slot, batch.rows, batch.arrival, self._kept_ms)
        kept = verdict <= Verdict.LATE
        out = []
        if kept.any():
            device_id = device_ids.take(pa.array(batch.device))
            out.append(("positions", facts.positions(batch.rows, device_id, verdict, kept)))
        if not kept.all():
            out.append(("rejected", facts.refused(batch, verdict, ~kept)))
        return out + self._detect(released, batch.clock)

    def _detect(self, released: Released, clock: int) -> list[tuple[str, pa.RecordBatch]]:
        index, known = self._fences.current()
        if clock == FOREVER:
            known = FOREVER  # no version that is still to come can hold for an event that is here
        clock = min(clock, known)
        if clock < self._expired + EXPIRE_EVERY_MS:
            return self._detection.advance(index, known, released, self._devices.ids)
        self._expired = clock
        forgotten, more = order.expire(self._order, clock)
        released = Released(*(np.concatenate(parts) for parts in zip(released, more, strict=True)))
        out = self._detection.advance(index, known, released, self._devices.ids)
        out += self._detection.expire(index, clock, self._devices.ids)
        self._devices.give_back(forgotten)
        self._detection.forget(forgotten)
        self._forget_erased()
        return out

    def _forget_erased(self) -> None:
        """Forget erased devices, without an event; what still comes of them the sink does not take."""
        slots = self._devices.find(self._erased())
        if len(slots):
            order.evict(self._order, slots)
            self._detection.forget(slots)
            self._devices.give_back(slots)

    def snapshot(self) -> bytes:
        """Return all that is remembered, as bytes of its own."""
        columns: dict[str, NDArray[Any]] = {f"devices.{k}": v for k, v in self._devices.to_columns().items()}
        columns |= {f"order.{k}": v for k, v in self._order.to_columns().items()}
        return state.pack(columns | self._detection.to_columns())

    def _restore(self, columns: dict[str, NDArray[Any]]) -> None:
        self._devices = Slots.from_columns(state.part(columns, "devices."))
        self._order = OrderState.from_columns(state.part(columns, "order."))
        self._detection = Detection(columns, self._roads)
