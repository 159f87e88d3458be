"""The new files of a table's day while they are made, and the account of them: no row may be gone unsaid."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.lake.commit import DataFile, LakeRefusedError, Swap


@dataclass
class Draft:
    """The new directory of a day, being built: what is there to replace, and what replaces it."""

    folder: Path
    present: tuple[Path, ...]
    dropped: int | None = 0
    """Rows of the replaced files that are to be gone; null where the rows are computed anew."""
    whole: bool = False
    """Whether to leave all as it is unless no file of the day stays, also of those that came meanwhile."""
    done: bool = False
    """Whether the new directory has taken its place."""
    version: int = 0
    """Number of the exchange before this one, where the store counts them."""
    replaced: dict[Path, int] = field(default_factory=dict)
    """Rows of each file that is left out of the new directory."""

    def replace(self, files: Iterable[Path]) -> None:
        """Leave these of the `present` files out of the new directory."""
        for path in files:
            if path not in self.present:
                raise ValueError(f"{path} is no recorded file of this day")
            self.replaced[path] = pq.read_metadata(path).num_rows

    def path(self) -> Path:
        """Return the path of one more Parquet file of the new directory, to be written before the exchange."""
        while (path := self.folder / f"c-{time.time_ns()}.parquet").exists() or path.name in self._names():
            pass  # a clock that was set back comes by the same names again
        path.touch()
        return path

    def _names(self) -> set[str]:
        return {path.name for path in self.present}

    def account(self, table: str, day: date, job: str, added: Sequence[DataFile]) -> Swap | None:
        """Return what the exchange will do, None if nothing; LakeRefusedError if the rows do not add up."""
        if not added and not self.replaced:
            return None
        removed_rows, left = sum(self.replaced.values()), sum(file.rows for file in added)
        if self.dropped is not None and removed_rows != left + self.dropped:
            raise LakeRefusedError(
                f"{job} of {table}, {day}: {removed_rows} rows replaced by {left}, {self.dropped} dropped; "
                "nothing is changed. This is a fault of the program: report it"
            )
        now = time.time_ns()
        return Swap(
            id=max(now, self.version + 1),
            job=job,
            table=table,
            day=day.isoformat(),
            at=now // 1_000_000,
            removed=tuple(sorted(path.name for path in self.replaced)),
            removed_rows=removed_rows,
            added=tuple(added),
            dropped=self.dropped,
        )
