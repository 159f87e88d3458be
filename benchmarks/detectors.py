"""What a row costs in the two state passes: fences, and drives with their searches.

    python -m benchmarks.detectors [--rounds 5] [--network FILE] [EVENTS FENCES]

Rows in order, in batches of 20,000, one shard, into fresh state each round; the least CPU time of the rounds. Without
EVENTS and FENCES it takes those of $PARKPAL_DATA/sim, or simulates a city.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from parkpal.kernels import cache_by_source

cache_by_source(os.environ)

import numpy as np  # noqa: E402 - Numba reads where its cache lies when it is imported

from benchmarks.flow import find_events  # noqa: E402
from geo import geofence, trips  # noqa: E402
from geo.fence_index import build_index  # noqa: E402
from geo.fences import versions_from_geojson  # noqa: E402
from geo.fix import NULL_DEGREES  # noqa: E402
from geo.holding import FOREVER  # noqa: E402
from parkpal.accuracy.detect import decide, see  # noqa: E402
from pipeline.events_file import read_events  # noqa: E402
from pipeline.network import measure_excess, read_roads  # noqa: E402
from pipeline.replay import arrange  # noqa: E402

BATCH: int = 20_000


def least_ns(work: Callable[[], None], rounds: int, rows: int) -> float:
    """Return the least CPU nanoseconds a row."""
    work()  # compiles
    taken = []
    for _ in range(rounds):
        began = time.process_time_ns()
        work()
        taken.append(time.process_time_ns() - began)
    return min(taken) / rows


def main() -> None:
    """Print what each pass costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--network", type=Path, help="file of `parkpal network`: what measuring excess by it costs")
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        events, fences = args.files or find_events(Path(folder))
        seen = see(arrange(read_events(events), time.time_ns() // 1_000_000))
        index = build_index(versions_from_geojson(fences.read_bytes()))
    parts = np.array_split(np.arange(len(seen.rows)), max(1, len(seen.rows) // BATCH))

    def pass_fences() -> None:
        state = geofence.GeofenceState(len(seen.device_ids))
        for part in parts:
            rows, slot = seen.rows[part], seen.slot[part]
            fix = rows["lat"] != NULL_DEGREES
            columns = (np.ascontiguousarray(rows[name][fix]) for name in ("event_time", "lat", "lon", "accuracy_m"))
            geofence.advance(state, index, slot[fix], *columns)
        geofence.expire(state, index, FOREVER)

    def pass_trips() -> None:
        state = trips.TripState(len(seen.device_ids))
        for part in parts:
            trips.advance(state, seen.slot[part], seen.rows[part])
        trips.expire(state, FOREVER)

    decided = decide(seen).events
    sessions = decided[(decided["kind"] == trips.TRIP) & (decided["search_start"] < decided["event_time"])]
    roads = read_roads(args.network)

    def measure() -> None:
        measure_excess(sessions, roads)

    print(f"{len(seen.rows)} rows of {len(seen.device_ids)} devices, {len(index.versions)} fences")
    for name, work in (("fences", pass_fences), ("drives and searches", pass_trips)):
        print(f"{name}: {least_ns(work, args.rounds, len(seen.rows)):.0f} ns a row")
    if roads:
        print(f"excess by road: {least_ns(measure, args.rounds, len(sessions)) / 1000:.0f} us a session")


if __name__ == "__main__":
    main()
