"""What the demo's phones will send, in order: every body is fixed by the city, so that a later run can go on.

Beside the faults of the simulation some phones were out of reach for hours, some bodies arrive torn or twice, and some
events can never have happened. Those come after a phone's last seq, so that nobody waits for a gap.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

BODY_EVENTS: Final = 100
LATE_PHONES: Final = 4
LATE_BY_MS: Final = 130 * 60_000
BROKEN_EVERY: Final = 20
"""One phone in so many ends with events that cannot be."""
TORN_SHARE: Final = 0.01
TWICE_SHARE: Final = 0.02
COLUMNS: Final = (
    "event_time", "seq", "lat", "lon", "accuracy_m", "speed_mps", "heading_deg", "activity", "activity_confidence",
)  # fmt: skip

Event = dict[str, Any]


class Body(NamedTuple):
    """One upload: its events, how often it is sent, and whether a torn copy of it goes first."""

    events: list[Event]
    times: int
    torn: bool


class PhoneLoad(NamedTuple):
    """All that one phone uploads, and how far its clock is ahead when it does."""

    name: str
    skew_ms: int
    bodies: list[Body]


def read_loads(city: Path) -> list[PhoneLoad]:
    """Return the uploads of every phone of a simulated city, in the order in which the server was to get them."""
    devices = pl.read_parquet(city / "truth_devices.parquet").sort("device_id")
    skews_ms = dict(devices.select("device_id", (pl.col("clock_skew_s") * 1000).cast(pl.Int64)).iter_rows())
    late = set(devices.sort("offline_s", "device_id", descending=True)["device_id"].head(LATE_PHONES))
    events = pl.read_parquet(city / "events.parquet").sort("device_id", "receive_time", "seq", maintain_order=True)
    loads = []
    for number, ((name,), rows) in enumerate(events.group_by("device_id", maintain_order=True)):
        if name in late:
            rows = rows.with_columns(pl.col("event_time") - LATE_BY_MS)  # noqa: PLW2901  the phone's own rows, shifted
        own = [
            {k: v for k, v in event.items() if v is not None} for event in rows.select(COLUMNS).iter_rows(named=True)
        ]
        if number % BROKEN_EVERY == 0:
            own += _impossible(own[-1]["event_time"], 1 + max(event["seq"] for event in own))
        loads.append(PhoneLoad(str(name), skews_ms[name], _bodies(own, number)))
    return loads


def _bodies(events: list[Event], number: int) -> list[Body]:
    chance = np.random.default_rng(number)
    starts = range(0, len(events), BODY_EVENTS)
    return [
        Body(events[at : at + BODY_EVENTS], 1 + (chance.random() < TWICE_SHARE), bool(chance.random() < TORN_SHARE))
        for at in starts
    ]


def _impossible(event_time: int, seq: int) -> Iterator[Event]:
    """Yield events that cannot have happened, each in another way."""
    faults: tuple[Event, ...] = (
        {"lat": 95.2, "lon": 121.03},
        {"lat": 0, "lon": 0},
        {"lat": 14.55},
        {"lat": "14.55 N", "lon": 121.03},
        {"lat": 14.55, "lon": 121.03, "event_time": 0},
        {"lat": 14.55, "lon": 121.03, "event_time": event_time + 86_400_000},
        {"lat": 14.55, "lon": 121.03, "heading_deg": 540, "battery": 0.8},
    )
    for i, fault in enumerate(faults):
        yield {"event_time": event_time, "seq": seq + i} | fault
