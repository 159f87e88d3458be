"""The streets can be driven, and a place holds one car."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parkpal.simulate.city import LINES, MALL, City, Curbs, build_city


@pytest.fixture(scope="module")
def city() -> City:
    return build_city(np.random.default_rng(5))


def test_every_crossing_but_the_mall_reaches_every_other(city: City) -> None:
    reached = np.isfinite(city.seconds)
    mall = MALL[0] * LINES + MALL[1]
    others = np.delete(np.arange(city.x.size), mall)
    assert reached[np.ix_(others, others)].all()
    assert not reached[others, mall].any()


def test_a_route_is_connected_and_takes_the_time_the_table_says(city: City) -> None:
    rng = np.random.default_rng(6)
    for start, end in rng.choice(city.gates, (20, 2)):
        way = city.route(int(start), int(end))
        ends = [int(start), *(int(city.head[segment]) for segment in way)]
        assert ends[:-1] == [int(city.tail[segment]) for segment in way]
        assert ends[-1] == end
        driven_s = sum(city.length_m[s] / city.speed_mps[s] for s in way)
        assert driven_s == pytest.approx(city.seconds[start, end])


def test_some_streets_are_one_way_and_avenues_are_not(city: City) -> None:
    there = set(zip(city.tail.tolist(), city.head.tolist(), strict=True))
    both_ways = np.array([(h, t) in there for t, h in zip(city.tail.tolist(), city.head.tolist(), strict=True)])
    assert both_ways[city.avenue].all()
    assert 0 < both_ways[~city.avenue].mean() < 1


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    looks=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 900), st.booleans()), max_size=60),
)
def test_a_street_never_holds_more_cars_than_places(
    city: City, seed: int, looks: list[tuple[int, float, bool]]
) -> None:
    curbs, now_s, ours = Curbs(city, np.random.default_rng(seed)), 0.0, [0, 0, 0, 0]
    streets = city.streets()[:4]
    for which, pause_s, leave in looks:
        now_s += pause_s
        street = int(streets[which])
        free = curbs.free(street, now_s)
        assert 0 <= free <= curbs.capacity[street] - ours[which]
        if leave and ours[which]:
            curbs.leave(street)
            ours[which] -= 1
        elif free:
            curbs.take(street)
            ours[which] += 1
        else:
            with pytest.raises(ValueError, match="no free place"):
                curbs.take(street)
        assert curbs.held[street] == ours[which]


def test_avenues_have_no_places(city: City) -> None:
    curbs = Curbs(city, np.random.default_rng(1))
    assert curbs.capacity[city.avenue].sum() == 0
    assert curbs.capacity[~city.avenue].min() > 0
