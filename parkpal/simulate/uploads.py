"""When the server hears of it, and by which clock: batches wait, get lost in transit, come twice, come out of order."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from parkpal.simulate.city import Floats

MOST_OFFLINE_S: Final = 7_200.0


class Carrier(NamedTuple):
    """How a phone sends: seconds between uploads, one spell offline, and what its clock says."""

    flush_s: float
    offline_from_s: float
    offline_s: float
    clock_kind: str
    clock_skew_s: float
    clock_jump_s: float


class Upload(NamedTuple):
    """Rows as they reach the server: `row` of the capture (its seq), the server's and the phone's clock in ms."""

    row: NDArray[np.int64]
    receive_ms: NDArray[np.int64]
    event_ms: NDArray[np.int64]


def build_carrier(rng: np.random.Generator, first_s: float, last_s: float) -> Carrier:
    """Draw the way a phone sends, for a capture between two times."""
    offline = rng.random() < 0.08
    wrong = rng.random() < 0.04
    kind = "none" if not wrong else "jump" if rng.random() < 0.25 else "const"
    return Carrier(
        flush_s=float(rng.uniform(5, 25) if rng.random() < 0.7 else np.exp(rng.uniform(np.log(60), np.log(900)))),
        offline_from_s=float(rng.uniform(first_s, last_s)),
        offline_s=float(rng.uniform(60, MOST_OFFLINE_S)) if offline else 0.0,
        clock_kind=kind,
        clock_skew_s=float(rng.choice((-1, 1)) * rng.uniform(20, 600)) if wrong else 0.0,
        clock_jump_s=float(rng.uniform(first_s, last_s)) if kind == "jump" else -np.inf,
    )


def upload(time_s: NDArray[np.int64], carrier: Carrier, start_ms: int, rng: np.random.Generator) -> Upload:
    """Send what was captured at `time_s`: each batch once, a few again, in the order of the capture."""
    batch = ((time_s - time_s[0]) // carrier.flush_s).astype(np.int64)
    batches = int(batch[-1]) + 1
    sent_s = time_s[0] + (np.arange(batches) + 1) * carrier.flush_s + rng.lognormal(np.log(0.4), 0.6, batches)
    delayed = rng.random(batches) < 0.03
    sent_s += np.where(delayed, rng.uniform(5, 90, batches), 0.0)
    reached_s = _after_spell(sent_s, carrier, rng)
    again = np.flatnonzero(np.isin(batch, np.flatnonzero(rng.random(batches) < 0.02)))
    again_s = reached_s[batch[again]] + rng.uniform(3, 200)
    row = np.concatenate((np.arange(time_s.size), again))
    receive_s = np.concatenate((reached_s[batch], again_s))
    skew_s = np.where(time_s >= carrier.clock_jump_s, carrier.clock_skew_s, 0.0)
    event_ms = start_ms + np.round((time_s + skew_s) * 1000).astype(np.int64)
    order = np.lexsort((receive_s, row))
    receive_ms = start_ms + np.round(receive_s * 1000).astype(np.int64)
    return Upload(row[order], receive_ms[order], event_ms[row[order]])


def _after_spell(sent_s: Floats, carrier: Carrier, rng: np.random.Generator) -> Floats:
    """Hold back what was sent while offline until the spell ends, then send batch after batch."""
    until_s = carrier.offline_from_s + carrier.offline_s
    held = (sent_s >= carrier.offline_from_s) & (sent_s < until_s)
    return np.where(held, until_s + np.cumsum(held) * 0.3 + rng.uniform(0, 5), sent_s)
