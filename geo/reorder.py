"""Which rows detection was given, and in what order, told from facts alone: how history is computed anew.

Facts keep what is needed: seq, the times, and whether a row was late. A device's rows that are not late were released
in order of seq, or of event time where they have none, and one whose event time ran back was not released at all. A
device may begin its count anew after MAX_AGE_MS in silence; that is where LIFE_MS lie between two rows that are not
late. Where a break of LIFE_MS is no new beginning, everything before it was released before it all the same.

Two kinds of row remain in doubt, and none of the api's phones sends them. A device that numbers only some of its rows
is put through `geo.order` again, in order of receive_time, which stands for the order in the log. Rows without seq and
with equal times keep the order in which they are given.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from geo import order
from geo.fix import NULL_TIME, FixArray
from geo.holding import FOREVER, Released, Slots, Times
from geo.validity import MAX_AGE_MS, MAX_DELAY_MS

LIFE_MS: Final = MAX_AGE_MS - MAX_DELAY_MS
"""A device that began anew has no two rows in time, one from before and one from after, that are less far apart."""


def released_again(slot: Slots, rows: FixArray, late: NDArray[np.bool_]) -> Released:
    """Return the rows that detection was given, each device's in order.

    slot (n,) is each row's device, rows (n,) are facts of dtype FIX in any order, late (n,) is as the fact says. A
    device's facts must be all of those between two silences of more than MAX_AGE_MS.
    """
    mixed = _numbers_some(slot[~late], rows["seq"][~late])
    again = np.isin(slot, mixed)
    used = np.flatnonzero(~late & ~again)
    used = used[_in_order(slot[used], rows[used])]
    once_more = _put_through(slot[again], rows[again])
    return Released(
        np.concatenate((rows[used], once_more.rows)), np.concatenate((slot[used], once_more.slot)).astype(np.int32)
    )


def _numbers_some(slot: Slots, seq: Times) -> Slots:
    """Return the devices that number some of their rows but not all."""
    return np.intersect1d(slot[seq == NULL_TIME], slot[seq != NULL_TIME])


def _in_order(slot: Slots, rows: FixArray) -> NDArray[np.int64]:
    """Return the places of the released rows, each device's in order of release."""
    time, seq = rows["event_time"], rows["seq"]
    by_time = np.lexsort((time, slot))
    begins = (np.diff(time[by_time], prepend=0) > LIFE_MS) | (np.diff(slot[by_time], prepend=-1) != 0)
    life = np.empty(len(rows), np.int64)
    life[by_time] = np.cumsum(begins)
    key = np.where(seq == NULL_TIME, time, seq)
    by_key = np.lexsort((rows["receive_time"], key, life))
    return by_key[~_runs_back(life[by_key], time[by_key])]


def _runs_back(life: Times, time: Times) -> NDArray[np.bool_]:
    """Tell which rows lie before an earlier row of their life; lives are numbered and stand one after the other."""
    _, rank = np.unique(time, return_inverse=True)
    climb = life * len(time) + rank
    return np.asarray(climb < np.maximum.accumulate(climb))


def _put_through(slot: Slots, rows: FixArray) -> Released:
    """Return what `geo.order` releases of these rows, taken in order of receive_time."""
    devices, again = np.unique(slot, return_inverse=True)
    by_arrival = np.argsort(rows["receive_time"], kind="stable")
    state = order.OrderState()
    state.grow(len(devices))
    rows = rows[by_arrival]
    _, released = order.advance(state, again[by_arrival].astype(np.int32), rows, rows["receive_time"].copy())
    _, held = order.expire(state, FOREVER)
    return Released(
        np.concatenate((released.rows, held.rows)), devices[np.concatenate((released.slot, held.slot))].astype(np.int32)
    )
