"""A sparse grid over the earth: which fences a cell lies in wholly (FULL) or meets the boundary of (PARTIAL).

Cells are squares of 256 * 4^level microdegrees (28 m of latitude, 114 m, 455 m, ...). A fence stands at one level, the
finest at which its bounding box has at most BOX_CELLS cells; only cells that it meets are stored, in a hash table with
open addressing. So a fence may lie anywhere, be 28 m or 1,000 km wide, and a place is answered by one probe a level.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.boundary import Edges, holds
from geo.jit import kernel

FINEST_BITS: Final = 8
"""log2 of the finest cell in microdegrees: 28 m, the width of the narrowest street fences."""
LEVEL_BITS: Final = 2
LEVELS: Final = 11
"""At the coarsest level one cell is wider than the earth."""
BOX_CELLS: Final = 16_384
"""Cells of a fence's bounding box at its level: 3.6 km square at the finest."""
SLACK: Final = 1.0
"""Microdegrees by which an edge is thickened when cells are marked, so that rounding never leaves one out."""

SOUTH: Final = 90_000_000
WEST: Final = 180_000_000
EMPTY: Final = -1
PARTIAL: Final = 0
FULL: Final = 1

SLOT: Final = np.dtype([("cell", "<i8"), ("first", "<i4"), ("last", "<i4")])
"""A slot of the table: the cell (EMPTY if none) and where its entries stand."""


class Raster(NamedTuple):
    """The table (dtype SLOT, a power of two long), entries = 2 * fence + FULL or PARTIAL, and the levels in use."""

    slots: NDArray[np.void]
    entries: NDArray[np.int32]
    levels: NDArray[np.int64]


@kernel
def row_of(lat: float, bits: int) -> int:
    """Return the row of a latitude in microdegrees among cells of 2^bits."""
    return (math.floor(lat) + SOUTH) >> bits


@kernel
def column_of(lon: float, bits: int) -> int:
    """Return the column of a longitude in microdegrees among cells of 2^bits."""
    return (math.floor(lon) + WEST) >> bits


@kernel
def cell_at(bits: int, row: int, column: int) -> int:
    """Return the number of a cell, unique over all levels."""
    return (bits << 56) | (row << 28) | column


@kernel
def columns_in_row(lat: float, lon: float, to_lat: float, to_lon: float, row: int, bits: int) -> tuple[int, int]:
    """Return the first and last column that a straight line touches within a row it passes, SLACK included."""
    south = np.float64((row << bits) - SOUTH) - SLACK
    north = np.float64(((row + 1) << bits) - SOUTH) + SLACK
    a, b = lon, to_lon
    if lat != to_lat:
        slope = (to_lon - lon) / (to_lat - lat)
        low, high = max(min(lat, to_lat), south), min(max(lat, to_lat), north)
        a, b = lon + (low - lat) * slope, lon + (high - lat) * slope
    return column_of(min(a, b) - SLACK, bits), column_of(max(a, b) + SLACK, bits)


@kernel
def slot_of(slots: NDArray[np.void], cell: int) -> int:
    """Return the slot that holds the cell, or the empty one in which it would stand."""
    mask = np.uint64(len(slots) - 1)
    mixed = np.uint64(cell) * np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing (Knuth, TAOCP 3, 6.4)
    at = np.int64((mixed ^ (mixed >> np.uint64(32))) & mask)
    while slots[at].cell != EMPTY and slots[at].cell != cell:
        at = np.int64(np.uint64(at + 1) & mask)
    return int(at)


@kernel
def _mark(edges: Edges, bits: int, box: NDArray[np.int8], top: int, left: int) -> None:
    """Mark in `box` the cells that edges touch as PARTIAL, the others inside as FULL; those outside stay EMPTY."""
    rows, columns = box.shape
    for e in range(len(edges)):
        lat, lon, to_lat, to_lon = edges[e, 0], edges[e, 1], edges[e, 2], edges[e, 3]
        low, high = row_of(min(lat, to_lat) - SLACK, bits), row_of(max(lat, to_lat) + SLACK, bits)
        for row in range(max(low, top), min(high, top + rows - 1) + 1):
            first, last = columns_in_row(lat, lon, to_lat, to_lon, row, bits)
            for column in range(max(first, left), min(last, left + columns - 1) + 1):
                box[row - top, column - left] = PARTIAL
    half = (1 << bits) // 2
    for i in range(rows):
        known, inside = False, False
        for j in range(columns):
            if box[i, j] == PARTIAL:
                known = False
                continue
            if not known:  # no edge between here and the next marked cell: one answer for the run
                lat, lon = ((top + i) << bits) - SOUTH + half, ((left + j) << bits) - WEST + half
                inside = holds(edges, 0, len(edges), lat, lon)
                known = True
            if inside:
                box[i, j] = FULL


def cover(edges: Edges) -> tuple[int, NDArray[np.int64], NDArray[np.int32]]:
    """Return a fence's level as bits, the cells it meets, int64[k], and for each FULL or PARTIAL, int32[k]."""
    low, high = edges.reshape(-1, 2).min(axis=0) - SLACK, edges.reshape(-1, 2).max(axis=0) + SLACK
    for level in range(LEVELS):
        bits = FINEST_BITS + LEVEL_BITS * level
        top, left = row_of(low[0], bits), column_of(low[1], bits)
        shape = row_of(high[0], bits) - top + 1, column_of(high[1], bits) - left + 1
        if shape[0] * shape[1] <= BOX_CELLS:
            break
    box = np.full(shape, EMPTY, np.int8)
    _mark(edges, bits, box, top, left)
    rows, columns = np.nonzero(box != EMPTY)
    cells = (np.int64(bits) << 56) | ((rows + top) << 28) | (columns + left)
    return bits, cells, box[rows, columns].astype(np.int32)


def rasterise(fences: Sequence[Edges]) -> Raster:
    """Cover every fence and gather the cells in one table; entries of a cell stand in the order of the fences."""
    covers = [cover(edges) for edges in fences]
    if not covers:
        return Raster(np.array([(EMPTY, 0, 0)], SLOT), np.zeros(0, np.int32), np.zeros(0, np.int64))
    cells = np.concatenate([found for _, found, _ in covers])
    entries = np.concatenate([2 * np.int32(i) + state for i, (_, _, state) in enumerate(covers)])
    order = np.argsort(cells, kind="stable")
    distinct, first = np.unique(cells[order], return_index=True)
    slots = np.full(1 << int(2 * len(distinct)).bit_length(), np.array((EMPTY, 0, 0), SLOT), SLOT)
    _place(slots, distinct, np.append(first, len(cells)))
    return Raster(slots, entries[order], np.unique(np.array([bits for bits, _, _ in covers], np.int64)))


@kernel
def _place(slots: NDArray[np.void], cells: NDArray[np.int64], bounds: NDArray[np.int64]) -> None:
    for i in range(len(cells)):
        at = slot_of(slots, cells[i])
        slots[at].cell = cells[i]
        slots[at].first = bounds[i]
        slots[at].last = bounds[i + 1]
