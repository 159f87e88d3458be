"""Who is out in the city, and what those do who look for no place: most of what a detector must not mistake.

Each label is one kind of story; the shares are far richer in confounders than life, so that an hour shows all of them.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from parkpal.simulate.city import City
from parkpal.simulate.drivers import garage_parker, home_comer, leave_city, parker, round_block
from parkpal.simulate.people import WALK_MPS, Person, Story, World

CYCLE_MPS: Final = 4.6
JOG_MPS: Final = 2.7
HOT_SPOT_M: Final = 420.0
"""Destinations thin out with this length from the centre: there the places are scarce."""


def _place(me: Person, world: World) -> int:
    """Choose a street as a destination, near the centre rather than at the rim."""
    city = world.city
    streets = city.streets()
    streets = streets[np.isfinite(city.seconds[me.crossing, city.tail[streets]])]
    weights = np.exp(-np.hypot(city.x[city.head[streets]], city.y[city.head[streets]]) / HOT_SPOT_M)
    return int(me.rng.choice(streets, p=weights / weights.sum()))


def _search_place(me: Person, world: World) -> Story:
    return parker(me, world, _place(me, world))


def _to_garage(me: Person, world: World) -> Story:
    garages = world.city.garages
    return garage_parker(me, world, garages[me.rng.integers(len(garages))], _place(me, world))


def _to_home(me: Person, world: World) -> Story:
    return home_comer(me, world, _place(me, world))


def _to_home_astray(me: Person, world: World) -> Story:
    return home_comer(me, world, _place(me, world), rounds=int(me.rng.integers(1, 3)))


def _through(me: Person, world: World) -> Story:
    me.begin_trip()
    yield from leave_city(me, world, "none")


def _u_turn(me: Person, world: World) -> Story:
    """Miss a turn on an avenue and come back by the next U-turn slot."""
    me.begin_trip()
    city = world.city
    avenues = np.flatnonzero(city.avenue)
    segment = int(me.rng.choice(avenues))
    yield from me.drive(world, int(city.tail[segment]))
    yield from me.ride(world, segment)
    yield from me.still(me.rng.uniform(4, 20), "in_vehicle")
    yield from me.drive(world, int(city.tail[segment]))
    yield from leave_city(me, world, "none")


def _drop_off(me: Person, world: World) -> Story:
    """Let somebody out before a door and go on."""
    me.begin_trip()
    segment = _place(me, world)
    yield from me.drive(world, int(world.city.tail[segment]))
    yield from me.ride(world, segment, upto=0.6)
    yield from me.still(me.rng.uniform(20, 70), "in_vehicle")
    yield from me.ride(world, segment)
    yield from leave_city(me, world, "none")


def _school_run(me: Person, world: World) -> Story:
    """Creep along with other parents to the school's gate, let a child out, and creep on."""
    me.begin_trip()
    segment = _place(me, world)
    yield from me.drive(world, int(world.city.tail[segment]))
    for share in np.linspace(0.1, 0.9, int(me.rng.integers(6, 14))).tolist():
        yield from me.ride(world, segment, 0.3, upto=share)
        yield from me.still(me.rng.uniform(5, 25), "in_vehicle")
    yield from me.ride(world, segment)
    yield from leave_city(me, world, "none")


def _pick_up(me: Person, world: World) -> Story:
    """Circle the block until the passenger comes out: loops, but no search."""
    me.begin_trip()
    segment = _place(me, world)
    yield from me.drive(world, int(world.city.tail[segment]))
    for _ in range(me.rng.integers(1, 5)):
        yield from round_block(me, world, segment)
        yield from me.drive(world, int(world.city.tail[segment]))
    yield from me.ride(world, segment, upto=0.5)
    yield from me.still(me.rng.uniform(20, 110), "in_vehicle")
    yield from me.ride(world, segment)
    yield from leave_city(me, world, "none")


def _deliver(me: Person, world: World) -> Story:
    """Stop at doors of the neighbourhood, minutes each."""
    me.begin_trip()
    for _ in range(me.rng.integers(3, 7)):
        segment = _place(me, world)
        yield from me.drive(world, int(world.city.tail[segment]))
        yield from me.ride(world, segment, upto=0.5)
        me.stand("park", "delivery_stop")
        yield from me.still(me.rng.uniform(50, 180))
        me.stand("unpark", "delivery_stop")
        yield from me.ride(world, segment)
    yield from leave_city(me, world, "none")


def _drive_through(me: Person, world: World) -> Story:
    """Creep along a drive-through queue beside the street."""
    me.begin_trip()
    segment = _place(me, world)
    yield from me.drive(world, int(world.city.tail[segment]))
    x, y = me.x, me.y
    for step in range(1, int(me.rng.integers(9, 18))):
        yield from me.go(x + 4 + 5 * step, y + 6, 1.2, "in_vehicle")
        yield from me.still(me.rng.uniform(8, 35), "in_vehicle")
    yield from me.go(x, y, 3, "in_vehicle")
    yield from leave_city(me, world, "none")


def _ply(me: Person, world: World, corner: int) -> Story:
    for segment in world.city.route(me.crossing, corner):
        yield from me.ride(world, segment, 0.75)
        if me.rng.random() < 0.3:
            yield from me.still(me.rng.uniform(6, 45), "in_vehicle")


def _jeepney(me: Person, world: World) -> Story:
    """Ply a loop of avenues, stopping wherever somebody waves."""
    me.begin_trip()
    corners = [me.crossing, *me.rng.choice(world.city.gates, 3, replace=False).tolist()]
    for corner in corners[1:] + corners[:1]:
        yield from _ply(me, world, corner)
    me.end_trip("none")


def _jeepney_passenger(me: Person, world: World) -> Story:
    """Wait, ride a jeepney across the city, walk the rest."""
    yield from me.still(me.rng.uniform(30, 240))
    me.begin_trip()
    yield from _ply(me, world, int(me.rng.choice(world.city.gates)))
    me.end_trip("none")
    yield from me.walk(me.x + me.rng.uniform(-150, 150), me.y + me.rng.uniform(-150, 150))
    yield from me.still(me.rng.uniform(60, 600))


def _tricycle(me: Person, world: World) -> Story:
    """Carry passengers over short ways around one terminal and come back each time."""
    me.begin_trip()
    segment = _place(me, world)
    terminal = int(world.city.tail[segment])
    yield from me.drive(world, terminal, 0.8)
    for _ in range(me.rng.integers(2, 6)):
        yield from me.still(me.rng.uniform(20, 150), "in_vehicle")
        last = segment
        for _ in range(me.rng.integers(3, 7)):
            yield from me.ride(world, last, 0.8)
            last = int(me.rng.choice(world.city.leaving[me.crossing]))
        yield from me.drive(world, terminal, 0.8)
    yield from leave_city(me, world, "none")


def _roam(me: Person, world: World) -> Story:
    """Wait for a ride order, driving slowly about without aim."""
    me.begin_trip()
    last = _place(me, world)
    yield from me.drive(world, int(world.city.tail[last]))
    for _ in range(me.rng.integers(12, 40)):
        yield from me.ride(world, last, 0.85)
        last = int(me.rng.choice(world.city.leaving[me.crossing]))
    yield from leave_city(me, world, "none")


def _on_street_network(me: Person, world: World, mps: float, activity: str, hops: int) -> Story:
    """Move along the streets to some places, one after the other."""
    for _ in range(hops):
        for segment in world.city.route(me.crossing, int(world.city.tail[_place(me, world)])):
            head = int(world.city.head[segment])
            yield from me.go(float(world.city.x[head]), float(world.city.y[head]), mps, activity)
            me.crossing = head
    me.end_trip("none")
    yield from me.still(me.rng.uniform(60, 400))


def _walk_about(me: Person, world: World) -> Story:
    me.begin_trip()
    yield from _on_street_network(me, world, WALK_MPS, "walking", 1)


def _cycle(me: Person, world: World) -> Story:
    me.begin_trip()
    yield from _on_street_network(me, world, CYCLE_MPS, "on_bicycle", int(me.rng.integers(1, 4)))


def _round_block(me: Person, mps: float, activity: str) -> Story:
    """Go round one block again and again, as who waits for somebody or shows a child how to ride."""
    me.begin_trip()
    x, y = me.x, me.y
    wide, high = (me.rng.choice((-1, 1), 2) * me.rng.uniform(90, 150, 2)).tolist()
    for _ in range(me.rng.integers(2, 6)):
        for to_x, to_y in ((x + wide, y), (x + wide, y + high), (x, y + high), (x, y)):
            yield from me.go(to_x, to_y, mps * me.rng.uniform(0.85, 1.15), activity)
    me.end_trip("none")
    yield from me.still(me.rng.uniform(60, 400))


def _walk_round(me: Person, _world: World) -> Story:
    yield from _round_block(me, WALK_MPS, "walking")


def _cycle_round(me: Person, _world: World) -> Story:
    yield from _round_block(me, CYCLE_MPS, "on_bicycle")


def _jog(me: Person, world: World) -> Story:
    """Jog round the same two blocks again and again."""
    me.begin_trip()
    x, y = me.x, me.y
    far_x, far_y = (near - np.sign(near) * 240 for near in (x, y))
    for _ in range(me.rng.integers(2, 6)):
        for corner in ((far_x, y), (far_x, far_y), (x, far_y), (x, y)):
            yield from me.go(corner[0], corner[1], JOG_MPS, "running")
    yield from _on_street_network(me, world, JOG_MPS, "running", 1)


class Kind(NamedTuple):
    """One label: its share of the phones, its mode, its story, and whether it begins inside the city."""

    label: str
    mode: str
    share: float
    story: Callable[[Person, World], Story]
    inside: bool = False


KINDS: Final = (
    Kind("parker", "car", 0.42, _search_place),
    Kind("parker_garage", "car", 0.07, _to_garage),
    Kind("direct_private", "car", 0.06, _to_home),
    Kind("wrong_turn_private", "car", 0.03, _to_home_astray),
    Kind("through", "car", 0.11, _through),
    Kind("u_turn", "car", 0.02, _u_turn),
    Kind("drop_off", "car", 0.05, _drop_off),
    Kind("school_run", "car", 0.02, _school_run),
    Kind("pickup_loop", "car", 0.03, _pick_up),
    Kind("drive_through", "car", 0.02, _drive_through),
    Kind("roaming", "car", 0.02, _roam),
    Kind("delivery_van", "car", 0.02, _deliver),
    Kind("jeepney_driver", "bus", 0.01, _jeepney),
    Kind("jeepney_passenger", "bus", 0.05, _jeepney_passenger),
    Kind("tricycle", "moto", 0.02, _tricycle),
    Kind("pedestrian", "foot", 0.04, _walk_about, inside=True),
    Kind("pedestrian_loop", "foot", 0.01, _walk_round, inside=True),
    Kind("bike_loop", "bike", 0.01, _cycle_round, inside=True),
    Kind("jogger_loop", "foot", 0.01, _jog, inside=True),
    Kind("cyclist", "bike", 0.02, _cycle, inside=True),
)


def gather(
    city: City, devices: int, departures_s: float, rng: np.random.Generator, seed: int
) -> tuple[list[Person], list[Callable[[Person, World], Story]]]:
    """Return people who set out within `departures_s` and the story that each will live."""
    shares = np.array([kind.share for kind in KINDS])
    kinds = rng.choice(len(KINDS), size=devices, p=shares / shares.sum())
    starts = np.sort(rng.uniform(0, departures_s, devices))
    inner = np.flatnonzero(np.isfinite(city.seconds[city.gates[0]]))
    people = []
    for number, (kind, start_s) in enumerate(zip(kinds, starts, strict=True)):
        own = np.random.default_rng([seed, 4, number])
        crossing = int(own.choice(inner if KINDS[kind].inside else city.gates))
        x, y = float(city.x[crossing]), float(city.y[crossing])
        people.append(Person(KINDS[kind].label, KINDS[kind].mode, float(start_s), crossing, x, y, own))
    return people, [KINDS[kind].story for kind in kinds]
