"""Ways by road are the shortest that one-ways and turns allow: a plain search over edges agrees on random streets."""

import heapq
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.network import Network, Restriction, Roads, build_network

LAT, LON = 14_550_000, 121_030_000
STEP = 1_000  # microdegrees: about 110 m
SIDE = 4


def streets(edges: list[tuple[int, int]], restrictions: list[Restriction] | None = None) -> Network:
    """Build a network on a square grid; a node's number is SIDE x column + row."""
    numbers = np.arange(SIDE * SIDE)
    lat, lon = LAT + STEP * (numbers % SIDE), LON + STEP * (numbers // SIDE)
    tail, head = np.array(edges, np.int32).T
    return build_network(lat.astype(np.int32), lon.astype(np.int32), tail, head, restrictions or [])


def plain_shortest_m(network: Network, roads: Roads, start: int, end: int) -> float:
    """Search from edge to edge, one at a time, from the middle of one to the middle of another."""
    turns: dict[int, list[int]] = {}
    for one, other in zip(network.turn_from.tolist(), network.turn_to.tolist(), strict=True):
        turns.setdefault(one, []).append(other)
    best, queue = math.inf, [(roads.length_m[start] / 2, start)]
    done: set[int] = set()
    while queue:
        driven, edge = heapq.heappop(queue)
        for onto in turns.get(edge, []):
            if onto == end:
                best = min(best, driven + roads.length_m[end] / 2)
            if onto not in done:
                heapq.heappush(queue, (driven + roads.length_m[onto], onto))
        done.add(edge)
    return best


def middle(network: Network, edge: int) -> tuple[int, int]:
    ends = network.tail[edge], network.head[edge]
    return int(network.lat[list(ends)].mean()), int(network.lon[list(ends)].mean())


GRID = [
    pair
    for node in range(SIDE * SIDE)
    for pair in ((node, node + 1) if node % SIDE < SIDE - 1 else None, (node, node + SIDE))
    if pair is not None and pair[1] < SIDE * SIDE
]


@settings(max_examples=60, deadline=None)
@given(
    one_way=st.lists(st.sampled_from([-1, 0, 1, 2]), min_size=len(GRID), max_size=len(GRID)),
    banned=st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=8),
    ask=st.tuples(st.integers(0, 200), st.integers(0, 200)),
)
def test_the_shortest_way_is_the_one_a_plain_search_finds(
    one_way: list[int], banned: list[tuple[int, bool]], ask: tuple[int, int]
) -> None:
    edges = []
    for (one, other), way in zip(GRID, one_way, strict=True):
        edges += [(one, other)] if way in {0, 1} else []
        edges += [(other, one)] if way in {0, -1} else []
    if not edges:
        return
    free = streets(edges)
    turns = list(zip(free.turn_from.tolist(), free.turn_to.tolist(), strict=True))
    rules = [Restriction(*turns[number % len(turns)], only) for number, only in banned] if turns else []
    network = streets(edges, rules)
    roads = Roads(network)
    start, end = (number % len(edges) for number in ask)
    same = [[edge for edge, pair in enumerate(edges) if set(pair) == set(edges[of])] for of in (start, end)]
    if set(edges[start]) == set(edges[end]):
        return
    plain = min(plain_shortest_m(network, roads, a, b) for a in same[0] for b in same[1])
    found = roads.shortest_m(*middle(network, start), *middle(network, end))
    assert found == pytest.approx(plain, abs=0.5) if math.isfinite(plain) else math.isnan(found)


def test_a_place_behind_on_a_one_way_street_is_reached_round_the_block() -> None:
    square = [(0, SIDE), (SIDE, SIDE + 1), (SIDE + 1, 1), (1, 0)]
    roads = Roads(streets(square))
    ahead = roads.shortest_m(LAT, LON + 300, LAT, LON + 700)
    behind = roads.shortest_m(LAT, LON + 700, LAT, LON + 300)
    assert ahead == pytest.approx(400 * 0.1112 * math.cos(math.radians(14.55)), rel=0.01)
    assert behind == pytest.approx(roads.length_m.sum() - ahead, rel=0.01)


def test_a_banned_turn_costs_a_way_round_and_only_one_allowed_does_too() -> None:
    both = [pair for one, other in GRID for pair in ((one, other), (other, one))]
    into, left, straight = both.index((0, 1)), both.index((1, 1 + SIDE)), both.index((1, 2))
    places = (LAT + 500, LON, LAT + STEP, LON + 500)
    free, banned = (
        Roads(streets(both, rules)).shortest_m(*places) for rules in ([], [Restriction(into, left, only=False)])
    )
    forced = Roads(streets(both, [Restriction(into, straight, only=True)])).shortest_m(*places)
    assert free == pytest.approx(109, abs=3)
    assert banned == pytest.approx(forced)
    assert banned > 2.5 * free


def test_off_the_network_there_is_no_answer() -> None:
    roads = Roads(streets(GRID))
    assert math.isnan(roads.shortest_m(LAT - 5 * STEP, LON, LAT, LON))
    assert math.isnan(roads.shortest_m(LAT + 100, LON, LAT - 5 * STEP, LON))


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    whole = streets(GRID)
    with pytest.raises(ValueError, match="not there"):
        Roads(whole._replace(head=whole.head + 100))
    with pytest.raises(ValueError, match="needs roads"):
        Roads(whole._replace(tail=whole.tail[:0], head=whole.head[:0]))
