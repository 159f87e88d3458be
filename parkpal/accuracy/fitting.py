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
from geo.trips.records import FEATURES
from parkpal.accuracy.detect import Seen, only
from parkpal.accuracy.starts import fit_start

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Records = NDArray[np.void]

NEAR: Final = (0, 8, 9, 10, 11, 12, 13)
"""Features that say where a search for a place began; of 121 real drives the others only learn the noise."""
NEAR_PENALTY: Final = 3.0
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
        near, wander, ends = [], [], []
        for teacher, points, mine in zip(self._teachers, self.points, learnt, strict=True):
            known = points[mine[points["row"]]]
            ended = known[known["parked"] == 1]
            close = ended[ended["features"][:, WANDER] < REACH_M / 100]
            near.append((close["features"][:, NEAR], teacher.near(close)))
            ends.append((ended, teacher.near(ended)))
            wander.append((known["features"][:, :WANDER], teacher.wander(known)))
        gate = np.zeros(3 * len(SESSION_FEATURES) + 1)
        gate[0] = CERTAIN
        roams = _fit(wander, WANDER_PENALTY)
        roams[0] += WANDER_LIFT
        judged = np.zeros(FEATURES + 1)
        judged[[0, *(k + 1 for k in NEAR)]] = _fit(near, NEAR_PENALTY)
        open_gates = Model(judged, fit_start(judged, ends[0][0], ends[0][1].so), roams, gate, gate, np.zeros(2))
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
        return [_fit_bent(part, SESSION_PENALTY) for part in parts]


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


def _fit_bent(parts: Sequence[tuple[Floats, Labels]], penalty: float) -> Floats:
    """Return the coefficients of features that bend at their medians, and these: what lies far out counts for less."""
    known = np.concatenate([features[labels.weight > 0] for features, labels in parts])
    bends = np.median(known, axis=0) if len(known) else np.zeros(known.shape[1])
    bent = [(np.hstack((features, np.maximum(0, features - bends))), labels) for features, labels in parts]
    return np.concatenate((_fit(bent, penalty), bends))


def to_source(model: Model) -> str:
    """Return the model as Python source of `geo.trips.model`."""
    parts = (f"    {name}=np.array([{', '.join(map(_number, part))}])," for name, part in model._asdict().items())
    return "\n".join(("MODEL: Final = Model(", *parts, ")"))


def _number(value: float) -> str:
    text = f"{value:.4g}"
    return text if "." in text or "e" in text else f"{text}.0"
