"""Monthly passes: all of their windows or none, a place that waits for whoever leaves and comes back, and a price."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.bookings.changes import cancel
from api.bookings.hours import Hours, is_open
from api.bookings.places import LONGEST_BOOKING, Vehicle, Window
from api.bookings.stays import check_in, check_out, price_so_far
from api.errors import ApiError, InvalidRequestError, PlaceClosedError, PlaceTakenError, WrongStateError
from api.passes.issuing import Terms, end, issue
from api.passes.windows import check_pass_hours, pass_windows
from tests.api.bookings.conftest import FREE, HOURLY, Desk
from tests.api.bookings.person import ANA, BEN, DRIVEWAY, Person, mall
from tests.api.people.conftest import Town

postgres = pytest.mark.postgres
anyio = pytest.mark.anyio

MANILA, BERLIN = ZoneInfo("Asia/Manila"), ZoneInfo("Europe/Berlin")
OFFICE = tuple(Hours(day, 8 * 60, 18 * 60) for day in range(1, 6))
APRIL = date(2031, 4, 1)
MARCH_END = datetime(2031, 3, 30, tzinfo=UTC)


def test_office_hours_of_a_month_are_a_window_a_working_day() -> None:
    windows = pass_windows(OFFICE, MANILA, APRIL, MARCH_END)
    assert len(windows) == 22
    assert windows[0] == Window(datetime(2031, 4, 1, 0, tzinfo=UTC), datetime(2031, 4, 1, 10, tzinfo=UTC))


def test_a_whole_month_is_as_long_as_the_clocks_make_it_and_no_window_longer_than_a_booking() -> None:
    """October in Berlin has an hour more than 31 days."""
    windows = pass_windows((), BERLIN, date(2031, 10, 1), MARCH_END)
    assert sum((ends - begins for begins, ends in windows), timedelta()) == timedelta(days=31, hours=1)
    assert [ends - begins for begins, ends in windows] == [LONGEST_BOOKING, timedelta(hours=1)]


def test_hours_are_of_quarters() -> None:
    check_pass_hours(OFFICE)
    with pytest.raises(ValueError, match="quarters"):
        check_pass_hours([Hours(1, 481, 600)])


@given(
    weekday=st.integers(1, 7),
    opens=st.integers(0, 95),
    length=st.integers(1, 96),
    zone=st.sampled_from([MANILA, BERLIN, ZoneInfo("America/New_York")]),
    month=st.dates(date(2031, 1, 1), date(2032, 12, 1)),
    quarter=st.integers(0, 31 * 96),
)
def test_windows_hold_exactly_the_open_quarters_of_the_month(
    weekday: int, opens: int, length: int, zone: ZoneInfo, month: date, quarter: int
) -> None:
    """The plain twin: a quarter of an hour is covered if the hours, asked alone, are open then."""
    hours = [Hours(weekday, opens * 15, (opens + length) * 15)]
    first = month.replace(day=1)
    begins = datetime(first.year, first.month, 1, tzinfo=zone).astimezone(UTC)
    following = (first + timedelta(days=31)).replace(day=1)
    ends = datetime(following.year, following.month, 1, tzinfo=zone).astimezone(UTC)
    at = begins + quarter * timedelta(minutes=15)
    covered = any(window.starts_at <= at < window.ends_at for window in pass_windows(hours, zone, first, begins))
    assert covered == (at < ends and is_open(hours, zone, at, at + timedelta(minutes=15)))


class Office:
    """A lot of two, or a single space, to which passes are issued."""

    def __init__(self, desk: Desk, kind: str, tariff: dict[str, Any] = FREE) -> None:
        ground = desk.ground
        self.desk, self.ground = desk, ground
        self.place_id = ground.add_place(kind, 2 if kind == "lot" else 1, tariff_id=ground.add_tariff(tariff))
        if kind == "lot":
            ground.add_bays(self.place_id, 2)
        desk.now = MARCH_END

    def terms(self, **more: Any) -> Terms:
        terms = {
            "tenant_id": self.ground.tenant_id,
            "place_id": self.place_id,
            "driver_id": self.ground.driver_id,
            "vehicle": Vehicle("ABC1234", "car"),
            "month": APRIL,
            "hours": OFFICE,
            "price_minor": 300_000,
        }
        return Terms(**terms | more)

    async def issue(self, **more: Any) -> UUID:
        return await self.desk.do(issue, self.desk.books, self.terms(**more))

    def bookings(self, pass_id: UUID) -> list[tuple[UUID, str]]:
        query = "SELECT booking_id, status FROM bookings WHERE pass_id = %s ORDER BY lower(during), created_at"
        return [(row[0], row[1]) for row in self.ground.run(query, pass_id)]

    def used(self) -> set[int]:
        """Return how many spaces of the lot are sold in the quarters that have begun to be."""
        return {row[0] for row in self.ground.run("SELECT used FROM lot_buckets WHERE used > 0")}


@postgres
@anyio
@pytest.mark.parametrize("kind", ["space", "lot"])
async def test_a_pass_keeps_all_of_its_windows_or_none(desk: Desk, kind: str) -> None:
    """One rival hour in the month is enough; the price is owed once, and nothing else is written."""
    office = Office(desk, kind)
    for _ in range(2 if kind == "lot" else 1):
        rival = await desk.hold(datetime(2031, 4, 15, 3, tzinfo=UTC), 1, office.place_id)
    with pytest.raises(PlaceTakenError) as taken:
        await office.issue()
    assert taken.value.facts["starts_at"] == "2031-04-15T00:00:00+00:00"
    assert office.ground.run("SELECT count(*) FROM passes") == [(0,)]
    assert office.ground.run("SELECT count(*) FROM bookings WHERE pass_id IS NOT NULL") == [(0,)]
    assert desk.books.short() == []
    await desk.do(cancel, desk.books, rival, "driver", "")
    pass_id = await office.issue()
    assert [status for _, status in office.bookings(pass_id)] == ["RESERVED"] * 22
    assert desk.books.short() == [("charge", 300_000)]
    assert office.ground.letters()[-1] == "pass_issued"
    if kind == "space":
        with pytest.raises(PlaceTakenError):
            await desk.hold(datetime(2031, 4, 16, 3, tzinfo=UTC), 1, office.place_id)
    await desk.hold(datetime(2031, 4, 19, 3, tzinfo=UTC), 1, office.place_id)


@postgres
@anyio
async def test_of_passes_at_once_as_many_are_issued_as_there_are_spaces(desk: Desk) -> None:
    office = Office(desk, "lot")
    outcomes = await asyncio.gather(*(office.issue() for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(one, UUID) for one in outcomes) == 2
    assert sum(isinstance(one, PlaceTakenError) for one in outcomes) == 2
    assert office.used() == {2}


@postgres
@anyio
@pytest.mark.parametrize("kind", ["space", "lot"])
async def test_whoever_leaves_for_lunch_finds_the_place_kept(desk: Desk, kind: str) -> None:
    """A rival has no chance meanwhile; in the evening the window is over, and nothing costs anything."""
    office = Office(desk, kind)
    pass_id = await office.issue()
    if kind == "lot":
        await office.issue(vehicle=Vehicle("XYZ99", "car"))
    (first, _), *_ = office.bookings(pass_id)
    desk.now = datetime(2031, 4, 1, 0, 5, tzinfo=UTC)
    await desk.do(check_in, desk.books, first)
    desk.now = datetime(2031, 4, 1, 4, 5, tzinfo=UTC)
    await desk.do(check_out, desk.books, first)
    with pytest.raises(PlaceTakenError):
        await desk.hold(datetime(2031, 4, 1, 4, 15, tzinfo=UTC), 1, office.place_id)
    assert office.used() <= {2}
    (_, left), (rest, waits), *_ = office.bookings(pass_id)
    assert (left, waits) == ("FULFILLED", "RESERVED")
    desk.now += timedelta(minutes=50)
    await desk.do(check_in, desk.books, rest)
    desk.now = datetime(2031, 4, 1, 9, 50, tzinfo=UTC)
    await desk.do(check_out, desk.books, rest)
    await desk.tick(minutes=20)
    assert [status for _, status in office.bookings(pass_id)][:3] == ["FULFILLED", "FULFILLED", "RESERVED"]
    assert [what for what, _ in desk.books.short() if what != "charge"] == []


@postgres
@anyio
async def test_a_day_on_which_nobody_came_is_over_and_the_next_is_kept(desk: Desk) -> None:
    office = Office(desk, "lot")
    pass_id = await office.issue()
    desk.now = datetime(2031, 4, 1, 10, 1, tzinfo=UTC)
    await desk.tick()
    assert [status for _, status in office.bookings(pass_id)][:2] == ["NO_SHOW", "RESERVED"]
    assert office.ground.run("SELECT used FROM lot_buckets WHERE starts_at = '2031-04-02T00:00Z'") == [(1,)]


@postgres
@anyio
async def test_a_vehicle_stands_on_from_one_month_to_the_next(desk: Desk) -> None:
    """Two passes that touch: at midnight the one ends and the other begins, and nobody is fined or moved."""
    office = Office(desk, "space")
    april = await office.issue(hours=())
    may = await office.issue(hours=(), month=date(2031, 5, 1))
    ((first, _),) = office.bookings(april)
    (following, _), *_ = office.bookings(may)
    desk.now = datetime(2031, 4, 10, tzinfo=UTC)
    await desk.do(check_in, desk.books, first)
    desk.now = datetime(2031, 4, 30, 16, 0, 5, tzinfo=UTC)
    await desk.tick()
    assert (office.ground.status(first), office.ground.status(following)) == ("FULFILLED", "ACTIVE")
    assert [amount for what, amount in desk.books.short() if what != "charge"] == []
    assert "booking_overstay" not in office.ground.letters()


@postgres
@anyio
async def test_staying_longer_than_the_pass_costs_the_time_beyond_it(desk: Desk) -> None:
    """At 40.00 an hour: an extension would cost 40.00, and staying without one half as much again."""
    office = Office(desk, "space", HOURLY | {"maximum_fee": 100_000})
    pass_id = await office.issue()
    (first, _), *_ = office.bookings(pass_id)
    desk.now = datetime(2031, 4, 1, 0, 5, tzinfo=UTC)
    await desk.do(check_in, desk.books, first)
    assert price_so_far(await desk.read(first)) == 40_000
    desk.now = datetime(2031, 4, 1, 10, 59, tzinfo=UTC)
    await desk.tick()
    await desk.do(check_out, desk.books, first)
    assert desk.books.short() == [("charge", 300_000), ("charge", 6_000)]


@postgres
@anyio
async def test_an_ended_pass_gives_back_what_is_to_come_and_lets_a_stay_end(desk: Desk) -> None:
    office = Office(desk, "lot")
    pass_id = await office.issue()
    (first, _), *_ = office.bookings(pass_id)
    desk.now = datetime(2031, 4, 1, 0, 5, tzinfo=UTC)
    await desk.do(check_in, desk.books, first)
    tenant_id = office.ground.tenant_id
    await desk.do(end, tenant_id, pass_id, "moved away")
    assert [status for _, status in office.bookings(pass_id)] == ["ACTIVE", *["CANCELED"] * 21]
    desk.now += timedelta(hours=1)
    await desk.do(check_out, desk.books, first)
    assert [status for _, status in office.bookings(pass_id)].count("RESERVED") == 0
    future = "SELECT coalesce(sum(used), 0)::int FROM lot_buckets WHERE starts_at >= '2031-04-01T01:30Z'"
    assert office.ground.run(future) == [(0,)]
    with pytest.raises(WrongStateError):
        await desk.do(end, tenant_id, pass_id, "again")


@postgres
@anyio
async def test_a_pass_is_refused_where_it_cannot_be_kept(desk: Desk) -> None:
    office = Office(desk, "lot")
    refused: list[tuple[type[ApiError], dict[str, Any]]] = [
        (InvalidRequestError, {"month": date(2031, 1, 1)}),
        (InvalidRequestError, {"month": date(2032, 6, 1)}),
        (PlaceClosedError, {"vehicle": Vehicle("VAN1", "van")}),
    ]
    for refusal, terms in refused:
        with pytest.raises(refusal):
            await office.issue(**terms)
    office.ground.run(
        "INSERT INTO opening_hours SELECT place_id, tenant_id, 1, 0, 60 FROM places WHERE place_id = %s",
        office.place_id,
    )
    with pytest.raises(PlaceClosedError) as closed:
        await office.issue()
    assert closed.value.facts["starts_at"] == "2031-04-01T00:00:00+00:00"


@postgres
@anyio
async def test_a_mall_issues_a_pass_and_its_holder_sees_it(town: Town, ana: Person, ben: Person) -> None:
    cora, path = await mall(town)
    lot = (await cora.post(f"{path}/lots", DRIVEWAY | {"name": "Level 2", "bays": ["A1", "A2"]}, 201))["place_id"]
    await cora.send("PUT", f"{path}/attendants", {"contact": BEN})
    month = (datetime.now(UTC).date().replace(day=1) + timedelta(days=62)).strftime("%Y-%m")
    new = {
        "contact": ANA,
        "place_id": lot,
        "month": month,
        "plate": "ABC1234",
        "price_minor": 300_000,
        "hours": [{"weekday": 1, "opens_min": 480, "closes_min": 1080}],
    }
    made = await ben.post(f"{path}/passes", new, 201)
    assert 4 <= made["to_come"] <= 5
    assert made["owing"] is not None
    assert [one["pass_id"] for one in await ana.get("/v1/passes")] == [made["pass_id"]]
    assert [one["pass_id"] for one in await ben.get(f"{path}/passes", month=month)] == [made["pass_id"]]
    assert await ben.get("/v1/passes") == []
    assert (await ana.get(f"/v1/bookings/{made['owing']}"))["payment_status"] == "balance_due"
    assert (await ben.get(f"{path}/cash/{made['owing']}"))["due_minor"] == 300_000
    assert await ana.refused(f"{path}/passes", new) == "not-found"
    assert await ben.refused(f"{path}/passes", new | {"contact": "nobody@example.ph"}) == "not-found"
    odd = {"weekday": 1, "opens_min": 481, "closes_min": 1080}
    assert await ben.refused(f"{path}/passes", new | {"hours": [odd]}) == "invalid-request"
    assert await ben.refused(f"{path}/passes/{made['pass_id']}/end", {"reason": "moved"}) == "role-missing"
    ended = await cora.post(f"{path}/passes/{made['pass_id']}/end", {"reason": "moved"})
    assert (ended["to_come"], ended["owing"], ended["end_reason"]) == (0, None, "moved")
    assert [one["month"] for one in (await ana.get("/v1/me/export"))["passes"]] == [f"{month}-01"]
