"""Which partition goes where, and which part of a log one host runs.

Rule: a row of partition p of P goes to sink partition p * sinks // P, so neighbours share one. A host runs whole sink
partitions, and with them every shard, source and live part that belongs to them: hosts share nothing but the lake.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from pipeline.log import POSITIONS, REJECTED, EventLog


class Part(NamedTuple):
    """A partition of a stream of the log."""

    stream: str
    partition: int

    def __str__(self) -> str:
        return f"{self.stream}-{self.partition:02d}"


class Share(NamedTuple):
    """The partitions `first` to `last` of `positions`."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `A-B`; ValueError for anything else."""
        found = re.fullmatch(r"(\d{1,2})-(\d{1,2})", text)
        if found is None or int(found[1]) > int(found[2]):
            raise ValueError(f"partitions {text!r}: want A-B, the first and the last")
        return cls(int(found[1]), int(found[2]))

    def overlaps(self, other: "Share") -> bool:
        """Tell whether both hold a partition."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Layout:
    """The number of partitions of each stream that is read, the lake's sink partitions, and the share that is run."""

    counts: Mapping[str, int]
    sinks: int
    share: Share

    @classmethod
    def of(cls, log: EventLog, sinks: int, share: Share | None = None) -> Self:
        """Return the layout of a log, all of it or a share.

        Raises LookupError if the log was not created, ValueError for a share that cuts a sink partition in two.
        """
        counts = {stream: log.partitions(stream) for stream in (POSITIONS, REJECTED)}
        last = counts[POSITIONS] - 1
        layout = cls(counts, sinks, share or Share(0, last))
        if share is not None and not (share.last <= last and layout.is_whole(share)):
            size = max(1, counts[POSITIONS] // sinks)
            raise ValueError(
                f"partitions {share}: of {last + 1} partitions a host runs a multiple of {size}, "
                f"from a multiple of {size} on"
            )
        return layout

    def is_whole(self, share: Share) -> bool:
        """Tell whether a share is made of whole sink partitions."""
        partitions = self.counts[POSITIONS]
        return share.first * self.sinks % partitions == 0 == (share.last + 1) * self.sinks % partitions

    def sink(self, part: Part) -> int:
        """Return the sink partition of what comes from a partition."""
        return part.partition * self.sinks // self.counts[part.stream]

    @property
    def all_parts(self) -> list[Part]:
        """Every partition that is read, of all hosts."""
        return [Part(stream, p) for stream, count in self.counts.items() for p in range(count)]

    @property
    def parts(self) -> list[Part]:
        """The partitions that this host reads."""
        return [part for part in self.all_parts if self.sink(part) in self.taken]

    @property
    def taken(self) -> range:
        """The sink partitions that this host writes."""
        first, partitions = self.share.first, self.counts[POSITIONS]
        return range(first * self.sinks // partitions, (self.share.last + 1) * self.sinks // partitions)

    @property
    def is_all(self) -> bool:
        """Tell whether this host runs everything."""
        return len(self.taken) == self.sinks
