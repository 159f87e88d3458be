"""Put each device's rows in order: drop repeats, mark late rows, hold what came too early.

One rule: what happens to a row follows from that device's own earlier rows in the log and from nothing else.

A row passes these checks, in this order:
  1. more than MAX_AHEAD_MS after its own receive_time: AHEAD_OF_TIME; more than MAX_AGE_MS before it: TOO_OLD.
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
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geo import repeats
from geo.fix import FIX, NULL_TIME, FixArray
from geo.repeats import SPANS
from geo.validity import MAX_AGE_MS, MAX_AHEAD_MS, MAX_DELAY_MS

GAP_WAIT_MS: Final = 900_000
"""Longest wait for a missing seq: phones upload at least every 15 min."""
REORDER_MS: Final = 30_000
"""Hold of rows without seq, which have nothing but their time to be ordered by."""
MAX_HELD: Final = 4_096
"""Rows of one device on hold, over an hour of a fix a second: what one phone can make the others wait for."""
CLOCK_SLACK_MS: Final = 60_000
"""A row may reach the log this long after it was stamped: the api's delivery timeout and its clock's error."""
FOREVER: Final = 2**62
"""The clock after which nothing more can come."""

_NONE: Final = -1
_BY_SEQ: Final = 0
_BY_TIME: Final = 1

Slots = NDArray[np.int32]
Times = NDArray[np.int64]


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


_DEVICE: Final = np.dtype(
    [
        ("clock", "<i8"),  # latest arrival of the device's rows, NULL_TIME for a free slot
        ("newest", "<i8"),  # largest event_time of its facts
        ("released", "<i8"),  # event_time of the last released row
        ("faults", "<i8"),  # clock faults so far
        # by seq, by time:
        ("due", "<i8", (2,)),  # lowest seq, event_time not yet passed over
        ("oldest", "<i8", (2,)),  # the device's clock when the longest-held row came, FOREVER without one
        ("head", "<i4", (2,)),  # first held row in order, _NONE without one
        ("tail", "<i4", (2,)),  # last held row
        ("waiting", "<i8"),  # held rows
        ("seen", repeats.SEEN),
    ],
    align=True,
)

_LINK: Final = np.dtype(
    [
        ("slot", "<i4"),
        ("before", "<i4"),  # doubly linked lists in order
        ("after", "<i4"),  # and the list of free entries
        ("arrival", "<i8"),  # the device's clock when the row came
    ],
    align=True,
)


class Pool(NamedTuple):
    """The rows on hold."""

    rows: FixArray  # (m,) FIX
    links: NDArray[np.void]  # (m,) _LINK
    free: Slots  # (1,) first free entry


class Released(NamedTuple):
    """Rows handed on to detection, each device's in order."""

    rows: FixArray  # (k,) FIX
    slot: Slots  # (k,)


class OrderState:
    """What is remembered of the devices of one shard; slots are given out by the caller."""

    def __init__(self) -> None:
        self.devices = _no_devices(0)
        self.pool = _empty_pool(0)
        self.waiting = 0

    def grow(self, slots: int) -> None:
        """Make room for at least `slots` devices."""
        have = len(self.devices)
        if slots > have:
            self.devices = np.concatenate((self.devices, _no_devices(max(slots - have, have))))

    def reserve(self, rows: int) -> None:
        """Make room to hold `rows` more."""
        have = len(self.pool.rows)
        if self.waiting + rows > have:
            more = _empty_pool(max(self.waiting + rows - have, have))
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
        held = _in_order(self.devices, self.pool.links, self.waiting)
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
        _hold_all(state.devices, state.pool, columns["held_slot"], columns["held_rows"], columns["held_arrival"])
        return state


def arrivals(receive_time: Times, newest: int) -> Times:
    """Return when each row of a partition, in log order, counts as received; `newest` is the largest before them.

    That is its receive_time, but never before the clock that the rows before it allow. (n,) ms UTC.
    """
    largest_before = np.maximum.accumulate(np.concatenate(([newest], receive_time)))[:-1]
    return np.maximum(receive_time, largest_before - CLOCK_SLACK_MS)


def advance(state: OrderState, slot: Slots, rows: FixArray, arrival: Times) -> tuple[NDArray[np.int8], Released]:
    """Take the shard's next rows in log order.

    `slot` (n,) is each row's device, below what the state was grown to; `rows` (n,) FIX with event_time and
    receive_time set; `arrival` (n,) ms UTC, when each row counts as received: not before any clock that `expire` was
    given. Returns the Verdict of each row, (n,), and the rows that detection can now use.
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
    n, held = _advance(state.devices, state.pool, slot, rows, words, arrival, verdict, out)
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


_SAVED: Final = ("clock", "newest", "released", "faults", "due")
_SAVED_OF_SEEN: Final = ("lowest", "spans", "recent", "unnumbered")
_SAVED_SPANS: Final = ("first", "end")


def _no_devices(slots: int) -> NDArray[np.void]:
    devices = np.zeros(slots, _DEVICE)
    devices["clock"] = devices["newest"] = devices["released"] = devices["due"][:, _BY_TIME] = NULL_TIME
    devices["oldest"] = FOREVER
    devices["head"] = devices["tail"] = _NONE
    return devices


def _empty_pool(entries: int) -> Pool:
    links = np.zeros(entries, _LINK)
    links["after"] = np.arange(1, entries + 1)
    links["after"][-1:] = _NONE
    return Pool(np.zeros(entries, FIX), links, np.array([0 if entries else _NONE], np.int32))


def _room(rows: int) -> Released:
    return Released(np.empty(rows, FIX), np.empty(rows, np.int32))


@njit(cache=True)
def _in_order(devices: NDArray[np.void], links: NDArray[np.void], waiting: int) -> Slots:
    """List the held entries, each device's in order."""
    entries = np.empty(waiting, np.int32)
    n = 0
    for s in range(len(devices)):
        for line in range(2):
            e = devices[s]["head"][line]
            while e != _NONE:
                entries[n] = e
                n += 1
                e = links[e]["after"]
    return entries


@njit(cache=True)
def _key(row: np.void, line: int) -> int:
    return int(row["seq"] if line == _BY_SEQ else row["event_time"])


@njit(cache=True)
def _hold(d: np.void, pool: Pool, s: int, row: np.void, arrival: int) -> None:
    """Insert a row behind the last one whose key is not above its own."""
    line = _BY_TIME if row["seq"] == NULL_TIME else _BY_SEQ
    e = pool.free[0]
    pool.free[0] = pool.links[e]["after"]
    pool.rows[e] = row
    pool.links[e]["slot"] = s
    pool.links[e]["arrival"] = arrival
    before = d["tail"][line]
    while before != _NONE and _key(pool.rows[before], line) > _key(row, line):
        before = pool.links[before]["before"]
    after = d["head"][line] if before == _NONE else pool.links[before]["after"]
    pool.links[e]["before"] = before
    pool.links[e]["after"] = after
    if before == _NONE:
        d["head"][line] = e
    else:
        pool.links[before]["after"] = e
    if after == _NONE:
        d["tail"][line] = e
    else:
        pool.links[after]["before"] = e
    d["oldest"][line] = min(d["oldest"][line], arrival)
    d["waiting"] += 1


@njit(cache=True)
def _hold_all(devices: NDArray[np.void], pool: Pool, slot: Slots, rows: FixArray, arrival: Times) -> None:
    for i in range(len(slot)):
        _hold(devices[slot[i]], pool, slot[i], rows[i], arrival[i])


@njit(cache=True)
def _emit(d: np.void, s: int, row: np.void, out: Released, n: int) -> int:
    """Hand a row on unless its time runs back; return how many are handed on."""
    if row["event_time"] < d["released"]:
        d["faults"] += 1
        return n
    d["released"] = row["event_time"]
    out.rows[n] = row
    out.slot[n] = s
    return n + 1


@njit(cache=True)
def _release(d: np.void, pool: Pool, s: int, line: int, due: int, out: Released, n: int) -> tuple[int, int]:
    """Hand on the held rows with a key below `due`; return (handed on, taken off hold)."""
    e = d["head"][line]
    taken = 0
    while e != _NONE and _key(pool.rows[e], line) < due:
        n = _emit(d, s, pool.rows[e], out, n)
        after = pool.links[e]["after"]
        pool.links[e]["after"] = pool.free[0]
        pool.free[0] = e
        e = after
        taken += 1
    if taken == 0:
        return n, 0
    d["waiting"] -= taken
    d["head"][line] = e
    if e == _NONE:
        d["tail"][line] = _NONE
    else:
        pool.links[e]["before"] = _NONE
    d["oldest"][line] = FOREVER
    while e != _NONE:
        d["oldest"][line] = min(d["oldest"][line], pool.links[e]["arrival"])
        e = pool.links[e]["after"]
    return n, taken


@njit(cache=True)
def _release_run(d: np.void, pool: Pool, s: int, out: Released, n: int) -> tuple[int, int]:
    """Hand on the held rows whose seq follows without a gap; return (handed on, taken off hold)."""
    d["due"][_BY_SEQ] = repeats.end_of_run(d["seen"], d["due"][_BY_SEQ])
    if d["head"][_BY_SEQ] == _NONE:
        return n, 0
    return _release(d, pool, s, _BY_SEQ, d["due"][_BY_SEQ], out, n)


@njit(cache=True)
def _pass_over(d: np.void, pool: Pool, s: int, line: int, last: int, out: Released, n: int) -> tuple[int, int]:
    """Wait no longer for anything up to the key `last`; return (handed on, taken off hold)."""
    if line == _BY_SEQ:
        d["due"][line] = last + 1
        return _release_run(d, pool, s, out, n)
    d["due"][line] = last
    return _release(d, pool, s, line, last + 1, out, n)


@njit(cache=True)
def _release_waited(d: np.void, pool: Pool, s: int, clock: int, out: Released, n: int) -> tuple[int, int]:
    """Hand on what was held for as long as it may be, and all below it, in the order in which the waits end.

    Returns (handed on, taken off hold).
    """
    total = 0
    while True:
        seq_ends = d["oldest"][_BY_SEQ] + GAP_WAIT_MS
        time_ends = d["oldest"][_BY_TIME] + REORDER_MS
        if min(seq_ends, time_ends) >= clock:
            return n, total
        line = _BY_SEQ if seq_ends <= time_ends else _BY_TIME
        last = d["due"][line]
        e = d["head"][line]
        while e != _NONE:
            if pool.links[e]["arrival"] == d["oldest"][line]:
                last = max(last, _key(pool.rows[e], line))
            e = pool.links[e]["after"]
        n, taken = _pass_over(d, pool, s, line, last, out, n)
        total += taken


@njit(cache=True)
def _forget(d: np.void) -> None:
    """Forget a device of which no row is held."""
    d["clock"] = NULL_TIME
    d["newest"] = NULL_TIME
    d["released"] = NULL_TIME
    d["faults"] = 0
    d["due"][_BY_SEQ] = 0
    d["due"][_BY_TIME] = NULL_TIME
    repeats.forget(d["seen"])


@njit(cache=True)
def _advance(
    devices: NDArray[np.void],
    pool: Pool,
    slot: Slots,
    rows: FixArray,
    words: NDArray[np.uint32],
    arrival: Times,
    verdict: NDArray[np.int8],
    out: Released,
) -> tuple[int, int]:
    """Return (handed on, change in the number held)."""
    n = waiting = 0
    for i in range(len(rows)):
        s, row = slot[i], rows[i]
        d = devices[s]
        age = row["receive_time"] - row["event_time"]
        if age < -MAX_AHEAD_MS or age > MAX_AGE_MS:
            verdict[i] = _AHEAD_OF_TIME if age < 0 else _TOO_OLD
            continue
        if d["clock"] != NULL_TIME and arrival[i] > d["newest"] + MAX_AGE_MS:
            n, taken = _release_waited(d, pool, s, FOREVER, out, n)
            waiting -= taken
            _forget(d)
        d["clock"] = max(d["clock"], arrival[i])
        n, taken = _release_waited(d, pool, s, d["clock"], out, n)
        waiting -= taken

        verdict[i] = _OF_REPEAT[repeats.see(d["seen"], row["seq"], repeats.content_hash(words, i))]
        if verdict[i] != _ACCEPTED:
            continue
        d["newest"] = max(d["newest"], row["event_time"])
        line = _BY_TIME if row["seq"] == NULL_TIME else _BY_SEQ
        key = _key(row, line)
        if arrival[i] - row["event_time"] > MAX_DELAY_MS or key < d["due"][line]:
            verdict[i] = _LATE
        elif line == _BY_SEQ and key == d["due"][line]:
            n = _emit(d, s, row, out, n)
        else:
            _hold(d, pool, s, row, d["clock"])
            waiting += 1
            if d["waiting"] > MAX_HELD:
                n, taken = _pass_over(d, pool, s, line, _key(pool.rows[d["head"][line]], line), out, n)
                waiting -= taken
        if line == _BY_SEQ:
            n, taken = _release_run(d, pool, s, out, n)
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
        n, taken = _release_waited(d, pool, s, FOREVER if silent else clock, out, n)
        total += taken
        if silent:
            _forget(d)
            forgotten[gone] = s
            gone += 1
    return n, total, gone
