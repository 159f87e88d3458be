"""What a person is and how stories run: every decision is taken at its own second, in the order of the whole city.

A story is a generator of legs. The clock of the city resumes the person whose leg ends first, so whoever comes first
to a free place takes it.
"""

import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from parkpal.simulate.city import City, Curbs

WALK_MPS: Final = 1.3
JAM_SHARE: Final = 0.12
LIGHT_SHARE: Final = 0.3


class Leg(NamedTuple):
    """A straight movement of `seconds` to (`x`, `y`); standing where it ends at the place where it began."""

    seconds: float
    x: float
    y: float
    activity: str
    covered: bool = False


Story = Generator[Leg, None, None]


@dataclass
class Trip:
    """What truly happened on one way from rest to rest; times in seconds of the simulation, places in metres."""

    number: int
    label: str
    start_s: float
    end_s: float = 0.0
    outcome: str = "none"
    search_start_s: float | None = None
    first_full_s: float | None = None
    search_end_s: float | None = None
    park_s: float | None = None
    place: str | None = None
    destination: tuple[float, float] | None = None
    end: tuple[float, float] | None = None
    walk_m: float | None = None


class Stand(NamedTuple):
    """A vehicle came to rest or left it (`kind` park or unpark)."""

    trip: int
    kind: str
    time_s: float
    x: float
    y: float
    place: str


class World(NamedTuple):
    """What people share: streets, places, and the segments where traffic crawls."""

    city: City
    curbs: Curbs
    jammed: frozenset[int]


@dataclass
class Person:
    """Somebody with a phone: where they are now and what they have done so far."""

    label: str
    mode: str
    start_s: float
    crossing: int
    x: float
    y: float
    rng: np.random.Generator
    legs: list[Leg] = field(default_factory=list)
    trips: list[Trip] = field(default_factory=list)
    stands: list[Stand] = field(default_factory=list)
    now_s: float = 0.0

    def begin_trip(self, label: str | None = None, destination: tuple[float, float] | None = None) -> Trip:
        """Begin a trip now."""
        trip = Trip(len(self.trips) + 1, label or self.label, self.now_s, destination=destination)
        self.trips.append(trip)
        return trip

    def end_trip(self, outcome: str) -> None:
        """End the trip now; its place is here, or where the search was given up."""
        trip = self.trips[-1]
        trip.end_s, trip.outcome, trip.end = self.now_s, outcome, trip.end or (self.x, self.y)

    def stand(self, kind: str, place: str) -> None:
        """Note that the vehicle parked or left, here and now."""
        self.stands.append(Stand(len(self.trips), kind, self.now_s, self.x, self.y, place))

    def still(self, seconds: float, activity: str = "still", *, covered: bool = False) -> Story:
        """Stay where they are."""
        yield Leg(seconds, self.x, self.y, activity, covered)

    def go(self, x: float, y: float, speed_mps: float, activity: str, *, covered: bool = False) -> Story:
        """Move straight to a place in metres."""
        seconds = max(float(np.hypot(x - self.x, y - self.y)) / speed_mps, 1.0)
        yield Leg(seconds, x, y, activity, covered)

    def walk(self, x: float, y: float) -> Story:
        """Walk round the corner to a place in metres: first east or west, then north or south."""
        speed_mps, activity = WALK_MPS * self.rng.uniform(0.85, 1.15), "walking"
        yield from self.go(x, self.y, speed_mps, activity)
        yield from self.go(x, y, speed_mps, activity)

    def ride(
        self, world: World, segment: int, pace: float = 1.0, upto: float = 1.0, activity: str = "in_vehicle"
    ) -> Story:
        """Drive along a segment to the share `upto` of it, crawling in a jam, waiting at some lights of avenues."""
        city, end = world.city, int(world.city.head[segment])
        tail = int(city.tail[segment])
        x = float(city.x[tail] + (city.x[end] - city.x[tail]) * upto)
        y = float(city.y[tail] + (city.y[end] - city.y[tail]) * upto)
        speed_mps = float(city.speed_mps[segment]) * pace * self.rng.uniform(0.85, 1.1)
        if segment in world.jammed and activity == "in_vehicle":
            yield from self._crawl(x, y)
        else:
            yield from self.go(x, y, speed_mps, activity)
        if upto < 1.0:
            return
        self.crossing = end
        if city.avenue[segment] and self.rng.random() < LIGHT_SHARE:
            yield from self.still(self.rng.uniform(5, 40), activity)

    def _crawl(self, x: float, y: float) -> Story:
        x0, y0 = self.x, self.y
        for share in np.linspace(0.25, 1.0, 4).tolist():
            yield from self.go(x0 + (x - x0) * share, y0 + (y - y0) * share, self.rng.uniform(2.5, 5), "in_vehicle")
            yield from self.still(self.rng.uniform(3, 20), "in_vehicle")

    def drive(self, world: World, crossing: int, pace: float = 1.0, activity: str = "in_vehicle") -> Story:
        """Drive the quickest way to a crossing from the one last reached."""
        for segment in world.city.route(self.crossing, crossing):
            yield from self.ride(world, segment, pace, activity=activity)


def jams(city: City, rng: np.random.Generator) -> frozenset[int]:
    """Choose the avenue segments on which traffic crawls."""
    avenues = np.flatnonzero(city.avenue)
    return frozenset(avenues[rng.random(avenues.size) < JAM_SHARE].tolist())


def live(people: Sequence[Person], stories: Sequence[Story]) -> None:
    """Run all stories to their end, always the one whose time comes first; ties go to the earlier person."""
    for person in people:
        person.now_s = person.start_s
    queue = [(person.now_s, i) for i, person in enumerate(people)]
    heapq.heapify(queue)
    while queue:
        _, i = queue[0]
        leg = next(stories[i], None)
        if leg is None:
            heapq.heappop(queue)
            continue
        person = people[i]
        person.legs.append(leg)
        person.now_s, person.x, person.y = person.now_s + leg.seconds, leg.x, leg.y
        heapq.heapreplace(queue, (person.now_s, i))
