"""The streets and the places beside them: a place holds one car, whoever drives it.

A jittered grid in metres around a made-up centre: every fourth line is a two-way avenue, the streets between are
one-way in turns, a mall swallows a superblock. Streets have curb places; avenues have none.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LAT0: Final = 14.55
LON0: Final = 121.03
METRES_PER_DEGREE: Final = 111_320.0

LINES: Final = 19
SPACING_M: Final = 130.0
AVENUE_EVERY: Final = 4
AVENUE_MPS: Final = 11.0
STREET_MPS: Final = 7.0
ONE_WAY_SHARE: Final = 0.5
PLACE_M: Final = 18.0
"""Metres of curb per place: gates, hydrants and corners take their part."""
USUAL_SHARE: Final = 0.967
"""Of places taken in the centre; together with the numbers in `drivers` so that searches are as long as real ones."""
THINNING: Final = 0.08
"""Fewer are taken, by up to this, 1,500 m out;"""
STREET_SPREAD: Final = 0.015
"""streets differ by this (sigma)."""
RELAXATION_S: Final = 120.0
"""Of a place between taken and free: a place among 97 % taken ones stays free for about so long."""
MALL: Final = (10, 8)
"""Line and row of the crossing that the mall has built over."""
GARAGES: Final = ((9, 8), (6, 12), (12, 5), (8, 4))
"""Crossings at which a garage has its ramp; the first is the mall's."""


def to_degrees(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Convert metres east and north of the centre to lat, lon in degrees, to the seventh decimal as phones do."""
    lat = LAT0 + y / METRES_PER_DEGREE
    lon = LON0 + x / (METRES_PER_DEGREE * np.cos(np.radians(LAT0)))
    return np.round(lat, 7), np.round(lon, 7)


@dataclass(frozen=True)
class City:
    """Crossings (`x`, `y`, metres), directed street segments, and the quickest way between any two crossings."""

    x: Floats
    y: Floats
    tail: NDArray[np.int64]
    head: NDArray[np.int64]
    length_m: Floats
    speed_mps: Floats
    avenue: NDArray[np.bool_]
    leaving: list[list[int]]
    seconds: Floats
    first_segment: NDArray[np.int64]
    gates: list[int]
    garages: list[int]

    def route(self, start: int, end: int) -> list[int]:
        """Return the segments of the quickest way from crossing to crossing; empty where they are the same."""
        way = []
        while start != end:
            segment = int(self.first_segment[start, end])
            way.append(segment)
            start = int(self.head[segment])
        return way

    def middle(self, segment: int) -> tuple[float, float]:
        """Return the middle of a segment, in metres."""
        a, b = self.tail[segment], self.head[segment]
        return float(self.x[a] + self.x[b]) / 2, float(self.y[a] + self.y[b]) / 2

    def streets(self) -> NDArray[np.int64]:
        """Return the segments that have curb places."""
        return np.flatnonzero(~self.avenue)


def build_city(rng: np.random.Generator) -> City:
    """Build the streets of one city."""
    line, row = (grid.ravel() for grid in np.meshgrid(np.arange(LINES), np.arange(LINES), indexing="ij"))
    half = SPACING_M * (LINES - 1) / 2
    x = line * SPACING_M - half + rng.uniform(-14, 14, line.size)
    y = row * SPACING_M - half + rng.uniform(-14, 14, row.size)
    segments = np.array(_segments(rng), dtype=np.int64)
    tail, head = segments[:, 0], segments[:, 1]
    avenue = segments[:, 2].astype(np.bool_)
    length_m = np.hypot(x[head] - x[tail], y[head] - y[tail])
    speed_mps = np.where(avenue, AVENUE_MPS, STREET_MPS) * rng.uniform(0.85, 1.1, tail.size)
    seconds, first_segment = _quickest(line.size, tail, head, length_m / speed_mps)
    leaving: list[list[int]] = [[] for _ in range(line.size)]
    for segment, start in enumerate(tail):
        leaving[start].append(segment)
    gates = [i for i in range(line.size) if _is_gate(line[i], row[i]) or _is_gate(row[i], line[i])]
    garages = [a * LINES + b for a, b in GARAGES]
    return City(x, y, tail, head, length_m, speed_mps, avenue, leaving, seconds, first_segment, gates, garages)


def _is_gate(across: int, along: int) -> bool:
    return across in {0, LINES - 1} and along % AVENUE_EVERY == 0


def _segments(rng: np.random.Generator) -> list[tuple[int, int, bool]]:
    """Lay every line and row; the rim and every fourth line are two-way avenues, so every crossing can be reached."""
    found = []
    for across in (False, True):
        for k in range(LINES):
            avenue = k % AVENUE_EVERY == 0 or k == LINES - 1
            one_way = not avenue and rng.random() < ONE_WAY_SHARE
            for i in range(LINES - 1):
                places = ((i, k), (i + 1, k)) if across else ((k, i), (k, i + 1))
                if MALL in places:
                    continue
                a, b = (p[0] * LINES + p[1] for p in places)
                if not one_way or k % 2:
                    found.append((a, b, avenue))
                if not one_way or not k % 2:
                    found.append((b, a, avenue))
    return found


def _quickest(
    crossings: int, tail: NDArray[np.int64], head: NDArray[np.int64], seconds: Floats
) -> tuple[Floats, NDArray[np.int64]]:
    """Return travel times and first segments between all crossings (Floyd and Warshall)."""
    best = np.full((crossings, crossings), np.inf)
    first = np.full((crossings, crossings), -1, dtype=np.int64)
    np.fill_diagonal(best, 0.0)
    best[tail, head] = seconds
    first[tail, head] = np.arange(tail.size)
    for k in range(crossings):
        through = best[:, k, None] + best[k]
        better = through < best
        best = np.where(better, through, best)
        first = np.where(better, first[:, k, None], first)
    return best, first


class Curbs:
    """The places of every street segment, and who holds them at the latest time anybody looked.

    Places not held by our drivers switch between taken and free by themselves; each is a two-state Markov chain, so
    the state after any pause is drawn exactly, when somebody looks. The usual share of taken places counts ours in:
    where many of our drivers park, fewer others do, so searches are as long in a city with many phones as with few.
    """

    def __init__(self, city: City, rng: np.random.Generator) -> None:
        """Fill the curbs to their usual share: fuller towards the centre, and varied from street to street."""
        x = (city.x[city.tail] + city.x[city.head]) / 2
        y = (city.y[city.tail] + city.y[city.head]) / 2
        usual = USUAL_SHARE - THINNING * np.minimum(np.hypot(x, y) / 1_500, 1) + rng.normal(0, STREET_SPREAD, x.size)
        self._usual = np.clip(usual, 0.4, 0.995)
        self.capacity = np.where(city.avenue, 0, city.length_m // PLACE_M).astype(np.int64)
        self.held = np.zeros(x.size, dtype=np.int64)
        self._taken = rng.binomial(self.capacity, self._usual)
        self._seen_s = np.zeros(x.size)
        self._rng = rng

    def free(self, segment: int, now_s: float) -> int:
        """Return the free places of a segment at a time not before the last look."""
        rest = int(self.capacity[segment] - self.held[segment])
        kept = float(np.exp((self._seen_s[segment] - now_s) / RELAXATION_S))
        usual, taken = self._usual_of_others(segment, rest), int(self._taken[segment])
        still = self._rng.binomial(taken, usual + (1 - usual) * kept)
        newly = self._rng.binomial(rest - taken, usual * (1 - kept))
        self._taken[segment] = still + newly
        self._seen_s[segment] = now_s
        return rest - int(self._taken[segment])

    def _usual_of_others(self, segment: int, rest: int) -> float:
        """Return the share of the `rest` places that others usually take, so that ours and theirs come to the usual."""
        usually_free = float(self.capacity[segment] * (1 - self._usual[segment]))
        return max(0.0, 1 - usually_free / rest) if rest else 1.0

    def take(self, segment: int) -> None:
        """Hold one free place; ValueError if the last look left none."""
        if self.capacity[segment] <= self.held[segment] + self._taken[segment]:
            raise ValueError(f"segment {segment} has no free place")
        self.held[segment] += 1

    def leave(self, segment: int) -> None:
        """Give a held place back."""
        if self.held[segment] == 0:
            raise ValueError(f"segment {segment} holds no car of ours")
        self.held[segment] -= 1
