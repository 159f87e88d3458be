"""What erasing devices costs on a compacted week of positions: rows gone, bytes written again, CPU time; one run.

    python -m benchmarks.lake_erasure --rows 3500000 --devices 100

The floor beside it is the rewrite of the whole lake: the same files read, and written again with nothing left out.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Final

import duckdb

from benchmarks.lake_days import write
from pipeline.lake.compaction import compact, read, sort
from pipeline.lake.erasure import finish, remains
from pipeline.lake.exchange import swaps
from pipeline.lake.lake import Lake
from pipeline.lake.lineage import Lineage, pack
from pipeline.lake.packing import write_compacted
from pipeline.lake.tables import POSITIONS
from pipeline.lake.tombstones import lay

DAYS: Final = 7


def rewrite(lake: Lake, folder: Path) -> float:
    """Write every file of the lake again beside it; return the CPU seconds."""
    begun = time.process_time()
    for path in sorted((lake.root / POSITIONS.name).rglob("c-*.parquet")):
        write_compacted(folder / path.name, POSITIONS, sort(POSITIONS, read(POSITIONS, [path])), pack(Lineage()))
    return time.process_time() - begun


def erase(lake: Lake, devices: list[str], total: int) -> None:
    """Erase the devices and print what it took."""
    lay(lake, devices)
    known, begun, used = len(list(swaps(lake))), time.monotonic(), time.process_time()
    rows = finish(lake)[POSITIONS.name]
    used, took = time.process_time() - used, time.monotonic() - begun
    done = list(swaps(lake))[known:]
    again = sum(file.rows for swap in done for file in swap.added)
    assert not remains(lake)
    print(
        f"erasing {len(devices)} devices: {rows} rows of {total} gone, {again} rows in {len(done)} directories written "
        f"again ({100 * again / total:.0f} %); {used:.1f} s CPU, {took:.1f} s"
    )


def main() -> None:
    """Write a week, compact it, erase one device and then many."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3_500_000, help="positions in seven days")
    parser.add_argument("--devices", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.create(f"{folder}/lake")
        total = sum(write(lake, DAYS, given.rows // DAYS))
        compact(lake, files=1)
        query = f"SELECT DISTINCT device_id FROM '{lake.root}/positions/**/*.parquet' ORDER BY ALL LIMIT $n"  # noqa: S608
        found = duckdb.execute(query, {"n": given.devices + 1}).fetchall()
        print(f"rewriting every file: {rewrite(lake, Path(folder)):.1f} s CPU")
        erase(lake, [found[0][0]], total)
        erase(lake, [device for (device,) in found[1:]], total)


if __name__ == "__main__":
    main()
