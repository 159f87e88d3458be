"""What a message costs: CPU and bytes an event, by rows a message, for our own format, Arrow IPC and JSON.

Run: python -m benchmarks.messages
"""

import time
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pyarrow as pa

from geo.fix import FIX, NULL_TIME, FixArray
from pipeline.batch import decode, encode
from pipeline.log import ARROW, BATCH, JSON, Message

ROWS_A_MESSAGE = (10, 30, 100, 1_000)
ROWS = 60_000
REPEATS = 5


def build_fixes(rows: int, rng: np.random.Generator) -> FixArray:
    """Build the drive of one device, a fix a second."""
    fixes = np.zeros(rows, FIX)
    fixes["event_time"] = 1_772_881_121_201 + 1_000 * np.arange(rows)
    fixes["receive_time"] = fixes["event_time"][-1] + 900
    fixes["device_time"] = NULL_TIME
    fixes["seq"] = np.arange(rows)
    fixes["lat"] = 14_550_000 + rng.integers(-9_000, 9_000, rows)
    fixes["lon"] = 121_030_000 + rng.integers(-9_000, 9_000, rows)
    for name in ("accuracy_m", "speed_mps", "heading_deg"):
        fixes[name] = rng.uniform(1, 30, rows)
    fixes["activity_confidence"] = 90
    return fixes


def encode_arrow(device_id: bytes, fixes: FixArray) -> bytes:
    """Write the same events as another producer would, in Arrow."""
    sink = pa.BufferOutputStream()
    table = build_table(device_id, fixes)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def encode_json(device_id: bytes, fixes: FixArray) -> bytes:
    """Write the same events as JSON."""
    return msgspec.json.encode(build_table(device_id, fixes).to_pylist())


def build_table(device_id: bytes, fixes: FixArray) -> pa.Table:
    """Build the contract's columns."""
    plain = ("event_time", "receive_time", "seq", "accuracy_m", "speed_mps", "heading_deg", "activity_confidence")
    columns = {name: np.ascontiguousarray(fixes[name]) for name in plain}
    degrees = {name: fixes[name] / 1e6 for name in ("lat", "lon")}
    texts = {"device_id": [device_id.decode()] * len(fixes), "activity": ["IN_VEHICLE"] * len(fixes)}
    return pa.table({**columns, **degrees, **texts})


FORMATS: dict[str, Callable[[bytes, FixArray], bytes]] = {
    BATCH: lambda device_id, fixes: encode([device_id], fixes),
    ARROW: encode_arrow,
    JSON: encode_json,
}


def build_messages(content_type: str, rows_a_message: int) -> list[Message]:
    """Build messages of one device each."""
    rng = np.random.default_rng(1)
    payloads = (
        FORMATS[content_type](rng.bytes(16).hex().encode(), build_fixes(rows_a_message, rng))
        for _ in range(ROWS // rows_a_message)
    )
    return [Message(i, 1_900_000_000_000, content_type, payload) for i, payload in enumerate(payloads)]


def measure() -> Iterator[tuple[str, int, float, float]]:
    """Give (content type, rows a message, CPU ns an event, bytes an event), the best of REPEATS."""
    for content_type in FORMATS:
        for rows_a_message in ROWS_A_MESSAGE:
            messages = build_messages(content_type, rows_a_message)
            times = []
            for _ in range(REPEATS):
                start = time.process_time_ns()
                decoded = decode(messages)
                times.append(time.process_time_ns() - start)
                assert not decoded.malformed
            size = sum(len(message.payload) for message in messages)
            yield content_type, rows_a_message, min(times) / len(decoded.rows), size / len(decoded.rows)


if __name__ == "__main__":
    print(f"decode {ROWS} events, one device a message, best of {REPEATS}")
    for content_type, rows_a_message, nanoseconds, size in measure():
        print(f"{content_type:36} {rows_a_message:5} rows a message {nanoseconds:8.1f} ns {size:7.1f} B an event")
