"""Which days of which tables changed under the roll-ups: a file in `_dirty` a change, for whoever computes them.

A name is used once, so what is marked again while it is being computed stays marked. A day is marked before it changes
and once more after: a crash between leaves the first mark, and a roll-up computed between is computed again.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Final

from pipeline.lake.folder import sync_directory
from pipeline.lake.lake import Lake

DIRTY: Final = "_dirty"


@contextmanager
def dirtying(lake: Lake, table: str, day: date) -> Iterator[None]:
    """Mark a day of a table before and after the block that changes it."""
    _mark(lake, table, day)
    yield
    _mark(lake, table, day)


def marks(lake: Lake, table: str) -> dict[date, list[Path]]:
    """Return the days of a table that changed, with their marks."""
    found: dict[date, list[Path]] = {}
    for path in sorted((lake.root / DIRTY / table).glob("*+*")):
        found.setdefault(date.fromisoformat(path.name.partition("+")[0]), []).append(path)
    return found


def clean(found: Iterable[Path]) -> None:
    """Take marks away, once what they stand for has been computed."""
    for path in found:
        path.unlink(missing_ok=True)


def _mark(lake: Lake, table: str, day: date) -> None:
    folder = lake.root / DIRTY / table
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{day}+{time.time_ns()}").touch()
    sync_directory(folder)
