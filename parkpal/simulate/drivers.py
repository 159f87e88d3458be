"""How drivers come, look for a place, and go: they see a free place only when they are on the street.

A search begins when the driver leaves the destination's street without a place. It goes on locally, mostly within
400 m, over streets not yet seen, until a place is free or patience ends; then a garage, or away. The shape (local,
wandering, seldom round in loops) follows Weinberger, Millard-Ball and Hampshire (2020) and real drivers' traces.
"""

from collections.abc import Generator
from typing import Final

import numpy as np

from parkpal.simulate.people import Leg, Person, Story, World

Choice = Generator[Leg, None, int | None]
"""Legs, and in the end the street segment on which a place was taken, None without one."""

VICINITY_M: Final = 200.0
"""A driver counts as being in the vicinity of the destination from here on."""
LOOKING_M: Final = 130.0
"""From here on a driver looks at the kerb on the way to the destination."""
EARLY_SHARE: Final = 0.12
"""Share of the free places seen before the destination's street that are taken."""
CRUISE_PACE: Final = 0.66
LOCAL_M: Final = 140.0
FAR_M: Final = 400.0
FAR_WEIGHT: Final = 0.03
SEEN_WEIGHT: Final = 0.3
AVENUE_WEIGHT: Final = 0.3
PATIENCE_MEDIAN_S: Final = 280.0
PATIENCE_MOST_S: Final = 1_500.0
GARAGE_AFTER_SEARCH: Final = 0.45
AWAY_M: Final = 850.0
STAY_S: Final = (180.0, 1_080.0)


def parker(me: Person, world: World, segment: int) -> Story:
    """Drive to the street of the destination, park there or search, walk, come back, leave."""
    trip = me.begin_trip(destination=world.city.middle(segment))
    parked_on = yield from _approach(me, world, segment)
    if parked_on is None:
        trip.search_start_s = me.now_s
        parked_on = yield from _cruise(me, world, segment)
    if parked_on is None:
        yield from _stop_searching(me, world)
        return
    yield from _manoeuvre(me)
    arrive(me, "onstreet")
    yield from visit(me)
    yield from depart(me, "onstreet")
    world.curbs.leave(parked_on)
    yield from me.ride(world, parked_on)
    yield from leave_city(me, world, "left")


def garage_parker(me: Person, world: World, garage: int, segment: int) -> Story:
    """Drive straight to a garage near the destination, park out of the sky's sight, come back, leave."""
    me.begin_trip(destination=world.city.middle(segment))
    yield from _use_garage(me, world, garage)


def home_comer(me: Person, world: World, segment: int, rounds: int = 0) -> Story:
    """Drive to a place of one's own; `rounds` wrong turns lead round a block first."""
    me.begin_trip(destination=world.city.middle(segment))
    yield from me.drive(world, int(world.city.tail[segment]))
    for _ in range(rounds):
        yield from round_block(me, world, segment)
        yield from me.drive(world, int(world.city.tail[segment]))
    yield from me.ride(world, segment, upto=float(me.rng.uniform(0.2, 0.8)))
    yield from me.go(me.x + 9, me.y + 9, 1.5, "in_vehicle")
    arrive(me, "private")
    trip = me.trips[-1]
    trip.destination, trip.walk_m = (me.x, me.y), 0.0
    yield from me.still(me.rng.uniform(5, 40))
    yield from me.walk(me.x + 12, me.y + 8)
    yield from me.still(me.rng.uniform(*STAY_S))


def round_block(me: Person, world: World, segment: int) -> Story:
    """Drive along the segment and by the next turn of each crossing back towards its beginning."""
    yield from me.ride(world, segment)
    last = segment
    for _ in range(3):
        last = _next_street(me, world, last, {last: 2}, world.city.middle(segment))
        yield from me.ride(world, last)


def arrive(me: Person, place: str) -> None:
    """Note that the car stands in its place: the trip, and any search in it, ends."""
    trip = me.trips[-1]
    trip.park_s, trip.place = me.now_s, place
    if place != "private":
        trip.search_end_s = me.now_s
    me.stand("park", place)
    me.end_trip("parked")


def visit(me: Person) -> Story:
    """Sit, walk to the destination of the latest trip, stay, walk back to the car."""
    trip, x, y = me.trips[-1], me.x, me.y
    to_x, to_y = trip.destination or (x, y)
    trip.walk_m = float(np.hypot(to_x - x, to_y - y))
    yield from me.still(me.rng.uniform(8, 60))
    yield from me.walk(to_x, to_y)
    yield from me.still(me.rng.uniform(*STAY_S))
    yield from me.walk(x, y)
    yield from me.still(me.rng.uniform(5, 60))


def depart(me: Person, place: str) -> Story:
    """Begin the next trip out of the parking place."""
    me.stand("unpark", place)
    me.begin_trip("return")
    yield from me.go(me.x + 1.5, me.y + 1.5, 0.6, "in_vehicle")


def leave_city(me: Person, world: World, outcome: str) -> Story:
    """Drive to one of the farther gates and end the trip there."""
    city = world.city
    gates = [g for g in city.gates if np.hypot(city.x[g] - me.x, city.y[g] - me.y) > AWAY_M]
    yield from me.drive(world, int(me.rng.choice(gates)))
    me.end_trip(outcome)


def _approach(me: Person, world: World, segment: int) -> Choice:
    """Drive to the destination's street and along it; take a place there, or by chance just before."""
    city = world.city
    for on_way in [*city.route(me.crossing, int(city.tail[segment])), segment]:
        near = _distance_m(world, on_way, city.middle(segment)) < LOOKING_M and not city.avenue[on_way]
        wish = 1.0 if on_way == segment else EARLY_SHARE
        share = _look(me, world, on_way, wish) if near else None
        yield from me.ride(world, on_way, CRUISE_PACE if near else 1.0, upto=share or 1.0)
        if share:
            return on_way
    return None


def _cruise(me: Person, world: World, segment: int) -> Choice:
    """Search street by street until a place is free or patience ends."""
    around, visits = world.city.middle(segment), {segment: 1}
    patience_s = PATIENCE_MEDIAN_S * float(np.exp(me.rng.normal(0, 0.7)))
    until_s = me.now_s + min(patience_s, PATIENCE_MOST_S)
    while me.now_s < until_s:
        segment = _next_street(me, world, segment, visits, around)
        visits[segment] = visits.get(segment, 0) + 1
        share = None if world.city.avenue[segment] else _look(me, world, segment, 0.95)
        yield from me.ride(world, segment, CRUISE_PACE, upto=share or 1.0)
        if share:
            return segment
    return None


def _look(me: Person, world: World, segment: int, wish: float) -> float | None:
    """Take a free place with probability `wish`; return how far along the street it is, None without one."""
    if world.curbs.free(segment, me.now_s) > 0:
        if me.rng.random() >= wish:
            return None
        world.curbs.take(segment)
        return float(me.rng.uniform(0.12, 0.92))
    trip = me.trips[-1]
    if trip.first_full_s is None:
        trip.first_full_s = me.now_s
    return None


def _next_street(me: Person, world: World, segment: int, visits: dict[int, int], around: tuple[float, float]) -> int:
    """Choose a way on: near the destination, not seen yet, no avenue, and back only out of a dead end."""
    city = world.city
    head, tail = int(city.head[segment]), int(city.tail[segment])
    ways = [way for way in city.leaving[head] if city.head[way] != tail] or city.leaving[head]
    weights = np.empty(len(ways))
    for i, way in enumerate(ways):
        distance_m = _distance_m(world, way, around)
        weights[i] = np.exp(-distance_m / LOCAL_M) * SEEN_WEIGHT ** visits.get(way, 0)
        weights[i] *= (AVENUE_WEIGHT if city.avenue[way] else 1.0) * (FAR_WEIGHT if distance_m > FAR_M else 1.0)
    shares = np.cumsum(weights) / weights.sum()
    return ways[int(np.searchsorted(shares, me.rng.random()))]


def _distance_m(world: World, segment: int, place: tuple[float, float]) -> float:
    head = world.city.head[segment]
    return float(np.hypot(world.city.x[head] - place[0], world.city.y[head] - place[1]))


def _stop_searching(me: Person, world: World) -> Story:
    """Use the nearest garage after all, or give up and go."""
    trip = me.trips[-1]
    if me.rng.random() < GARAGE_AFTER_SEARCH:
        garages = world.city.garages
        yield from _use_garage(me, world, min(garages, key=lambda g: float(world.city.seconds[me.crossing, g])))
        return
    trip.search_end_s, trip.end = me.now_s, (me.x, me.y)
    yield from leave_city(me, world, "gave_up")


def _use_garage(me: Person, world: World, garage: int) -> Story:
    yield from me.drive(world, garage)
    ramp_x, ramp_y = me.x, me.y
    yield from me.go(ramp_x + 45, ramp_y + 30, 2.5, "in_vehicle", covered=True)
    yield from me.still(me.rng.uniform(8, 40), "in_vehicle", covered=True)
    arrive(me, "garage")
    yield from me.still(me.rng.uniform(8, 40), covered=True)
    inside = me.x, me.y
    yield from me.go(ramp_x + 20, ramp_y + 10, 1.2, "walking", covered=True)
    to_x, to_y = me.trips[-1].destination or inside
    me.trips[-1].walk_m = float(np.hypot(to_x - inside[0], to_y - inside[1]))
    yield from me.walk(to_x, to_y)
    yield from me.still(me.rng.uniform(*STAY_S))
    yield from me.walk(ramp_x + 20, ramp_y + 10)
    yield from me.go(*inside, 1.2, "walking", covered=True)
    yield from me.still(me.rng.uniform(8, 40), covered=True)
    me.stand("unpark", "garage")
    me.begin_trip("return")
    yield from me.go(ramp_x, ramp_y, 2.5, "in_vehicle", covered=True)
    yield from leave_city(me, world, "left")


def _manoeuvre(me: Person) -> Story:
    """Reverse into the place."""
    yield from me.go(me.x + me.rng.uniform(-2, 2), me.y + me.rng.uniform(2, 4), 0.5, "in_vehicle")
    yield from me.still(me.rng.uniform(3, 10), "in_vehicle")
