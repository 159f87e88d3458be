"""The specification of how a drive's search is found: a list of points, and what each tells.

Its numbers are those of `geo.trips`; how they are used is written here anew, one point at a time.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from geo.boundary import METRES, RADIANS
from geo.trips import features, rules, search
from geo.trips.model import Model
from geo.trips.sessions import NO_FEET_S

Place = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """A place at a time."""

    time: int
    lat: int
    lon: int


@dataclass(frozen=True)
class Told:
    """Something decided: `kind` is park_start, park_end, trip, hint or cleared."""

    kind: str
    time: int
    lat: int
    lon: int
    outcome: str = ""
    search_start: int = 0
    trip_start: int = 0
    ordinal: int = 0
    quality: str = ""
    excess_m: float = 0.0
    search_m: float = 0.0
    distance_m: float = 0.0
    confidence: float = 0.0
    loops: int = 0
    clock_ms: int = 0
    near: tuple[float, int, int] = (0.0, 0, 0)  # driven since near the place, and from where


def step(a: Point, b: Point) -> tuple[float, float]:
    """Return metres east and north from a to b, the shorter way round the earth."""
    east = (b.lon - a.lon + 180_000_000) % 360_000_000 - 180_000_000
    return east * METRES * math.cos(a.lat * RADIANS), (b.lat - a.lat) * METRES


def apart(a: Point, b: Point) -> float:
    """Return metres between two points."""
    return math.hypot(*step(a, b))


@dataclass(frozen=True)
class Facts:
    """What else is known of a drive."""

    stay_s: float  # parked before it, -1 if not known to have been
    busy: float
    feet_s: float | None  # from the parking to the first word of feet
    walked_m: float  # UNSEEN_M if it was not heard long enough to say
    tells: bool


class Way:
    """The points of a drive that ended, on the plane that touches the earth at the last of them."""

    def __init__(self, points: list[Point], facts: Facts, model: Model) -> None:
        self.points, self.facts, self.model = points, facts, model
        self.s = [(p.time - points[0].time) / 1000 for p in points]
        self.at = [step(points[-1], p) for p in points]
        self.weight = [1.0] + [min(b - a, features.MAX_STEP_S) / features.STEP_S for a, b in pairwise(self.s)]
        self.count = len(points)
        self.known = [self.wander(i) for i in range(self.count)]

    # -- one point -------------------------------------------------------------------------------------------------

    def way(self, i: int, j: int) -> float:
        """Return the metres driven from one point to another."""
        return sum(math.dist(self.at[k], self.at[k + 1]) for k in range(i, j))

    def before(self, i: int, reach: float) -> int:
        """Return the newest point at least so long before this one, else the first."""
        return max((j for j in range(i) if self.s[i] - self.s[j] >= reach), default=0)

    def behind(self, i: int, reach: float) -> int:
        """Return the first point at least so long after this one, else the last."""
        return min((j for j in range(i, self.count) if self.s[j] - self.s[i] >= reach), default=self.count - 1)

    def kmh(self, i: int, j: int) -> float:
        """Return the speed along the way between two points, in tens."""
        elapsed = self.s[j] - self.s[i]
        return min(features.MAX_KMH, 3.6 * self.way(i, j) / elapsed) / 10 if elapsed > 0 else 0.0

    def straight(self, i: int, j: int) -> float:
        """Return the crow's way as a share of the way driven."""
        return math.dist(self.at[i], self.at[j]) / max(features.MIN_WAY_M, self.way(i, j))

    def turn(self, i: int) -> float:
        """Return the angle between the legs that meet at a point, 0 if one is short."""
        if not 0 < i < self.count - 1:
            return 0.0
        (ax, ay), (bx, by), (cx, cy) = self.at[i - 1 : i + 2]
        before, after = (bx - ax, by - ay), (cx - bx, cy - by)
        if min(math.hypot(*before), math.hypot(*after)) <= features.TURN_LEG_M:
            return 0.0
        return abs(math.atan2(before[0] * after[1] - before[1] * after[0], before[0] * after[0] + before[1] * after[1]))

    def again(self, i: int, others: range) -> float:
        """Return hundreds of metres to those of the other points that are OLD_S away in time."""
        old = [math.dist(self.at[i], self.at[j]) for j in others if abs(self.s[i] - self.s[j]) > features.OLD_S]
        return min([features.MAX_REVISIT_M, *old]) / 100

    def wander(self, i: int) -> list[float]:
        """Return what a point tells without a place."""
        long = self.before(i, features.LONG_S)
        ahead, further = self.behind(i, features.LONG_S), self.behind(i, features.LONGER_S)
        return [
            self.kmh(long, i),
            self.kmh(self.before(i, features.SHORT_S), i),
            self.kmh(i, ahead),
            self.straight(long, i),
            self.straight(self.before(i, features.LONGER_S), i),
            self.straight(i, ahead),
            self.straight(i, further),
            sum(self.turn(j) for j in range(long + 1, i)),
            self.again(i, range(i)),
            self.again(i, range(i + 1, self.count)),
        ]

    def place(self, i: int, to: Place) -> list[float]:
        """Return what a point tells of a place."""
        away = [math.dist(at, to) for at in self.at]
        return [
            min(away[i], features.REACH_M) / 100,
            min(away[i] - min(away[: i + 1]), features.MAX_BEYOND_M) / 100,
            math.log1p(away[i] / features.NEAR_SCALE_M),
            min(max(away[i:]) - away[i], features.MAX_BEYOND_M) / 100,
        ]

    # -- sessions --------------------------------------------------------------------------------------------------

    def begin(self, behind: int, to: Place) -> tuple[int, float]:
        """Return the start before which it is as likely as not, from `behind` on, and the most the odds add up to."""
        share, none = self.model.start
        total, sums = 0.0, {}
        for i in reversed(range(behind, self.count)):
            if self.s[-1] - self.s[i] > search.LOOK_BACK_S:
                break
            place = self.place(i, to)
            odds = linear(self.model.near, self.known[i] + place)
            total += self.weight[i] * (search.FAR_LOG_ODDS if place[0] * 100 >= features.REACH_M else odds)
            sums[i] = total
        best = max([0.0, *sums.values()])
        chance = {self.count: math.exp(none - share * best)}
        chance |= {i: self.weight[i] * math.exp(share * (odds - best)) for i, odds in sums.items()}
        later = 0.0
        for i in sorted(chance, reverse=True):
            later += chance[i]
            if later >= search.HALF * sum(chance.values()):
                return i, best
        return min(chance), best

    def wandering(self, to: Place, away_m: float) -> tuple[int, int, float]:
        """Return the run of points, none within `away_m` of a place, over which the log-odds add up to the most."""
        total, start, best, run = 0.0, 0, 0.0, (0, 0)
        for i in range(self.count):
            total += self.weight[i] * linear(self.model.wander, self.known[i])
            if total <= 0 or math.dist(self.at[i], to) < away_m:
                total, start = 0.0, i + 1
            elif total > best and self.s[i] - self.s[start] <= search.LOOK_BACK_S:
                best, run = total, (start, i + 1)
        return (*run, best)

    def excess(self, begin: int, end: int, to: Place) -> tuple[float, int]:
        """Return the metres driven beyond the crow's x DETOUR since first near the place, and that point; or end."""
        for i in range(begin, end):
            away = math.dist(self.at[i], to)
            if away <= search.NEAR_M:
                return max(0.0, self.way(i, end - 1) - search.DETOUR * away), i
        return 0.0, end

    def near(self, trip: Told, point: int, end: int) -> Told:
        """Return a row with what was driven since a point near its place, and where that was."""
        if point == end:
            return replace(trip, near=(0.0, trip.lat, trip.lon))
        return replace(trip, near=(self.way(point, end - 1), self.points[point].lat, self.points[point].lon))

    def loops(self, begin: int, end: int) -> int:
        """Return how often the points come back to the own track."""
        back = [False] + [self.known[i][8] * 100 <= search.LOOP_M for i in range(begin, end)]
        return sum(now and not then for then, now in pairwise(back))

    def slow(self, i: int) -> bool:
        """Tell whether the leg to a point was slow."""
        return math.dist(self.at[i - 1], self.at[i]) < search.SLOW_MPS * max(1.0, self.s[i] - self.s[i - 1])

    def stops(self, end: int) -> int:
        """Return the stops of traffic."""
        stops, standing = 0, 0.0
        for i in range(1, end):
            if self.slow(i):
                standing += self.s[i] - self.s[i - 1]
            else:
                stops += search.STOP_S <= standing <= search.LONG_STOP_S
                standing = 0.0
        return stops

    def stand(self, begin: int, end: int) -> float:
        """Return the longest time within STAND_M of where it came to stand."""
        longest, since = 0.0, begin
        for i in range(begin, end):
            since = i if math.dist(self.at[since], self.at[i]) > search.STAND_M else since
            longest = max(longest, self.s[i] - self.s[since])
        return longest

    def session(self, begin: int, end: int, to: Place, odds: float, *, left: bool) -> float:
        """Return the probability that a search took place."""
        last, way = end - 1, self.way(begin, end - 1)
        seconds = self.s[last] - self.s[begin]
        length, crow = max(30.0, seconds), math.dist(self.at[begin], to)
        few = max(0, last - search.LAST_LEGS)
        lag = min(NO_FEET_S, NO_FEET_S if self.facts.feet_s is None else self.facts.feet_s)
        values = [
            math.log1p(seconds / 30),
            math.log1p(max(0.0, odds)),
            math.log1p(max(0.0, way - search.DETOUR * crow) / 200),
            min(5.0, way / max(50.0, crow)),
            sum(self.s[i] - self.s[i - 1] for i in range(begin + 1, end) if self.slow(i)) / length,
            math.log1p(sum(self.turn(i) for i in range(begin + 1, end))),
            sum(self.known[i][8] < search.AGAIN_HM for i in range(begin, end)) / (end - begin),
            math.log1p(self.stops(end) / max(0.5, self.way(0, last) / 1000)),
            math.log1p(self.way(0, last) / 1000),
            1.0 if 0 <= self.facts.stay_s < 600 else 0.0,
            1.0 if self.facts.stay_s < 0 else 0.0,
            min(5.0, self.facts.busy),
            math.dist(self.at[0], to) / max(200.0, self.way(0, last)),
            way / length / 5,
            math.log1p(max(math.dist(self.at[i], to) for i in range(begin, end)) / 100),
            self.way(few, last) / max(1.0, self.s[last] - self.s[few]) / 5,
            math.log1p(self.stand(begin, end) / 20),
            self.known[last][5] if left else 0.0,
            0.0 if left else math.log1p(max(0.0, lag) / 30),
            0.0 if left else min(4.0, self.facts.walked_m / 50),
            0.0 if self.facts.tells else 1.0,
        ]
        odds = bent(self.model.left if left else self.model.parked, values)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))

    # -- rows ------------------------------------------------------------------------------------------------------

    def rows(self, trip: Told) -> list[Told]:
        """Return the rows of the drive; `trip` is its last, without the search."""
        to = step(self.points[-1], Point(0, trip.lat, trip.lon))
        before, behind = self.left(trip, to)
        if trip.outcome == "parked":
            return [*before, replace(self.end(trip, to, behind), ordinal=len(before))]
        return before or [trip]

    def end(self, trip: Told, to: Place, behind: int) -> Told:
        """Return the row of a drive that parked, with its search."""
        excess, near = self.excess(behind, self.count, to)
        trip = self.near(replace(trip, excess_m=excess, confidence=0.0), near, self.count)
        begin, odds = self.begin(behind, to)
        since = self.points[begin].time if begin < self.count else trip.time
        if since >= trip.time:
            return trip
        likely = self.session(begin, self.count, to, odds, left=False)
        trip = replace(trip, confidence=likely)
        if likely < self.model.least[0]:
            return trip
        way, loops = self.way(begin, self.count - 1), self.loops(begin, self.count)
        return replace(trip, search_start=since, search_m=way, loops=loops)

    def left(self, trip: Told, to: Place) -> tuple[list[Told], int]:
        """Return the row of a search on the way that did not end in parking, if any, and the first point behind it."""
        parked = trip.outcome == "parked"
        begin, end, odds = self.wandering(to, rules.ABOUT_M if parked else -1.0)
        if end - begin < 2:
            return [], 0
        weights = self.weight[begin:end]
        middle = tuple(float(np.dot(axis, weights)) / sum(weights) for axis in zip(*self.at[begin:end], strict=True))
        assert len(middle) == 2
        if parked and math.dist(middle, to) <= rules.LEFT_M:
            return [], 0
        away = [math.dist(at, middle) for at in self.at]
        gone = any(metres > rules.LEFT_M for metres in away[end:])
        last = end - 1 if gone else self.count - 1
        since, until = self.points[begin].time, self.points[last].time if gone else trip.time
        likely = self.session(begin, last + 1, middle, odds, left=True)
        excess, near = self.excess(begin, last + 1, middle)
        searched = until - since >= rules.GIVE_UP_MS or excess > rules.GIVE_UP_M
        searched = searched and likely >= self.model.least[1]
        stood = rules.PICK_UP_S <= self.stand(begin, last + 1) <= rules.LONG_PICK_UP_S
        if not searched and not (gone and self.facts.feet_s is None and stood):
            return [], 0
        origin = self.points[-1]
        lon = origin.lon + round(middle[0] / (METRES * math.cos(origin.lat * RADIANS)))
        row = replace(
            trip,
            time=until,
            lat=origin.lat + round(middle[1] / METRES),
            lon=(lon + 180_000_000) % 360_000_000 - 180_000_000,
            outcome="picked_up",
            search_start=until,
            excess_m=excess,
            loops=self.loops(begin, last + 1),
            distance_m=min(trip.distance_m, self.way(0, last)),
            confidence=likely,
        )
        row = self.near(row, near, last + 1)
        if searched:
            outcome = "gave_up" if gone else "unknown"
            row = replace(row, outcome=outcome, search_start=since, search_m=self.way(begin, last))
        return [row], last + 1


def bent(gate: np.ndarray, values: list[float]) -> float:
    """Return the log-odds of values that count by another slope beyond their bends."""
    intercept, (slopes, beyond, bends) = gate[0], gate[1:].reshape(3, -1)
    return float(
        intercept
        + sum(
            slope * value + steeper * max(0.0, value - bend)
            for slope, steeper, bend, value in zip(slopes, beyond, bends, values, strict=True)
        )
    )


def linear(coefficients: np.ndarray, values: list[float]) -> float:
    """Return the log-odds."""
    return float(coefficients[0] + np.dot(coefficients[1:], values))
