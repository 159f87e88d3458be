"""What detection was given can be told from the facts: the same rows in the same order as `geo.order` released."""

import numpy as np
from hypothesis import given, settings

from geo.holding import FOREVER
from geo.order import CLOCK_SLACK_MS, Verdict
from geo.reorder import LIFE_MS, released_again
from tests.geo.order_twin import Row
from tests.geo.test_order import MIXED, START, Kernel, as_rows, logs, records


def again(slots: list[int], rows: list[Row], verdicts: list[int]) -> dict[int, list[Row]]:
    """Give the facts back in an order that tells nothing."""
    facts = [i for i, verdict in enumerate(verdicts) if verdict <= Verdict.LATE]
    facts.sort(key=lambda i: (rows[i].content, -rows[i].event_time))
    late = np.array([verdicts[i] == Verdict.LATE for i in facts], bool)
    released = released_again(np.array([slots[i] for i in facts], np.int32), records([rows[i] for i in facts]), late)
    out: dict[int, list[Row]] = {}
    for slot, row in zip(released.slot.tolist(), as_rows(released.rows), strict=True):
        out.setdefault(slot, []).append(row)
    return out


def in_doubt(rows: list[Row]) -> bool:
    """Whether rows without seq share their event time: no fact tells which of them the log had first."""
    times = [row.event_time for row in rows if row.seq is None]
    return len(times) != len(set(times))


@given(logs())
@settings(max_examples=150, deadline=None)
def test_facts_tell_what_was_released_and_in_what_order(log: tuple[list[int], list[Row]]) -> None:
    slots, rows = log
    kernel = Kernel()
    kernel.advance(slots, rows)
    kernel.expire(FOREVER)
    found = again(slots, rows, kernel.verdicts)
    for slot in range(MIXED):
        if not in_doubt([row for s, row in zip(slots, rows, strict=True) if s == slot]):
            assert found.get(slot, []) == kernel.out.get(slot, [])


@given(logs())
@settings(max_examples=80, deadline=None)
def test_a_device_that_numbers_some_rows_is_put_through_order_again(log: tuple[list[int], list[Row]]) -> None:
    """Exact where the log lies in order of receive_time and no two rows share one."""
    rows = sorted(log[1], key=lambda row: row.receive_time)
    rows = [Row(r.event_time + i, r.receive_time + i, r.seq if i % 3 else None, r.content) for i, r in enumerate(rows)]
    kernel = Kernel()
    kernel.advance([MIXED] * len(rows), rows)
    kernel.expire(FOREVER)
    facts = [row for row, verdict in zip(rows, kernel.verdicts, strict=True) if verdict <= Verdict.LATE]
    if {row.seq is None for row in facts} == {True, False}:
        assert again([MIXED] * len(rows), rows, kernel.verdicts).get(MIXED, []) == kernel.out.get(MIXED, [])


def test_a_device_that_counts_from_0_again_after_a_day_keeps_both_counts_apart() -> None:
    later = START + LIFE_MS + CLOCK_SLACK_MS
    rows = [Row(START + at, START + at, at) for at in range(3)]
    rows += [Row(later + at, later + at, at) for at in range(3)]
    assert again([0] * 6, rows, [0] * 6) == {0: rows}


def test_no_facts_give_no_rows() -> None:
    assert again([], [], []) == {}
