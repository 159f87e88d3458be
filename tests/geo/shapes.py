"""Fences for tests: drawn in metres around a place, written as versions."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from geo.fences import FOREVER, FenceVersion, Polygons, Ring

METRES_PER_DEGREE = 6371008.8 * math.pi / 180
PLACES = ((53.34, -6.26), (14.55, 121.03), (-33.87, 151.21), (64.15, -21.94), (0.01, -0.01))
"""Cities north and south, east and west, and the corner of four hemispheres."""


def ring(place: tuple[float, float], corners: Sequence[tuple[float, float]]) -> Ring:
    """Close corners given as metres (north, east) of a place."""
    lat, lon = place
    scale = METRES_PER_DEGREE * math.cos(math.radians(lat))
    degrees = [(lat + north / METRES_PER_DEGREE, lon + east / scale) for north, east in corners]
    return (*degrees, degrees[0])


def box(place: tuple[float, float], south: float, west: float, north: float, east: float) -> Ring:
    return ring(place, [(south, west), (south, east), (north, east), (north, west)])


def circle(place: tuple[float, float], radius: float, north: float = 0, east: float = 0, corners: int = 32) -> Ring:
    turns = [2 * math.pi * i / corners for i in range(corners)]
    return ring(place, [(north + radius * math.sin(a), east + radius * math.cos(a)) for a in turns])


def fence(fence_id: str, polygons: Polygons, *, kind: str = "zone", dwell_s: float = 60) -> FenceVersion:
    return FenceVersion(fence_id, 1, fence_id, "area" if kind == "area" else "zone", dwell_s, 0, FOREVER, polygons)


def history(*versions: tuple[int, int, FenceVersion]) -> list[FenceVersion]:
    """Make versions of one fence from (valid_from, valid_to, shape)."""
    return [
        replace(shape, version=i, valid_from=valid_from, valid_to=valid_to)
        for i, (valid_from, valid_to, shape) in enumerate(versions, 1)
    ]


def neighbourhood(place: tuple[float, float], rng: np.random.Generator) -> list[FenceVersion]:
    """Draw fences that overlap, with holes, islands, a sliver and a blob."""
    a, b = rng.uniform(-150, 150, 2)
    angles = np.sort(rng.uniform(0, 2 * math.pi, 9))
    blob = [
        (100 + r * math.sin(t), -80 + r * math.cos(t)) for t, r in zip(angles, rng.uniform(30, 140, 9), strict=True)
    ]
    return [
        fence("circle", ((circle(place, 100, a, b),),)),
        fence("holed", ((box(place, -200, -200, 200, 200), box(place, -60, -60, 60, 60)),), dwell_s=0),
        fence("islands", ((box(place, -100, -300, 0, -200),), (box(place, 50, 100, 120, 260),)), kind="area"),
        fence("sliver", ((ring(place, [(-300, -300), (-280, -300), (300, 290), (300, 310)]),),), dwell_s=20),
        fence("blob", ((ring(place, blob),),), dwell_s=300),
    ]
