"""Know which rows of a device came before: the same seq again is a repeat, whatever it carries.

Seen seqs are kept as at most SPANS intervals a device; what falls below the lowest is forgotten. The content of the
newest RECENT rows is kept as a hash, which tells a duplicate from a conflict; a repeat of an older row is called a
duplicate. A row without seq repeats an equal one among the newest RECENT.
"""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geo.fix import NULL_TIME

SPANS: Final = 64
RECENT: Final = 256

NEW: Final = 0
SAME: Final = 1
OTHER_CONTENT: Final = 2
FORGOTTEN: Final = 3


SEEN: Final = np.dtype(
    [
        ("lowest", "<i8"),  # seqs below are forgotten
        ("spans", "<i4"),  # intervals of seen seqs in use
        ("first", "<i8", (SPANS,)),  # first seq of each interval, ascending
        ("end", "<i8", (SPANS,)),  # one past its last
        ("recent", "<u4", (RECENT,)),  # content of the newest rows
        ("unnumbered", "<i8"),  # rows without seq so far
    ],
    align=True,
)
"""What is remembered of one device; all zeros where nothing came yet."""


@njit(cache=True)
def forget(seen: np.void) -> None:
    """Forget all that came."""
    seen["lowest"] = 0
    seen["spans"] = 0
    seen["recent"][:] = 0
    seen["unnumbered"] = 0


@njit(cache=True)
def content_hash(words: NDArray[np.uint32], i: int) -> np.uint32:
    """Hash what the phone captured in row `i`: its raw time, place and activity, not when or where the row arrived.

    `words` (n, 14) are the rows of dtype FIX as little-endian 32-bit words.
    """
    corrected = words[i, 2] != 0 or words[i, 3] != 0x80000000  # device_time is set: it is the raw time
    time = 2 if corrected else 0
    h = _mix(_mix(np.uint64(0x9E3779B97F4A7C15), words[i, time]), words[i, time + 1])
    for column in range(8, 13):  # lat, lon, accuracy, speed, heading
        h = _mix(h, words[i, column])
    return np.uint32(_mix(h, words[i, 13] >> 16) >> np.uint64(16))  # activity and its confidence


@njit(cache=True)
def _mix(h: np.uint64, word: np.uint32) -> np.uint64:
    h = (h ^ np.uint64(word)) * np.uint64(0xFF51AFD7ED558CCD)
    return h ^ (h >> np.uint64(32))


@njit(cache=True)
def see(seen: np.void, seq: int, content: np.uint32) -> int:
    """Return whether the device sent this before (NEW, SAME, OTHER_CONTENT or FORGOTTEN), and remember it.

    An entry of `recent` is the content; for numbered rows its low byte is the round of the ring instead, so that an
    entry that has been overwritten is told from one with other content.
    """
    if seq == NULL_TIME:
        for j in range(min(seen["unnumbered"], RECENT)):
            if seen["recent"][j] == content:
                return SAME
        seen["recent"][seen["unnumbered"] % RECENT] = content
        seen["unnumbered"] += 1
        return NEW
    if seq < seen["lowest"]:
        return FORGOTTEN
    turn = np.uint32((seq // RECENT) & 0xFF)
    entry = (content & np.uint32(0xFFFFFF00)) | turn
    known = seen["recent"][seq % RECENT]
    if _add(seen, seq):
        return OTHER_CONTENT if known != entry and (known & np.uint32(0xFF)) == turn else SAME
    seen["recent"][seq % RECENT] = entry
    return NEW


@njit(cache=True)
def end_of_run(seen: np.void, seq: int) -> int:
    """Return the lowest seq from `seq` on that is neither seen nor forgotten."""
    seq = max(seq, seen["lowest"])
    for k in range(seen["spans"] - 1, -1, -1):
        if seen["first"][k] <= seq < seen["end"][k]:
            return int(seen["end"][k])
    return seq


@njit(cache=True)
def _add(seen: np.void, seq: int) -> bool:
    """Add seq to the intervals; return whether it was in one."""
    k = seen["spans"] - 1
    while k >= 0 and seq < seen["first"][k]:
        k -= 1
    if k >= 0 and seq < seen["end"][k]:
        return True
    joins_below = k >= 0 and seq == seen["end"][k]
    joins_above = k + 1 < seen["spans"] and seq + 1 == seen["first"][k + 1]
    if joins_below:
        seen["end"][k] = seen["end"][k + 1] if joins_above else seq + 1
        if joins_above:
            _drop_span(seen, k + 1)
    elif joins_above:
        seen["first"][k + 1] = seq
    else:
        _insert_span(seen, k + 1, seq)
    return False


@njit(cache=True)
def _drop_span(seen: np.void, k: int) -> None:
    seen["spans"] -= 1
    for j in range(k, seen["spans"]):
        seen["first"][j] = seen["first"][j + 1]
        seen["end"][j] = seen["end"][j + 1]


@njit(cache=True)
def _insert_span(seen: np.void, k: int, seq: int) -> None:
    """Insert the interval of seq alone at place k; where there is no room, the lowest one is forgotten."""
    full = seen["spans"] == SPANS
    if full and k == 0:
        seen["lowest"] = seen["first"][0]
        return
    if full:
        _drop_span(seen, 0)
        k -= 1
    for j in range(seen["spans"], k, -1):
        seen["first"][j] = seen["first"][j - 1]
        seen["end"][j] = seen["end"][j - 1]
    seen["first"][k] = seq
    seen["end"][k] = seq + 1
    seen["spans"] += 1
    if full:
        seen["lowest"] = seen["first"][0]
