"""A snapshot comes back as it was, whatever the records in it look like."""

import numpy as np
import pytest
from numpy.typing import NDArray

from geo.fix import FIX
from geo.trips.records import DEVICE
from pipeline import state

PADDED = np.dtype([("time", "<i8"), ("kind", "i1"), ("place", "<f4", (2,))], align=True)


@pytest.mark.parametrize("column", [np.arange(3), *(np.zeros(2, kind) for kind in (FIX, DEVICE, PADDED))])
def test_a_column_comes_back_in_its_own_type(column: NDArray[np.generic]) -> None:
    found = state.unpack(state.pack({"column": column}))["column"]
    assert found.dtype == column.dtype
    assert found.tobytes() == column.tobytes()
