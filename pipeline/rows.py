"""What the flow hands to a shard: columns of rows that were decoded from messages."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.fix import FixArray


class Rows(NamedTuple):
    """Rows of one shard in log order, and the log clock of their partition behind them."""

    partition: int
    clock: int  # ms UTC: nothing received earlier will follow; FOREVER ends the log
    device_ids: list[bytes]
    device: NDArray[np.int32]  # (n,) position in device_ids
    rows: FixArray  # (n,)
    arrival: NDArray[np.int64]  # (n,) ms UTC, when each counts as received
    offset: NDArray[np.int64]  # (n,)
    row: NDArray[np.int32]  # (n,) within its message
    known: bool = False  # the lake has these rows, and what is decided on them
