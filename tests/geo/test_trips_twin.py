"""The trip machine in columns decides what its plain twin decides, on ways made at random and to be awkward."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo import trips
from geo.fix import ACTIVITIES, FixArray
from geo.trips.records import HINT, HINT_CLEARED, PARK_END, PARK_START, TRIP
from geo.trips.rules import OUTCOMES, QUALITIES
from tests.geo.test_trips import Phone as Walker
from tests.geo.test_trips import around, commute, decide, random_way
from tests.geo.trips_twin import Phone, Told

KINDS = {PARK_START: "park_start", PARK_END: "park_end", TRIP: "trip", HINT: "hint", HINT_CLEARED: "cleared"}
CERTAIN = ("kind", "time", "outcome", "search_start", "trip_start", "ordinal", "quality", "loops", "clock_ms")
MEASURED = ("excess_m", "search_m", "distance_m", "confidence")


def in_columns(fixes: FixArray, model: trips.Model) -> list[Told]:
    told = []
    for event in decide(fixes, model=model):
        kind = KINDS[int(event["kind"])]
        is_trip, is_park = kind == "trip", kind == "park_start"
        told.append(
            Told(
                kind,
                int(event["event_time"]),
                int(event["lat"]),
                int(event["lon"]),
                OUTCOMES[event["outcome"]] if is_trip else "",
                int(event["search_start"]) if is_trip or "park" not in kind else 0,
                int(event["trip_start"]) if "park" not in kind else 0,
                int(event["ordinal"]),
                QUALITIES[event["quality"]] if is_trip or is_park else "",
                *(float(event[name]) if is_trip else 0.0 for name in MEASURED),
                int(event["loops"]),
                int(event["clock_ms"]),
                near_of(event),
            )
        )
    return told


def near_of(event: np.void) -> tuple[float, int, int]:
    return float(event["near_m"]), int(event["near_lat"]), int(event["near_lon"])


def one_at_a_time(fixes: FixArray, model: trips.Model) -> list[Told]:
    phone = Phone(model)
    return [told for row in fixes for told in phone.take(row)] + phone.close()


def check(fixes: FixArray, model: trips.Model = trips.MODEL) -> None:
    columns, plain = in_columns(fixes, model), one_at_a_time(fixes, model)
    for name in CERTAIN:
        assert [getattr(t, name) for t in columns] == [getattr(t, name) for t in plain], name
    for name in MEASURED:
        mine, its = ([getattr(t, name) for t in told] for told in (columns, plain))
        np.testing.assert_allclose(mine, its, rtol=1e-6, atol=1e-5, err_msg=name)
    for mine, its in zip(columns, plain, strict=True):
        if its.near[0]:
            assert mine.near == pytest.approx(its.near, abs=1e-5)
        else:
            assert mine.near[0] == 0
        assert abs(mine.lat - its.lat) <= 1
        assert abs(mine.lon - its.lon) <= 1


@pytest.mark.parametrize(
    "phone",
    [
        commute(),
        commute(step_s=1, tells_speed=False),
        around(Walker().go(240, 11), 4).go(240, 13, 0).go(120, 13, 90),
        around(Walker(step_s=1).go(240, 11), 4).go(240, 13, 0).go(30).say("walking").go(200, 1.3),
        around(Walker(tells_speed=False).go(240, 11), 3).go(45).go(240, 13, 0).go(120, 13, 90),
        Walker().go(180, 11).go(20, 4).sleep(180).say("walking").go(60, 1.3).go(400).sleep(90).go(200, 9, 180),
    ],
)
def test_stories(phone: Walker) -> None:
    check(phone.fixes())


def awkward_way(seed: int) -> FixArray:
    """Equal times, repeats, jumps there and back, fixes of no accuracy, words alone, gaps about every threshold."""
    dice = np.random.default_rng(seed)
    phone = Walker(int(dice.choice([1, 4, 5, 30])), 3.0, bool(dice.random() < 0.5), seed)
    for _ in range(int(dice.integers(3, 12))):
        what = dice.integers(7)
        if what < 3:
            phone.go(
                dice.uniform(20, 300), float(dice.choice([0, 1.3, 4, 9, 14])), float(dice.choice([0, 90, 180, 270]))
            )
        elif what == 3:
            phone.sleep(float(dice.choice([44, 45, 46, 59, 60, 61, 599, 600, 601])))
        elif what == 4:
            phone.say(str(dice.choice(ACTIVITIES)))
        elif what == 5:
            phone.east_m += float(dice.choice([-2_000, 2_000]))
        else:
            phone.time -= 1000 * phone.step_s
    fixes = phone.go(30).fixes()
    worse = dice.random(len(fixes)) < 0.1
    fixes["accuracy_m"][worse] = dice.choice([np.nan, 30, 64, 65, 66, 500], worse.sum())
    fixes["event_time"] = np.maximum.accumulate(fixes["event_time"])
    return fixes


few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_random_ways(seed: int, parked: float, left: float) -> None:
    check(random_way(seed), trips.MODEL._replace(least=np.array([parked, left])))


@few
@given(st.integers(0, 10_000))
def test_awkward_ways(seed: int) -> None:
    check(awkward_way(seed), trips.MODEL._replace(least=np.array([0.1, 0.1])))
