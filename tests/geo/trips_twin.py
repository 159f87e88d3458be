"""The specification of the trip machine: one phone, one event at a time, lists and floats.

`Phone.take` gives what an event settles, `Phone.close` what silence does; `geo.trips` must decide the same in columns.
Its numbers are those of `geo.trips.rules` and `geo.trips.model`; how they are used is written here anew.
"""

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from geo.fix import ACTIVITIES, NULL_DEGREES
from geo.trips import rules
from geo.trips.hints import AREA_M, CLEARED, MAX_MPS, MIN_DRIVE_M, MIN_MPS, MIN_WAY_M, STRAIGHT, WINDOW_MS
from geo.trips.model import Model
from geo.trips.records import KEPT, POINTS
from geo.trips.sessions import SEEN_MS, UNSEEN_M
from tests.geo.trips_search_twin import Facts, Point, Told, Way, apart, step

ON_FOOT = {"on_foot", "walking", "running"}
CYCLING = {"on_bicycle", "running"}


@dataclass
class Drive:
    """What is counted while a phone drives."""

    start: int
    since: int  # place of its first point on the track
    metres: float
    arrival: Point
    stand: Point
    vehicle: bool = False
    vehicles: int = 0
    bikes: int = 0
    feet: list[Point] = field(default_factory=list)  # words of feet since the arrival, where it was then
    gaps: list[int] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    stay_s: float = -1.0
    hint: tuple[int, int] | None = None  # raised, since

    def counts(self) -> bool:
        """Tell a vehicle's drive from a bicycle's or a runner's way."""
        return self.vehicle and self.bikes <= self.vehicles + 1


class Phone:
    """A phone, and what it is known to do."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.forget()

    def forget(self) -> None:
        """Know nothing of it."""
        self.heard: int | None = None
        self.last: Point | None = None
        self.track: list[Point] = []
        self.drive: Drive | None = None
        self.place: Point | None = None  # where it is parked; its time is when it was last there
        self.parkings: list[int] = []
        self.own: tuple[int, float] | None = None
        self.slow_mps = 0.0
        self.fast_since: int | None = None
        self.fast_count = 0
        self.jumps = 0
        self.vehicle_time: int | None = None
        self.stand: Point | None = None
        self.tells = False
        self.uploads: list[int] = []
        self.soonest = 0

    # -- events ----------------------------------------------------------------------------------------------------

    def take(self, row: np.void) -> list[Told]:
        """Take the phone's next event."""
        time, out = int(row["event_time"]), []
        if self.last is not None and time - self.last.time > rules.GAP_MS:
            out += self.close()
        self.hear(time, int(row["receive_time"]))
        if row["lat"] == NULL_DEGREES:
            self.hear_activity(time, int(row["activity"]), int(row["activity_confidence"]))
        elif self.take_fix(row):
            out += self.begin_or_follow(time)
        if self.drive is not None and self.drive.counts() and (by := self.settled(time)):
            out += self.park(by)
        return out

    def close(self) -> list[Told]:
        """Settle what silence leaves open: a slow car has parked, of a moving one nothing is known."""
        out: list[Told] = []
        if self.drive is not None and self.last is not None and self.drive.counts():
            stood = self.last.time - self.drive.arrival.time
            if self.slow_mps < rules.SLOW_MPS and (not self.tells or stood >= rules.SILENT_MS):
                out = self.park("silence")
            else:
                out = self.tell_trips(self.last.time, self.last, "unknown", "low")
        out += self.clear_hint()
        self.drive, self.last, self.track, self.own = None, None, [], None
        self.fast_count, self.jumps = 0, 0
        return out

    def hear(self, time: int, received: int) -> None:
        """Learn how soon after it was said to happen anything arrives; begin anew after a long silence."""
        if self.heard is not None and time - self.heard > rules.MEMORY_MS:
            self.forget()
        self.heard = time
        self.soonest = received - time if not self.uploads else min(self.soonest, received - time)
        if not self.uploads or received != self.uploads[-1]:
            self.uploads.append(received)

    def hear_activity(self, time: int, code: int, confidence: int) -> None:
        """Take the phone's word for what its owner does, as far as it goes."""
        if not 0 <= code <= ACTIVITIES.index("still") or confidence < rules.FOOT_CONFIDENCE:
            return
        activity, drive = ACTIVITIES[code], self.drive
        self.tells = True
        if activity == "in_vehicle":
            self.vehicle_time = time
        if drive is None:
            return
        if activity == "in_vehicle":
            drive.vehicles += 1
            drive.vehicle |= confidence >= rules.VEHICLE_CONFIDENCE
            if len(drive.feet) == 1:
                drive.feet = []
        drive.bikes += activity in CYCLING
        if activity in ON_FOOT and time > drive.arrival.time + rules.FOOT_AFTER_MS and self.last is not None:
            drive.feet.append(replace(self.last, time=time))

    def take_fix(self, row: np.void) -> bool:
        """Let a fix move the phone; return whether it made a new point of the track."""
        fix = Point(int(row["event_time"]), int(row["lat"]), int(row["lon"]))
        accuracy, own = float(row["accuracy_m"]), float(row["speed_mps"])
        if accuracy > rules.MAX_ACCURACY_M:
            return False
        before = self.last
        gap, way = (fix.time - before.time, apart(before, fix)) if before is not None else (0, 0.0)
        if before is not None and way > rules.MAX_MPS * max(gap / 1000, 1.0) and self.jumps < rules.MAX_JUMPS:
            self.jumps += 1
            return False
        self.jumps, self.last = 0, fix
        if self.place is not None and self.drive is None:
            self.stay(fix, before, gap)
        if self.stand is None or before is None or apart(self.stand, fix) > rules.STAND_M:
            self.stand = fix
        if self.track and fix.time - self.track[-1].time < rules.STEP_MS:
            return False
        self.push(fix)
        self.move(fix, before, gap, way, accuracy, own)
        return True

    def stay(self, fix: Point, before: Point | None, gap: int) -> None:
        """Learn how long the car has been at its place."""
        assert self.place is not None
        away = apart(self.place, fix)
        if away < rules.PLACE_M:
            self.place = replace(self.place, time=fix.time)
        elif gap >= rules.WIDE_MS and before is not None and apart(self.place, before) < rules.LOST_M:
            driven = rules.DEPART_MS + int(away * 1000 / rules.ARRIVE_MPS)
            self.place = replace(self.place, time=fix.time - min(gap, driven))

    def push(self, fix: Point) -> None:
        """Put a point on the track, which holds so many."""
        if len(self.track) == POINTS:
            if self.drive is None:
                self.track = self.track[-KEPT:]
            elif self.drive.since > 0:
                self.track, self.drive.since = self.track[self.drive.since :], 0
            else:
                self.track = self.track[: POINTS // 2 : 2] + self.track[POINTS // 2 :]
        self.track.append(fix)

    # -- moving ----------------------------------------------------------------------------------------------------

    def back(self, reach: int) -> int:
        """Return the newest point at least so long before the last one, -1 if there is none."""
        return max((i for i, p in enumerate(self.track[:-1]) if self.track[-1].time - p.time >= reach), default=-1)

    def net_mps(self, since: int) -> float:
        """Return the speed from a point to the last one, -1 if there is no such point."""
        if since < 0:
            return -1.0
        return apart(self.track[since], self.track[-1]) * 1000 / (self.track[-1].time - self.track[since].time)

    def move(self, fix: Point, before: Point | None, gap: int, way: float, accuracy: float, own: float) -> None:
        """Learn how fast the phone moved to the newest point of its track, and what that says of a drive."""
        half_minute, since = self.net_mps(self.back(rules.SPEED_MS)), self.back(rules.BURST_MS)
        if len(self.track) > 2 and rules.COARSE_MS < fix.time - self.track[-2].time < rules.TOO_COARSE_MS:
            since = min(since, len(self.track) - 3)
        burst = self.net_mps(since)
        if not math.isnan(own):
            self.slow_mps, self.own = own, (fix.time, own)
        elif burst >= 0:
            self.slow_mps = burst * rules.NO_SPEED_FACTOR
        drive = self.drive
        if drive is None:
            return
        drive.metres += apart(self.track[-2], fix) if len(self.track) > 1 else 0.0
        drive.gaps.append(gap)
        drive.accuracies.append(accuracy)
        if half_minute >= rules.VEHICLE_MPS or (own >= rules.OWN_VEHICLE_MPS and half_minute >= rules.NET_MPS):
            drive.vehicle = True
        told = own if not math.isnan(own) else None
        if told is None and self.own is not None and fix.time - self.own[0] < rules.OWN_LASTS_MS:
            told = self.own[1]
        quick = burst >= rules.BURST_MPS if told is None else told >= rules.OWN_MPS
        fast = quick and half_minute >= rules.NET_MPS
        if gap >= rules.HOLE_MS and before is not None:
            fast = self.cross_hole(drive, fix, before, gap, way, own, fast=fast)
        if fast and (not drive.feet or half_minute >= rules.RESUME_MPS):
            drive.arrival, drive.feet = fix, []

    def cross_hole(
        self, drive: Drive, fix: Point, before: Point, gap: int, way: float, own: float, *, fast: bool
    ) -> bool:
        """Guess an arrival inside a gap; return whether the phone still moves as a vehicle."""
        crossed = way * 1000 / gap
        across = rules.ARRIVE_MS + int(way * 1000 / rules.ARRIVE_MPS)
        if crossed < rules.SLOW_MPS:
            long_there = drive.arrival.time < fix.time - gap - rules.SPEED_MS and way <= rules.MOVED_M
            if not drive.feet and not fast and not long_there:
                place = before if way < rules.NEAR_M else fix
                drive.arrival = replace(place, time=fix.time - gap + min(gap // 2, across))
            return fast
        if crossed < rules.TOWN_MPS and not own >= rules.OWN_MPS and not drive.feet:
            drive.arrival = replace(fix, time=fix.time - gap + min(4 * gap // 5, across))
            return False
        return True

    def begin_or_follow(self, time: int) -> list[Told]:
        """Begin a drive if the phone has begun to; follow one that goes on."""
        if self.drive is not None:
            return self.follow() if self.drive.counts() else []
        since = self.back(rules.SPEED_MS)
        if self.net_mps(since) < rules.START_MPS:
            self.fast_count = 0
            return []
        self.fast_since = time if self.fast_count == 0 else self.fast_since
        self.fast_count += 1
        assert self.fast_since is not None
        assert self.last is not None
        far = self.back(rules.START_REACH_MS)
        away = apart(self.track[far if far >= 0 else since], self.track[-1])
        if self.fast_count < 2 or time - self.fast_since < rules.START_MS or away < rules.START_METRES:
            return []
        first, out = max(0, far), []
        start, stay_s = self.track[first].time, -1.0
        if self.place is not None:
            start = self.place.time
            stay_s = float(np.float32((start - self.parkings[-1]) / 1000))
            out = [self.told("park_end", start, self.place)]
        self.drive = Drive(start, first, apart(self.track[first], self.track[-1]), self.last, self.last, stay_s=stay_s)
        self.place, self.stand, self.fast_count = None, self.last, 0
        return out

    # -- hints -----------------------------------------------------------------------------------------------------

    def follow(self) -> list[Told]:
        """Raise or clear the hint that it searches."""
        drive, last = self.drive, self.last
        assert drive is not None
        assert last is not None
        points = self.track[drive.since :]
        begin = max((i for i, p in enumerate(points) if points[-1].time - p.time >= WINDOW_MS), default=None)
        if begin is None:
            return []
        places = [step(points[-1], p) for p in points[begin:]]
        way = sum(math.dist(a, b) for a, b in pairwise(places))
        crow = math.hypot(*places[0])
        if drive.hint is not None:
            return self.clear_hint() if crow > max(MIN_WAY_M, CLEARED * way) else []
        middle = tuple(sum(axis) / len(places) for axis in zip(*places, strict=True))
        searching = MIN_MPS <= way * 1000 / (points[-1].time - points[begin].time) <= MAX_MPS
        if drive.metres < MIN_DRIVE_M or not searching or crow > STRAIGHT * way:
            return []
        if any(math.dist(place, middle) > AREA_M for place in places):
            return []
        drive.hint = points[-1].time, points[begin].time
        return [Told("hint", last.time, last.lat, last.lon, search_start=drive.hint[1], trip_start=drive.start)]

    def clear_hint(self) -> list[Told]:
        """Take the hint back, if one is raised."""
        if self.drive is None or self.drive.hint is None or self.last is None:
            return []
        since, self.drive.hint = self.drive.hint[1], None
        return [
            Told(
                "cleared", self.last.time, self.last.lat, self.last.lon, search_start=since, trip_start=self.drive.start
            )
        ]

    # -- endings ---------------------------------------------------------------------------------------------------

    def settled(self, time: int) -> str:
        """Return what settles by now that the phone has parked, nothing if it has not."""
        drive = self.drive
        assert drive is not None
        since = time - drive.arrival.time
        if len(drive.feet) >= 2 and since >= rules.FOOT_TWICE_MS:
            return "feet"
        if drive.feet and time - drive.feet[0].time >= rules.FOOT_ONCE_MS:
            return "feet"
        if self.vehicle_time is not None and time - self.vehicle_time <= rules.RIDING_MS:
            return ""
        assert self.stand is not None
        standing = time - max(self.stand.time, drive.arrival.time)
        idle = rules.IDLE_MS if self.tells else rules.MUTE_IDLE_MS
        return "standing" if standing >= rules.STAND_MS or since >= idle else ""

    def park(self, by: str) -> list[Told]:
        """End the drive in a parking place."""
        drive, last = self.drive, self.last
        assert drive is not None
        assert last is not None
        out = self.clear_hint()
        arrived = drive.arrival.time
        crept = by == "feet" and drive.feet[0].time - arrived > rules.CREEP_MS
        if crept and apart(drive.arrival, drive.feet[0]) > rules.CREEP_M:
            arrived = drive.feet[0].time - rules.FOOT_LAG_MS
        arrived = min(arrived + rules.REST_MS, max(last.time, drive.arrival.time))
        place = self.median_place(arrived - rules.REST_MS, drive.arrival)
        stood, arrived = arrived, min(arrived + self.linger(drive), max(last.time, arrived))
        quality = self.quality(drive, by)
        out.append(replace(self.told("park_start", arrived, place), quality=quality))
        out += self.tell_trips(arrived, place, "parked", quality, stood)
        self.place = replace(place, time=arrived if by == "feet" else max(arrived, last.time))
        self.parkings.append(arrived)
        self.drive, self.fast_count, self.track = None, 0, self.track[-KEPT:]
        return out

    def linger(self, drive: Drive) -> int:
        """Return how long after it came to stand a car counts as parked: a share of the time until somebody walks."""
        off = [p.time - drive.arrival.time for p in self.track[drive.since :] if p.time > drive.arrival.time
               and apart(drive.arrival, p) > rules.WALKED_OFF_M]  # fmt: skip
        return int(rules.LINGER_SHARE * min(rules.LINGER_MS, off[0])) if off else 0

    def quality(self, drive: Drive, by: str) -> str:
        """Return how well the phone was heard during the drive."""
        if by == "silence" or max(drive.gaps, default=0) > rules.WIDE_MS:
            return "low"
        close = 2 * sum(gap <= rules.SPARSE_MS for gap in drive.gaps) >= len(drive.gaps)
        certain = 2 * sum(accuracy <= rules.CERTAIN_M for accuracy in drive.accuracies) >= len(drive.accuracies)
        return "high" if close and certain else "medium"

    def median_place(self, time: int, about: Point) -> Point:
        """Return the median place of the points shortly before and after, near enough."""
        near = [p for p in self.track if time - rules.PLACE_BEFORE_MS <= p.time <= time + rules.PLACE_AFTER_MS]
        near = [p for p in near if apart(about, p) < rules.SPREAD_M]
        if not near:
            return about
        lons = [about.lon + (p.lon - about.lon + 180_000_000) % 360_000_000 - 180_000_000 for p in near]
        return replace(about, lat=middle_of([p.lat for p in near]), lon=middle_of(lons))

    def told(self, kind: str, time: int, place: Point) -> Told:
        """Write something down, with the correction of the phone's clock."""
        wrong = len(self.uploads) >= rules.MIN_UPLOADS and abs(self.soonest) > rules.CLOCK_MS
        clock = self.soonest if wrong else 0
        return Told(kind, time, place.lat, place.lon, clock_ms=clock)

    def busy(self, at: int) -> float:
        """Return the parkings so far, each fading over BUSY_MS."""
        return sum(math.exp((parked - at) / rules.BUSY_MS) for parked in self.parkings)

    def tell_trips(self, time: int, place: Point, outcome: str, quality: str, stood: int | None = None) -> list[Told]:
        """Write the rows of a drive that ended at a place, and stood there from `stood` on."""
        drive = self.drive
        assert drive is not None
        trip = replace(self.told("trip", time, place), outcome=outcome, search_start=time, trip_start=drive.start)
        trip = replace(trip, quality=quality, distance_m=drive.metres)
        points = [p for p in self.track[drive.since :] if p.time <= (time if stood is None else stood)]
        if len(points) < 2:
            return [trip]
        feet_s = (drive.feet[0].time - time) / 1000 if drive.feet else None
        assert self.last is not None
        walked = apart(place, self.last) if self.last.time - time >= SEEN_MS else UNSEEN_M
        facts = Facts(drive.stay_s, self.busy(drive.start), feet_s, walked, self.tells)
        return Way(points, facts, self.model).rows(trip)


def middle_of(values: list[int]) -> int:
    """Return the median, rounded down."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2
