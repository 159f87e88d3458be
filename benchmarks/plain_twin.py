"""The same pipeline as most people would write it: one event at a time, with the usual libraries, to compare with.

Per event: json.loads, range checks, repeats and order by seq in dicts and a heap, h3.latlng_to_cell, geofences by an
STRtree of prepared polygons with state in dicts; rows in lists, written with pyarrow to the same tables and columns.
The rules are those of the flow in outline; nothing is slowed on purpose.

Run: python -m benchmarks.plain_twin EVENTS FENCES OUT
"""

import hashlib
import heapq
import json
import math
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h3
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from shapely import LineString, MultiPolygon, Point, Polygon, STRtree, prepare

from geo.fences import FenceVersion, versions_from_geojson
from geo.fix import ACTIVITIES
from geo.validity import MAX_AGE_MS, MAX_AHEAD_MS, MAX_DELAY_MS
from pipeline.lake.tables import DEGREES, TABLES

Event = dict[str, Any]

FLUSH_ROWS = 100_000  # events
GAP_WAIT_MS = 900_000
NO_SIGNAL_MS = 600_000
MAX_ACCURACY_M = 65
M_PER_DEGREE = 111_195
DETECTOR = "plain@1"


@dataclass
class Device:
    """What is remembered of one phone."""

    seen: dict[int, int] = field(default_factory=dict)
    waiting: list[tuple[int, int, Event]] = field(default_factory=list)
    next_seq: int = 0
    recent: deque[tuple[int, float, float]] = field(default_factory=deque)
    inside: dict[int, int] = field(default_factory=dict)  # fence: entered at
    dwelled: set[int] = field(default_factory=set)
    doubtful: dict[int, list[int]] = field(default_factory=dict)  # fence: times of the fixes that say otherwise
    last: Event | None = None


class PlainTwin:
    """The pipeline; `take` each line, then `close`."""

    def __init__(self, fences: Sequence[FenceVersion], out: Path) -> None:
        corners = [corner for fence in fences for polygon in fence.polygons for corner in polygon[0]]
        self.lat0 = sum(lat for lat, _ in corners) / max(len(corners), 1)
        self.east_m = M_PER_DEGREE * math.cos(math.radians(self.lat0))
        self.fences = fences
        self.shapes = [self.project(fence) for fence in fences]
        self.boundaries = [shape.boundary for shape in self.shapes]
        for shape in (*self.shapes, *self.boundaries):
            prepare(shape)
        self.tree = STRtree(self.shapes)
        self.devices: dict[str, Device] = defaultdict(Device)
        self.rows: dict[str, list[Event]] = {name: [] for name in TABLES}
        self.out, self.files, self.taken = out, 0, 0

    def project(self, fence: FenceVersion) -> MultiPolygon:
        polygons = []
        for rings in fence.polygons:
            shell, *holes = [[self.to_metres(lat, lon) for lat, lon in ring] for ring in rings]
            polygons.append(Polygon(shell, holes))
        return MultiPolygon(polygons)

    def to_metres(self, lat: float, lon: float) -> tuple[float, float]:
        return lon * self.east_m, lat * M_PER_DEGREE

    def take(self, line: bytes) -> None:
        """Take one event as JSON."""
        self.taken += 1
        event = json.loads(line)
        device = self.devices[event["device_id"]]
        reason = self.find_fault(event, device)
        if reason:
            self.reject(event, reason, line)
        else:
            late = event["receive_time"] - event["event_time"] > MAX_DELAY_MS or event["seq"] < device.next_seq
            self.keep(event, late=late)
            if not late:
                heapq.heappush(device.waiting, (event["seq"], self.taken, event))
                self.release(device, event["receive_time"])
        if self.taken % FLUSH_ROWS == 0:
            self.flush()

    def find_fault(self, event: Event, device: Device) -> str | None:
        reason = find_wrong_value(event)
        delay = event["receive_time"] - event["event_time"]
        if reason is None and delay < -MAX_AHEAD_MS:
            reason = "ahead_of_time"
        if reason is None and delay > MAX_AGE_MS:
            reason = "too_old"
        if reason is None:
            content = hash(tuple(event.get(name) for name in ("event_time", "lat", "lon", "accuracy_m", "activity")))
            if event["seq"] in device.seen:
                return "duplicate" if device.seen[event["seq"]] == content else "seq_conflict"
            device.seen[event["seq"]] = content
        return reason

    def keep(self, event: Event, *, late: bool) -> None:
        lat, activity = event.get("lat"), event.get("activity")
        row = {name: event.get(name) for name in TABLES["positions"].schema.names}
        row["activity"] = activity and activity.lower()
        row["h3_r9"] = None if lat is None else h3.str_to_int(h3.latlng_to_cell(lat, event["lon"], 9))
        row["late"] = late
        self.rows["positions"].append(row)

    def reject(self, event: Event, reason: str, line: bytes) -> None:
        self.rows["rejected"].append(
            {
                "receive_time": event["receive_time"],
                "reason": reason,
                "detail": reason,
                "device_id": event["device_id"],
                "source_stream": "positions",
                "source_partition": 0,
                "source_offset": self.taken,
                "source_row": 0,
                "payload": line,
                "payload_bytes": len(line),
            }
        )

    def release(self, device: Device, now: float) -> None:
        """Detect on rows in order of seq; a gap is waited for by the time of receipt."""
        while device.waiting:
            seq, _, event = device.waiting[0]
            if seq > device.next_seq and event["receive_time"] + GAP_WAIT_MS > now:
                return
            heapq.heappop(device.waiting)
            device.next_seq = seq + 1
            if event.get("lat") is not None and (event.get("accuracy_m") or 20) <= MAX_ACCURACY_M:
                self.detect(device, event)

    def detect(self, device: Device, event: Event) -> None:
        last, now = device.last, event["event_time"]
        if last is not None and now < last["event_time"]:
            return
        if last is not None and now - last["event_time"] > NO_SIGNAL_MS:
            self.lose(device)
            last = None
        x, y = self.to_metres(event["lat"], event["lon"])
        point, sigma = Point(x, y), max(event.get("accuracy_m") or 20, 5) / 1.515
        moving = self.note(device, now, x, y, 8 * sigma)
        held = {i for i in self.tree.query(point, "intersects").tolist() if self.holds(i, now)}
        if last is None:
            device.inside.update(dict.fromkeys(held, now))
        else:
            self.cross(device, last, event, held)
            changed = [
                i for i in held ^ device.inside.keys() if moving or self.is_settled(device, i, point, sigma, now)
            ]
            for i in changed:
                self.change_sides(device, last, event, i)
        for i in [i for i in device.doubtful if (i in held) == (i in device.inside)]:
            del device.doubtful[i]
        self.dwell(device, event)
        device.last = event

    def change_sides(self, device: Device, last: Event, event: Event, i: int) -> None:
        at = self.cut(last, event, i)
        if i not in device.inside:
            device.inside[i] = at
            self.emit("enter", event, i, at)
        else:
            device.dwelled.discard(i)
            self.emit("exit", event, i, at, dwell_s=(at - device.inside.pop(i)) / 1_000)

    def dwell(self, device: Device, event: Event) -> None:
        now = event["event_time"]
        for i in device.inside.keys() - device.dwelled:
            if now - device.inside[i] >= self.fences[i].dwell_s * 1_000:
                device.dwelled.add(i)
                self.emit("dwell", event, i, now, dwell_s=(now - device.inside[i]) / 1_000)

    def holds(self, i: int, now: int) -> bool:
        return self.fences[i].valid_from <= now < self.fences[i].valid_to

    def note(self, device: Device, now: int, x: float, y: float, reach_m: float) -> bool:
        """Keep the last minute, and tell whether the phone was displaced within it."""
        while device.recent and device.recent[0][0] < now - 60_000:
            device.recent.popleft()
        moving = any(math.hypot(x - x1, y - y1) > reach_m for _, x1, y1 in device.recent)
        device.recent.append((now, x, y))
        return moving

    def is_settled(self, device: Device, i: int, point: Point, sigma: float, now: int) -> bool:
        """Tell whether enough fixes of a still phone say that it changed sides."""
        leaving = i in device.inside
        distance = self.boundaries[i].distance(point)
        inside = 0.5 * math.erfc((distance if leaving else -distance) / sigma / math.sqrt(2))
        sure = (inside <= 0.1 and distance > 30) if leaving else inside >= 0.75
        if not sure:
            device.doubtful.pop(i, None)
            return False
        times = device.doubtful.setdefault(i, [])
        times.append(now)
        if len(times) < 2 or now - times[0] < (30_000 if leaving else 10_000):
            return False
        del device.doubtful[i]
        return True

    def cut(self, last: Event, event: Event, i: int) -> int:
        """Return when the straight line from the last fix cuts the boundary, else the time of this fix."""
        now: int = event["event_time"]
        if now - last["event_time"] >= 120_000:
            return now
        line = LineString([self.to_metres(e["lat"], e["lon"]) for e in (last, event)])
        cuts = line.intersection(self.boundaries[i])
        if cuts.is_empty or not line.length:
            return now
        share = line.project(cuts.centroid) / line.length
        return round(last["event_time"] + share * (now - last["event_time"]))

    def cross(self, device: Device, last: Event, event: Event, held: set[int]) -> None:
        line = LineString([self.to_metres(e["lat"], e["lon"]) for e in (last, event)])
        for i in self.tree.query(line, "intersects").tolist():
            if i not in held and i not in device.inside and self.holds(i, event["event_time"]):
                self.emit("cross", event, i, self.cut(last, event, i))

    def lose(self, device: Device) -> None:
        last = device.last
        for i in list(device.inside):
            if last is not None:
                self.emit("exit_inferred", last, i, last["event_time"], confidence=0.5)
        for forgotten in (device.inside, device.dwelled, device.doubtful, device.recent):
            forgotten.clear()

    def emit(
        self, kind: str, event: Event, i: int, at: int, *, confidence: float = 1.0, dwell_s: float | None = None
    ) -> None:
        fence, name = self.fences[i], event["device_id"]
        text = f"{name}|{fence.fence_id}|{fence.version}|{kind}|{at}"
        row = {"event_id": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), "device_id": name}
        row |= {"fence_id": fence.fence_id, "fence_version": fence.version, "kind": kind, "event_time": at}
        row |= {"lat": event["lat"], "lon": event["lon"], "confidence": confidence, "dwell_s": dwell_s}
        row |= {"h3_r9": h3.str_to_int(h3.latlng_to_cell(event["lat"], event["lon"], 9)), "detector": DETECTOR}
        self.rows["geofence_events"].append(row)

    def flush(self) -> None:
        for name, rows in self.rows.items():
            days: dict[int, list[Event]] = defaultdict(list)
            for row in rows:
                days[row[TABLES[name].date_column] // 86_400_000].append(row)
            for day, of_day in days.items():
                folder = self.out / name / f"event_date={datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}"
                folder.mkdir(parents=True, exist_ok=True)
                pq.write_table(to_table(name, of_day), folder / f"{self.files}.parquet", compression="zstd")
            rows.clear()
        self.files += 1

    def close(self) -> None:
        """Release and lose what is left, as if time ran on, and write the rest."""
        for device in self.devices.values():
            self.release(device, math.inf)
            self.lose(device)
        self.flush()


def find_wrong_value(event: Event) -> str | None:
    """Return the reason why the values are no event."""
    lat, lon, accuracy, activity = (event.get(name) for name in ("lat", "lon", "accuracy_m", "activity"))
    if (lat is None) != (lon is None) or (lat is None and activity is None):
        return "missing"
    right = (
        (lat is None or (abs(lat) <= 90 and abs(lon) <= 180 and (lat or lon)))
        and (accuracy is None or 0 <= accuracy < math.inf)
        and (activity is None or activity.lower() in ACTIVITIES)
    )
    return None if right else "out_of_range"


def to_table(name: str, rows: Sequence[Event]) -> pa.Table:
    """Build a table in the lake's types; places go through float, as decimals one by one cost far more."""
    schema = TABLES[name].schema
    loose = pa.schema([(f.name, pa.float64() if f.type == DEGREES else f.type) for f in schema])
    table = pa.Table.from_pylist(list(rows), loose)
    for i, one in enumerate(schema):
        if one.type == DEGREES:
            degrees = table[one.name].to_numpy()
            micro = pa.array(np.rint(degrees * 1e6), pa.int32(), mask=np.isnan(degrees), safe=False)
            table = table.set_column(i, one, pa.Array.from_buffers(DEGREES, len(micro), micro.buffers()))
    return table


def run(events: Iterable[bytes], fences: Sequence[FenceVersion], out: Path) -> float:
    """Run all events, each one JSON object, through to Parquet in `out`; return CPU microseconds an event."""
    start = time.process_time()
    twin = PlainTwin(fences, out)
    for line in events:
        twin.take(line)
    twin.close()
    return (time.process_time() - start) / max(twin.taken, 1) * 1e6


def read_lines(path: Path) -> list[bytes]:
    """Read a Parquet file of events in the order of replay, each as one line of JSON."""
    frame = pl.read_parquet(path).sort("receive_time", "seq", maintain_order=True)
    return frame.write_ndjson().encode().splitlines()


if __name__ == "__main__":
    events_path, fences_path, out_path = map(Path, sys.argv[1:4])
    lines = read_lines(events_path)
    cost_us = run(lines, versions_from_geojson(fences_path.read_bytes()), out_path)
    print(f"{len(lines)} events, {cost_us:.1f} CPU us an event")
