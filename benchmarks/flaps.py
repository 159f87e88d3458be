"""How often a phone at rest near a fence's boundary is said to enter and leave.

    python benchmarks/flaps.py [--hours 1000] [--seeds 5]

A phone stands 5 m inside a fence (a circle of 100 m radius, a square of 100 m) and sends a fix every 5 s that states an
accuracy of 15 m; its noise is Gauss-Markov per axis. Counted: enters and exits after the first, per 1,000 h, mean and
worst over shapes and seeds, beside those of plain point in polygon. The detector does not use speed; with and without
it the answer is the same one.
"""

import argparse
import math
import sys
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geo.fence_index import FenceIndex, build_index, locate
from geo.fences import FOREVER, FenceVersion, Ring
from geo.geofence import KINDS, GeofenceState, advance

LAT, LON = 14.55, 121.03
METRES: Final = 6371008.8 * math.pi / 180
INTERVAL_S: Final = 5
ACCURACY_M: Final = 15.0
INSIDE_M: Final = 5.0
NOISES: Final = ((9.9, 60.0), (9.9, 300.0), (15.0, 60.0), (15.0, 300.0), (9.9, 10.0), (20.0, 120.0))
"""Standard deviation per axis in metres and correlation time in seconds; the first is the requirement."""
TRANSITIONS: Final = (KINDS.index("enter"), KINDS.index("exit"))


def gauss_markov(count: int, sigma_m: float, correlation_s: float, seed: int) -> NDArray[np.float64]:
    """Return stationary noise float64[count, 2] in metres: x' = a x + sqrt(1 - a^2) sigma n, a = exp(-dt / tau)."""
    kept = math.exp(-INTERVAL_S / correlation_s)
    noise = np.random.default_rng(seed).normal(0, sigma_m, (count, 2))
    noise[1:] *= math.sqrt(1 - kept * kept)
    # Doubling steps of the linear recurrence: after k rounds a value holds the last 2^k innovations.
    step = 1
    while step < count and kept**step > 1e-18:
        noise[step:] += kept**step * noise[:-step].copy()
        step *= 2
    return noise


def shapes() -> dict[str, FenceIndex]:
    """Return fences whose boundary lies INSIDE_M east of the phone's place."""
    turns = np.linspace(0, 2 * math.pi, 128, endpoint=False)
    circle = np.stack([100 * np.sin(turns), 100 * np.cos(turns)], axis=1)
    square = np.array([(-50, -50), (-50, 50), (50, 50), (50, -50)])
    return {
        name: build_index([FenceVersion(name, 1, name, "zone", 60.0, 0, FOREVER, ((_ring(corners, reach),),))])
        for name, corners, reach in (("circle", circle, 100), ("square", square, 50))
    }


def _ring(corners: NDArray[np.float64], reach: float) -> Ring:
    scale = METRES * math.cos(math.radians(LAT))
    points = [(LAT + y / METRES, LON + (x - reach + INSIDE_M) / scale) for y, x in corners.tolist()]
    return (*points, points[0])


def transitions(index: FenceIndex, noise: NDArray[np.float64]) -> tuple[int, int]:
    """Return enters and exits after the first enter, by the detector and by point in polygon."""
    scale = METRES * math.cos(math.radians(LAT))
    count = len(noise)
    lat = np.round((LAT + noise[:, 0] / METRES) * 1e6).astype(np.int32)
    lon = np.round((LON + noise[:, 1] / scale) * 1e6).astype(np.int32)
    event_time = np.arange(count, dtype=np.int64) * INTERVAL_S * 1000
    accuracy_m = np.full(count, ACCURACY_M, np.float32)
    events = advance(GeofenceState(1), index, np.zeros(count, np.int32), event_time, lat, lon, accuracy_m).events
    decided = int(np.isin(events["kind"], TRANSITIONS).sum())
    offsets, _ = locate(index, lat, lon, event_time)
    return max(0, decided - 1), int(np.count_nonzero(np.diff(np.diff(offsets))))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    count, per = args.hours * 3600 // INTERVAL_S, 1000 / args.hours
    indexes = shapes()
    print(f"{args.hours} h, a fix every {INTERVAL_S} s, accuracy {ACCURACY_M:.0f} m, seeds 0 to {args.seeds - 1}")
    print(f"{'noise m':>8}{'tau s':>7}  {'transitions per 1,000 h: mean':>30}{'worst':>7}{'point in polygon':>18}")
    for sigma_m, correlation_s in NOISES:
        began, found = time.perf_counter(), []
        for seed in range(args.seeds):
            noise = gauss_markov(count, sigma_m, correlation_s, seed)
            found += [transitions(index, noise) for index in indexes.values()]
            print(f"seed {seed}", end="\r", file=sys.stderr, flush=True)
        ours, plain = (np.array(column) * per for column in zip(*found, strict=True))
        row = f"{sigma_m:8.1f}{correlation_s:7.0f}  {ours.mean():30.1f}{ours.max():7.0f}{plain.mean():18.0f}"
        print(f"{row}   {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
