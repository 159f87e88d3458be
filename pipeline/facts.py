"""Columns of the flow to rows of the lake's tables."""

from collections.abc import Sequence
from hashlib import md5
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geo import cells, trips
from geo.fence_index import NO_VERSION, FenceIndex, fence_key, zone_of
from geo.fix import ACTIVITIES, NULL_CODE, NULL_DEGREES, NULL_TIME, FixArray
from geo.geofence import DETECTOR, KINDS
from geo.order import Verdict
from pipeline.batch import MAX_KEPT_BYTES, Malformed
from pipeline.batch.rows import events_to_json
from pipeline.lake import tables
from pipeline.lake.tables import degrees, enum, floats, integers, times
from pipeline.network import METHODS, Roads, detector, measure_excess
from pipeline.rows import Rows

_DETAIL_OF: Final = {
    Verdict.AHEAD_OF_TIME: "event_time: more than 2 min after receive_time",
    Verdict.TOO_OLD: "event_time: more than 24 h before receive_time, or seq: below what is remembered",
    Verdict.DUPLICATE: "seq: came before with the same content",
    Verdict.SEQ_CONFLICT: "seq: came before with other content",
}
_DETAILS: Final = [_DETAIL_OF.get(verdict, "") for verdict in Verdict]
NO_ZONE: Final = np.iinfo(np.int64).min
PARK_KINDS: Final = ("park_start", "park_end")
"""Kinds of `park_events`, in the order of the trip machine's."""
_REASON_CODES: Final = np.array(
    [tables.REASONS.index(verdict.name.lower()) if verdict in _DETAIL_OF else -1 for verdict in Verdict], np.int8
)


def positions(
    rows: FixArray, device_id: pa.Array, verdict: NDArray[np.int8], kept: NDArray[np.bool_]
) -> pa.RecordBatch:
    """Return the kept rows for `positions`; device_id, verdict and kept are (n,) beside rows."""
    if not kept.all():
        rows, verdict, device_id = rows[kept], verdict[kept], device_id.filter(pa.array(kept))
    cell = cells.locate(np.ascontiguousarray(rows["lat"]), np.ascontiguousarray(rows["lon"]))
    return pa.RecordBatch.from_arrays(
        [
            device_id,
            times(rows["event_time"], NULL_TIME),
            times(rows["device_time"], NULL_TIME),
            times(rows["receive_time"], NULL_TIME),
            integers(rows["seq"], NULL_TIME),
            degrees(rows["lat"], NULL_DEGREES),
            degrees(rows["lon"], NULL_DEGREES),
            *(floats(rows[name]) for name in ("accuracy_m", "speed_mps", "heading_deg")),
            enum(rows["activity"], ACTIVITIES),
            integers(rows["activity_confidence"], NULL_CODE),
            integers(cell, cells.NULL_CELL),
            pa.array(verdict == Verdict.LATE),
        ],
        schema=tables.POSITIONS.schema,
    )


def refused(batch: Rows, verdict: NDArray[np.int8], which: NDArray[np.bool_]) -> pa.RecordBatch:
    """Return the rows of `batch` that are no facts, with what was found, for `rejected`."""
    rows, found = batch.rows[which], verdict[which]
    device_ids = [batch.device_ids[i].decode() for i in batch.device[which].tolist()]
    payloads = events_to_json(rows, device_ids)
    return pa.RecordBatch.from_arrays(
        [
            times(rows["receive_time"], NULL_TIME),
            enum(_REASON_CODES[found], tables.REASONS),
            pa.array(_DETAILS, pa.string()).take(pa.array(found)),
            pa.array(device_ids, pa.string()),
            *_source("positions", batch.partition, len(rows)),
            pa.array(batch.offset[which]),
            pa.array(batch.row[which]),
            pa.array(payloads, pa.binary()),
            pa.array([len(payload) for payload in payloads], pa.int64()),
        ],
        schema=tables.REJECTED.schema,
    )


def rejected(stream: str, partition: int, rejects: Sequence[Malformed]) -> pa.RecordBatch:
    """Return rows that were set apart, of one partition of a stream, for `rejected`."""
    codes = [tables.REASONS.index(reject.reason) for reject in rejects]
    return pa.RecordBatch.from_arrays(
        [
            times(np.array([reject.receive_time for reject in rejects], np.int64), NULL_TIME),
            enum(np.array(codes, np.int8), tables.REASONS),
            pa.array([reject.detail for reject in rejects], pa.string()),
            pa.array([reject.device_id for reject in rejects], pa.string()),
            *_source(stream, partition, len(rejects)),
            pa.array([reject.offset for reject in rejects], pa.int64()),
            pa.array([reject.row for reject in rejects], pa.int32()),
            pa.array([reject.payload[:MAX_KEPT_BYTES] for reject in rejects], pa.binary()),
            pa.array([reject.payload_bytes for reject in rejects], pa.int64()),
        ],
        schema=tables.REJECTED.schema,
    )


def _source(stream: str, partition: int, n: int) -> tuple[pa.Array, pa.Array]:
    """Return source_stream and source_partition of n rows."""
    codes = np.full(n, tables.STREAMS.index(stream), np.int8)
    return enum(codes, tables.STREAMS), pa.array(np.full(n, partition, np.int32))


def geofence_events(
    events: NDArray[np.void], device: NDArray[np.int32], device_ids: Sequence[bytes], index: FenceIndex
) -> pa.RecordBatch:
    """Return events of dtype EVENT, (n,), for `geofence_events`; `device`, (n,), is their place in `device_ids`."""
    used, which = np.unique(device, return_inverse=True)
    devices = [device_ids[i].decode() for i in used.tolist()]
    rows, version = np.unique(events["version"], return_inverse=True)
    versions = [index.versions[row] for row in rows.tolist()]
    lat, lon = np.ascontiguousarray(events["lat"]), np.ascontiguousarray(events["lon"])
    ids = [
        event_id(devices[d], versions[v].fence_id, versions[v].version, KINDS[kind], at)
        for d, v, kind, at in zip(
            which.tolist(), version.tolist(), events["kind"].tolist(), events["event_time"].tolist(), strict=True
        )
    ]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(ids, pa.string()),
            pa.array(devices, pa.string()).take(pa.array(which)),
            pa.array([of.fence_id for of in versions], pa.string()).take(pa.array(version)),
            pa.array([of.version for of in versions], pa.int32()).take(pa.array(version)),
            enum(events["kind"].astype(np.int8), KINDS),
            times(events["event_time"], NULL_TIME),
            degrees(lat, NULL_DEGREES),
            degrees(lon, NULL_DEGREES),
            integers(cells.locate(lat, lon), cells.NULL_CELL),
            floats(events["confidence"]),
            floats(events["dwell_s"]),
            enum(np.zeros(len(events), np.int8), (DETECTOR,)),
        ],
        schema=tables.GEOFENCE_EVENTS.schema,
    )


def event_id(device_id: str, fence_id: str, version: int, kind: str, event_time: int) -> str:
    """Return the id of an event: a hash of what makes it that event, so that any consumer can drop a repeat.

    It is md5(concat_ws('|', device_id, fence_id, version, kind, event_time in ms)), which DuckDB computes as well.
    """
    return _digest(device_id, fence_id, version, kind, event_time)


def _digest(*parts: str | int) -> str:
    return md5("|".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def of_trips(
    events: NDArray[np.void],
    device: NDArray[np.int32],
    device_ids: Sequence[bytes],
    index: FenceIndex,
    entered: NDArray[np.int64],
    roads: Roads | None = None,
) -> list[tuple[str, pa.RecordBatch]]:
    """Return what the trip machine decided, dtype geo.trips.EVENT, (n,), by table; `device` is as above.

    entered: when each trip last entered the zone in which it ended, by the device's clock, NULL_TIME if it did not.
    Where that clock was wrong, times are put right here.
    """
    out = []
    kind = events["kind"]
    parks, ended, hints = kind < trips.TRIP, kind == trips.TRIP, kind > trips.TRIP
    searched = ended & (events["search_start"] < events["event_time"])
    if parks.any():
        out.append(("park_events", _park_events(events[parks], device[parks], device_ids, index)))
    if ended.any():
        out.append(("trips", _trips(events[ended], device[ended], device_ids, index)))
    if searched.any():
        rows = _circling_sessions(events[searched], device[searched], device_ids, index, entered[searched], roads)
        out.append(("circling_sessions", rows))
    if hints.any():
        out.append(("search_hints", _search_hints(events[hints], device[hints], device_ids, index)))
    return out


def zone_keys(
    index: FenceIndex, lat: NDArray[np.int32], lon: NDArray[np.int32], at: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the key of the smallest zone that holds each place at its time; NO_ZONE if none does."""
    rows = zone_of(index, lat, lon, at)
    keys = np.full(len(rows), NO_ZONE, np.int64)
    inside = rows != NO_VERSION
    keys[inside] = [fence_key(index.versions[i].fence_id) for i in rows[inside].tolist()]
    return keys


def _park_events(
    events: NDArray[np.void], device: NDArray[np.int32], device_ids: Sequence[bytes], index: FenceIndex
) -> pa.RecordBatch:
    at, devices = events["event_time"] + events["clock_ms"], _texts(device, device_ids)
    ids = [
        _digest(name, PARK_KINDS[kind], time)
        for name, kind, time in zip(devices, events["kind"].tolist(), at.tolist(), strict=True)
    ]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(ids, pa.string()),
            pa.array(devices, pa.string()),
            enum(events["kind"].astype(np.int8), PARK_KINDS),
            times(at, NULL_TIME),
            *_place(events),
            _zone(events, at, index),
            floats(events["confidence"]),
            enum(events["quality"].astype(np.int8), trips.QUALITIES),
            _detector(len(events)),
        ],
        schema=tables.PARK_EVENTS.schema,
    )


def _trips(
    events: NDArray[np.void], device: NDArray[np.int32], device_ids: Sequence[bytes], index: FenceIndex
) -> pa.RecordBatch:
    start, end = (events[name] + events["clock_ms"] for name in ("trip_start", "event_time"))
    devices = _texts(device, device_ids)
    return pa.RecordBatch.from_arrays(
        [
            _trip_ids(devices, start, events["ordinal"]),
            pa.array(devices, pa.string()),
            times(start, NULL_TIME),
            times(end, NULL_TIME),
            enum(events["outcome"].astype(np.int8), trips.OUTCOMES),
            floats((events["event_time"] - events["search_start"]) / 1000),
            floats(events["distance_m"]),
            _zone(events, end, index),
            *_place(events),
            floats(events["clock_ms"] / 1000),
            enum(events["quality"].astype(np.int8), trips.QUALITIES),
            _detector(len(events)),
        ],
        schema=tables.TRIPS.schema,
    )


def _circling_sessions(
    events: NDArray[np.void],
    device: NDArray[np.int32],
    device_ids: Sequence[bytes],
    index: FenceIndex,
    entered: NDArray[np.int64],
    roads: Roads | None,
) -> pa.RecordBatch:
    start, since, end = (events[name] + events["clock_ms"] for name in ("trip_start", "search_start", "event_time"))
    devices = _texts(device, device_ids)
    excess_m, method = measure_excess(events, roads)
    return pa.RecordBatch.from_arrays(
        [
            _trip_ids(devices, start, events["ordinal"]),
            pa.array(devices, pa.string()),
            times(start, NULL_TIME),
            times(since, NULL_TIME),
            times(end, NULL_TIME),
            floats((end - since) / 1000),
            enum(events["outcome"].astype(np.int8), trips.OUTCOMES),
            floats(events["search_m"]),
            _zone(events, end, index),
            floats(np.where(entered == NULL_TIME, np.nan, (events["event_time"] - entered) / 1000)),
            floats(excess_m),
            integers(events["loops"], -1),
            *_place(events),
            floats(events["confidence"]),
            enum(events["quality"].astype(np.int8), trips.QUALITIES),
            enum(method, METHODS),
            _detector(len(events), detector(roads)),
        ],
        schema=tables.CIRCLING_SESSIONS.schema,
    )


def _search_hints(
    events: NDArray[np.void], device: NDArray[np.int32], device_ids: Sequence[bytes], index: FenceIndex
) -> pa.RecordBatch:
    devices, raised = _texts(device, device_ids), np.ascontiguousarray(events["hint_time"])
    cleared = np.where(events["kind"] == trips.HINT_CLEARED, events["event_time"], NULL_TIME)
    ids = [_digest(name, "hint", time) for name, time in zip(devices, raised.tolist(), strict=True)]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(ids, pa.string()),
            pa.array(devices, pa.string()),
            times(raised, NULL_TIME),
            times(np.ascontiguousarray(events["search_start"]), NULL_TIME),
            *_place(events),
            _zone(events, events["event_time"], index),
            times(cleared, NULL_TIME),
        ],
        schema=tables.SEARCH_HINTS.schema,
    )


def _texts(device: NDArray[np.int32], device_ids: Sequence[bytes]) -> list[str]:
    return [device_ids[i].decode() for i in device.tolist()]


def _trip_ids(devices: list[str], start: NDArray[np.int64], ordinal: NDArray[np.int32]) -> pa.Array:
    """Return md5(concat_ws('|', device_id, 'trip', trip_start in ms, ordinal)), `ordinal` among the drive's rows."""
    of = zip(devices, start.tolist(), ordinal.tolist(), strict=True)
    return pa.array([_digest(name, "trip", time, which) for name, time, which in of])


def _place(events: NDArray[np.void]) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return lat, lon and h3_r9."""
    lat, lon = np.ascontiguousarray(events["lat"]), np.ascontiguousarray(events["lon"])
    found = integers(cells.locate(lat, lon), cells.NULL_CELL)
    return degrees(lat, NULL_DEGREES), degrees(lon, NULL_DEGREES), found


def _zone(events: NDArray[np.void], at: NDArray[np.int64], index: FenceIndex) -> pa.Array:
    rows = zone_of(index, events["lat"], events["lon"], at)
    return pa.array([None if i == NO_VERSION else index.versions[i].fence_id for i in rows.tolist()], pa.string())


def _detector(n: int, name: str = trips.DETECTOR) -> pa.Array:
    return enum(np.zeros(n, np.int8), (name,))
