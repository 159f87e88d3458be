"""The shortest way by road between two places, over arrays: one-ways and forbidden turns are kept.

A road is a directed edge between two nodes; a turn leads from the end of one edge into another. Ways are sought from
edge to edge over the turns that are allowed, so a turn restriction is a turn that is not there. A place lies on the
edges nearest to it, within SNAP_M; of two directions of one street both count. Nobody turns round but in a dead end.

scipy's Dijkstra does the search: compiled, on sparse arrays as they are, with a limit; a general graph library would
want an object for each edge.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from geo.boundary import METRES, east_m

Indices = NDArray[np.int32]
Floats = NDArray[np.float64]

SNAP_M: Final = 60.0
"""Further from any road than this a place is off the network."""
SAME_M: Final = 3.0
"""Edges so much further than the nearest one are as near: the other direction, the other arm of a crossing."""
LIMIT_M: Final = 10_000.0
"""Longer ways are not sought."""


class Network(NamedTuple):
    """Roads as arrays; places in microdegrees."""

    lat: Indices  # (nodes,)
    lon: Indices
    tail: Indices  # (edges,) node at which each begins
    head: Indices
    turn_from: Indices  # (turns,) edge
    turn_to: Indices


class Restriction(NamedTuple):
    """A turn that is forbidden, or the only one allowed from its edge."""

    turn_from: int
    turn_to: int
    only: bool


def build_network(
    lat: Indices, lon: Indices, tail: Indices, head: Indices, restrictions: Sequence[Restriction]
) -> Network:
    """Build a network with every turn that is allowed."""
    turn_from, turn_to = _joints(tail, head)
    onward = tail[turn_from] != head[turn_to]
    dead_end = np.bincount(turn_from[onward], minlength=len(tail)) == 0
    keep = onward | dead_end[turn_from]
    for edge, to, only in restrictions:
        keep &= (turn_from != edge) | ((turn_to == to) if only else (turn_to != to))
    return Network(lat, lon, tail, head, turn_from[keep], turn_to[keep])


def _joints(tail: Indices, head: Indices) -> tuple[Indices, Indices]:
    """Return every pair of edges of which the second begins where the first ends."""
    by_tail = np.argsort(tail, kind="stable").astype(np.int32)
    first, end = (np.searchsorted(tail[by_tail], head, side=side) for side in ("left", "right"))
    counts = end - first
    starts = np.repeat(first - np.cumsum(counts) + counts, counts)
    turn_to = by_tail[starts + np.arange(len(starts))]
    return np.repeat(np.arange(len(tail), dtype=np.int32), counts), turn_to


class _Spot(NamedTuple):
    """Where a place lies: edges, and how far along each, in metres."""

    edges: NDArray[np.int64]
    along_m: Floats


class Roads:
    """A network made ready to be asked."""

    def __init__(self, network: Network) -> None:
        """Prepare; ValueError for a network without roads, or whose arrays do not belong together."""
        _check(network)
        whole = b"".join(np.ascontiguousarray(part, "<i4").tobytes() for part in network)
        self.version = hashlib.sha256(whole).hexdigest()[:8]
        """Names the network: what is measured by another may differ."""
        self._lat, self._lon = int(network.lat.mean()), int(network.lon.mean())
        x, y = self._plane(network.lat, network.lon)
        self._x, self._y = np.stack([x[network.tail], x[network.head]]), np.stack([y[network.tail], y[network.head]])
        self.length_m: Floats = np.hypot(*(np.diff(axis, axis=0)[0] for axis in (self._x, self._y)))
        ends = np.stack([self._x, self._y], axis=-1).transpose(1, 0, 2)
        self._tree = shapely.STRtree(shapely.linestrings(ends))
        count = len(network.tail)
        cost = np.maximum(self.length_m[network.turn_to], 1e-6)  # an explicit zero would be no turn
        self._turns = csr_array((cost, (network.turn_from, network.turn_to)), shape=(count, count))

    def shortest_m(self, lat: int, lon: int, to_lat: int, to_lon: int, limit_m: float = LIMIT_M) -> float:
        """Return the metres of the shortest way between two places in microdegrees, NaN where none is known.

        One much longer than `limit_m` is not sought.
        """
        start, end = self._locate(lat, lon), self._locate(to_lat, to_lon)
        if not start.edges.size or not end.edges.size:
            return math.nan
        shortest = self._ahead_m(start, end)
        for edge, along_m in zip(*start, strict=True):
            shortest = min(shortest, float(self.length_m[edge]) - along_m + self._round_m(edge, end, limit_m))
        return shortest if math.isfinite(shortest) else math.nan

    def _round_m(self, edge: int, end: _Spot, limit_m: float) -> float:
        """Return the metres from the end of an edge to a spot, by the next turns; infinite where there is no way."""
        onto = self._turns.indices[self._turns.indptr[edge] : self._turns.indptr[edge + 1]]
        if not onto.size:
            return math.inf
        driven = self.length_m[onto][:, None] + dijkstra(self._turns, indices=onto, limit=limit_m)[:, end.edges]
        return float((driven - self.length_m[end.edges] + end.along_m).min())

    @staticmethod
    def _ahead_m(start: _Spot, end: _Spot) -> float:
        """Return the metres ahead on one edge, infinite where the end does not lie ahead."""
        _, i, j = np.intersect1d(start.edges, end.edges, return_indices=True)
        ahead = end.along_m[j] - start.along_m[i]
        return float(ahead[ahead >= 0].min(initial=math.inf))

    def _locate(self, lat: int, lon: int) -> _Spot:
        x, y = (float(axis[0]) for axis in self._plane(np.array([lat]), np.array([lon])))
        place = shapely.Point(x, y)
        edges = self._tree.query(place, predicate="dwithin", distance=SNAP_M)
        away_m = shapely.distance(self._tree.geometries.take(edges), place)
        edges = np.sort(edges[away_m <= away_m.min(initial=np.inf) + SAME_M])
        return _Spot(edges, shapely.line_locate_point(self._tree.geometries.take(edges), place))

    def _plane(self, lat: NDArray[np.integer], lon: NDArray[np.integer]) -> tuple[Floats, Floats]:
        """Return metres east and north of the middle of the network."""
        east, north = (np.asarray(axis, np.float64) for axis in (lon - self._lon, lat - self._lat))
        return east * east_m(self._lat), north * METRES


def _check(network: Network) -> None:
    nodes, edges = len(network.lat), len(network.tail)
    if not edges or nodes != len(network.lon) or edges != len(network.head):
        raise ValueError("a network needs roads, and as many latitudes as longitudes, tails as heads")
    for indices, count in ((network.tail, nodes), (network.head, nodes)):
        if not 0 <= int(indices.min()) <= int(indices.max()) < count:
            raise ValueError("an edge of a node that is not there")
    for indices in (network.turn_from, network.turn_to):
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < edges:
            raise ValueError("a turn of an edge that is not there")
