"""Messages and records for the tests of pipeline.batch."""

import numpy as np

from geo.fix import FIX, NULL_TIME, FixArray
from pipeline.log import Message

NOW = 1_772_881_200_000


def build_fixes(n: int) -> FixArray:
    """Build sound records of device 0, a second apart, that differ in every field."""
    fixes = np.zeros(n, FIX)
    for i, fix in enumerate(fixes):
        fix["event_time"] = NOW - 60_000 + 1_000 * i
        fix["device_time"] = NULL_TIME
        fix["receive_time"] = NOW - 5_000
        fix["seq"] = i
        fix["lat"], fix["lon"] = 14_550_000 + i, 121_030_000 - i
        fix["accuracy_m"], fix["speed_mps"], fix["heading_deg"] = 5 + i, np.nan, 90.5
        fix["activity"], fix["activity_confidence"] = i % 8, 50 + i % 50
    return fixes


def held(content_type: str, payload: bytes, offset: int = 0) -> Message:
    """Build a message as the log gives it."""
    return Message(offset, NOW, content_type, payload)
