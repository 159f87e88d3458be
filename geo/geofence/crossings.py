"""Fences that a step passes through without a fix inside: found along the cells of the step."""

from geo.boundary import NO_CUT, distance_m, holds, longest_chord, next_cut
from geo.fence_index import FenceColumns
from geo.geofence.motion import probability
from geo.geofence.records import NONE, Fixes, Records, Scratch, Store, pair_of
from geo.geofence.rules import CROSS, CROSS_SIGMAS, CROSS_SPAN
from geo.geofence.visits import emit
from geo.jit import kernel
from geo.raster import cell_at, columns_in_row, row_of, slot_of


@kernel
def crossings(
    fences: FenceColumns, store: Store, fixes: Fixes, row: int, sigma: float, n_held: int, scratch: Scratch
) -> int:
    """Collect in `crossed` the versions that the step to this fix passes through, both its ends outside.

    `held` has the versions that hold this fix. Returns how many were found.
    """
    slot, time = fixes.device[row], fixes.event_time[row]
    device = store.devices[slot]
    lat, lon, to_lat, to_lon = device.last_lat, device.last_lon, fixes.lat[row], fixes.lon[row]
    count = 0
    if abs(to_lon - lon) > CROSS_SPAN:
        return count
    for i in range(n_held):
        scratch.seen[scratch.held[i]] = row
    for bits in fences.raster.levels:
        low, high = row_of(min(lat, to_lat), bits), row_of(max(lat, to_lat), bits)
        for cell_row in range(low, high + 1):
            first, last = columns_in_row(lat, lon, to_lat, to_lon, cell_row, bits)
            for column in range(first, last + 1):
                slot_record = fences.raster.slots[slot_of(fences.raster.slots, cell_at(bits, cell_row, column))]
                for i in range(slot_record.first, slot_record.last):
                    version = fences.raster.entries[i] >> 1
                    if scratch.seen[version] == row:
                        continue
                    scratch.seen[version] = row
                    if is_crossed(fences, store, slot, version, time, to_lat, to_lon, sigma):
                        scratch.crossed[count] = version
                        count += 1
    return count


@kernel
def is_crossed(
    fences: FenceColumns, store: Store, slot: int, version: int, time: int, lat: int, lon: int, sigma: float
) -> bool:
    """Return whether the step to this place passes through the version, deep enough to be no trick of noise."""
    device, fence = store.devices[slot], fences.versions[version]
    first, last = fence.first_edge, fence.last_edge
    if fence.valid_from > device.last_time or time >= fence.valid_to or pair_of(store, slot, fence.fence) != NONE:
        return False
    from_lat, from_lon = float(device.last_lat), float(device.last_lon)
    if next_cut(fences.edges, first, last, from_lat, from_lon, lat, lon, -1.0) == NO_CUT:
        return False
    if holds(fences.edges, first, last, from_lat, from_lon):
        return False
    begin, end = longest_chord(fences.edges, first, last, from_lat, from_lon, lat, lon)
    if begin == NO_CUT:
        return False
    middle = (begin + end) / 2
    middle_lat = from_lat + middle * (lat - from_lat)
    middle_lon = from_lon + middle * (lon - from_lon)
    return distance_m(fences.edges, first, last, middle_lat, middle_lon) >= CROSS_SIGMAS * sigma


@kernel
def cross(
    fences: FenceColumns, store: Store, version: int, fixes: Fixes, row: int, sigma: float, out: Records, n: int
) -> int:
    """Emit a CROSS at the middle of the longest piece of the step inside."""
    device, fence = store.devices[fixes.device[row]], fences.versions[version]
    first, last = fence.first_edge, fence.last_edge
    lat, lon = float(device.last_lat), float(device.last_lon)
    to_lat, to_lon = fixes.lat[row], fixes.lon[row]
    begin, end = longest_chord(fences.edges, first, last, lat, lon, to_lat, to_lon)
    middle = (begin + end) / 2
    deep = distance_m(fences.edges, first, last, lat + middle * (to_lat - lat), lon + middle * (to_lon - lon))
    time = device.last_time + round(middle * (fixes.event_time[row] - device.last_time))
    at_lat, at_lon = round(lat + middle * (to_lat - lat)), round(lon + middle * (to_lon - lon))
    return emit(out, n, row, version, CROSS, time, at_lat, at_lon, probability(deep / sigma))
