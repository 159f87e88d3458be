"""A state machine of Hypothesis: random rules on a real database agree with a plain model, step by step.

The model knows two spaces and a lot of two as lists of bookings, and says of each step what must come of it. It is
written without a look at the code: windows are pairs of hours, the clock a number.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from api.bookings.changes import cancel, confirm_free
from api.bookings.paid import Confirmed, confirm_paid
from api.bookings.stays import check_in, check_out
from api.database import build_pool
from api.errors import ApiError, PlaceTakenError, TooEarlyError, WrongStateError
from tests.api.bookings.conftest import NOON, Desk, Ground

pytestmark = pytest.mark.postgres

T = TypeVar("T")

GRACE, EARLY, HOLD, AUTO = 0.25, 0.25, 1 / 6, 12.0
LOT: Final = 2
LIVE: Final = {"HELD", "RESERVED", "ACTIVE", "OVERSTAY"}


@dataclass
class Entry:
    """A booking as the model knows it; hours since noon."""

    place: int
    start: float
    end: float
    held_until: float
    status: str = "HELD"
    late_until: float = 0.0
    left_until: float = 0.0
    """Who has left a lot keeps the quarter that was under way."""


@dataclass
class Model:
    """What should be, in plain words."""

    now: float = 0.0
    entries: list[Entry] = field(default_factory=list)

    def is_free(self, place: int, start: float, end: float, but: Entry | None = None) -> bool:
        """Return whether somebody can have the place; of a lot, whether each quarter has one left."""
        rivals = [one for one in self.entries if one.place == place and one is not but and self._stands(one)]
        if place != LOT:
            return all(one.end <= start or end <= one.start for one in rivals)
        quarters = [start + n / 4 for n in range(round((end - start) * 4))]
        left = [one for one in self.entries if one.place == LOT and one.status == "FULFILLED"]
        spans = [(one.start, max(one.end, one.late_until)) for one in rivals]
        spans += [(one.start, one.left_until) for one in left]
        return all(sum(since <= at < until for since, until in spans) < 2 for at in quarters)

    def staying(self, place: int) -> int:
        """Return how many vehicles stand there."""
        return sum(one.place == place and one.status in {"ACTIVE", "OVERSTAY"} for one in self.entries)

    def tick(self) -> None:
        """Let the clock look at everything, once."""
        for one in self.entries:
            if one.status == "HELD" and one.held_until <= self.now:
                one.status = "EXPIRED"
            elif one.status == "RESERVED" and one.end <= self.now:
                one.status = "NO_SHOW"
        for one in [one for one in self.entries if one.status in {"ACTIVE", "OVERSTAY"} and one.end <= self.now]:
            one.late_until = self.now // 0.25 * 0.25 + 0.5
            if one.status == "OVERSTAY" and one.end + AUTO <= self.now:
                self.leave(one)
            elif one.status == "ACTIVE" and one.end + GRACE <= self.now:
                one.status = "OVERSTAY"
                self._make_way(one)

    def _make_way(self, late: Entry) -> None:
        """Who has the space next, within the hour, loses it: there is no other."""
        following = [one for one in self.entries if (one.place, one.status) == (late.place, "RESERVED")]
        soon = [one for one in following if late.end <= one.start <= self.now + 1 and late.place != LOT]
        for one in sorted(soon, key=lambda one: one.start)[:1]:
            one.status = "CANCELED"

    def leave(self, one: Entry) -> None:
        """End a stay."""
        one.status, one.left_until, one.late_until = "FULFILLED", self.now // 0.25 * 0.25 + 0.25, 0.0

    def _stands(self, one: Entry) -> bool:
        return one.status in LIVE and not (one.status == "HELD" and one.held_until <= self.now)


class Town(RuleBasedStateMachine):
    """Steps on database and model alike."""

    ground: Ground
    """A fresh one is set for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        # Append-only tables refuse a TRUNCATE by trigger; a replica's triggers rest.
        self.ground.run("SET session_replication_role = replica; TRUNCATE bookings, lot_buckets, outbox CASCADE")
        self.pool = build_pool(self.ground.url, max_size=1)
        self.run(self.pool.open())
        self.desk = Desk(self.ground, self.pool, now=NOON)
        self.model = Model()
        self.ids: list[UUID] = []

    def teardown(self) -> None:
        """Close what was opened."""
        self.run(self.pool.close())
        self.runner.close()

    def run(self, work: Awaitable[T]) -> T:
        """Run to the end."""

        async def go() -> T:
            return await work

        return self.runner.run(go())

    @rule(place=st.integers(0, 2), start=st.integers(0, 5), quarters=st.integers(1, 6), firm=st.booleans())
    def hold(self, place: int, start: int, quarters: int, *, firm: bool) -> None:
        """Somebody asks for a place, and may confirm at once."""
        begin = self.model.now // 0.25 * 0.25 + 0.25 + start / 4
        end = begin + quarters / 4
        expected = self.model.is_free(place, begin, end)
        try:
            held = self.run(self.desk.hold(self._at(begin), quarters / 4, place_id=PLACES[place]))
        except PlaceTakenError:
            assert not expected
            return
        assert expected
        for one in self.model.entries:
            if (one.status, one.place) == ("HELD", place) and one.held_until <= self.model.now:
                one.status = "EXPIRED" if one.start < end and begin < one.end else one.status
        self.ids.append(held)
        self.model.entries.append(Entry(place, begin, end, self.model.now + HOLD))
        if firm:
            self.run(self.desk.do(confirm_free, held))
            self.model.entries[-1].status = "RESERVED"

    @rule(which=st.integers(0, 1000))
    def confirm(self, which: int) -> None:
        """A driver confirms what is free."""
        self._change(which, {"HELD"}, "RESERVED", lambda one: self.desk.do(confirm_free, one))

    @rule(which=st.integers(0, 1000))
    def pay(self, which: int) -> None:
        """Money comes; of an expired hold it finds the place again, if that is free."""
        if not self.ids:
            return
        number = self._pick(which, {"HELD", "EXPIRED"})
        one = self.model.entries[number]
        again = one.status == "EXPIRED" and one.end > self.model.now and number not in self.replaced
        fits = again and self.model.is_free(one.place, one.start, one.end)
        outcome = self.run(self.desk.do(confirm_paid, self.ids[number]))
        assert isinstance(outcome, Confirmed) == (one.status == "HELD" or fits)
        if not isinstance(outcome, Confirmed):
            return
        if one.status == "HELD":
            one.status = "RESERVED"
            return
        self.replaced.add(number)
        self.ids.append(outcome.booking_id)
        self.model.entries.append(Entry(one.place, one.start, one.end, 0.0, "RESERVED"))

    @rule(place=st.integers(0, 2), gap=st.integers(0, 8))
    def stay_too_long(self, place: int, gap: int) -> None:
        """Somebody does not leave, and another has the place so many quarters later."""
        self.hold(place=place, start=0, quarters=1, firm=True)
        first = len(self.ids) - 1
        self.hold(place=place, start=1 + gap, quarters=1, firm=True)
        self.wait(quarters=1)
        if self.ids:
            self.arrive(which=self._as_picked(first))
        for _ in range(3):
            self.wait(quarters=1)

    @rule(early=st.booleans(), quarters=st.integers(2, 4))
    def leave_a_full_lot(self, *, early: bool, quarters: int) -> None:
        """Two fill the lot, one leaves at once; somebody comes who has the next quarter, or asks for it."""
        for _ in range(2):
            self.hold(place=LOT, start=0, quarters=quarters, firm=True)
        last = len(self.ids) - 1
        self.wait(quarters=1)
        for number in (last - 1, last):
            if number >= 0:
                self.arrive(which=self._as_picked(number))
        if last >= 0:
            self.depart(which=self._as_picked(last, {"ACTIVE", "OVERSTAY"}))
        self.hold(place=LOT, start=0, quarters=1, firm=True)
        if early and self.ids:
            self.arrive(which=self._as_picked(len(self.ids) - 1))

    @rule(which=st.integers(0, 1000))
    def call_off(self, which: int) -> None:
        """A driver cancels."""
        work = lambda one: self.desk.do(cancel, self.desk.books, one, "driver", "")  # noqa: E731  # one call
        self._change(which, {"HELD", "RESERVED"}, "CANCELED", work)

    @rule(which=st.integers(0, 1000))
    def arrive(self, which: int) -> None:
        """A driver checks in."""
        if not self.ids:
            return
        number = self._pick(which, {"RESERVED"})
        one = self.model.entries[number]
        expected = self._arrival(one)
        answer = self.run(self._try(self.desk.do(check_in, self.desk.books, self.ids[number])))
        if isinstance(answer, ApiError):
            assert type(answer) is expected
            return
        if answer.status == "CANCELED":  # another stands there, and there is no other place
            assert expected is None
            one.status = "CANCELED"
            return
        assert expected == "ACTIVE"
        one.status = "ACTIVE"
        one.start = min(one.start, self.model.now if one.place != LOT else self.model.now // 0.25 * 0.25)

    @rule(which=st.integers(0, 1000))
    def depart(self, which: int) -> None:
        """A driver checks out."""
        work = lambda one: self.desk.do(check_out, self.desk.books, one)  # noqa: E731  # one call
        self._change(which, {"ACTIVE", "OVERSTAY"}, "FULFILLED", work)

    @rule(quarters=st.sampled_from([1, 1, 1, 1, 2, 2, 4, 50]))
    def wait(self, quarters: int) -> None:
        """Time passes, and the clock looks."""
        self.model.now += quarters / 4
        self.model.tick()
        self.run(self.desk.tick(hours=quarters / 4))

    @invariant()
    def agree(self) -> None:
        """Every booking is what the model says."""
        rows = dict(self.run(self._statuses()))
        assert [rows[one] for one in self.ids] == [one.status for one in self.model.entries]

    @property
    def replaced(self) -> set[int]:
        """Return the numbers of expired holds whose money found another booking."""
        if not hasattr(self, "_replaced"):
            self._replaced: set[int] = set()
        return self._replaced

    def _pick(self, which: int, statuses: set[str]) -> int:
        """Return a booking's number, mostly one to which this can happen."""
        fitting = [number for number, one in enumerate(self.model.entries) if one.status in statuses]
        chosen = fitting if fitting and which % 5 else range(len(self.ids))
        return chosen[which % len(chosen)]

    def _as_picked(self, number: int, statuses: frozenset[str] | set[str] = frozenset({"RESERVED"})) -> int:
        """Return a `which` for which `_pick` picks this booking, or another if this cannot happen to it."""
        fitting = [at for at, one in enumerate(self.model.entries) if one.status in statuses]
        if number not in fitting:
            return 1
        wanted = fitting.index(number)
        return next((which for which in range(5 * len(fitting)) if which % 5 and which % len(fitting) == wanted), 1)

    def _arrival(self, one: Entry) -> Any:
        """Return what checking in must come to: ACTIVE, an error, or None if the place is taken for good."""
        now = self.model.now
        if one.status != "RESERVED" or now >= one.end:
            return WrongStateError
        if now < one.start - EARLY:
            return TooEarlyError
        since = now // 0.25 * 0.25 if one.place == LOT else now
        if now < one.start and not self.model.is_free(one.place, since, one.start, but=one):
            return TooEarlyError
        if self.model.staying(one.place) >= (2 if one.place == LOT else 1):
            return PlaceTakenError if now < one.start else None
        return "ACTIVE"

    def _change(self, which: int, allowed: set[str], following: str, work: Callable[[UUID], Awaitable[Any]]) -> None:
        if not self.ids:
            return
        number = self._pick(which, allowed)
        one = self.model.entries[number]
        try:
            self.run(work(self.ids[number]))
        except WrongStateError:
            assert one.status not in allowed
            return
        assert one.status in allowed
        if following == "FULFILLED":
            self.model.leave(one)
        one.status = following

    async def _statuses(self) -> list[Any]:
        async with self.pool.connection() as connection:
            return await (await connection.execute("SELECT booking_id, status FROM bookings")).fetchall()

    async def _try(self, work: Awaitable[T]) -> T | ApiError:
        try:
            return await work
        except ApiError as error:
            return error

    def _at(self, hours: float) -> datetime:
        return NOON + timedelta(hours=hours)


PLACES = [UUID(int=100), UUID(int=101), UUID(int=102)]


def test_the_desk_does_what_a_plain_model_says(ground: Ground) -> None:
    """The three places lie so far apart that nobody is moved from one to another."""
    ground.run("UPDATE places SET state = 'retired'")
    for number, place_id in enumerate(PLACES):
        kind, capacity = ("lot", 2) if number == LOT else ("space", 1)
        lat = 14.0 + number
        ground.add_place(kind, capacity, place_id=place_id, lat=lat, shown_lat=lat)
    ground.add_bays(PLACES[LOT], 2)
    Town.ground = ground
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    run_state_machine_as_test(
        Town, settings=settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=checks)
    )
