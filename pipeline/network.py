"""What a road network is to the dataflow: its file, its name, and the excess measured by it.

Without one, or where it knows no way, excess is beyond the crow's way and its method says so.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from geo import trips

if TYPE_CHECKING:
    from geo.network import Network

METHODS: Final = ("crow", "network")
CROW: Final = 0
NETWORK: Final = 1


class Roads(Protocol):
    """A road network that can be asked, as `geo.network.Roads`."""

    version: str

    def shortest_m(self, lat: int, lon: int, to_lat: int, to_lon: int, limit_m: float = ...) -> float:
        """Return the metres of the shortest way between two places in microdegrees, NaN where none is known."""


def save(roads: "Network", path: Path) -> None:
    """Write a network."""
    with path.open("wb") as out:
        np.savez_compressed(out, **roads._asdict())


def read_roads(path: Path | None) -> Roads | None:
    """Read what `save` wrote, ready to be asked; None without a path.

    ValueError if it is something else, or if the extra `network` is not installed.
    """
    if path is None:
        return None
    if find_spec("scipy") is None:
        raise ValueError("a road network needs scipy: pip install 'parkpal[network]'")
    from geo import network  # noqa: PLC0415 - only where the extra is there

    try:
        with np.load(path, allow_pickle=False) as stored:
            return network.Roads(network.Network(*(stored[name] for name in network.Network._fields)))
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: no file of `parkpal network`: {error}") from error


def detector(roads: Roads | None) -> str:
    """Return the name of what decides sessions: over other roads their excess is another."""
    return trips.DETECTOR if roads is None else f"{trips.DETECTOR}+roads.{roads.version}"


def measure_excess(sessions: NDArray[np.void], roads: Roads | None) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Return the excess (metres) of sessions, dtype geo.trips.EVENT, (n,), and the place in METHODS of how it is known.

    Who never came near the place has none by either.
    """
    excess_m, method = sessions["excess_m"].copy(), np.full(len(sessions), CROW, np.int8)
    if roads is None:
        return excess_m, method
    for i, session in enumerate(sessions):
        near, place = (int(session["near_lat"]), int(session["near_lon"])), (int(session["lat"]), int(session["lon"]))
        near_m = float(session["near_m"])
        shortest_m = roads.shortest_m(*near, *place, near_m)  # few are longer than what was driven
        if np.isnan(shortest_m):
            shortest_m = roads.shortest_m(*near, *place)
        if not np.isnan(shortest_m):
            excess_m[i], method[i] = max(0.0, near_m - shortest_m), NETWORK
    return excess_m, method
