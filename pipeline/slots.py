"""Which slot of a shard's columns each of its devices has."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class Slots:
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
    def from_columns(cls, columns: dict[str, NDArray[Any]]) -> Self:
        """Rebuild what `to_columns` gave."""
        slots, text = cls(), columns["text"].tobytes()
        ends = np.cumsum(columns["length"], dtype=np.int64).tolist()
        slots.ids = [text[end - length : end] for end, length in zip(ends, columns["length"].tolist(), strict=True)]
        slots._slot = {device_id: slot for slot, device_id in enumerate(slots.ids) if device_id}
        slots._free = [slot for slot, device_id in enumerate(slots.ids) if not device_id]
        return slots
