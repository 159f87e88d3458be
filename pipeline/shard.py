"""One shard of the devices: its rows in log order become facts, rejects and events. No engine, no clock, no I/O.

Every row handed in comes out once, in `positions` or in `rejected`. Detection sees a row when order releases it and
the fence history is known up to its event time.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geo import order
from geo.fence_index import FenceIndex
from geo.fix import FixArray
from geo.holding import FOREVER, Released
from geo.order import OrderState, Verdict
from pipeline import facts, state
from pipeline.detection import Detection

EXPIRE_EVERY_MS: Final = 5_000
"""Looking for silent devices costs a pass over the shard, and waiting with it changes no result."""


class Rows(NamedTuple):
    """Rows of one shard in log order, and the log clock of their partition behind them."""

    partition: int
    clock: int  # ms UTC: nothing received earlier will follow; FOREVER ends the log
    device_ids: list[bytes]
    device: NDArray[np.int32]  # (n,) position in device_ids
    rows: FixArray  # (n,)
    arrival: NDArray[np.int64]  # (n,) ms UTC, when each counts as received
    offset: NDArray[np.int64]  # (n,)
    row: NDArray[np.int32]  # (n,) within its message
    known: bool = False  # the lake has these rows, and what is decided on them


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
    ) -> None:
        """Begin with nothing, or with what `snapshot` gave.

        Devices that `erased` names are not remembered for long; rows older than `kept_ms` are too old.
        """
        self._kept_ms = kept_ms
        self._fences = fences
        self._erased = erased
        self._expired = -FOREVER
        self._devices = _Slots()
        self._order = OrderState()
        self._detection = Detection()
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
        self._devices = _Slots.from_columns(state.part(columns, "devices."))
        self._order = OrderState.from_columns(state.part(columns, "order."))
        self._detection = Detection(columns)


class _Slots:
    """The slot of each device of the shard; a slot given back is given out again."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self._slot: dict[bytes, int] = {}
        self._free: list[int] = []

    @property
    def capacity(self) -> int:
        """One more than the highest slot given out."""
        return len(self.ids)

    def take(self, device_ids: list[bytes]) -> NDArray[np.int32]:
        """Return each device's slot, a new one where it has none."""
        return np.fromiter(map(self._take, device_ids), np.int32, len(device_ids))

    def _take(self, device_id: bytes) -> int:
        slot = self._slot.get(device_id)
        if slot is None:
            if self._free:
                slot = self._free.pop()
                self.ids[slot] = device_id
            else:
                slot = len(self.ids)
                self.ids.append(device_id)
            self._slot[device_id] = slot
        return slot

    def find(self, device_ids: Iterable[str]) -> NDArray[np.int32]:
        """Return the slots of those that have one."""
        found = (self._slot.get(device_id.encode()) for device_id in device_ids)
        return np.array([slot for slot in found if slot is not None], np.int32)

    def give_back(self, slots: NDArray[np.int32]) -> None:
        """Let other devices have these slots."""
        for slot in slots.tolist():
            del self._slot[self.ids[slot]]
            self.ids[slot] = b""
            self._free.append(slot)

    def to_columns(self) -> dict[str, NDArray[Any]]:
        """Return the ids by slot, empty where it is free."""
        text = np.frombuffer(b"".join(self.ids), np.uint8)
        return {"text": text, "length": np.fromiter(map(len, self.ids), np.uint8, len(self.ids))}

    @classmethod
    def from_columns(cls, columns: dict[str, NDArray[Any]]) -> "_Slots":
        """Rebuild what `to_columns` gave."""
        slots, text = cls(), columns["text"].tobytes()
        ends = np.cumsum(columns["length"], dtype=np.int64).tolist()
        slots.ids = [text[end - length : end] for end, length in zip(ends, columns["length"].tolist(), strict=True)]
        slots._slot = {device_id: slot for slot, device_id in enumerate(slots.ids) if device_id}
        slots._free = [slot for slot, device_id in enumerate(slots.ids) if not device_id]
        return slots
