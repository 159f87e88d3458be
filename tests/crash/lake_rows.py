"""What every device of the crash harness's world sends and what is decided of it, so that any read can be judged.

The rows of a device are numbered, so that a reader sees a prefix of them or, once its day may be dropped, none. A
prompt device has one event that the flow decided or, once its day is rebuilt, the events that the detectors decide.
"""

from datetime import date
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from geo.fence_index import build_index
from geo.fences import versions_from_geojson
from geo.fix import NULL_DEGREES, NULL_TIME
from geo.geofence import KINDS
from pipeline.lake.commit import Extent
from pipeline.lake.tables import GEOFENCE_EVENTS, degrees, enum, times
from pipeline.lake.writer import PartitionWriter
from tests.lake.build import NOON, positions, rejected

PARTS: Final = 3
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
FIRST: Final = date(2026, 3, 7)
MESSAGES_A_DAY: Final = 10
"""Of each sink partition."""
MESSAGE_ROWS: Final = 4
"""Two fixes of the day, one of the day before, one reject."""
ERASED_EVERY: Final = 4
"""On every so manieth day the prompt devices ask that their rows be erased."""
DECIDED_AT: Final = 5
"""The number of the day's message with which the flow decides its event of a prompt device."""
FLOW_KIND: Final = "cross"
REBUILT_ROWS: Final = 3
"""Entry, dwell and inferred exit of every device, for all stand in the fence."""
FENCES: Final = build_index(
    versions_from_geojson(
        """{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"fence_id": "square"},
        "geometry": {"type": "Polygon", "coordinates":
        [[[121.02, 14.55], [121.03, 14.55], [121.03, 14.56], [121.02, 14.56], [121.02, 14.55]]]}}]}"""
    )
)
_LAT, _LON = 14_554_729, 121_024_445


class Device(NamedTuple):
    """A device of the world: whose rows come as they happen, or a day late."""

    part: int
    day: int
    late: bool

    @property
    def id(self) -> str:
        return f"{self.part}.{self.day}.{'late' if self.late else 'prompt'}"

    @classmethod
    def parse(cls, text: str) -> "Device":
        part, day, kind = text.split(".")
        return cls(int(part), int(day), kind == "late")

    def is_erased(self, until: int) -> bool:
        """Whether it is one of those to be erased, up to a day."""
        return not self.late and self.day % ERASED_EVERY == ERASED_EVERY - 1 and self.day <= until

    def rows(self, messages: int) -> int:
        """Return how many of its rows are in the first messages of its sink partition."""
        sent = self.day + self.late
        of_day = min(MESSAGES_A_DAY, max(0, messages - sent * MESSAGES_A_DAY)) if sent >= 0 else 0
        return of_day if self.late else 2 * of_day

    def is_decided(self, messages: int) -> bool:
        """Whether the flow's event of it is in the first messages of its sink partition."""
        return not self.late and self.day >= 0 and messages > self.day * MESSAGES_A_DAY + DECIDED_AT


def devices(day: int) -> list[Device]:
    """Return the devices of a day, numbered from FIRST on."""
    return [Device(part, day, late) for part in range(PARTS) for late in (False, True)]


def write_message(writer: PartitionWriter, part: int, at: int) -> None:
    """Append what a message of the log decodes to, and its extent."""
    day, number = divmod(at, MESSAGES_A_DAY)
    noon = NOON + day * DAY_MS
    prompt, late = Device(part, day, late=False), Device(part, day - 1, late=True)
    writer.append("positions", _fixes(prompt, noon, [2 * number, 2 * number + 1]))
    writer.append("positions", _fixes(late, noon - DAY_MS, [number]))
    if number == DECIDED_AT:
        writer.append("geofence_events", _event(prompt, noon))
    writer.append("rejected", rejected(part, at, 1, receive_time=noon))
    writer.extend(Extent("positions", part, at, at + 1, MESSAGE_ROWS))


def _fixes(device: Device, noon: int, seqs: list[int]) -> pa.RecordBatch:
    batch = positions(device.id, seqs, event_time=[noon + seq * MINUTE_MS for seq in seqs])
    place = batch.schema.get_field_index("lon")
    return batch.set_column(place, batch.schema.field(place), _places(len(seqs), _LON))


def _event(device: Device, noon: int) -> pa.RecordBatch:
    known = {
        "event_id": pa.array([f"flow {device.id}"]),
        "device_id": pa.array([device.id]),
        "fence_id": pa.array(["square"]),
        "kind": enum(np.array([KINDS.index(FLOW_KIND)], np.int8), KINDS),
        "event_time": times(np.array([noon]), NULL_TIME),
        "lat": _places(1, _LAT),
        "lon": _places(1, _LON),
        "detector": enum(np.zeros(1, np.int8), ("flow@0",)),
    }
    schema = GEOFENCE_EVENTS.schema
    return pa.RecordBatch.from_arrays([known.get(each.name, pa.nulls(1, each.type)) for each in schema], schema=schema)


def _places(rows: int, microdegrees: int) -> pa.Array:
    return degrees(np.full(rows, microdegrees, np.int32), NULL_DEGREES)
