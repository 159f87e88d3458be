"""Roads from an OpenStreetMap extract (.osm, .osm.gz, .osm.bz2, .pbf) as a network.

Taken are ways that cars drive on, unless access is forbidden; each pair of neighbouring nodes is an edge for each
direction that is allowed. Restrictions with a way as their `via` are left out, and so are those of some vehicles only.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import osmium

from geo.fix import MICRODEGREES
from geo.network import Network, Restriction, build_network

MAIN: Final = ("motorway", "trunk", "primary", "secondary", "tertiary")
MINOR: Final = ("unclassified", "residential", "living_street", "service", "road")
ROADS: Final = frozenset((*MAIN, *(f"{name}_link" for name in MAIN), *MINOR))
CLOSED: Final = frozenset(("no", "private"))
FORWARD: Final = frozenset(("yes", "1", "true"))
BACKWARD: Final = frozenset(("-1", "reverse"))


class _Streets:
    """What an extract holds of roads, in its own ids."""

    def __init__(self) -> None:
        self.node: dict[int, int] = {}
        self.places: list[tuple[int, int]] = []
        self.edges: list[tuple[int, int]] = []
        self.ending: dict[tuple[int, int], int] = {}  # (way, node) -> edge of the way that ends there
        self.leaving: dict[tuple[int, int], int] = {}
        self.restrictions: list[Restriction] = []

    def add_way(self, way: Any) -> None:  # noqa: ANN401 - osmium carries no types
        """Take a way's edges, in the directions that are allowed."""
        forward, backward = _directions(way.tags)
        for one, other in zip(list(way.nodes), list(way.nodes)[1:], strict=False):
            if not (one.location.valid() and other.location.valid()) or one.ref == other.ref:
                continue
            if forward:
                self._add_edge(way.id, one, other)
            if backward:
                self._add_edge(way.id, other, one)

    def _add_edge(self, way: int, one: Any, other: Any) -> None:  # noqa: ANN401
        edge = len(self.edges)
        self.edges.append((self._node(one), self._node(other)))
        self.ending[way, other.ref] = edge
        self.leaving[way, one.ref] = edge

    def _node(self, node: Any) -> int:  # noqa: ANN401
        if node.ref not in self.node:
            self.node[node.ref] = len(self.places)
            self.places.append((round(node.lat * MICRODEGREES), round(node.lon * MICRODEGREES)))
        return self.node[node.ref]

    def add_restriction(self, relation: Any) -> None:  # noqa: ANN401
        """Take a turn restriction whose ways and node are there."""
        rule = relation.tags.get("restriction", "")
        members = {(member.role, member.type): member.ref for member in relation.members}
        one, via, other = (members.get(role, 0) for role in (("from", "w"), ("via", "n"), ("to", "w")))
        turn_from, turn_to = self.ending.get((one, via)), self.leaving.get((other, via))
        if turn_from is not None and turn_to is not None and rule.startswith(("no_", "only_")):
            self.restrictions.append(Restriction(turn_from, turn_to, rule.startswith("only_")))


def _directions(tags: Any) -> tuple[bool, bool]:  # noqa: ANN401
    """Return whether cars may drive a way forward, and backward."""
    oneway = tags.get("oneway", "")
    if oneway in BACKWARD:
        return False, True
    implied = tags.get("junction") == "roundabout" or tags.get("highway") == "motorway"
    return True, not (oneway in FORWARD or (implied and oneway != "no"))


def _is_road(tags: Any) -> bool:  # noqa: ANN401
    access = tags.get("motor_vehicle") or tags.get("vehicle") or tags.get("access") or "yes"
    return tags.get("highway") in ROADS and access not in CLOSED


def read_extract(path: Path) -> Network:
    """Read the roads of an extract; ValueError if it cannot be read or holds none."""
    streets = _Streets()
    try:
        for thing in osmium.FileProcessor(str(path)).with_locations():
            if thing.is_way() and _is_road(thing.tags):
                streets.add_way(thing)
            elif thing.is_relation() and thing.tags.get("type") == "restriction":
                streets.add_restriction(thing)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not streets.edges:
        raise ValueError(f"{path}: holds no road")
    lat, lon = np.array(streets.places, np.int32).T
    tail, head = np.array(streets.edges, np.int32).T
    return build_network(lat, lon, tail, head, streets.restrictions)
