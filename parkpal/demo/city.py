"""The demo's city: simulated once, so that its last event is now, and kept for every later run."""

from pathlib import Path
from typing import Final

import polars as pl

from parkpal.simulate.simulation import simulate

SEED: Final = 7
DEVICES: Final = 400
HOURS: Final = 1.0


def ensure_city(folder: Path, now_ms: int, devices: int = DEVICES) -> None:
    """Simulate the city into the folder unless it is there: all or nothing."""
    if folder.exists():
        return
    first_try = simulate(SEED, devices, HOURS, 0)
    honest = first_try.truth["devices"].filter(pl.col("clock_kind") == "none")
    last_ms = round(1_000 * max(honest["t_last"].to_list()))
    draft = folder.with_name(f"{folder.name}.draft")
    simulate(SEED, devices, HOURS, now_ms - last_ms).write(draft)
    draft.rename(folder)
