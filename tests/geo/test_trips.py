"""Drives and parkings of made-up phones: what is decided, and that no cut of the data decides otherwise."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geo import trips
from geo.fix import ACTIVITIES, FIX, NULL_DEGREES, FixArray
from geo.trips.records import DEVICE, EVENT, PARK_END, PARK_START, POINT, TRIP
from geo.trips.rules import OUTCOMES, QUALITIES
from geo.validity import MAX_DELAY_MS

START = 1_772_881_200_000
LAT, LON = 14_550_000, 121_030_000
METRE = 9  # microdegrees, near enough
FOREVER = 2**62


@dataclass
class Phone:
    """Writes down what a phone would tell of the way it is led."""

    step_s: int = 5
    noise_m: float = 4.0
    tells_speed: bool = True
    seed: int = 1
    east_m: float = 0.0
    north_m: float = 0.0
    time: int = START
    rows: list[tuple[int, int, int, float, float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def go(self, seconds: float, mps: float = 0.0, heading_deg: float = 90.0) -> "Phone":
        """Move on, or stand."""
        for _ in range(int(seconds // self.step_s)):
            self.time += 1000 * self.step_s
            self.east_m += mps * self.step_s * np.sin(np.radians(heading_deg))
            self.north_m += mps * self.step_s * np.cos(np.radians(heading_deg))
            east, north = np.array([self.east_m, self.north_m]) + self.random.normal(0, self.noise_m, 2)
            lat, lon = LAT + round(north * METRE), LON + round(east * METRE)
            self.rows.append((self.time, lat, lon, 6.0, mps if self.tells_speed else np.nan, -1))
        return self

    def sleep(self, seconds: float) -> "Phone":
        """Tell nothing for a while."""
        self.time += int(1000 * seconds)
        return self

    def say(self, activity: str) -> "Phone":
        """Tell an activity."""
        self.time += 500
        row = (self.time, NULL_DEGREES, NULL_DEGREES, np.nan, np.nan, ACTIVITIES.index(activity))
        self.rows.append(row)
        return self

    def fixes(self, delay_ms: int = 2_000) -> FixArray:
        """Return the events."""
        fixes = np.zeros(len(self.rows), FIX)
        names = ("event_time", "lat", "lon", "accuracy_m", "speed_mps", "activity")
        for name, column in zip(names, zip(*self.rows, strict=True), strict=True):
            fixes[name] = column
        fixes["heading_deg"], fixes["activity_confidence"] = np.nan, 90
        fixes["receive_time"] = fixes["event_time"] // 10_000 * 10_000 + 10_000 + delay_ms
        return fixes


def commute(**phone: float) -> Phone:
    """Drive 3 km, turn twice, park, walk to work, and drive home later."""
    made = Phone(**phone).go(120, 11).go(90, 12, 0).say("in_vehicle").go(60, 8)  # type: ignore[arg-type]
    made.go(30).say("walking").go(60, 1.3, 180).say("walking").go(120, 1.3, 180).go(900)
    return made.go(180, 1.3, 0).go(20).go(120, 11, 270).go(60, 9, 180).go(400)


def decide(
    fixes: FixArray, cuts: tuple[int, ...] = (), *, resume: bool = False, model: trips.Model = trips.MODEL
) -> NDArray[np.void]:
    """Return what one device's events give, cut into batches, the state saved and loaded between them."""
    state = trips.TripState(1)
    out = []
    for part in np.split(fixes, cuts):
        out.append(trips.advance(state, np.zeros(len(part), np.int32), part, model))
        if resume:
            state = trips.TripState.from_columns(state.to_columns())
            state.grow(1)
    out.append(trips.expire(state, FOREVER, model))
    events = np.concatenate(out)
    events["row"] = 0
    return events


def kinds(events: NDArray[np.void]) -> list[int]:
    return [int(kind) for kind in events["kind"] if kind <= TRIP]


def trips_of(events: NDArray[np.void]) -> list[tuple[str, np.void]]:
    return [(OUTCOMES[event["outcome"]], event) for event in events if event["kind"] == TRIP]


def around(phone: Phone, laps: int, seconds: int = 25, mps: float = 5.0) -> Phone:
    """Drive round a block."""
    for heading in (0, 270, 180, 90) * laps:
        phone.go(seconds, mps, heading)
    return phone


def test_a_commute_is_two_drives_and_two_parkings() -> None:
    phone = commute()
    events = decide(phone.fixes())
    assert kinds(events) == [PARK_START, TRIP, PARK_END, PARK_START, TRIP]
    arrived = START + 270_000
    assert arrived < events["event_time"][0] < arrived + 30_000, "a while before the phone walked off"
    assert abs(int(events["trip_start"][1]) - START) < 20_000
    place = (events["lat"][0] - LAT) / METRE, (events["lon"][0] - LON) / METRE
    assert np.hypot(place[0] - 1080, place[1] - 1800) < 30
    assert [OUTCOMES[event["outcome"]] for event in events if event["kind"] == TRIP] == ["parked", "parked"]
    assert QUALITIES[events["quality"][0]] == "high"


@pytest.mark.parametrize("phone", [{"tells_speed": False}, {"step_s": 1}, {"step_s": 15, "noise_m": 8.0}, {"seed": 9}])
def test_phones_of_other_kinds_tell_the_same_story(phone: dict[str, float]) -> None:
    events = decide(commute(**phone).fixes())
    assert kinds(events)[:3] == [PARK_START, TRIP, PARK_END]
    assert abs(int(events["event_time"][0]) - START - 270_000) < 60_000


def test_a_traffic_light_ends_no_drive() -> None:
    events = decide(Phone().go(120, 11).go(90).go(120, 11).say("in_vehicle").go(120, 11).fixes())
    assert kinds(events) == [TRIP]
    assert OUTCOMES[events["outcome"][0]] == "unknown", "it fell silent while moving"


def test_one_wrong_word_of_feet_in_a_jam_parks_nobody() -> None:
    jam = Phone().go(180, 11).go(20).say("walking").go(40, 1.0).say("in_vehicle").go(120, 11).go(60, 11)
    assert kinds(decide(jam.fixes())) == [TRIP]


def test_a_walk_and_a_bicycle_are_no_drives() -> None:
    assert kinds(decide(Phone().go(900, 1.4).fixes())) == []
    bicycle = Phone().say("on_bicycle").go(120, 5.5)
    for _ in range(4):
        bicycle.say("on_bicycle").go(60, 5.5)
    assert kinds(decide(bicycle.go(600).fixes())) == []


def test_a_garage_without_signal_is_parked_in_near_where_the_signal_was_lost() -> None:
    phone = Phone().go(180, 11).go(20, 4).sleep(180).say("walking").go(60, 1.3).say("walking").go(200, 1.3)
    events = decide(phone.fixes())
    assert kinds(events) == [PARK_START, TRIP]
    assert START + 180_000 < events["event_time"][0] < START + 300_000
    assert QUALITIES[events["quality"][0]] == "low"


def test_a_car_that_stood_when_its_phone_fell_silent_has_parked() -> None:
    events = decide(Phone().go(180, 11).go(60).fixes())
    assert kinds(events) == [PARK_START, TRIP]
    assert QUALITIES[events["quality"][0]] == "low"


def test_driving_round_the_block_before_parking_is_a_search_and_a_straight_way_is_none() -> None:
    def session(phone: Phone) -> np.void:
        events = decide(phone.go(30).say("walking").go(90, 1.3).say("walking").go(120, 1.3).fixes())
        return next(event for event in events if event["kind"] == TRIP)

    straight = session(Phone().go(300, 11))
    assert straight["search_start"] == straight["event_time"]
    found = session(around(Phone().go(300, 11), 3, 25, 4))
    assert 100_000 < found["event_time"] - found["search_start"] < 430_000
    assert found["excess_m"] > 300
    assert found["loops"] >= 1
    assert found["confidence"] > 0.5
    assert straight["confidence"] < 0.5


def test_who_looks_for_a_place_and_drives_home_has_given_up() -> None:
    phone = around(Phone().go(240, 11), 4).go(240, 13, 0).go(120, 13, 90)
    ((outcome, event),) = trips_of(decide(phone.fixes()))
    assert outcome == "gave_up"
    assert START + 180_000 < event["search_start"] < START + 360_000
    assert abs(int(event["event_time"]) - START - 640_000) < 90_000, "when it was last near the middle"
    assert event["loops"] >= 2
    assert event["confidence"] > trips.MODEL.least[1]


def test_who_gives_up_and_parks_elsewhere_has_two_rows() -> None:
    phone = around(Phone().go(240, 11), 4).go(240, 13, 0).go(30).say("walking").go(90, 1.3).say("walking").go(200, 1.3)
    events = decide(phone.fixes())
    (first, given), (second, parked) = trips_of(events)
    assert (first, second) == ("gave_up", "parked")
    assert (given["ordinal"], parked["ordinal"]) == (0, 1)
    assert given["trip_start"] == parked["trip_start"]
    assert given["event_time"] <= parked["search_start"]
    assert kinds(events).count(PARK_START) == 1


def test_who_stops_shortly_on_a_loop_and_leaves_has_picked_somebody_up() -> None:
    never = trips.MODEL._replace(least=np.array([1.1, 1.1]))
    phone = around(Phone().go(240, 11), 3).go(45).go(240, 13, 0).go(120, 13, 90)
    ((outcome, event),) = trips_of(decide(phone.fixes(), model=never))
    assert outcome == "picked_up"
    assert event["search_start"] == event["event_time"]


def test_a_hint_is_raised_while_it_searches_and_cleared_when_it_parks() -> None:
    phone = around(Phone().go(240, 11), 3).go(30).say("walking").go(90, 1.3).say("walking").go(120, 1.3)
    events = decide(phone.fixes())
    hints = events[events["kind"] > TRIP]
    assert hints["kind"].tolist() == [trips.HINT, trips.HINT_CLEARED]
    assert START + 300_000 < hints["hint_time"][0] < START + 480_000
    assert hints["hint_time"][0] == hints["hint_time"][1] < hints["event_time"][1]
    straight = decide(Phone().go(400, 11).go(60).fixes())
    assert (straight["kind"] <= TRIP).all()


def test_a_drive_of_hours_is_remembered_to_its_beginning() -> None:
    phone = Phone()
    for heading in range(0, 3_600, 60):
        phone.go(120, 11, heading)
    ((_, event),) = trips_of(decide(phone.fixes()))
    assert abs(int(event["trip_start"]) - START) < 20_000
    assert 0.95 * 79_200 < event["distance_m"] < 1.1 * 79_200


def test_a_clock_that_is_an_hour_behind_is_told() -> None:
    events = decide(commute().fixes(delay_ms=3_600_000))
    assert set(events["clock_ms"][events["kind"] == TRIP]) != {0}
    assert abs(int(events["clock_ms"][0]) - 3_600_000) < 15_000


def test_a_device_that_was_silent_for_a_day_begins_anew_forgotten_or_not() -> None:
    first, later = commute().fixes(), commute(seed=3).fixes()
    for name in ("event_time", "receive_time"):
        later[name] += 25 * 3_600_000
    kept = decide(np.concatenate([first, later]))
    state = trips.TripState(1)
    out = [trips.advance(state, np.zeros(len(first), np.int32), first), trips.expire(state, FOREVER)]
    state.forget(np.zeros(1, np.int32))
    out += [trips.advance(state, np.zeros(len(later), np.int32), later), trips.expire(state, FOREVER)]
    forgotten = np.concatenate(out)
    forgotten["row"] = 0
    assert kept.tobytes() == forgotten.tobytes()


def random_way(seed: int) -> FixArray:
    """A way of drives, stops, walks, gaps and words, right and wrong."""
    dice = np.random.default_rng(seed)
    phone = Phone(int(dice.choice([1, 5, 15])), float(dice.uniform(1, 15)), bool(dice.random() < 0.7), seed)
    for _ in range(25):
        what, heading = dice.integers(6), float(dice.uniform(0, 360))
        if what == 0:
            phone.go(dice.uniform(30, 400), dice.uniform(3, 16), heading)
        elif what == 1:
            phone.go(dice.uniform(10, 500))
        elif what == 2:
            phone.go(dice.uniform(20, 300), 1.3, heading)
        elif what == 3:
            phone.sleep(float(dice.choice([50, 120, 400, 700, 9_000])))
        else:
            phone.say(str(dice.choice(ACTIVITIES)))
    return phone.go(10).fixes()


ways = st.integers(0, 10_000)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(ways, st.lists(st.floats(0, 1), max_size=5), st.booleans())
def test_cuts_and_resumes_change_nothing(seed: int, cuts: list[float], resume: bool) -> None:
    fixes = random_way(seed)
    places = tuple(sorted(int(cut * len(fixes)) for cut in cuts))
    assert decide(fixes, places, resume=resume).tobytes() == decide(fixes).tobytes()


@few
@given(ways, st.floats(0, 1))
def test_expiring_early_changes_nothing(seed: int, share: float) -> None:
    """What silence makes certain may be decided at any moment after it is."""
    fixes = random_way(seed)
    whole = decide(fixes)
    at = int(share * (len(fixes) - 1))
    state = trips.TripState(1)
    out = [trips.advance(state, np.zeros(at, np.int32), fixes[:at])]
    out.append(trips.expire(state, int(fixes["event_time"][at]) + MAX_DELAY_MS))
    out.append(trips.advance(state, np.zeros(len(fixes) - at, np.int32), fixes[at:]))
    out.append(trips.expire(state, FOREVER))
    early = np.concatenate(out)
    early["row"] = 0
    assert early.tobytes() == whole.tobytes()


@few
@given(ways, ways)
def test_devices_do_not_see_each_other(seed: int, other: int) -> None:
    one, two = random_way(seed), random_way(other)
    rows, device = np.concatenate([one, two]), np.repeat(np.array([0, 1], np.int32), [len(one), len(two)])
    order = np.argsort(rows["event_time"], kind="stable")
    state = trips.TripState(2)
    found = trips.advance(state, device[order], rows[order])
    found["row"] = device[order][found["row"]]
    found = np.concatenate([found, trips.expire(state, FOREVER)])
    for number, alone in ((0, decide(one)), (1, decide(two))):
        mine = found[found["row"] == number]
        mine["row"] = 0
        assert mine.tobytes() == alone.tobytes()


@few
@given(ways, st.integers(-(10**10), 10**10))
def test_another_time_of_day_moves_all_times_and_nothing_else(seed: int, shift: int) -> None:
    fixes = random_way(seed)
    then = decide(fixes)
    for name in ("event_time", "receive_time"):
        fixes[name] += shift
    moved = decide(fixes)
    for name in ("event_time", "trip_start", "search_start"):
        moved[name] -= shift
    hints = moved["kind"] > TRIP
    moved["hint_time"][hints] -= shift
    assert moved.tobytes() == then.tobytes()


@few
@given(ways, st.integers(-100_000_000, 50_000_000))
def test_another_longitude_changes_nothing_but_the_longitude(seed: int, shift: int) -> None:
    fixes = random_way(seed)
    here = decide(fixes)
    fixes["lon"][fixes["lat"] != NULL_DEGREES] += shift
    there = decide(fixes)
    there["lon"] -= shift
    there["near_lon"] -= shift
    assert there.tobytes() == here.tobytes()


@few
@given(ways)
def test_parkings_begin_and_end_in_turn_and_times_do_not_run_back(seed: int) -> None:
    events = decide(random_way(seed))
    parks = [kind for kind in kinds(events) if kind < TRIP]
    assert all(not (a == b == PARK_END) for a, b in pairwise(parks))
    ended = events[events["kind"] == TRIP]
    assert (ended["trip_start"] <= ended["search_start"]).all()
    assert (ended["search_start"] <= ended["event_time"]).all()
    assert (np.diff(ended["event_time"]) > 0).all()
    raised = [int(kind) for kind in events["kind"] if kind > TRIP]
    assert raised == [trips.HINT, trips.HINT_CLEARED] * (len(raised) // 2)


def turned(fixes: FixArray, angle_deg: float, lat: int, lon: int) -> FixArray:
    """The same city turned about its middle and put elsewhere on the earth."""
    out, seen = fixes.copy(), fixes["lat"] != NULL_DEGREES
    east = (fixes["lon"][seen] - LON) * np.cos(np.radians(LAT / 1e6))
    north = (fixes["lat"][seen] - LAT).astype(float)
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    out["lat"][seen] = lat + np.round(north * cos - east * sin).astype(int)
    out["lon"][seen] = lon + np.round((east * cos + north * sin) / np.cos(np.radians(lat / 1e6))).astype(int)
    return out


@pytest.mark.parametrize(("angle_deg", "lat", "lon"), [(37, 53_350_000, -6_250_000), (181, -33_900_000, 151_200_000)])
def test_a_city_turned_and_moved_gives_the_same_rows_but_for_rounding(angle_deg: float, lat: int, lon: int) -> None:
    searched = (
        around(Phone().go(240, 11), 4).go(240, 13, 0).go(30).say("walking").go(90, 1.3).say("walking").go(200, 1.3)
    )
    for phone in (commute(), commute(seed=4, step_s=15), searched):
        here, there = decide(phone.fixes()), decide(turned(phone.fixes(), angle_deg, lat, lon))
        for name in ("kind", "event_time", "trip_start", "search_start", "outcome", "quality", "loops"):
            assert here[name].tolist() == there[name].tolist(), name
        for name in ("distance_m", "search_m", "excess_m", "confidence"):
            np.testing.assert_allclose(there[name], here[name], rtol=0.03, atol=10)


def test_a_snapshot_of_the_layout_before_goes_on_and_others_say_the_way_out() -> None:
    fixes = commute().fixes()
    state = trips.TripState(1)
    half = len(fixes) // 2
    first = trips.advance(state, np.zeros(half, np.int32), fixes[:half])
    columns = state.to_columns()
    new = ("hint_time", "hint_since", "parked_time", "stay_s", "busy")
    before = np.dtype([(name, DEVICE[name]) for name in DEVICE.names if name not in new])
    columns["devices"] = columns["devices"][list(before.names)].astype(before)
    state = trips.TripState.from_columns(columns)
    rest = trips.advance(state, np.zeros(len(fixes) - half, np.int32), fixes[half:])
    events = np.concatenate([first, rest, trips.expire(state, FOREVER)])
    assert kinds(events) == kinds(decide(fixes))
    columns["devices"] = np.zeros(1, [("speed", "<f8")])
    with pytest.raises(ValueError, match="new recovery store"):
        trips.TripState.from_columns(columns)


def test_records_have_no_padding() -> None:
    for layout in (DEVICE, POINT, EVENT):
        assert layout.itemsize == sum(layout[name].itemsize for name in layout.names)


def test_what_the_search_saw_is_told_with_the_same_rows() -> None:
    fixes = np.concatenate([commute().fixes(), random_way(3)])
    device = np.repeat(np.array([0, 1], np.int32), [len(commute().fixes()), len(random_way(3))])
    seen = trips.observe(device, fixes)
    for number in (0, 1):
        mine = seen.events[seen.events["row"] == number]
        mine["row"] = 0
        assert mine.tobytes() == decide(fixes[device == number]).tobytes()
    assert seen.points["parked"].any()
    assert (np.diff(seen.points["drive"]) >= 0).all()
    assert set(seen.sessions["drive"]) <= set(seen.points["drive"])


def test_a_model_of_other_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="other sizes"):
        trips.expire(trips.TripState(1), 0, trips.MODEL._replace(near=np.zeros(3)))


def test_a_slot_beyond_the_capacity_is_refused() -> None:
    fixes = Phone().go(60, 11).fixes()
    with pytest.raises(ValueError, match="slot outside"):
        trips.advance(trips.TripState(1), np.ones(len(fixes), np.int32), fixes)


def test_columns_of_another_layout_are_refused() -> None:
    state = trips.TripState(1)
    fixes = Phone().go(60, 11).fixes()
    trips.advance(state, np.zeros(len(fixes), np.int32), fixes)
    columns = state.to_columns()
    with pytest.raises(ValueError, match="another layout"):
        trips.TripState.from_columns(columns | {"points": columns["points"][1:]})
