"""A device at a fence: when doubt ends, and what an ENTER, a DWELL and an EXIT say."""

import math

import numpy as np
from numpy.typing import NDArray

from geo.boundary import NO_CUT, distance_m, last_cut, next_cut
from geo.fence_index import NO_VERSION, FenceColumns, unbroken, version_at
from geo.fix import NULL_TIME
from geo.geofence.motion import probability, reset
from geo.geofence.records import INSIDE, NONE, OUTSIDE, Fixes, Records, Store, new_pair, pair_of, release
from geo.geofence.rules import (
    DWELL,
    ENTER,
    ENTER_MS,
    ENTER_SIGMAS,
    EXIT,
    EXIT_INFERRED,
    EXIT_MS,
    EXIT_SIGMAS,
    MOVING_SIDE_SIGMAS,
)
from geo.jit import inlined, kernel


@kernel
def emit(
    out: Records, n: int, row: int, version: int, kind: int, time: int, lat: int, lon: int, confidence: float
) -> int:
    """Write an event and return the new number of events; a version no longer known writes none."""
    if version == NO_VERSION:
        return n
    event = out[n]
    event.row, event.version, event.kind, event.event_time = row, version, kind, time
    event.lat, event.lon, event.confidence, event.dwell_s = lat, lon, confidence, math.nan
    return n + 1


@kernel
def emit_dwell(
    fences: FenceColumns, store: Store, pair: int, out: Records, n: int, row: int, seen: int, lat: int, lon: int
) -> int:
    """Emit the visit's DWELL if it is due at `seen`, the latest time at which the device is known to be inside."""
    record = store.pairs[pair]
    due = record.dwell_due
    if due == NULL_TIME or seen < due:
        return n
    record.dwell_due = NULL_TIME
    after = emit(out, n, row, version_at(fences, record.fence, due), DWELL, due, lat, lon, record.confidence)
    if after > n:
        out[n].dwell_s = (due - record.entered) / 1000
    return after


@kernel
def emit_exit(
    fences: FenceColumns, store: Store, pair: int, out: Records, n: int, row: int, kind: int, confidence: float
) -> int:
    """Emit the DWELL that the visit still owes, and its end at the cut."""
    record = store.pairs[pair]
    time, lat, lon = record.cut_time, record.cut_lat, record.cut_lon
    n = emit_dwell(fences, store, pair, out, n, row, time, lat, lon)
    after = emit(out, n, row, version_at(fences, record.fence, time), kind, time, lat, lon, confidence)
    if after > n:
        out[n].dwell_s = (time - record.entered) / 1000
    return after


@kernel
def close(fences: FenceColumns, store: Store, slot: int, out: Records, n: int, row: int) -> int:
    """End every visit of a device that fell silent at the last evidence of being inside; make it UNKNOWN."""
    device = store.devices[slot]
    while device.first_pair != NONE:
        record = store.pairs[device.first_pair]
        if record.side == INSIDE:
            if record.cut_time == NULL_TIME:
                record.cut_time, record.cut_lat, record.cut_lon = device.last_time, device.last_lat, device.last_lon
            n = emit_exit(fences, store, device.first_pair, out, n, row, EXIT_INFERRED, 0.5)
        release(store, slot, NONE, device.first_pair)
    reset(store.devices, slot)
    return n


@kernel
def set_cut(
    fences: FenceColumns, store: Store, pair: int, version: int, event_time: int, lat: int, lon: int, entering: bool
) -> None:
    """Note where the step from the last fix to this one leaves the pair's side; at this fix if it cuts nothing."""
    row, record = fences.versions[version], store.pairs[pair]
    device = store.devices[record.device]
    from_lat, from_lon = float(device.last_lat), float(device.last_lon)
    if entering:
        share = last_cut(fences.edges, row.first_edge, row.last_edge, from_lat, from_lon, lat, lon)
    else:
        share = next_cut(fences.edges, row.first_edge, row.last_edge, from_lat, from_lon, lat, lon, -1.0)
    if share == NO_CUT:
        share = 1.0
    time = device.last_time + round(share * (event_time - device.last_time))
    record.cut_time = max(time, row.valid_from)
    record.cut_lat = round(from_lat + share * (lat - from_lat))
    record.cut_lon = round(from_lon + share * (lon - from_lon))


@kernel
def decided(store: Store, pair: int, event_time: int, sigmas: float, moving: bool) -> bool:
    """Return whether this fix, `sigmas` beyond the boundary on the other side, ends the doubt."""
    record = store.pairs[pair]
    if moving and sigmas >= MOVING_SIDE_SIGMAS:
        return True
    needed, span = (EXIT_SIGMAS, EXIT_MS) if record.side == INSIDE else (ENTER_SIGMAS, ENTER_MS)
    if sigmas < needed:
        record.evidence_since = NULL_TIME
        return False
    if record.evidence_since == NULL_TIME:
        record.evidence_since = event_time
    return event_time - record.evidence_since >= span


@kernel
def enter(
    fences: FenceColumns,
    store: Store,
    pair: int,
    version: int,
    out: Records,
    n: int,
    row: int,
    fixes: Fixes,
    confidence: float,
) -> int:
    """Emit the ENTER at the cut, and the DWELL if this fix proves it already."""
    record = store.pairs[pair]
    began = version_at(fences, record.fence, record.cut_time)
    n = emit(out, n, row, began, ENTER, record.cut_time, record.cut_lat, record.cut_lon, confidence)
    record.side, record.entered, record.confidence = INSIDE, record.cut_time, confidence
    record.dwell_due = record.entered + fences.versions[version].dwell_ms
    record.cut_time, record.evidence_since = NULL_TIME, NULL_TIME
    return emit_dwell(fences, store, pair, out, n, row, fixes.event_time[row], fixes.lat[row], fixes.lon[row])


@inlined
def visit_held(
    fences: FenceColumns,
    store: Store,
    version: int,
    fixes: Fixes,
    row: int,
    sigma: float,
    moving: bool,
    known: bool,
    out: Records,
    n: int,
) -> int:
    """Take a fix that lies inside a version of a fence."""
    slot, time, lat, lon = fixes.device[row], fixes.event_time[row], fixes.lat[row], fixes.lon[row]
    fence = fences.versions[version]
    pair = pair_of(store, slot, fence.fence)
    if pair != NONE and store.pairs[pair].side == INSIDE:
        store.pairs[pair].cut_time, store.pairs[pair].evidence_since = NULL_TIME, NULL_TIME
        return emit_dwell(fences, store, pair, out, n, row, time, lat, lon)
    if pair == NONE:
        pair = new_pair(store, slot, fence.fence)
        record = store.pairs[pair]
        record.cut_time, record.cut_lat, record.cut_lon = time, lat, lon
        if known:
            set_cut(fences, store, pair, version, time, lat, lon, True)
    sigmas = distance_m(fences.edges, fence.first_edge, fence.last_edge, lat, lon) / sigma
    if not known or decided(store, pair, time, sigmas, moving):
        return enter(fences, store, pair, version, out, n, row, fixes, probability(sigmas))
    return n


@kernel
def visit_left(
    fences: FenceColumns,
    store: Store,
    slot: int,
    before: int,
    pair: int,
    version: int,
    fixes: Fixes,
    row: int,
    sigma: float,
    moving: bool,
    out: Records,
    n: int,
) -> int:
    """Take a fix that lies outside the version of a fence that the device is held to be inside of."""
    time, lat, lon = fixes.event_time[row], fixes.lat[row], fixes.lon[row]
    if store.pairs[pair].cut_time == NULL_TIME:
        set_cut(fences, store, pair, version, time, lat, lon, False)
    fence = fences.versions[version]
    sigmas = distance_m(fences.edges, fence.first_edge, fence.last_edge, lat, lon) / sigma
    if decided(store, pair, time, sigmas, moving):
        n = emit_exit(fences, store, pair, out, n, row, EXIT, probability(sigmas))
        release(store, slot, before, pair)
    return n


@inlined
def leave(
    fences: FenceColumns,
    store: Store,
    held: NDArray[np.int32],
    n_held: int,
    fixes: Fixes,
    row: int,
    sigma: float,
    moving: bool,
    out: Records,
    n: int,
) -> int:
    """Go through the device's pairs whose fence does not hold this fix; forget those whose fence is no more."""
    slot, time = fixes.device[row], fixes.event_time[row]
    before, pair = NONE, store.devices[slot].first_pair
    while pair != NONE:
        following = store.pairs[pair].next
        fence = store.pairs[pair].fence
        inside = False
        version = NO_VERSION
        for i in range(n_held):
            if fences.versions[held[i]].fence == fence:
                inside, version = True, held[i]
        if not inside:
            version = version_at(fences, fence, time)
        if version == NO_VERSION or not unbroken(fences, version, store.devices[slot].last_time):
            release(store, slot, before, pair)
        elif inside:
            before = pair
        elif store.pairs[pair].side == OUTSIDE:
            release(store, slot, before, pair)
        else:
            had = store.free[1]
            n = visit_left(fences, store, slot, before, pair, version, fixes, row, sigma, moving, out, n)
            if store.free[1] == had:
                before = pair
        pair = following
    return n
