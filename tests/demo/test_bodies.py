"""What the demo's phones send is fixed by the city, whole, and faulty where it should be."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from parkpal.demo.bodies import BODY_EVENTS, BROKEN_EVERY, LATE_BY_MS, LATE_PHONES, PhoneLoad, read_loads
from parkpal.demo.city import ensure_city

NOW_MS = 1_795_000_000_000
DEVICES = 40


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "city"
    ensure_city(folder, NOW_MS, DEVICES)
    return folder


@pytest.fixture(scope="module")
def loads(city: Path) -> list[PhoneLoad]:
    return read_loads(city)


def test_the_last_event_of_a_right_clock_is_now_and_the_city_is_kept(city: Path) -> None:
    honest = pl.read_parquet(city / "truth_devices.parquet").filter(pl.col("clock_kind") == "none")
    events = pl.read_parquet(city / "events.parquet").join(honest, on="device_id", how="semi")
    assert events["event_time"].max() <= NOW_MS
    assert events["event_time"].max() > NOW_MS - 60_000
    before = (city / "events.parquet").read_bytes()
    ensure_city(city, NOW_MS + 3_600_000, DEVICES)
    assert (city / "events.parquet").read_bytes() == before


def test_all_events_are_sent_in_upload_order_and_the_same_each_time(city: Path, loads: list[PhoneLoad]) -> None:
    assert read_loads(city) == loads
    rows = pl.read_parquet(city / "events.parquet").sort("device_id", "receive_time", "seq", maintain_order=True)
    sent = {load.name: [event["seq"] for body in load.bodies for event in body.events] for load in loads}
    for (name,), own in rows.group_by("device_id"):
        seqs = own["seq"].to_list()
        assert sent[str(name)][: len(seqs)] == seqs
    assert len(sent) == DEVICES
    assert max(len(body.events) for load in loads for body in load.bodies) == BODY_EVENTS


def test_impossible_events_come_after_the_last_seq_of_some_phones(city: Path, loads: list[PhoneLoad]) -> None:
    rows = pl.read_parquet(city / "events.parquet")
    last = dict(rows.group_by("device_id").agg(pl.col("seq").max()).iter_rows())
    extra = Counter(
        load.name for load in loads for body in load.bodies for event in body.events if event["seq"] > last[load.name]
    )
    assert len(extra) == DEVICES // BROKEN_EVERY
    assert set(extra.values()) == {7}


def test_some_phones_were_out_of_reach_for_hours_and_some_bodies_come_torn_or_twice(loads: list[PhoneLoad]) -> None:
    newest = {load.name: max(event["event_time"] for body in load.bodies for event in body.events) for load in loads}
    assert sum(time < NOW_MS - LATE_BY_MS + 900_000 for time in newest.values()) >= LATE_PHONES - 1
    bodies = [body for load in loads for body in load.bodies]
    assert 0 < sum(body.times == 2 for body in bodies) < len(bodies) / 10
    assert 0 < sum(body.torn for body in bodies) < len(bodies) / 10
