"""Repeats that a process happens to remember are answered as such; the guarantee against repeats is the flow's.

Two generations: when the young one is full it becomes the old one, so a repeat is remembered for between `size` and
twice as many accepted events, and forgetting costs nothing.
"""

from collections.abc import Iterable


class Remembered:
    """Recently accepted events: (device_id, seq) and a hash of the content."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[tuple[str, int], int] = {}
        self._old: dict[tuple[str, int], int] = {}

    def has(self, device_id: str, seq: int, record: bytes) -> bool:
        """Tell whether this very event was accepted."""
        key = (device_id, seq)
        known = self._young.get(key) or self._old.get(key)
        return known is not None and known == hash(record)

    def add(self, device_id: str, events: Iterable[tuple[int, bytes]]) -> None:
        """Remember (seq, record) of events that are durable."""
        self._young.update(((device_id, seq), hash(record)) for seq, record in events)
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
