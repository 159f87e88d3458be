"""The geofence detector as a specification: one fix at a time, dicts and lists, every rule spelled out.

Nothing is shared with the kernels but the thresholds; geometry is done by the plainest means.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from geo.fences import FenceVersion
from geo.geofence import rules
from geo.validity import MAX_DELAY_MS

METRES = 6371008.8 * math.pi / 180e6
TRAIL = 10

Point = tuple[float, float]


class Fix(NamedTuple):
    device: int
    time: int
    lat: int
    lon: int
    accuracy_m: float


class Event(NamedTuple):
    device: int
    fence_id: str
    version: int
    kind: str
    time: int
    lat: int
    lon: int
    confidence: float
    dwell_s: float | None


def edges(version: FenceVersion) -> list[tuple[Point, Point]]:
    found = []
    for polygon in version.polygons:
        for ring in polygon:
            corners = [(lat * 1_000_000, lon * 1_000_000) for lat, lon in ring]
            found += list(pairwise(corners))
    return found


def holds(version: FenceVersion, lat: float, lon: float) -> bool:
    """Count the edges due east."""
    count = 0
    for (lat_a, lon_a), (lat_b, lon_b) in edges(version):
        if (lat_a > lat) != (lat_b > lat) and lon < lon_a + (lat - lat_a) * (lon_b - lon_a) / (lat_b - lat_a):
            count += 1
    return count % 2 == 1


def plane(lat: float, lon: float, origin: Point) -> Point:
    """Metres east and north of the origin, on the plane that touches the earth there."""
    scale = METRES * math.cos(origin[0] * math.pi / 180e6)
    turns = 360_000_000
    east = (lon - origin[1] + turns / 2) % turns - turns / 2 if abs(lon - origin[1]) > turns / 2 else lon - origin[1]
    return east * scale, (lat - origin[0]) * METRES


def distance_m(version: FenceVersion, lat: float, lon: float) -> float:
    nearest = math.inf
    scale = METRES * math.cos(lat * math.pi / 180e6)
    for (lat_a, lon_a), (lat_b, lon_b) in edges(version):
        a = ((lon_a - lon) * scale, (lat_a - lat) * METRES)
        b = ((lon_b - lon) * scale, (lat_b - lat) * METRES)
        d = (b[0] - a[0], b[1] - a[1])
        square = d[0] ** 2 + d[1] ** 2
        share = 0.0 if square == 0 else min(1.0, max(0.0, -(a[0] * d[0] + a[1] * d[1]) / square))
        nearest = min(nearest, math.hypot(a[0] + share * d[0], a[1] + share * d[1]))
    return nearest


def cuts(version: FenceVersion, start: Point, end: Point) -> list[float]:
    """Shares of the straight step at which it meets the boundary, in order."""
    if abs(end[1] - start[1]) > 180_000_000:
        return []
    north, east = end[0] - start[0], end[1] - start[1]
    shares = set()
    for a, b in edges(version):
        up, right = b[0] - a[0], b[1] - a[1]
        y, x = a[0] - start[0], a[1] - start[1]
        across = east * up - north * right
        if across == 0:
            continue
        share, along = (x * up - y * right) / across, (x * north - y * east) / across
        if 0 <= share <= 1 and 0 <= along <= 1:
            shares.add(share)
    return sorted(shares)


def between(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def longest_chord(version: FenceVersion, start: Point, end: Point) -> tuple[float, float] | None:
    shares = cuts(version, start, end)
    pieces = [(a, b) for a, b in pairwise(shares) if holds(version, *between(start, end, (a + b) / 2))]
    return max(pieces, key=lambda piece: (piece[1] - piece[0], -piece[0]), default=None)


def probability(sigmas: float) -> float:
    return 0.5 * math.erfc(-sigmas / math.sqrt(2))


@dataclass
class Visit:
    """A fence that the device is inside of, or may be entering."""

    inside: bool = False
    entered: int = 0
    confidence: float = 0.0
    dwell_due: int | None = None
    cut: tuple[int, int, int] | None = None  # time, lat, lon: where the track left the side it is held to be on
    evidence_since: int | None = None


@dataclass
class Stay:
    """Where the device has been resting, and how far its fixes scatter."""

    since: int
    lat: float
    lon: float
    count: int = 1
    squares: float = 0.0


@dataclass
class Device:
    last: Fix
    trail: list[Fix] = field(default_factory=list)
    stay: Stay | None = None
    noise: float = 1.0
    visits: dict[str, Visit] = field(default_factory=dict)


class Twin:
    """The machine: `advance` takes a fix, `expire` a clock; both give events."""

    def __init__(self, versions: Sequence[FenceVersion]) -> None:
        self.versions = versions
        self.devices: dict[int, Device] = {}
        self.verdicts = dict.fromkeys(rules.VERDICTS, 0)

    def version_at(self, fence_id: str, time: int) -> FenceVersion | None:
        for version in self.versions:
            if version.fence_id == fence_id and version.valid_from <= time < version.valid_to:
                return version
        return None

    def unbroken(self, fence_id: str, since: int, until: int) -> bool:
        """Whether the fence was in force all the time: a version at each end and at each end of a version."""
        ends = [v.valid_to for v in self.versions if v.fence_id == fence_id and since <= v.valid_to <= until]
        return all(self.version_at(fence_id, time) is not None for time in [since, until, *ends])

    def gate(self, fix: Fix) -> str:
        device = self.devices.get(fix.device)
        if fix.accuracy_m > rules.MAX_ACCURACY_M:
            return "inaccurate"
        if device is None or fix.time - device.last.time > rules.GAP_MS:
            return "accepted"
        seconds = (fix.time - device.last.time) / 1000
        metres = math.hypot(*plane(device.last.lat, device.last.lon, (fix.lat, fix.lon)))
        if seconds == 0 and metres == 0:
            return "repeated"
        return "implausible" if metres > rules.MAX_SPEED_MPS * seconds else "accepted"

    def advance(self, fix: Fix) -> list[Event]:
        verdict = self.gate(fix)
        self.verdicts[verdict] += 1
        if verdict != "accepted":
            return []
        events = []
        device = self.devices.get(fix.device)
        if device is not None and fix.time - device.last.time > rules.GAP_MS:
            events += self.close(fix.device)
            device = None
        known = device is not None
        if device is None:
            device = self.devices[fix.device] = Device(fix)
        accuracy = rules.UNKNOWN_ACCURACY_M if math.isnan(fix.accuracy_m) else fix.accuracy_m
        stated = max(accuracy, rules.MIN_ACCURACY_M) / rules.SIGMAS_PER_ACCURACY
        sigma = stated * device.noise
        moving = known and self.is_moving(device, fix, sigma)
        if moving:
            events += self.crossings(device, fix, sigma)
        for fence_id in sorted({version.fence_id for version in self.versions}):
            events += self.judge(device, fence_id, fix, sigma, moving=moving, known=known)
        self.remember(device, fix, stated)
        return events

    def is_moving(self, device: Device, fix: Fix, sigma: float) -> bool:
        recent = [old for old in device.trail if fix.time - old.time <= rules.MOVING_MS]
        return any(
            math.hypot(*plane(old.lat, old.lon, (fix.lat, fix.lon))) > rules.MOVING_SIGMAS * sigma for old in recent
        )

    def remember(self, device: Device, fix: Fix, sigma: float) -> None:
        device.last = fix
        if device.trail and fix.time - device.trail[-1].time < rules.TRAIL_MS:
            return
        device.trail = [*device.trail, fix][-TRAIL:]
        stay = device.stay
        if stay is None or math.hypot(*plane(stay.lat, stay.lon, (fix.lat, fix.lon))) > rules.STILL_SIGMAS * sigma:
            device.stay, device.noise = Stay(fix.time, fix.lat, fix.lon), 1.0
            return
        stay.count += 1
        east, north = plane(fix.lat, fix.lon, (fix.lat, fix.lon))
        away = plane(stay.lat, stay.lon, (fix.lat, fix.lon))
        east, north = east - away[0], north - away[1]
        stay.lat += (fix.lat - stay.lat) / stay.count
        stay.lon += (fix.lon - stay.lon) / stay.count
        stay.squares += (1 - 1 / stay.count) * (east**2 + north**2) / (2 * sigma**2)
        if fix.time - stay.since >= rules.STILL_MS:
            device.noise = min(rules.MAX_NOISE, max(1.0, math.sqrt(stay.squares / stay.count)))

    def judge(self, device: Device, fence_id: str, fix: Fix, sigma: float, *, moving: bool, known: bool) -> list[Event]:
        visit = device.visits.get(fence_id)
        version = self.version_at(fence_id, fix.time)
        if visit is not None and (version is None or not self.unbroken(fence_id, device.last.time, fix.time)):
            del device.visits[fence_id]  # the fence was taken away meanwhile
            visit = None
        if version is None:
            return []
        within = holds(version, fix.lat, fix.lon)
        if visit is None or not visit.inside:
            return self.judge_from_outside(device, version, fix, sigma, within=within, moving=moving, known=known)
        return self.judge_from_inside(device, version, fix, sigma, within=within, moving=moving)

    def judge_from_outside(
        self, device: Device, version: FenceVersion, fix: Fix, sigma: float, *, within: bool, moving: bool, known: bool
    ) -> list[Event]:
        if not within:
            device.visits.pop(version.fence_id, None)
            return []
        visit = device.visits.get(version.fence_id)
        if visit is None:
            visit = device.visits[version.fence_id] = Visit()
            visit.cut = self.cut(device, version, fix, entering=True) if known else (fix.time, fix.lat, fix.lon)
        sigmas = distance_m(version, fix.lat, fix.lon) / sigma
        if known and not self.decided(visit, fix.time, sigmas, rules.ENTER_SIGMAS, rules.ENTER_MS, moving=moving):
            return []
        assert visit.cut is not None
        time, lat, lon = visit.cut
        visit.inside, visit.entered, visit.confidence = True, time, probability(sigmas)
        visit.cut, visit.evidence_since = None, None
        visit.dwell_due = time + round(version.dwell_s * 1000)
        entered = self.event(fix.device, version.fence_id, "enter", time, lat, lon, visit.confidence, None)
        return entered + self.dwell(fix.device, version.fence_id, visit, fix.time, fix.lat, fix.lon)

    def judge_from_inside(
        self, device: Device, version: FenceVersion, fix: Fix, sigma: float, *, within: bool, moving: bool
    ) -> list[Event]:
        visit = device.visits[version.fence_id]
        if within:
            visit.cut, visit.evidence_since = None, None
            return self.dwell(fix.device, version.fence_id, visit, fix.time, fix.lat, fix.lon)
        if visit.cut is None:
            visit.cut = self.cut(device, version, fix, entering=False)
        sigmas = distance_m(version, fix.lat, fix.lon) / sigma
        if not self.decided(visit, fix.time, sigmas, rules.EXIT_SIGMAS, rules.EXIT_MS, moving=moving):
            return []
        del device.visits[version.fence_id]
        return self.exit(fix.device, version.fence_id, visit, "exit", probability(sigmas))

    @staticmethod
    def decided(visit: Visit, time: int, sigmas: float, needed: float, span_ms: int, *, moving: bool) -> bool:
        if moving and sigmas >= rules.MOVING_SIDE_SIGMAS:
            return True
        if sigmas < needed:
            visit.evidence_since = None
            return False
        visit.evidence_since = time if visit.evidence_since is None else visit.evidence_since
        return time - visit.evidence_since >= span_ms

    @staticmethod
    def cut(device: Device, version: FenceVersion, fix: Fix, *, entering: bool) -> tuple[int, int, int]:
        start, end = (float(device.last.lat), float(device.last.lon)), (float(fix.lat), float(fix.lon))
        shares = cuts(version, start, end) or [1.0]
        share = shares[-1] if entering else shares[0]
        lat, lon = between(start, end, share)
        time = device.last.time + round(share * (fix.time - device.last.time))
        return max(time, version.valid_from), round(lat), round(lon)

    def crossings(self, device: Device, fix: Fix, sigma: float) -> list[Event]:
        events = []
        start, end = (float(device.last.lat), float(device.last.lon)), (float(fix.lat), float(fix.lon))
        if fix.time - device.last.time > rules.CROSS_MS or abs(end[1] - start[1]) > rules.CROSS_SPAN:
            return []
        for version in self.versions:
            in_force = version.valid_from <= device.last.time and fix.time < version.valid_to
            if not in_force or version.fence_id in device.visits or holds(version, *start) or holds(version, *end):
                continue
            chord = longest_chord(version, start, end)
            if chord is None:
                continue
            share = (chord[0] + chord[1]) / 2
            lat, lon = between(start, end, share)
            sigmas = distance_m(version, lat, lon) / sigma
            if sigmas >= rules.CROSS_SIGMAS:
                time = device.last.time + round(share * (fix.time - device.last.time))
                events += self.event(
                    fix.device, version.fence_id, "cross", time, round(lat), round(lon), probability(sigmas), None
                )
        return events

    def event(
        self,
        device: int,
        fence_id: str,
        kind: str,
        time: int,
        lat: int,
        lon: int,
        confidence: float,
        dwell_s: float | None,
    ) -> list[Event]:
        version = self.version_at(fence_id, time)
        return (
            []
            if version is None
            else [Event(device, fence_id, version.version, kind, time, lat, lon, confidence, dwell_s)]
        )

    def dwell(self, device: int, fence_id: str, visit: Visit, seen: int, lat: int, lon: int) -> list[Event]:
        if visit.dwell_due is None or seen < visit.dwell_due:
            return []
        due, visit.dwell_due = visit.dwell_due, None
        return self.event(device, fence_id, "dwell", due, lat, lon, visit.confidence, (due - visit.entered) / 1000)

    def exit(self, device: int, fence_id: str, visit: Visit, kind: str, confidence: float) -> list[Event]:
        assert visit.cut is not None
        time, lat, lon = visit.cut
        owed = self.dwell(device, fence_id, visit, time, lat, lon)
        return owed + self.event(device, fence_id, kind, time, lat, lon, confidence, (time - visit.entered) / 1000)

    def close(self, slot: int) -> list[Event]:
        events = []
        device = self.devices.pop(slot)
        for fence_id, visit in device.visits.items():
            if visit.inside:
                visit.cut = visit.cut or (device.last.time, device.last.lat, device.last.lon)
                events += self.exit(slot, fence_id, visit, "exit_inferred", 0.5)
        return events

    def expire(self, clock_ms: int) -> list[Event]:
        latest = clock_ms - rules.GAP_MS - MAX_DELAY_MS
        silent = [slot for slot, device in self.devices.items() if device.last.time < latest]
        return [event for slot in silent for event in self.close(slot)]


def run(versions: Sequence[FenceVersion], fixes: Iterable[Fix]) -> list[Event]:
    """All events of fixes in their order, and of the silence after them."""
    twin = Twin(versions)
    return [event for fix in fixes for event in twin.advance(fix)] + twin.expire(2**63 - 1)
