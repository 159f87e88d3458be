"""What goes out live is what is decided: every row of a live table at least once, while it is news."""

import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pytest

from pipeline import live
from pipeline.lake.tables import GEOFENCE_EVENTS, SEARCH_HINTS
from pipeline.live import LiveSender, encode
from pipeline.log import LIVE, EventLog, LogUnavailableError, NewMessage
from pipeline.log.open import open_log
from pipeline.run import Run, run
from tests.flow.traffic import fill, messages, traffic, write_fences

ROW = {"event_id": "e", "device_id": "d", "fence_id": "mall", "kind": "enter"}


def rows(*events: tuple[str, int]) -> pa.RecordBatch:
    """Rows of geofence_events with these ids, at these times (ms UTC)."""
    return pa.RecordBatch.from_pylist(
        [ROW | {"event_id": name, "event_time": at} for name, at in events], schema=GEOFENCE_EVENTS.schema
    )


def test_what_is_no_news_stays_at_home_and_no_row_names_a_device() -> None:
    now = 1_800_000_000_000
    message = encode("geofence_events", rows(("old", now - live.LIVE_FOR_MS - 1), ("new", now - live.LIVE_FOR_MS)), now)
    assert message is not None
    (event,) = msgspec.json.decode(message)
    assert (event["table"], event["id"], event["place"]) == ("geofence_events", "new", "mall")
    assert set(event["row"]) == set(live.TABLES["geofence_events"].shown)
    assert encode("geofence_events", rows(("old", 0)), now) is None


def test_a_hint_that_is_raised_and_one_that_is_cleared_are_two_events_of_one_hint() -> None:
    at = 1_800_000_000_000
    raised = {"hint_id": "h", "device_id": "d", "raised_at": at, "zone_id": "mall", "cleared_at": None}
    both = pa.RecordBatch.from_pylist([raised, raised | {"cleared_at": at + 60_000}], schema=SEARCH_HINTS.schema)
    events = msgspec.json.decode(encode("search_hints", both, at) or b"[]")
    assert len({event["id"] for event in events}) == 2
    assert {(event["place"], event["row"]["hint_id"]) for event in events} == {("mall", "h")}
    assert not {"device_id", "lat", "lon"} & set(events[0]["row"])


def test_a_drained_run_has_sent_every_event_of_the_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LIVE_FOR_MS", 1 << 42)
    url = f"sqlite://{tmp_path}/log.sqlite"
    fill(url, messages(traffic(5, devices=12), 4, seed=5), 4)
    fences = write_fences(tmp_path / "fences.geojson")
    run(Run(url, str(tmp_path / "lake"), fences, until_end=True, epoch=timedelta(milliseconds=50), read_bytes=20_000))
    kept = duckdb.sql(f"SELECT event_id FROM '{tmp_path}/lake/geofence_events/**/*.parquet'").fetchall()
    with closing(open_log(url)) as log:
        events = [event for message in log.read(LIVE, 0, 0, 1 << 30) for event in msgspec.json.decode(message[3])]
    sent = [event["id"] for event in events if event["table"] == "geofence_events"]
    assert len(kept) > 20
    assert sorted(sent) == sorted(event_id for (event_id,) in kept)


class Gate:
    """The append of a log that can be shut."""

    def __init__(self) -> None:
        self.open, self.taken = False, list[bytes]()

    def append(self, messages: list[NewMessage]) -> list[int]:
        if not self.open:
            raise LogUnavailableError("shut")
        self.taken += [message.payload for message in messages]
        return list(range(len(messages)))


def test_what_the_log_does_not_take_waits_is_state_and_is_sent_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RETRY_S", 0.01)
    monkeypatch.setattr(live, "WAITING_BYTES", 10)
    gate = Gate()
    log: EventLog = gate  # type: ignore[assignment]  # a sender only appends
    sender = LiveSender(log)
    sender.put("k0", [b"1234", b"5678"])
    sender.put("k1", [b"abcd"])
    assert (sender.unsent("k0"), sender.unsent("k1")) == ([b"5678"], [b"abcd"]), "the oldest is dropped"
    time.sleep(0.05)
    gate.open = True
    sender.close()
    assert gate.taken == [b"5678", b"abcd"]
    assert sender.unsent("k0") == []
