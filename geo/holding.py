"""A device's rows on hold, in order: who waits, for how long, and who goes when a wait ends.

Rows with seq wait for the seqs below them, at most GAP_WAIT_MS; rows without seq wait REORDER_MS for earlier ones. When
a wait ends everything below goes too. `geo.order` decides which rows wait at all.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geo import repeats
from geo.fix import FIX, NULL_TIME, FixArray

GAP_WAIT_MS: Final = 900_000
"""Longest wait for a missing seq: phones upload at least every 15 min."""
REORDER_MS: Final = 30_000
"""Hold of rows without seq, which have nothing but their time to be ordered by."""
MAX_HELD: Final = 4_096
"""Rows of one device on hold, over an hour of a fix a second: what one phone can make the others wait for."""
FOREVER: Final = 2**62
"""The clock after which nothing more can come."""

NONE: Final = -1
BY_SEQ: Final = 0
BY_TIME: Final = 1

Slots = NDArray[np.int32]
Times = NDArray[np.int64]

DEVICE: Final = np.dtype(
    [
        ("clock", "<i8"),  # latest arrival of the device's rows, NULL_TIME for a free slot
        ("newest", "<i8"),  # largest event_time of its facts
        ("released", "<i8"),  # event_time of the last released row
        ("faults", "<i8"),  # clock faults so far
        # by seq, by time:
        ("due", "<i8", (2,)),  # lowest seq, event_time not yet passed over
        ("oldest", "<i8", (2,)),  # the device's clock when the longest-held row came, FOREVER without one
        ("head", "<i4", (2,)),  # first held row in order, NONE without one
        ("tail", "<i4", (2,)),  # last held row
        ("waiting", "<i8"),  # held rows
        ("seen", repeats.SEEN),
    ],
    align=True,
)

LINK: Final = np.dtype(
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
    links: NDArray[np.void]  # (m,) LINK
    free: Slots  # (1,) first free entry


class Released(NamedTuple):
    """Rows handed on to detection, each device's in order."""

    rows: FixArray  # (k,) FIX
    slot: Slots  # (k,)


def no_devices(slots: int) -> NDArray[np.void]:
    """Return DEVICE records, (slots,), of devices of which nothing came yet."""
    devices = np.zeros(slots, DEVICE)
    devices["clock"] = devices["newest"] = devices["released"] = devices["due"][:, BY_TIME] = NULL_TIME
    devices["oldest"] = FOREVER
    devices["head"] = devices["tail"] = NONE
    return devices


def empty_pool(entries: int) -> Pool:
    """Return a pool with room for so many rows, all free."""
    links = np.zeros(entries, LINK)
    links["after"] = np.arange(1, entries + 1)
    links["after"][-1:] = NONE
    return Pool(np.zeros(entries, FIX), links, np.array([0 if entries else NONE], np.int32))


@njit(cache=True)
def in_order(devices: NDArray[np.void], links: NDArray[np.void], waiting: int) -> Slots:
    """List the held entries, each device's in order."""
    entries = np.empty(waiting, np.int32)
    n = 0
    for s in range(len(devices)):
        for line in range(2):
            e = devices[s]["head"][line]
            while e != NONE:
                entries[n] = e
                n += 1
                e = links[e]["after"]
    return entries


@njit(cache=True)
def key_of(row: np.void, line: int) -> int:
    """Return what a row is ordered by: its seq, or its event_time."""
    return int(row["seq"] if line == BY_SEQ else row["event_time"])


@njit(cache=True)
def hold(d: np.void, pool: Pool, s: int, row: np.void, arrival: int) -> None:
    """Insert a row behind the last one whose key is not above its own."""
    line = BY_TIME if row["seq"] == NULL_TIME else BY_SEQ
    e = pool.free[0]
    pool.free[0] = pool.links[e]["after"]
    pool.rows[e] = row
    pool.links[e]["slot"] = s
    pool.links[e]["arrival"] = arrival
    before = d["tail"][line]
    while before != NONE and key_of(pool.rows[before], line) > key_of(row, line):
        before = pool.links[before]["before"]
    after = d["head"][line] if before == NONE else pool.links[before]["after"]
    pool.links[e]["before"] = before
    pool.links[e]["after"] = after
    if before == NONE:
        d["head"][line] = e
    else:
        pool.links[before]["after"] = e
    if after == NONE:
        d["tail"][line] = e
    else:
        pool.links[after]["before"] = e
    d["oldest"][line] = min(d["oldest"][line], arrival)
    d["waiting"] += 1


@njit(cache=True)
def hold_all(devices: NDArray[np.void], pool: Pool, slot: Slots, rows: FixArray, arrival: Times) -> None:
    """Insert rows, each device's in order."""
    for i in range(len(slot)):
        hold(devices[slot[i]], pool, slot[i], rows[i], arrival[i])


@njit(cache=True)
def emit(d: np.void, s: int, row: np.void, out: Released, n: int) -> int:
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
    while e != NONE and key_of(pool.rows[e], line) < due:
        n = emit(d, s, pool.rows[e], out, n)
        after = pool.links[e]["after"]
        pool.links[e]["after"] = pool.free[0]
        pool.free[0] = e
        e = after
        taken += 1
    if taken == 0:
        return n, 0
    d["waiting"] -= taken
    d["head"][line] = e
    if e == NONE:
        d["tail"][line] = NONE
    else:
        pool.links[e]["before"] = NONE
    d["oldest"][line] = FOREVER
    while e != NONE:
        d["oldest"][line] = min(d["oldest"][line], pool.links[e]["arrival"])
        e = pool.links[e]["after"]
    return n, taken


@njit(cache=True)
def release_run(d: np.void, pool: Pool, s: int, out: Released, n: int) -> tuple[int, int]:
    """Hand on the held rows whose seq follows without a gap; return (handed on, taken off hold)."""
    d["due"][BY_SEQ] = repeats.end_of_run(d["seen"], d["due"][BY_SEQ])
    if d["head"][BY_SEQ] == NONE:
        return n, 0
    return _release(d, pool, s, BY_SEQ, d["due"][BY_SEQ], out, n)


@njit(cache=True)
def pass_over(d: np.void, pool: Pool, s: int, line: int, last: int, out: Released, n: int) -> tuple[int, int]:
    """Wait no longer for anything up to the key `last`; return (handed on, taken off hold)."""
    if line == BY_SEQ:
        d["due"][line] = last + 1
        return release_run(d, pool, s, out, n)
    d["due"][line] = last
    return _release(d, pool, s, line, last + 1, out, n)


@njit(cache=True)
def release_waited(d: np.void, pool: Pool, s: int, clock: int, out: Released, n: int) -> tuple[int, int]:
    """Hand on what was held for as long as it may be, and all below it, in the order in which the waits end.

    Returns (handed on, taken off hold).
    """
    total = 0
    while True:
        seq_ends = d["oldest"][BY_SEQ] + GAP_WAIT_MS
        time_ends = d["oldest"][BY_TIME] + REORDER_MS
        if min(seq_ends, time_ends) >= clock:
            return n, total
        line = BY_SEQ if seq_ends <= time_ends else BY_TIME
        last = d["due"][line]
        e = d["head"][line]
        while e != NONE:
            if pool.links[e]["arrival"] == d["oldest"][line]:
                last = max(last, key_of(pool.rows[e], line))
            e = pool.links[e]["after"]
        n, taken = pass_over(d, pool, s, line, last, out, n)
        total += taken


@njit(cache=True)
def forget(d: np.void) -> None:
    """Forget a device of which no row is held."""
    d["clock"] = NULL_TIME
    d["newest"] = NULL_TIME
    d["released"] = NULL_TIME
    d["faults"] = 0
    d["due"][BY_SEQ] = 0
    d["due"][BY_TIME] = NULL_TIME
    repeats.forget(d["seen"])
