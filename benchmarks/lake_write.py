"""CPU time and bytes a row from record batches to a published commit, by rows in the commit.

Run `python benchmarks/lake_write.py`. The rows are an hour of made-up city traffic: one file a commit. The time is the
best of five and holds for one core; encoding is Parquet in memory, the rest hashes, syncs, renames, records.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from geo.fix import ACTIVITIES, NULL_DEGREES, NULL_TIME
from pipeline.lake.commit import Extent
from pipeline.lake.encoding import encode
from pipeline.lake.lake import Lake
from pipeline.lake.tables import POSITIONS, degrees, enum, floats, integers, times
from pipeline.lake.writer import PartitionWriter

HOUR = 1_772_881_200_000
ROUNDS = 5


def traffic(rows: int, seed: int = 1) -> pa.RecordBatch:
    """Build `rows` fixes, 5 s apart, of devices that stay within a kilometre, in order of receive_time."""
    rng = np.random.default_rng(seed)
    devices = max(1, rows // 30)
    device = rng.integers(devices, size=rows)
    ids = pa.array([f"{number:032x}" for number in rng.integers(1 << 62, size=devices)])
    received = HOUR + np.sort(rng.integers(3_400_000, size=rows))
    lat = (rng.normal(14_560_000, 30_000, devices)[device] + rng.normal(0, 4_000, rows)).astype(np.int32)
    lon = (rng.normal(121_020_000, 30_000, devices)[device] + rng.normal(0, 4_000, rows)).astype(np.int32)
    columns = {
        "device_id": ids.take(pa.array(device)),
        "event_time": times(received - rng.integers(30_000, size=rows), NULL_TIME),
        "device_time": times(np.full(rows, NULL_TIME), NULL_TIME),
        "receive_time": times(received, NULL_TIME),
        "seq": integers(rng.integers(20_000, size=devices)[device] + np.arange(rows) // 30, NULL_TIME),
        "lat": degrees(lat, NULL_DEGREES),
        "lon": degrees(lon, NULL_DEGREES),
        "accuracy_m": floats(rng.gamma(4, 3, rows).round(1).astype(np.float32)),
        "speed_mps": floats(rng.gamma(2, 4, rows).round(1).astype(np.float32)),
        "heading_deg": floats(rng.integers(360, size=rows).astype(np.float32)),
        "activity": enum(np.where(rng.random(rows) < 0.9, -1, 0).astype(np.int8), ACTIVITIES),
        "activity_confidence": integers(np.full(rows, -1, np.int8), -1),
        "h3_r9": integers(0x89608B000000000 + (lat // 2_000).astype(np.int64) * 64, NULL_TIME),
        "late": pa.array(np.zeros(rows, bool)),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in POSITIONS.schema.names], schema=POSITIONS.schema)


def commit(folder: Path, batch: pa.RecordBatch) -> tuple[float, int]:
    """Write and publish one commit; return its CPU seconds and bytes."""
    lake = Lake.create(str(folder))
    writer = PartitionWriter.open(lake, 0, None)
    start = time.process_time()
    writer.append("positions", batch)
    writer.extend(Extent("positions", 0, 0, 1, batch.num_rows))
    writer.snapshot()
    writer.snapshot()
    used = time.process_time() - start
    writer.close()
    return used, sum((lake.root / path).stat().st_size for path in lake.committer().files())


def encoding(batch: pa.RecordBatch) -> float:
    """Return the CPU seconds of Parquet alone."""
    start = time.process_time()
    encode(POSITIONS, pa.Table.from_batches([batch]))
    return time.process_time() - start


def main() -> None:
    """Print one line a size."""
    for rows in (2_000, 20_000, 100_000):
        batch = traffic(rows)
        alone = min(encoding(batch) for _ in range(ROUNDS))
        with tempfile.TemporaryDirectory() as folder:
            runs = [commit(Path(folder) / str(turn), batch) for turn in range(ROUNDS)]
        used, size = min(runs)
        print(
            f"{rows:7} rows: {used / rows * 1e9:6.0f} ns CPU a row, of it encoding {alone / rows * 1e9:4.0f} ns, "
            f"{size / rows:5.2f} bytes a row"
        )


if __name__ == "__main__":
    main()
