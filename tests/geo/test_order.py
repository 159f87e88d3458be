"""The order of rows: the kernel does what the plain twin says, however its input is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.fix import FIX, NULL_TIME, FixArray
from geo.holding import FOREVER, GAP_WAIT_MS, MAX_HELD, REORDER_MS, Released
from geo.order import CLOCK_SLACK_MS, OrderState, Verdict, advance, arrivals, expire
from geo.repeats import SPANS
from geo.validity import MAX_AGE_MS, MAX_DELAY_MS
from tests.geo.order_twin import Device, Row

START = 1_772_000_000_000
NUMBERED, UNNUMBERED, MIXED = range(3)


def records(rows: list[Row]) -> FixArray:
    fixes = np.zeros(len(rows), FIX)
    fixes["device_time"] = NULL_TIME
    for i, row in enumerate(rows):
        fixes[i]["event_time"], fixes[i]["receive_time"] = row.event_time, row.receive_time
        fixes[i]["seq"] = NULL_TIME if row.seq is None else row.seq
        fixes[i]["lat"] = row.content
    return fixes


def as_rows(fixes: FixArray) -> list[Row]:
    return [
        Row(
            int(f["event_time"]),
            int(f["receive_time"]),
            None if f["seq"] == NULL_TIME else int(f["seq"]),
            int(f["lat"]),
        )
        for f in fixes
    ]


class Kernel:
    """The kernel over one shard, fed in pieces, with everything it gave."""

    def __init__(self, kept_ms: int = FOREVER) -> None:
        self.kept_ms = kept_ms
        self.state = OrderState()
        self.newest = -FOREVER
        self.verdicts: list[int] = []
        self.out: dict[int, list[Row]] = {}

    def advance(self, slots: list[int], rows: list[Row]) -> None:
        self.state.grow(max(slots, default=-1) + 1)
        fixes = records(rows)
        arrival = arrivals(fixes["receive_time"], self.newest)
        self.newest = max([self.newest, *fixes["receive_time"].tolist()])
        verdict, released = advance(self.state, np.array(slots, np.int32), fixes, arrival, self.kept_ms)
        self.verdicts += verdict.tolist()
        self.collect(released)

    def expire(self, clock: int) -> list[int]:
        forgotten, released = expire(self.state, clock)
        self.collect(released)
        return forgotten.tolist()

    def collect(self, released: Released) -> None:
        for slot, row in zip(released.slot.tolist(), as_rows(released.rows), strict=True):
            self.out.setdefault(slot, []).append(row)

    def restart(self) -> None:
        self.state = OrderState.from_columns(self.state.to_columns())


def twin(slots: list[int], rows: list[Row], kept_ms: int = FOREVER) -> tuple[list[int], dict[int, list[Row]]]:
    devices: dict[int, Device] = {}
    verdicts = []
    newest = -FOREVER
    for s, row in zip(slots, rows, strict=True):
        arrival = max(row.receive_time, newest - CLOCK_SLACK_MS)
        newest = max(newest, row.receive_time)
        verdicts.append(int(devices.setdefault(s, Device(kept_ms)).advance(row, arrival)))
    for device in devices.values():
        device.expire(FOREVER)
    return told_apart(slots, verdicts), {s: device.out for s, device in devices.items() if device.out}


def told_apart(slots: list[int], verdicts: list[int]) -> list[int]:
    """Where numbered and unnumbered rows share the memory of content, a conflict may be called a duplicate."""
    either = (Verdict.DUPLICATE, Verdict.SEQ_CONFLICT)
    return [either[0] if s == MIXED and v in either else v for s, v in zip(slots, verdicts, strict=True)]


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[int], list[Row]]:
    """Draw the log of one partition: one device numbers its rows, one does not, one does both; time may run back."""
    n = draw(st.integers(1, 40))
    clock, slots, rows = START, [], []
    for _ in range(n):
        steps = [0, 1_000, 20_000, REORDER_MS + 1, GAP_WAIT_MS, GAP_WAIT_MS + 1, MAX_AGE_MS]
        clock += draw(st.sampled_from([*steps, -CLOCK_SLACK_MS, -GAP_WAIT_MS, -MAX_DELAY_MS, -MAX_AGE_MS]))
        age = draw(st.sampled_from([-200_000, -5_000, 0, 4_000, 60_000, MAX_DELAY_MS + 1, MAX_AGE_MS, MAX_AGE_MS + 1]))
        slots.append(draw(st.integers(0, 2)))
        seq = draw(st.sampled_from([None, *range(12), 40, 297])) if slots[-1] == MIXED else draw(st.integers(0, 12))
        seq = None if slots[-1] == UNNUMBERED else seq
        rows.append(Row(clock - age, clock, seq, draw(st.integers(0, 1))))
    return slots, rows


@given(logs(), st.sampled_from([FOREVER, MAX_AGE_MS + 60_000]))
@settings(max_examples=100, deadline=None)
def test_kernel_and_twin_agree(log: tuple[list[int], list[Row]], kept_ms: int) -> None:
    slots, rows = log
    kernel = Kernel(kept_ms)
    kernel.advance(slots, rows)
    kernel.expire(FOREVER)
    assert (told_apart(slots, kernel.verdicts), kernel.out) == twin(slots, rows, kept_ms)


@given(logs(), st.data())
@settings(max_examples=100, deadline=None)
def test_any_split_any_restart_and_any_early_expiry_give_the_same(
    log: tuple[list[int], list[Row]], data: st.DataObject
) -> None:
    slots, rows = log
    kernel, at = Kernel(), 0
    while at < len(rows):
        step = data.draw(st.integers(1, 9))
        kernel.advance(slots[at : at + step], rows[at : at + step])
        at += step
        if data.draw(st.booleans()):
            kernel.restart()
        if data.draw(st.booleans()):
            kernel.expire(kernel.newest - CLOCK_SLACK_MS)
    kernel.expire(FOREVER)
    assert (told_apart(slots, kernel.verdicts), kernel.out) == twin(slots, rows)


def test_a_gap_is_waited_for_and_then_passed_over() -> None:
    kernel = Kernel()
    kernel.advance([0, 0], [Row(START, START, 0), Row(START + 2_000, START + 2_000, 2)])
    assert [row.seq for row in kernel.out[0]] == [0]
    kernel.expire(START + 2_000 + GAP_WAIT_MS)
    assert [row.seq for row in kernel.out[0]] == [0], "the last moment still counts"
    kernel.expire(START + 2_001 + GAP_WAIT_MS)
    assert [row.seq for row in kernel.out[0]] == [0, 2]
    kernel.advance([0], [Row(START + 1_000, START + 3_000 + GAP_WAIT_MS, 1)])
    assert kernel.verdicts[-1] == Verdict.LATE


def test_more_gaps_than_are_remembered_forget_the_lowest() -> None:
    kernel = Kernel()
    scattered = [Row(START + seq, START + seq, seq) for seq in range(0, 2 * SPANS + 2, 2)]
    kernel.advance([0] * len(scattered), scattered)
    kernel.advance([0, 0], [Row(START, START, 0), Row(START + 2, START, 2)])
    assert kernel.verdicts[-2:] == [Verdict.TOO_OLD, Verdict.DUPLICATE]


def test_a_repeat_further_back_than_content_is_remembered_is_a_duplicate() -> None:
    kernel = Kernel()
    kernel.advance([0] * 600, [Row(START + seq, START + seq, seq) for seq in range(600)])
    repeats = [Row(START + 599, START, 599, 7), Row(START + 5, START, 5, 7), Row(START + 599, START, 599)]
    kernel.advance([0] * 3, repeats)
    assert kernel.verdicts[-3:] == [Verdict.SEQ_CONFLICT, Verdict.DUPLICATE, Verdict.DUPLICATE]


def test_a_corrected_event_and_its_uncorrected_repeat_are_duplicates() -> None:
    kernel = Kernel()
    kernel.state.grow(1)
    rows = records([Row(START + 9_000, START, 0), Row(START, START, 0)])
    rows["device_time"][0] = START
    verdict, _ = advance(kernel.state, np.zeros(2, np.int32), rows, rows["receive_time"])
    assert verdict.tolist() == [Verdict.ACCEPTED, Verdict.DUPLICATE]


def test_time_that_runs_back_along_seq_is_a_fact_but_is_not_released() -> None:
    kernel = Kernel()
    kernel.advance([0] * 3, [Row(START, START, 0), Row(START - 1_000, START, 1), Row(START + 1_000, START, 2)])
    assert kernel.verdicts == [Verdict.ACCEPTED] * 3
    assert [row.seq for row in kernel.out[0]] == [0, 2]
    assert kernel.state.devices["faults"][0] == 1


def test_a_device_is_forgotten_a_day_after_its_newest_event() -> None:
    kernel = Kernel()
    kernel.advance([0], [Row(START, START, 0)])
    assert kernel.expire(START + MAX_AGE_MS) == []
    assert kernel.expire(START + MAX_AGE_MS + 1) == [0]


def test_a_phone_cannot_make_more_rows_wait_than_are_allowed() -> None:
    kernel = Kernel()
    kernel.advance([0] * MAX_HELD, [Row(START + seq, START, seq) for seq in range(1, MAX_HELD + 1)])
    assert kernel.out == {}
    last = MAX_HELD + 1
    kernel.advance([0, 0], [Row(START + last, START, last), Row(START, START, 0)])
    assert [row.seq for row in kernel.out[0]] == list(range(1, last + 1))
    assert kernel.verdicts[-1] == Verdict.LATE


def test_slots_outside_the_state_are_refused() -> None:
    state = OrderState()
    state.grow(1)
    with pytest.raises(ValueError, match="slot"):
        advance(state, np.array([1], np.int32), records([Row(START, START, 0)]), np.array([START]))
    with pytest.raises(ValueError, match="slot"):
        advance(state, np.zeros(2, np.int32), records([Row(START, START, 0)]), np.array([START]))


def test_a_row_that_the_log_brings_after_its_day_was_dropped_is_too_old() -> None:
    kernel = Kernel(30 * MAX_AGE_MS)
    month_ago = START - 31 * MAX_AGE_MS
    kernel.advance([0, 1, 2], [Row(START, START, 0), Row(month_ago, month_ago, 0), Row(START - 1, START, 0)])
    assert kernel.verdicts == [Verdict.ACCEPTED, Verdict.TOO_OLD, Verdict.ACCEPTED]
