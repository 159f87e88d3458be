"""Made-up days of a city in the lake: drives on a grid of streets, as phones report them, in commits of the sink.

A drive is 144 fixes five seconds apart, by a device that drives five times a day. Phones round what they measure, send
a minute at a time, and are a few metres off.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geo.cells import locate
from geo.fix import ACTIVITIES, NULL_DEGREES, NULL_TIME
from pipeline.lake.commit import Extent
from pipeline.lake.lake import Lake
from pipeline.lake.tables import POSITIONS, degrees, enum, floats, integers, times
from pipeline.lake.writer import DAY_MS, PartitionWriter, publish_pending

FIRST: Final = 1_772_841_600_000
"""2026-03-07 UTC, in ms."""
CENTRE: Final = (14.5547, 121.0244)
FIXES: Final = 144
DRIVES: Final = 5
STEP_S: Final = 5
SENT: Final = 12
"""Fixes sent at a time."""
METRES: Final = 111_195.0
COMMITS: Final = 144
"""Of each sink partition and day."""


def day_of(number: int, rows: int, seed: int = 1) -> pa.RecordBatch:
    """Build about `rows` positions of a day, in order of receive_time."""
    rng = np.random.default_rng((seed, number))
    drives = max(DRIVES, rows // FIXES)
    device = np.arange(drives) % max(1, drives // DRIVES)
    lat, lon, speed, heading = _tracks(rng, drives)
    start = rng.integers(0, DAY_MS - (FIXES + SENT) * STEP_S * 1000, drives) // 1000 * 1000 + rng.integers(
        0, 1000, drives
    )
    event = (
        FIRST
        + number * DAY_MS
        + start[:, None]
        + np.arange(FIXES) * STEP_S * 1000
        + rng.integers(-9, 10, (drives, FIXES))
    )
    sent = event[:, SENT - 1 :: SENT] + rng.integers(200, 3_000, (drives, FIXES // SENT))
    received = np.repeat(sent, SENT, axis=1)
    seq = (number * DRIVES + np.arange(drives) // max(1, drives // DRIVES))[:, None] * FIXES + np.arange(FIXES)
    order = np.argsort(received, axis=None, kind="stable")
    flat = {
        name: values.ravel()[order] for name, values in (("lat", lat), ("lon", lon), ("event", event), ("seq", seq))
    }
    n, told = len(order), rng.random(len(order)) < 0.3
    base = rng.gamma(3, 3, drives)[:, None]
    ids = pa.array([f"{value:032x}" for value in np.random.default_rng(seed).integers(1 << 62, size=drives)])
    columns = {
        "device_id": ids.take(pa.array(np.repeat(device, FIXES)[order])),
        "event_time": times(flat["event"], NULL_TIME),
        "device_time": times(np.full(n, NULL_TIME), NULL_TIME),
        "receive_time": times(received.ravel()[order], NULL_TIME),
        "seq": integers(flat["seq"], NULL_TIME),
        "lat": degrees(flat["lat"], NULL_DEGREES),
        "lon": degrees(flat["lon"], NULL_DEGREES),
        "accuracy_m": floats((base + rng.gamma(2, 1, (drives, FIXES))).round(1).astype(np.float32).ravel()[order]),
        "speed_mps": floats(speed.round(1).astype(np.float32).ravel()[order]),
        "heading_deg": floats((heading.round() % 360).astype(np.float32).ravel()[order]),
        "activity": enum(np.where(told, 0, -1).astype(np.int8), ACTIVITIES),
        "activity_confidence": integers(np.where(told, rng.integers(50, 101, n), -1).astype(np.int8), -1),
        "h3_r9": integers(locate(flat["lat"], flat["lon"]), 0),
        "late": pa.array(rng.random(n) < 0.002),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in POSITIONS.schema.names], schema=POSITIONS.schema)


def write(lake: Lake, days: int, rows: int) -> Iterator[int]:
    """Write days of so many rows by all sink partitions, in commits of ten minutes; yield the rows of each day."""
    writers = [PartitionWriter.open(lake, part, None) for part in range(lake.format.sink_partitions)]
    for number in range(days):
        batch = day_of(number, rows)
        size = -(-batch.num_rows // (COMMITS * len(writers)))
        for commit in range(COMMITS):
            for part, writer in enumerate(writers):
                piece = batch.slice((commit * len(writers) + part) * size, size)
                writer.append(POSITIONS.name, piece)
                at = number * COMMITS + commit
                writer.extend(Extent("positions", part, at, at + 1, piece.num_rows))
                writer.snapshot()
        yield batch.num_rows
    for writer in writers:
        writer.close()
    publish_pending(lake)


def _tracks(
    rng: np.random.Generator, drives: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Return lat and lon in microdegrees, speed and heading of drives that turn at corners and stop at lights."""
    turns = rng.choice([-90, 0, 90], (drives, FIXES), p=[0.04, 0.92, 0.04])
    heading = rng.integers(4, size=drives)[:, None] * 90 + 12 + np.cumsum(turns, axis=1)
    moving = rng.random((drives, FIXES)) < 0.8
    speed = moving * rng.gamma(6, 1.4, (drives, FIXES))
    step, angle = speed * STEP_S, np.radians(heading)
    spot = rng.normal(0, 4_000, (2, drives, 1)) + rng.normal(0, 1_500, (2, drives, 1))
    noise = rng.normal(0, 4, (2, drives, FIXES))
    north = spot[0] + np.cumsum(step * np.cos(angle), axis=1) + noise[0]
    east = spot[1] + np.cumsum(step * np.sin(angle), axis=1) + noise[1]
    lat = CENTRE[0] + north / METRES
    lon = CENTRE[1] + east / (METRES * np.cos(np.radians(CENTRE[0])))
    return (
        (lat * 1e6).astype(np.int32),
        (lon * 1e6).astype(np.int32),
        speed,
        heading + rng.normal(0, 3, (drives, FIXES)),
    )
