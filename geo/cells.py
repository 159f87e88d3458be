"""H3 cells of places: resolution 9 for every fix, coarser ones by `cell_to_parent` alone, never from the place again.

A parent is not always the coarse cell that holds the point, so one rule everywhere keeps roll-ups additive.
"""

from typing import Final

import numpy as np
from h3ronpy import change_resolution
from h3ronpy.vector import coordinates_to_cells
from numpy.typing import NDArray

from geo.fix import MICRODEGREES, NULL_DEGREES

RESOLUTION: Final = 9
NULL_CELL: Final = 0
"""The cell of a row without a place: 0 is no H3 cell."""


def locate(lat: NDArray[np.int32], lon: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the H3 cell of resolution 9 of each place.

    lat, lon: microdegrees WGS84, shape (n,). A null in either (NULL_DEGREES) gives NULL_CELL.
    """
    cells = np.full(len(lat), NULL_CELL, np.int64)
    placed = (lat != NULL_DEGREES) & (lon != NULL_DEGREES)
    if placed.any():
        found = coordinates_to_cells(lat[placed] / MICRODEGREES, lon[placed] / MICRODEGREES, RESOLUTION)
        cells[placed] = np.asarray(found).view(np.int64)
    return cells


def parent(cells: NDArray[np.int64], resolution: int) -> NDArray[np.int64]:
    """Return each cell's ancestor at a coarser resolution; NULL_CELL stays.

    Raises ValueError if the resolution is finer than that of the cells.
    """
    parents = np.full(len(cells), NULL_CELL, np.int64)
    known = cells != NULL_CELL
    if known.any():
        children = cells[known].view(np.uint64)
        # The resolution stands in bits 52 to 55 of a cell; finer than that would be an arbitrary child.
        if resolution > int((children >> np.uint64(52) & np.uint64(15)).min()):
            raise ValueError(f"resolution {resolution} is finer than the cells")
        parents[known] = np.asarray(change_resolution(children, resolution)).view(np.int64)
    return parents
