"""A small day of phones for tests of the flow: tracks in and out of fences, with the faults that phones have."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from geo.fix import FixArray
from pipeline.batch import encode
from pipeline.batch.rows import blank
from pipeline.log import JSON, POSITIONS, REJECTED, NewMessage
from pipeline.log.open import open_log
from pipeline.partition import hash_ids, partition_of

START = 1_772_600_000_000
MINUTE = 60_000
GARBAGE = (b"", b"PKPL\xff", b"not a batch", b"\x00" * 40)


class Upload(NamedTuple):
    """What a phone sends at once."""

    receive_time: int
    device_id: bytes
    rows: FixArray


def write_fences(path: Path) -> Path:
    """Write squares along the tracks: overlapping, thin, wide, and one with a second version."""

    def square(fence_id: str, east: float, size: float, **properties: object) -> dict[str, object]:
        low_lat, low_lon = 14.55 - size / 2, 121.03 + east
        corners = [(0.0, 0.0), (size, 0.0), (size, size), (0.0, size), (0.0, 0.0)]
        ring = [[low_lon + dx, low_lat + dy] for dx, dy in corners]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "properties": {"fence_id": fence_id, **properties}, "geometry": geometry}

    features = [
        square("mall", 0.002, 0.002),
        square("mall", 0.0025, 0.0025, valid_from=START + 20 * MINUTE),
        square("street", 0.006, 0.0005, dwell_s=20),
        square("city", -0.01, 0.03, kind="area"),
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def traffic(seed: int, devices: int = 40, minutes: int = 30) -> list[Upload]:
    """Return all uploads in the order in which they are received."""
    random = np.random.default_rng(seed)
    uploads = [upload for _ in range(devices) for upload in _phone(random, minutes)]
    return sorted(uploads, key=lambda upload: (upload.receive_time, upload.device_id))


def _phone(random: np.random.Generator, minutes: int) -> Iterator[Upload]:
    device_id, rows = random.bytes(16).hex().encode(), _track(random, minutes)
    size = int(random.integers(5, 80))
    numbered = random.random() > 0.1
    for first in range(0, len(rows), size):
        part = rows[first : first + size].copy()
        part["seq"] = part["seq"] if numbered else blank(len(part))["seq"]
        delay = int(random.choice([500, 3_000, 40_000, 4 * MINUTE, 150 * MINUTE], p=[0.4, 0.3, 0.2, 0.08, 0.02]))
        again = int(random.choice([0, 2_000, 10 * MINUTE], p=[0.9, 0.05, 0.05]))
        for wait in {delay, delay + again}:
            received = int(part["event_time"][-1]) + wait
            part = part.copy()
            part["receive_time"] = received
            yield Upload(received, device_id, part)


def _track(random: np.random.Generator, minutes: int) -> FixArray:
    """Return a walk to and fro through the fences, with silences, wild fixes, and now and then a wrong clock."""
    every = int(random.choice([1_000, 5_000, 12_000]))
    n = minutes * MINUTE // every
    rows = blank(n)
    rows["seq"] = np.arange(n)
    rows["event_time"] = START + np.arange(n) * every + int(random.integers(0, 10 * MINUTE))
    rows["event_time"][int(random.integers(0, n)) :] += int(random.choice([0, 11 * MINUTE]))
    rows["event_time"] += int(random.choice([0, 3 * MINUTE], p=[0.9, 0.1]))
    pace = np.repeat(random.choice([0.0, 10.0, 60.0, -60.0], n // 20 + 1), 20)[:n]
    rows["lat"] = 14_550_000 + np.rint(random.normal(0, 60, n))
    rows["lon"] = 121_030_000 + np.rint(np.cumsum(pace) * every / 1_000 + random.normal(0, 60, n))
    rows["accuracy_m"] = random.choice([5.0, 12.0, 30.0, 90.0, np.nan], n)
    activity = random.random(n) < 0.1
    rows["activity"][activity] = random.integers(0, 8, int(activity.sum()))
    return rows


def messages(uploads: list[Upload], partitions: int, seed: int) -> list[NewMessage]:
    """Cut the rows of each partition into messages of random size, with messages between them that are none."""
    random = np.random.default_rng(seed)
    device_ids = sorted({upload.device_id for upload in uploads})
    home = dict(zip(device_ids, partition_of(hash_ids(device_ids), partitions).tolist(), strict=True))
    by_partition: dict[int, list[Upload]] = {p: [] for p in range(partitions)}
    for upload in uploads:
        by_partition[home[upload.device_id]].append(upload)
    out = []
    for partition, mine in by_partition.items():
        ends = np.cumsum(random.integers(1, 12, len(mine)))
        cuts = [0, *ends[ends < len(mine)].tolist(), len(mine)]
        out += [NewMessage(POSITIONS, partition, _message(mine[a:b])) for a, b in pairwise(cuts) if a < b]
    return out


def garbage() -> list[NewMessage]:
    """Return messages that are no batch, one of them of events that are none."""
    broken = [NewMessage(POSITIONS, 0, payload) for payload in GARBAGE]
    events = [{"device_id": "x", "event_time": 1}, {"lat": 1}, 7]
    return [*broken, NewMessage(POSITIONS, 0, json.dumps(events).encode(), JSON), NewMessage(REJECTED, 0, b"?", "odd")]


def _message(uploads: list[Upload]) -> bytes:
    device_ids = sorted({upload.device_id for upload in uploads})
    rows = np.concatenate([upload.rows for upload in uploads])
    at = np.array([device_ids.index(upload.device_id) for upload in uploads])
    rows["device"] = np.repeat(at, [len(upload.rows) for upload in uploads])
    return encode(device_ids, rows)


def fill(url: str, new: list[NewMessage], partitions: int) -> None:
    """Append messages to a log, made if it is not there."""
    log = open_log(url)
    log.create({POSITIONS: partitions, REJECTED: 1})
    log.append(new)
    log.close()
