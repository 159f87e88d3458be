"""The detector as it is judged: each drive and device by a model fitted without it, where there is enough to fit one.

The model needs real drives and a city with those who gave up. With one of the two alone the model that ships is judged,
which has seen both: the figures are in-sample then, and say so.
"""

import numpy as np

from geo.trips import Model
from parkpal.accuracy.cities import City
from parkpal.accuracy.detect import Decided, Seen, concatenate, decide, only
from parkpal.accuracy.drives import Drives
from parkpal.accuracy.fitting import Lessons
from parkpal.accuracy.folds import FOLDS, Numbers, numbers
from parkpal.accuracy.teachers import CityTeacher, DriveTeacher


class Judge:
    """Models by fold, and the fold of every drive and device."""

    def __init__(self, drives: Drives | None, city: City | None, seed: int) -> None:
        self._seed = seed
        self.models: list[Model] = []
        if drives and city:
            teachers = (DriveTeacher(drives), CityTeacher(city))
            lessons = Lessons(teachers)
            fold = [self._folds(teacher.seen) for teacher in teachers]
            self.models = [lessons.fit([of != k for of in fold]) for k in range(FOLDS)]

    @property
    def in_folds(self) -> bool:
        """Whether nothing is judged by a model that has seen it."""
        return bool(self.models)

    def decide(self, seen: Seen) -> Decided:
        """Run the trip machine over the rows, each device's with its model."""
        if not self.models:
            return decide(seen)
        fold = self._folds(seen)
        return concatenate([decide(only(seen, fold == k), model) for k, model in enumerate(self.models)])

    def _folds(self, seen: Seen) -> Numbers:
        return numbers(len(seen.device_ids), self._seed)


def fit_whole(drives: Drives, city: City) -> Model:
    """Return the model fitted to all of both: the one that ships."""
    teachers = (DriveTeacher(drives), CityTeacher(city))
    return Lessons(teachers).fit([np.ones(len(each.seen.device_ids), np.bool_) for each in teachers])
