"""Which fence versions hold a place at a time: the raster answers, an exact test only in cells that a boundary meets.

The index is a value: built from all versions at once, read by kernels, never changed. Versions stand in order of the
fence's key and then of time, so that a fence's history is one run of rows.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.boundary import Edges, holds
from geo.fences import FenceVersion
from geo.fix import MICRODEGREES, NULL_DEGREES
from geo.jit import inlined, kernel
from geo.raster import FULL, Raster, cell_at, column_of, rasterise, row_of, slot_of

NO_VERSION: Final = -1
NO_ZONE: Final = 2**31 - 1

VERSION: Final = np.dtype(
    [
        ("fence", "<i8"),  # the fence's key
        ("valid_from", "<i8"),  # ms UTC, half-open
        ("valid_to", "<i8"),
        ("dwell_ms", "<i8"),
        ("first_edge", "<i4"),
        ("last_edge", "<i4"),
        ("zone_rank", "<i4"),  # 0 is the smallest zone, NO_ZONE for an area
        ("number", "<i4"),  # 1, 2, ... within the fence
    ]
)
"""One version of a fence, 48 bytes."""


class FenceColumns(NamedTuple):
    """What kernels read: versions (dtype VERSION), edges float64[m, 4] in microdegrees, and their raster."""

    versions: NDArray[np.void]
    edges: Edges
    raster: Raster


@dataclass(frozen=True)
class FenceIndex:
    """Fence versions and their columns; `versions[i]` is what row i of the columns describes."""

    versions: tuple[FenceVersion, ...]
    columns: FenceColumns


def fence_key(fence_id: str) -> int:
    """Return the fence's 64-bit key, the same in every process and version of ParkPal."""
    return int.from_bytes(hashlib.blake2b(fence_id.encode(), digest_size=8).digest(), "little", signed=True)


def build_index(versions: Sequence[FenceVersion]) -> FenceIndex:
    """Index every version of every fence.

    Raises ValueError if versions of a fence overlap in time, or two fence_ids share a key (1 in 10^11 at 10k fences).
    """
    ordered = tuple(sorted(versions, key=lambda version: (fence_key(version.fence_id), version.valid_from)))
    for earlier, later in pairwise(ordered):
        if fence_key(earlier.fence_id) == fence_key(later.fence_id):
            if earlier.fence_id != later.fence_id:
                raise ValueError(f"fences {earlier.fence_id!r} and {later.fence_id!r} have one key: rename one")
            if earlier.valid_to > later.valid_from:
                raise ValueError(f"fence {later.fence_id!r}: versions overlap at {later.valid_from}")
    fences = [_edges(version) for version in ordered]
    bounds = np.cumsum([0, *map(len, fences)])
    rows = np.zeros(len(ordered), VERSION)
    ranks = _zone_ranks(ordered)
    for i, version in enumerate(ordered):
        key, dwell_ms = fence_key(version.fence_id), round(version.dwell_s * 1000)
        times = (version.valid_from, version.valid_to)
        rows[i] = (key, *times, dwell_ms, bounds[i], bounds[i + 1], ranks[i], version.version)
    edges = np.concatenate([np.zeros((0, 4)), *fences])
    return FenceIndex(ordered, FenceColumns(rows, edges, rasterise(fences)))


def _edges(version: FenceVersion) -> Edges:
    rings = [np.array(ring) * MICRODEGREES for polygon in version.polygons for ring in polygon]
    return np.concatenate([np.hstack([ring[:-1], ring[1:]]) for ring in rings])


def _zone_ranks(versions: Sequence[FenceVersion]) -> list[int]:
    """Rank zones from small to large, ties by fence_id; areas get NO_ZONE."""
    keys = [(_area(version), version.fence_id, version.version) for version in versions]
    zones = sorted((i for i, version in enumerate(versions) if version.kind == "zone"), key=keys.__getitem__)
    ranks = [NO_ZONE] * len(versions)
    for rank, i in enumerate(zones):
        ranks[i] = rank
    return ranks


def _area(version: FenceVersion) -> float:
    """Return the share of the sphere that the version covers, up to a constant factor."""
    total = 0.0
    for shell, *holes in version.polygons:
        total += _ring_area(shell) - math.fsum(map(_ring_area, holes))
    return total


def _ring_area(ring: tuple[tuple[float, float], ...]) -> float:
    sides = (
        math.radians(lon_b - lon_a) * (math.sin(math.radians(lat_a)) + math.sin(math.radians(lat_b)))
        for (lat_a, lon_a), (lat_b, lon_b) in pairwise(ring)
    )
    return abs(math.fsum(sides))


def locate(
    index: FenceIndex, lat: NDArray[np.int32], lon: NDArray[np.int32], event_time: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return which versions hold each place at its time: offsets int64[n + 1] into rows of `index.versions` int32.

    lat, lon: microdegrees (null rows are held by nothing); event_time: ms UTC; shape (n,) each.
    """
    columns = _columns(lat, lon, event_time)
    offsets = np.zeros(len(lat) + 1, np.int64)
    found = np.zeros(2 * len(lat) + len(index.versions), np.int32)
    done = 0
    while (done := _locate(index.columns, *columns, done, offsets, found)) < len(lat):
        found = np.concatenate([found, np.zeros_like(found)])
    return offsets, found[: offsets[-1]]


def zone_of(
    index: FenceIndex, lat: NDArray[np.int32], lon: NDArray[np.int32], event_time: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return the row of the smallest zone that holds each place at its time, ties by fence_id; NO_VERSION if none."""
    columns = _columns(lat, lon, event_time)
    zones = np.full(len(lat), NO_VERSION, np.int32)
    _zone_of(index.columns, *columns, np.zeros(len(index.versions), np.int32), zones)
    return zones


def _columns(
    lat: NDArray[np.int32], lon: NDArray[np.int32], event_time: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Return copies: kernels are compiled anew for arrays that are strided or may not be written."""
    if not len(lat) == len(lon) == len(event_time):
        raise ValueError("lat, lon and event_time differ in length")
    return np.array(lat, np.int32), np.array(lon, np.int32), np.array(event_time, np.int64)


@inlined
def holding(fences: FenceColumns, lat: int, lon: int, event_time: int, held: NDArray[np.int32], start: int) -> int:
    """Write the versions that hold the place from `held[start]` on; return where they end.

    `held` has room for every version beyond `start`.
    """
    end = start
    slots, entries, versions = fences.raster.slots, fences.raster.entries, fences.versions
    for bits in fences.raster.levels:
        slot = slots[slot_of(slots, cell_at(bits, row_of(lat, bits), column_of(lon, bits)))]
        for i in range(slot.first, slot.last):
            version = entries[i] >> 1
            row = versions[version]
            if row.valid_from <= event_time < row.valid_to and (
                entries[i] & 1 == FULL or holds(fences.edges, row.first_edge, row.last_edge, lat, lon)
            ):
                held[end] = version
                end += 1
    return end


@kernel
def _locate(
    fences: FenceColumns,
    lat: NDArray[np.int32],
    lon: NDArray[np.int32],
    event_time: NDArray[np.int64],
    start: int,
    offsets: NDArray[np.int64],
    found: NDArray[np.int32],
) -> int:
    """Go on from row `start`; return the row that `found` had no room for, or n."""
    for i in range(start, len(lat)):
        if offsets[i] + len(fences.versions) > len(found):
            return i
        offsets[i + 1] = offsets[i]
        if lat[i] != NULL_DEGREES and lon[i] != NULL_DEGREES:
            offsets[i + 1] = holding(fences, lat[i], lon[i], event_time[i], found, offsets[i])
    return len(lat)


@kernel
def _zone_of(
    fences: FenceColumns,
    lat: NDArray[np.int32],
    lon: NDArray[np.int32],
    event_time: NDArray[np.int64],
    held: NDArray[np.int32],
    zones: NDArray[np.int32],
) -> None:
    for i in range(len(lat)):
        if lat[i] == NULL_DEGREES or lon[i] == NULL_DEGREES:
            continue
        best = NO_ZONE
        for at in range(holding(fences, lat[i], lon[i], event_time[i], held, 0)):
            rank = fences.versions[held[at]].zone_rank
            if rank < best:
                best = rank
                zones[i] = held[at]


@kernel
def version_at(fences: FenceColumns, fence: int, event_time: int) -> int:
    """Return the version of a fence in force at a time, NO_VERSION if there is none (or no such fence)."""
    versions = fences.versions
    low, high = 0, len(versions)
    while low < high:  # the last version with (fence, valid_from) at or before (fence, event_time)
        middle = (low + high) // 2
        row = versions[middle]
        if row.fence < fence or (row.fence == fence and row.valid_from <= event_time):
            low = middle + 1
        else:
            high = middle
    if low == 0 or versions[low - 1].fence != fence or versions[low - 1].valid_to <= event_time:
        return NO_VERSION
    return low - 1


@kernel
def unbroken(fences: FenceColumns, version: int, since: int) -> bool:
    """Return whether the fence was in force without a break from `since` until this version began."""
    versions = fences.versions
    while versions[version].valid_from > since:
        row = versions[version]
        version -= 1
        if version < 0 or versions[version].fence != row.fence or versions[version].valid_to != row.valid_from:
            return False
    return True
