"""A phone at rest near a boundary stays on its side; one that really leaves is seen at once."""

import math

import numpy as np
import pytest

from geo.fence_index import build_index
from geo.geofence import KINDS, GeofenceState, advance, expire
from tests.geo.shapes import METRES_PER_DEGREE, PLACES, box, circle, fence

PLACE = PLACES[1]
METRE = 1e6 / METRES_PER_DEGREE
EAST = METRE / math.cos(math.radians(PLACE[0]))
SHAPES = {"circle": circle(PLACE, 100, east=-95, corners=64), "square": box(PLACE, -50, -95, 50, 5)}
"""Fences of 100 m whose boundary lies 5 m east of the place."""


def kinds_of(shape: str, north_m: np.ndarray, east_m: np.ndarray, interval_s: int = 5) -> list[str]:
    """What the machine says of a track with accuracy 15 m."""
    index = build_index([fence(shape, ((SHAPES[shape],),), dwell_s=1e6)])
    count = len(north_m)
    state = GeofenceState(1)
    given = advance(
        state,
        index,
        np.zeros(count, np.int32),
        np.arange(count) * interval_s * 1000,
        np.round(PLACE[0] * 1e6 + north_m * METRE).astype(np.int32),
        np.round(PLACE[1] * 1e6 + east_m * EAST).astype(np.int32),
        np.full(count, 15, np.float32),
    )
    return [KINDS[kind] for kind in (*given.events["kind"], *expire(state, index, 2**63 - 1)["kind"])]


def gauss_markov(count: int, sigma_m: float, correlation_s: float, rng: np.random.Generator) -> np.ndarray:
    kept = math.exp(-5 / correlation_s)
    drawn = rng.normal(0, sigma_m, count)
    value, values = drawn[0], np.empty(count)
    for i, step in enumerate(drawn * math.sqrt(1 - kept * kept)):
        values[i] = value
        value = kept * value + step
    return values


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("sigma_m", "correlation_s"), [(9.9, 60), (9.9, 300), (9.9, 10), (15, 60)])
def test_a_phone_at_rest_does_not_flap(shape: str, sigma_m: float, correlation_s: float) -> None:
    """100 h, 5 m inside: one ENTER, and the end of the log; point in polygon says some 10,000."""
    rng = np.random.default_rng(7)
    north, east = (gauss_markov(72_000, sigma_m, correlation_s, rng) for _ in "ne")
    north[0] = east[0] = 0
    assert kinds_of(shape, north, east) == ["enter", "exit_inferred"]


@pytest.mark.parametrize("speed_mps", [1.3, 4.0, 12.0])
def test_whoever_leaves_after_a_long_rest_has_left(speed_mps: float) -> None:
    """On foot, by bicycle, by car; the noise learned at rest does not hold them back."""
    rng = np.random.default_rng(8)
    count = 1500
    away = np.maximum(0, np.arange(count) - 1400) * 5 * speed_mps
    north, east = (gauss_markov(count, 9.9, 60, rng) for _ in "ne")
    north[0] = east[0] = 0
    assert kinds_of("square", north, east + away) == ["enter", "exit"]
