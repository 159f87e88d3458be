"""Recorded events through the very kernels of the dataflow: order, then the trip machine, then rows of the lake.

All rows are handed over at once and everything is closed at the end: how a log is cut changes no row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geo import order, trips
from geo.fence_index import FenceIndex
from geo.fix import NULL_TIME, FixArray
from geo.holding import FOREVER
from geo.trips import MODEL, Model
from pipeline import facts
from pipeline.replay import Recording


class Seen(NamedTuple):
    """Rows as detection sees them: repeats and late ones gone, each device's in order."""

    rows: FixArray  # (n,)
    slot: NDArray[np.int32]  # (n,), position in device_ids
    device_ids: list[bytes]


class Decided(NamedTuple):
    """What the trip machine decided, dtype geo.trips.EVENT, and whose it is."""

    events: NDArray[np.void]  # (k,)
    slot: NDArray[np.int32]  # (k,), position in device_ids


def see(recording: Recording) -> Seen:
    """Put the rows of a recording in order as the dataflow does."""
    state = order.OrderState()
    state.grow(len(recording.device_ids))
    received = recording.rows["receive_time"]
    arrival = order.arrivals(received, int(received[0])) if len(received) else received
    _, released = order.advance(state, recording.device, recording.rows, arrival)
    _, held = order.expire(state, FOREVER)
    rows, slot = (np.concatenate(parts) for parts in zip(released, held, strict=True))
    return Seen(rows, slot, recording.device_ids)


def decide(seen: Seen, model: Model = MODEL) -> Decided:
    """Run the trip machine over the rows and close every device."""
    state = trips.TripState(len(seen.device_ids))
    events = trips.advance(state, seen.slot, seen.rows, model)
    closed = trips.expire(state, FOREVER, model)
    return Decided(np.concatenate([events, closed]), np.concatenate([seen.slot[events["row"]], closed["row"]]))


def only(seen: Seen, wanted: NDArray[np.bool_]) -> Seen:
    """Return the rows of the devices that are wanted, (number of devices,)."""
    mine = wanted[seen.slot]
    return seen._replace(rows=seen.rows[mine], slot=seen.slot[mine])


def concatenate(parts: Sequence[Decided]) -> Decided:
    """Put together what was decided of different devices."""
    return Decided(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def to_tables(decided: Decided, device_ids: list[bytes], index: FenceIndex) -> dict[str, pl.DataFrame]:
    """Return what was decided as the dataflow's rows, by table; times in ms UTC."""
    entered = np.full(len(decided.events), NULL_TIME)  # no fences are watched here
    tables = facts.of_trips(decided.events, decided.slot, device_ids, index, entered)
    return {name: _frame(pl.from_arrow(rows)) for name, rows in tables}


def _frame(rows: pl.DataFrame | pl.Series) -> pl.DataFrame:
    assert isinstance(rows, pl.DataFrame)  # noqa: S101 - a record batch is a frame
    return rows.with_columns(pl.selectors.datetime().dt.epoch("ms"), pl.selectors.decimal().cast(pl.Float64))
