"""The detector's model fitted to labelled drives and to a labelled city, whole or without some of their devices.

Four logistic regressions, as `geo.trips.model` says: two over points of drives, then two over the sessions found with
those. A point of a real drive weighs as long as it lasted, one of the city little, for its searchers are not people;
what the truth calls ambiguous, and searches too short to count, teach nothing. Penalties and weights were chosen once,
by cross-validation, and are not fitted.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from geo import trips
from geo.trips import MODEL, SESSION_FEATURES, WANDER, Model
from geo.trips.features import REACH_M
from parkpal.accuracy.detect import Seen, only

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Records = NDArray[np.void]

NEAR_PENALTY: Final = 1.0
WANDER_PENALTY: Final = 3.0
WANDER_LIFT: Final = 1.6
"""Log-odds by which searches given up are looked for more freely than points say: the session is judged after that."""
SESSION_PENALTY: Final = 8.0
CERTAIN: Final = 30.0
"""Log-odds of a gate that is open."""


class Labels(NamedTuple):
    """What is so, and how much each row teaches; a weight of 0 teaches nothing."""

    so: Flags
    weight: Floats


class Teacher(Protocol):
    """A recording whose truth is known."""

    @property
    def seen(self) -> Seen:
        """The rows."""

    def near(self, points: Records) -> Labels:
        """Say which points of drives that parked lie in the search for that place."""

    def wander(self, points: Records) -> Labels:
        """Say which points lie in a search."""

    def sessions(self, sessions: Records) -> Labels:
        """Say which sessions are searches of SEARCH_S."""


class Lessons:
    """What the search saw of the teachers' recordings: it does not depend on the model."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        self._teachers = teachers
        self.points = [trips.observe(each.seen.slot, each.seen.rows).points for each in teachers]

    def fit(self, learnt: Sequence[Flags]) -> Model:
        """Return the model fitted to the devices of each teacher that are marked."""
        near, wander = [], []
        for teacher, points, mine in zip(self._teachers, self.points, learnt, strict=True):
            known = points[mine[points["row"]]]
            close = known[(known["parked"] == 1) & (known["features"][:, WANDER] < REACH_M / 100)]
            near.append((close["features"], teacher.near(close)))
            wander.append((known["features"][:, :WANDER], teacher.wander(known)))
        gate = np.zeros(len(SESSION_FEATURES) + 1)
        gate[0] = CERTAIN
        roams = _fit(wander, WANDER_PENALTY)
        roams[0] += WANDER_LIFT
        open_gates = Model(_fit(near, NEAR_PENALTY), roams, gate, gate, np.zeros(2))
        parked, left = self._fit_sessions(open_gates, learnt)
        return open_gates._replace(parked=parked, left=left, least=MODEL.least)

    def _fit_sessions(self, model: Model, learnt: Sequence[Flags]) -> list[Floats]:
        parts: tuple[list[tuple[Floats, Labels]], list[tuple[Floats, Labels]]] = [], []
        for teacher, mine in zip(self._teachers, learnt, strict=True):
            seen = only(teacher.seen, mine)
            found = trips.observe(seen.slot, seen.rows, model).sessions
            for left, part in enumerate(parts):
                of = found[found["left"] == left]
                part.append((of["features"], teacher.sessions(of)))
        return [_fit(part, SESSION_PENALTY) for part in parts]


def _fit(parts: Sequence[tuple[Floats, Labels]], penalty: float) -> Floats:
    """Return the coefficients, the intercept first, penalised per standard deviation of each feature."""
    x = np.concatenate([features for features, _ in parts])
    so, weight = (np.concatenate(column) for column in zip(*(labels for _, labels in parts), strict=True))
    x, so, weight = x[weight > 0], so[weight > 0], weight[weight > 0]
    if so.all() or not so.any():  # nothing to tell apart
        return np.concatenate(([np.log((so.sum() + 1) / ((~so).sum() + 1))], np.zeros(x.shape[1])))
    mean = np.average(x, axis=0, weights=weight)
    spread = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weight)) + 1e-9
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", max_iter=200)
    model.fit((x - mean) / spread, so, sample_weight=weight)
    slopes: Floats = model.coef_[0] / spread
    return np.concatenate((model.intercept_ - slopes @ mean, slopes))


def to_source(model: Model) -> str:
    """Return the model as Python source of `geo.trips.model`."""
    parts = (f"    {name}=np.array([{', '.join(map(_number, part))}])," for name, part in model._asdict().items())
    return "\n".join(("MODEL: Final = Model(", *parts, ")"))


def _number(value: float) -> str:
    text = f"{value:.4g}"
    return text if "." in text or "e" in text else f"{text}.0"
