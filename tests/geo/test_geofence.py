"""The machine gives what the plain twin gives, whatever the batches, interleaving, snapshots and expiries."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.fence_index import FenceIndex, build_index
from geo.fences import FOREVER, FenceVersion
from geo.fix import NULL_DEGREES
from geo.geofence import EVENT, KINDS, VERDICTS, Advance, GeofenceState, advance, expire
from geo.geofence.rules import GAP_MS
from geo.validity import MAX_DELAY_MS
from tests.geo.geofence_twin import Event, Fix, Twin, run
from tests.geo.shapes import METRES_PER_DEGREE, PLACES, history, neighbourhood

END = 2**63 - 1
DEVICES = 3
START = 1_700_000_000_000
WAITS_MS = (0, 1_000, 5_000, 11_000, 45_000, 130_000, 600_000, 600_001)
WAIT_SHARES = (0.04, 0.1, 0.5, 0.22, 0.06, 0.04, 0.02, 0.02)


def tracks(seed: int, place: tuple[float, float], *, steps: int = 80) -> list[Fix]:
    """Walk a few devices about: rests, drives, jumps, gaps, repeats, every kind of accuracy; in order of time."""
    rng = np.random.default_rng(seed)
    metre = 1e6 / METRES_PER_DEGREE
    fixes = []
    for device in range(DEVICES):
        time, at = START + int(rng.integers(0, 60_000)), rng.uniform(-250, 250, 2)
        heading, speed, accuracy = 0.0, 0.0, 15.0
        for _ in range(steps):
            if rng.random() < 0.15:
                speed, heading = rng.choice([0.0, 0.0, 1.4, 8.0, 16.0]), rng.uniform(0, 7)
            if rng.random() < 0.1:
                accuracy = rng.choice([np.nan, 1.0, 5.0, 15.0, 40.0, 65.0, 65.5, 300.0])
            wait = int(rng.choice(WAITS_MS, p=WAIT_SHARES))
            time += wait
            at = at + speed * wait / 1000 * np.array([np.sin(heading), np.cos(heading)])
            if np.hypot(*at) > 450:
                heading += np.pi
                at *= 0.9
            noise = rng.normal(0, 0 if wait == 0 else rng.choice([0, 4, 12, 60], p=[0.2, 0.5, 0.25, 0.05]), 2)
            north, east = (at + noise) * metre
            lat = round(place[0] * 1e6 + north)
            lon = round(place[1] * 1e6 + east / np.cos(np.radians(place[0])))
            fixes.append(Fix(device, time, lat, lon, float(np.float32(accuracy))))
    return sorted(fixes, key=lambda fix: fix.time)


def fences_of(seed: int, place: tuple[float, float]) -> list[FenceVersion]:
    """Fences whose versions change, pause and end while the tracks run."""
    rng = np.random.default_rng(seed)
    versions = []
    for shape in neighbourhood(place, rng):
        a, b, c = (START + int(t) for t in np.sort(rng.integers(0, 2_000_000, 3)))
        other = neighbourhood(place, rng)[0]
        other = FenceVersion(shape.fence_id, 2, "", shape.kind, 30, a, b, other.polygons)
        versions += [
            history((0, FOREVER, shape)),
            history((0, a, shape), (a, b, other), (b, FOREVER, shape)),
            history((0, a, shape), (b, c, other)),
            history((a, FOREVER, shape)),
        ][rng.integers(0, 4)]
    return versions


def take(state: GeofenceState, index: FenceIndex, fixes: Sequence[Fix]) -> Advance:
    columns = np.array([tuple(fix) for fix in fixes], "i4,i8,i4,i4,f4")
    return advance(state, index, *(columns[name] for name in columns.dtype.names or ()))


def named(events: np.ndarray, index: FenceIndex, devices: Sequence[int] | None = None) -> list[Event]:
    """Events with ids for rows: `devices` gives the device of each row, or rows are devices already."""
    return [
        Event(
            int(e["row"]) if devices is None else devices[e["row"]],
            index.versions[e["version"]].fence_id,
            index.versions[e["version"]].version,
            KINDS[e["kind"]],
            int(e["event_time"]),
            int(e["lat"]),
            int(e["lon"]),
            float(e["confidence"]),
            None if np.isnan(e["dwell_s"]) else float(e["dwell_s"]),
        )
        for e in events
    ]


def machine(index: FenceIndex, fixes: Sequence[Fix]) -> list[Event]:
    """All events of one uninterrupted run to the end."""
    state = GeofenceState(DEVICES)
    found = named(take(state, index, fixes).events, index, [fix.device for fix in fixes])
    return sorted(found + named(expire(state, index, END), index), key=order)


def order(event: Event) -> tuple[object, ...]:
    return (event.device, event.time, event.fence_id, KINDS.index(event.kind))


worlds = st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(PLACES))


@settings(max_examples=60, deadline=None)
@given(world=worlds)
def test_the_machine_equals_its_twin(world: tuple[int, tuple[float, float]]) -> None:
    """Every event of every device, and what the gate said of every fix."""
    versions, fixes = fences_of(*world), tracks(*world)
    index = build_index(versions)
    expected, found = sorted(run(versions, fixes), key=order), machine(index, fixes)
    exact = slice(0, 7)
    assert [event[exact] for event in found] == [event[exact] for event in expected]
    assert [e.confidence for e in found] == pytest.approx([e.confidence for e in expected], abs=1e-5)
    assert [e.dwell_s for e in found] == [e.dwell_s for e in expected]
    twin = Twin(versions)
    for fix in fixes:
        twin.advance(fix)
    assert take(GeofenceState(DEVICES), index, fixes).verdicts.tolist() == [twin.verdicts[v] for v in VERDICTS]


def test_the_worlds_hold_every_kind_of_event() -> None:
    """Else the property above proves little."""
    found = [event for seed in range(12) for event in run(fences_of(seed, PLACES[1]), tracks(seed, PLACES[1]))]
    kinds = {kind: sum(event.kind == kind for event in found) for kind in KINDS}
    assert min(kinds.values()) >= 10, kinds
    assert {event.version for event in found} >= {1, 2}


@settings(max_examples=40, deadline=None)
@given(world=worlds, data=st.data())
def test_any_split_interleaving_snapshot_and_expiry_gives_the_same_events(
    world: tuple[int, tuple[float, float]], data: st.DataObject
) -> None:
    """Devices mixed at will, batches cut anywhere, state saved, loaded and expired between them, early or late."""
    seed, place = world
    versions, fixes = fences_of(seed, place), tracks(seed, place)
    index = build_index(versions)
    expected = machine(index, fixes)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    queues = [[fix for fix in fixes if fix.device == device] for device in range(DEVICES)]
    state, found = GeofenceState(), []
    while any(queues):
        turns = rng.permutation(np.repeat(np.arange(DEVICES), rng.integers(0, 12, DEVICES)))
        batch = [queues[device].pop(0) for device in turns if queues[device]]
        state.grow(DEVICES)
        found += named(take(state, index, batch).events, index, [fix.device for fix in batch])
        # The log clock never passes a fix that is still to be used by more than MAX_DELAY_MS.
        clock = min((queue[0].time for queue in queues if queue), default=0) + MAX_DELAY_MS
        if rng.random() < 0.5:
            found += named(expire(state, index, clock - int(rng.integers(0, 2) * rng.integers(0, 10**6))), index)
        if rng.random() < 0.5:
            state = reloaded(state)
    found += named(expire(state, index, END), index)
    assert sorted(found, key=order) == expected


def reloaded(state: GeofenceState) -> GeofenceState:
    """Save, load and check that saving again gives the same bytes."""
    columns = state.to_columns()
    loaded = GeofenceState.from_columns(columns)
    again = loaded.to_columns()
    assert {name: column.tobytes() for name, column in columns.items()} == {
        name: column.tobytes() for name, column in again.items()
    }
    return loaded


@settings(max_examples=40, deadline=None)
@given(world=worlds)
def test_enter_and_exit_alternate_and_frame_the_dwell(world: tuple[int, tuple[float, float]]) -> None:
    """Per device and fence, in order of time, wherever the fence was in force throughout."""
    seed, place = world
    versions = neighbourhood(place, np.random.default_rng(seed))
    visits: dict[tuple[int, str], list[Event]] = {}
    for event in machine(build_index(versions), tracks(seed, place)):
        if event.kind != "cross":
            visits.setdefault((event.device, event.fence_id), []).append(event)
    for events in visits.values():
        kinds = "".join({"enter": "<", "dwell": "d", "exit": ">", "exit_inferred": ">"}[e.kind] for e in events)
        assert kinds.replace("d", "") == "<>" * (len(kinds.replace("d", "")) // 2), kinds
        assert "dd" not in kinds, kinds
        assert ">d" not in kinds, kinds


def test_forgetting_a_device_that_expired_changes_nothing() -> None:
    index = build_index(fences_of(5, PLACES[0]))
    fixes = tracks(5, PLACES[0])
    half = len(fixes) // 2
    results = []
    for forgets in (False, True):
        state = GeofenceState(DEVICES)
        take(state, index, fixes[:half])
        expire(state, index, END)
        if forgets:
            state.forget(np.arange(DEVICES, dtype=np.int32))
        results.append(take(state, index, fixes[half:]).events.tobytes())
        assert len(state.to_columns()["slots"]) == DEVICES
    assert results[0] == results[1]


def test_forgetting_emits_nothing_and_frees_the_slot() -> None:
    index = build_index(neighbourhood(PLACES[0], np.random.default_rng(0)))
    state = GeofenceState(DEVICES)
    take(state, index, tracks(1, PLACES[0]))
    state.forget(np.array([0, 1, 2], np.int32))
    assert {name: len(column) for name, column in state.to_columns().items()} == {"slots": 0, "devices": 0, "pairs": 0}
    assert len(expire(state, index, END)) == 0


def test_a_state_loads_beside_fences_that_have_vanished_or_come() -> None:
    """Sides are kept by fence, not by row of the index; a fence that is gone is dropped silently."""
    place = PLACES[1]
    shapes = neighbourhood(place, np.random.default_rng(2))
    index = build_index(shapes)
    state = GeofenceState(1)
    fix = Fix(0, START, round(place[0] * 1e6) + 1200, round(place[1] * 1e6), 5.0)
    entered = {event.fence_id for event in named(take(state, index, [fix]).events, index)}
    assert "holed" in entered
    fewer = build_index([shape for shape in shapes if shape.fence_id != "circle"])
    after = expire(GeofenceState.from_columns(state.to_columns()), fewer, END)
    assert {event.fence_id for event in named(after, fewer)} == entered - {"circle"}


def test_a_shard_outgrows_its_first_pool_and_buffer() -> None:
    """Thousands of devices inside many fences at once: the kernel stops and goes on with more room."""
    place = PLACES[0]
    shape = neighbourhood(place, np.random.default_rng(2))[1]
    fences = [FenceVersion(f"{i}", 1, "", "zone", 0, 0, FOREVER, shape.polygons) for i in range(20)]
    index = build_index(fences)
    fixes = [Fix(device, START, round(place[0] * 1e6) + 1200, round(place[1] * 1e6), 5.0) for device in range(300)]
    state = GeofenceState(300)
    events = take(state, index, fixes).events
    assert len(events) == 2 * 300 * 20
    assert (np.diff(events["row"]) >= 0).all()
    assert len(expire(state, index, END)) == 300 * 20


def test_expire_waits_until_silence_is_certain() -> None:
    """A fix at the last moment, delivered as late as allowed, still finds its visit open."""
    place = PLACES[1]
    index = build_index(neighbourhood(place, np.random.default_rng(2)))
    state = GeofenceState(1)
    take(state, index, [Fix(0, START, round(place[0] * 1e6) + 1200, round(place[1] * 1e6), 5.0)])
    assert len(expire(state, index, START + GAP_MS + MAX_DELAY_MS)) == 0
    closed = expire(state, index, START + GAP_MS + MAX_DELAY_MS + 1)
    assert {KINDS[kind] for kind in closed["kind"]} == {"exit_inferred"}
    assert set(closed["event_time"].tolist()) == {START}


def test_an_empty_batch_and_no_fences_give_nothing() -> None:
    given = take(GeofenceState(), build_index([]), [])
    assert given.events.dtype == EVENT
    assert len(given.events) == 0


@pytest.mark.parametrize(
    ("device", "lat", "rule"),
    [(1, 0, "slot"), (-1, 0, "slot"), (0, 90_000_001, "off the earth"), (0, NULL_DEGREES, "null")],
)
def test_wrong_columns_are_refused(device: int, lat: int, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        take(GeofenceState(1), build_index([]), [Fix(device, START, lat, 0, 5.0)])


def test_columns_of_different_length_are_refused() -> None:
    one, two = np.zeros(1, np.int32), np.zeros(2, np.int32)
    with pytest.raises(ValueError, match="length"):
        advance(GeofenceState(1), build_index([]), one, np.zeros(1, np.int64), two, two, np.zeros(2, np.float32))


def test_a_state_of_another_layout_is_refused() -> None:
    columns = GeofenceState(2).to_columns()
    with pytest.raises(ValueError, match="layout"):
        GeofenceState.from_columns(columns | {"pairs": np.zeros(0)})
