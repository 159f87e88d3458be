"""Put each device's rows in order: drop repeats, mark late rows, hold what came too early.

One rule: what happens to a row follows from that device's own earlier rows in the log and from nothing else.

A row passes these checks, in this order:
  1. more than MAX_AHEAD_MS after its own receive_time: AHEAD_OF_TIME; more than MAX_AGE_MS before it, or further
     before its arrival than facts are kept: TOO_OLD.
  2. seen before (`geo.repeats`): DUPLICATE, with other content SEQ_CONFLICT; below what is remembered, TOO_OLD.
  3. received more than MAX_DELAY_MS after its event, or passed over by the order below: LATE, a fact that detection
     does not use. Everything else is ACCEPTED and released in order.

Order is seq order, from 0. A row beyond a gap is held until the gap is filled, at most GAP_WAIT_MS of the device's
own clock (the latest arrival of its rows); then it is released with everything below it. Rows without seq are
ordered by event time and held REORDER_MS. `expire` brings forward what is already certain, since no later row of the
partition arrives before its clock: the outcome is the same whether it is called often, seldom or never. A device whose
next row arrives more than MAX_AGE_MS after its newest event starts anew, evicted before or not. A row arrives at its
receive_time, or where the log ran back by more than the clock's slack, at the clock: it is late, not out of time.

At most MAX_HELD rows of a device wait; beyond that the lowest gap is passed over, as if it had been waited for.

A row to be released whose event time runs back is a clock fault: it stays a fact and is not released.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geo import repeats
from geo.fix import FIX, NULL_TIME, FixArray
from geo.holding import (
    BY_SEQ,
    BY_TIME,
    FOREVER,
    MAX_HELD,
    Pool,
    Released,
    Slots,
    Times,
    emit,
    empty_pool,
    forget,
    hold,
    hold_all,
    in_order,
    key_of,
    no_devices,
    pass_over,
    release_run,
    release_waited,
)
from geo.repeats import SPANS
from geo.validity import MAX_AGE_MS, MAX_AHEAD_MS, MAX_DELAY_MS

CLOCK_SLACK_MS: Final = 60_000
"""A row may reach the log this long after it was stamped: the api's delivery timeout and its clock's error."""


class Verdict(IntEnum):
    """What became of a row."""

    ACCEPTED = 0
    LATE = 1
    AHEAD_OF_TIME = 2
    TOO_OLD = 3
    DUPLICATE = 4
    SEQ_CONFLICT = 5


_ACCEPTED: Final = int(Verdict.ACCEPTED)
_LATE: Final = int(Verdict.LATE)
_AHEAD_OF_TIME: Final = int(Verdict.AHEAD_OF_TIME)
_TOO_OLD: Final = int(Verdict.TOO_OLD)
_OF_REPEAT: Final = np.array(
    [Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.SEQ_CONFLICT, Verdict.TOO_OLD], np.int8
)  # by NEW, SAME, OTHER_CONTENT, FORGOTTEN


class OrderState:
    """What is remembered of the devices of one shard; slots are given out by the caller."""

    def __init__(self) -> None:
        self.devices = no_devices(0)
        self.pool = empty_pool(0)
        self.waiting = 0

    def grow(self, slots: int) -> None:
        """Make room for at least `slots` devices."""
        have = len(self.devices)
        if slots > have:
            self.devices = np.concatenate((self.devices, no_devices(max(slots - have, have))))

    def reserve(self, rows: int) -> None:
        """Make room to hold `rows` more."""
        have = len(self.pool.rows)
        if self.waiting + rows > have:
            more = empty_pool(max(self.waiting + rows - have, have))
            more.links["after"][:-1] += have
            more.links["after"][-1] = self.pool.free[0]
            self.pool = Pool(
                np.concatenate((self.pool.rows, more.rows)),
                np.concatenate((self.pool.links, more.links)),
                np.array([have], np.int32),
            )

    def to_columns(self) -> dict[str, NDArray[Any]]:
        """Return copies of all that is remembered, packed to what is in use."""
        used = np.flatnonzero(self.devices["clock"] != NULL_TIME).astype(np.int32)
        devices = self.devices[used]
        known = np.arange(SPANS) < devices["seen"]["spans"][:, None]
        columns = {name: devices[name] for name in _SAVED} | {name: devices["seen"][name] for name in _SAVED_OF_SEEN}
        columns |= {name: devices["seen"][name][known] for name in _SAVED_SPANS}
        held = in_order(self.devices, self.pool.links, self.waiting)
        columns |= {"held_rows": self.pool.rows[held]}
        columns |= {f"held_{name}": self.pool.links[name][held] for name in ("slot", "arrival")}
        return columns | {"slot": used, "capacity": np.array([len(self.devices)])}

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the state that `to_columns` gave."""
        state = cls()
        state.grow(int(columns["capacity"][0]))
        devices = state.devices[columns["slot"]]
        for name in _SAVED:
            devices[name] = columns[name]
        for name in _SAVED_OF_SEEN:
            devices["seen"][name] = columns[name]
        known = np.arange(SPANS) < devices["seen"]["spans"][:, None]
        for name in _SAVED_SPANS:
            devices["seen"][name][known] = columns[name]
        state.devices[columns["slot"]] = devices
        state.waiting = len(columns["held_slot"])
        state.reserve(0)
        hold_all(state.devices, state.pool, columns["held_slot"], columns["held_rows"], columns["held_arrival"])
        return state


def arrivals(receive_time: Times, newest: int) -> Times:
    """Return when each row of a partition, in log order, counts as received; `newest` is the largest before them.

    That is its receive_time, but never before the clock that the rows before it allow. (n,) ms UTC.
    """
    largest_before = np.maximum.accumulate(np.concatenate(([newest], receive_time)))[:-1]
    return np.maximum(receive_time, largest_before - CLOCK_SLACK_MS)


def advance(
    state: OrderState, slot: Slots, rows: FixArray, arrival: Times, kept_ms: int = FOREVER
) -> tuple[NDArray[np.int8], Released]:
    """Take the shard's next rows in log order.

    `slot` (n,) is each row's device, below what the state was grown to; `rows` (n,) FIX with event_time and
    receive_time set; `arrival` (n,) ms UTC, when each row counts as received: not before any clock that `expire` was
    given; `kept_ms` how long facts are kept. Returns the Verdict of each row, (n,), and the rows that detection can now
    use.
    """
    if not len(slot) == len(rows) == len(arrival):
        raise ValueError(f"slot, arrival: {len(slot)}, {len(arrival)} values for {len(rows)} rows")
    if len(slot) and not 0 <= slot.min() <= slot.max() < len(state.devices):
        raise ValueError(f"slot: outside 0..{len(state.devices) - 1}")
    state.reserve(len(rows))
    verdict = np.empty(len(rows), np.int8)
    out = _room(state.waiting + len(rows))
    rows = np.ascontiguousarray(rows)
    words = rows.view("<u4").reshape(len(rows), FIX.itemsize // 4)
    n, held = _advance(state.devices, state.pool, slot, rows, words, arrival, kept_ms, verdict, out)
    state.waiting += held
    return verdict, Released(out.rows[:n], out.slot[:n])


def expire(state: OrderState, clock: int) -> tuple[Slots, Released]:
    """Bring forward what is certain once no later row is received before `clock` (ms UTC, or FOREVER).

    Returns the slots of the devices that are forgotten, (k,), and the rows that detection can now use.
    """
    out = _room(state.waiting)
    forgotten = np.empty(len(state.devices), np.int32)
    n, released, gone = _expire(state.devices, state.pool, clock, out, forgotten)
    state.waiting -= released
    return forgotten[:gone].copy(), Released(out.rows[:n], out.slot[:n])


def evict(state: OrderState, slots: Slots) -> None:
    """Forget these devices and what is held of them, as if nothing had ever come; each slot at most once."""
    out = _room(state.waiting)
    state.waiting -= _evict(state.devices, state.pool, slots, out)


_SAVED: Final = ("clock", "newest", "released", "faults", "due")
_SAVED_OF_SEEN: Final = ("lowest", "spans", "recent", "unnumbered")
_SAVED_SPANS: Final = ("first", "end")


def _room(rows: int) -> Released:
    return Released(np.empty(rows, FIX), np.empty(rows, np.int32))


@njit(cache=True)
def _advance(
    devices: NDArray[np.void],
    pool: Pool,
    slot: Slots,
    rows: FixArray,
    words: NDArray[np.uint32],
    arrival: Times,
    kept_ms: int,
    verdict: NDArray[np.int8],
    out: Released,
) -> tuple[int, int]:
    """Return (handed on, change in the number held)."""
    n = waiting = 0
    for i in range(len(rows)):
        s, row = slot[i], rows[i]
        d = devices[s]
        age = row["receive_time"] - row["event_time"]
        if age < -MAX_AHEAD_MS or age > MAX_AGE_MS or arrival[i] - row["event_time"] > kept_ms:
            verdict[i] = _AHEAD_OF_TIME if age < -MAX_AHEAD_MS else _TOO_OLD
            continue
        if d["clock"] != NULL_TIME and arrival[i] > d["newest"] + MAX_AGE_MS:
            n, taken = release_waited(d, pool, s, FOREVER, out, n)
            waiting -= taken
            forget(d)
        d["clock"] = max(d["clock"], arrival[i])
        n, taken = release_waited(d, pool, s, d["clock"], out, n)
        waiting -= taken

        verdict[i] = _OF_REPEAT[repeats.see(d["seen"], row["seq"], repeats.content_hash(words, i))]
        if verdict[i] != _ACCEPTED:
            continue
        d["newest"] = max(d["newest"], row["event_time"])
        line = BY_TIME if row["seq"] == NULL_TIME else BY_SEQ
        key = key_of(row, line)
        if arrival[i] - row["event_time"] > MAX_DELAY_MS or key < d["due"][line]:
            verdict[i] = _LATE
        elif line == BY_SEQ and key == d["due"][line]:
            n = emit(d, s, row, out, n)
        else:
            hold(d, pool, s, row, d["clock"])
            waiting += 1
            if d["waiting"] > MAX_HELD:
                n, taken = pass_over(d, pool, s, line, key_of(pool.rows[d["head"][line]], line), out, n)
                waiting -= taken
        if line == BY_SEQ:
            n, taken = release_run(d, pool, s, out, n)
            waiting -= taken
    return n, waiting


@njit(cache=True)
def _expire(devices: NDArray[np.void], pool: Pool, clock: int, out: Released, forgotten: Slots) -> tuple[int, int, int]:
    """Return (handed on, taken off hold, devices forgotten)."""
    n = total = gone = 0
    for s in range(len(devices)):
        d = devices[s]
        if d["clock"] == NULL_TIME:
            continue
        silent = clock > d["newest"] + MAX_AGE_MS
        n, taken = release_waited(d, pool, s, FOREVER if silent else clock, out, n)
        total += taken
        if silent:
            forget(d)
            forgotten[gone] = s
            gone += 1
    return n, total, gone


@njit(cache=True)
def _evict(devices: NDArray[np.void], pool: Pool, slots: Slots, out: Released) -> int:
    """Return how many rows were taken off hold."""
    n = total = 0
    for s in slots:
        n, taken = release_waited(devices[s], pool, s, FOREVER, out, n)
        total += taken
        forget(devices[s])
    return total
