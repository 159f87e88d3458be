"""Judging a batch, without any server: what phones may invent, and months that end."""

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import InvalidBatchError, NotJsonError, TooManyEventsError
from api.ingest.events import decode_batch
from api.ingest.intake import Intake, judge_batch
from api.ingest.pseudonyms import Pseudonyms
from api.ingest.remembered import Remembered
from geo.validity import violations
from pipeline.lake.tables import REASONS
from tests.api.conftest import month_key

NOW = 1_793_491_260_000  # 2026-11-01T00:01:00Z
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -1, 14.5, 90, 180, 360, 100, NOW, NOW - 90_000_000, "still", "STILL", "2026-11-01T00:00:00Z"]),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
)
GOOD = {"event_time": NOW - 5000, "seq": 1, "lat": 14.5, "lon": 121.0}
FIELDS = (
    "event_time",
    "seq",
    "lat",
    "lon",
    "accuracy_m",
    "speed_mps",
    "heading_deg",
    "activity",
    "activity_confidence",
)
EVENTS = st.dictionaries(st.sampled_from(FIELDS), SCALARS, max_size=4).map(lambda odd: GOOD | odd)
DEEP = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=5)


def judge(events: list[Any], sent_at: Any = NOW) -> Intake:
    body = json.dumps({"sent_at": sent_at, "events": events}).encode()
    return judge_batch(body, "0" * 32, NOW, Pseudonyms(month_key), Remembered(10))


@given(st.lists(EVENTS | DEEP, max_size=6))
@settings(max_examples=150, deadline=None)
def test_every_event_is_accepted_or_refused_and_company_changes_nothing(events: list[Any]) -> None:
    """Each event alone gets the verdict that it gets in the batch, whichever way the batch had to be decoded."""
    together = judge(events)
    assert together.accepted + len(together.rejected) == len(events)
    assert [one.position for one in together.rejected] == sorted({one.position for one in together.rejected})
    assert {one.reason for one in together.rejected} <= set(REASONS)
    assert len(together.submission.refused) == len(together.rejected)
    alone = [(n, bad.field, bad.reason) for n, event in enumerate(events) for bad in judge([event]).rejected]
    assert [(bad.position, bad.field, bad.reason) for bad in together.rejected] == alone
    for part in together.submission.accepted:
        assert not violations(part.rows).any()


@given(st.binary(max_size=60) | DEEP.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=150, deadline=None)
def test_no_body_is_a_surprise(body: bytes) -> None:
    try:
        decode_batch(body)
    except (NotJsonError, InvalidBatchError, TooManyEventsError):
        return


def test_a_batch_over_months_end_has_a_pseudonym_for_each_month() -> None:
    """The month is the event's own: a retry next month meets its first copy."""
    minutes = [GOOD | {"event_time": NOW - 120_000 + 30_000 * n, "seq": n} for n in range(5)]
    parts = {part.device_id: part.rows["seq"].tolist() for part in judge(minutes).submission.accepted}
    pseudonyms = Pseudonyms(month_key)
    october, november = (pseudonyms.pseudonym("0" * 32, month) for month in ("2026-10", "2026-11"))
    assert parts == {october: [0, 1], november: [2, 3, 4]}


def test_a_clock_up_to_5_s_off_is_left_alone() -> None:
    """At exactly 5 s event_time stays; a millisecond more and it is moved by the whole difference."""
    for offset_ms, moved in [(5000, 0), (-5000, 0), (5001, 5001), (-5001, -5001)]:
        intake = judge([GOOD], sent_at=NOW - offset_ms)
        (row,) = intake.submission.accepted[0].rows
        assert row["event_time"] == GOOD["event_time"] + moved
        assert intake.clock_corrected == bool(moved)


def test_times_are_taken_in_either_form_and_places_to_a_millionth_of_a_degree() -> None:
    odd = GOOD | {"event_time": "2026-11-01T08:00:55.0004+08:00", "lat": 14.5000004, "lon": -121.0000006}
    (row,) = judge([odd | {"heading_deg": 360.0, "activity": "On_Foot"}]).submission.accepted[0].rows
    assert (row["event_time"], row["lat"], row["lon"]) == (NOW - 5000, 14_500_000, -121_000_001)
    assert (row["heading_deg"], row["activity"]) == (0, 2)
    assert np.isnan(row["accuracy_m"])


def test_the_limits_of_time_are_the_flows_own() -> None:
    """2 min ahead and 24 h old are still taken."""
    limits = [NOW + 120_000, NOW + 120_001, NOW - 86_400_000, NOW - 86_400_001]
    intake = judge([GOOD | {"event_time": time, "seq": n} for n, time in enumerate(limits)])
    assert [(bad.position, bad.reason) for bad in intake.rejected] == [(1, "ahead_of_time"), (3, "too_old")]
