"""How many spaces of a zone's lots are free now, and how long its kerb is searched: for drivers on their way.

Lots tell what was counted at their gates, or, where nobody counts, who has checked in by a booking; phones never do. A
count older than FRESH is withheld, and with it the sum: a zone is not fuller or emptier for a lot that is silent. What
is sold for this quarter of an hour is not available though it may stand empty, nor is a lot that is closed.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from api.bookings.clock import utc_now
from api.bookings.hours import Hours, is_open
from api.booth.days import Occupancy, read_occupancies
from api.database import Connection, Pool, load_queries
from api.errors import AnswerTooLargeError
from api.geofences.fences import get_zone
from api.limiter import Limiter
from api.people.access import Caller
from api.spaces.kerb import AskZone
from api.spaces.search import ExpectedSearch
from api.tenancy import at_desk

FRESH: Final = timedelta(minutes=30)
MAX_LOTS: Final = 200
MOMENT: Final = timedelta(microseconds=1)

NO_LOTS: Final = "no lot in this zone is known"
NOT_COUNTED: Final = "at a lot there somebody counts who comes and goes, but has not counted what stands"
STALE: Final = f"the last count at a lot there is more than {FRESH // timedelta(minutes=1)} minutes old"

_SQL: Final = load_queries("api.spaces", "availability.sql")


class AvailabilityFreshness(msgspec.Struct, frozen=True):
    """as_of: of bookings. counted_at: the oldest of the lots' last counts, null where nobody counts.

    searched_until: the end of the time that the expected search is of, null without one.
    """

    as_of: datetime
    counted_at: datetime | None
    searched_until: datetime | None


class Spaces(NamedTuple):
    """Spaces of lots; null with the reason where that is not known."""

    lots: int
    total: int | None
    occupied: int | None
    available: int | None
    reason: str | None


class ZoneAvailability(msgspec.Struct, frozen=True):
    """A zone's lots now, null with the reason where one does not tell; and the search at the kerb.

    A space that is sold and not yet taken is neither occupied nor available.
    """

    zone_id: str
    lots: int
    total: int | None
    occupied: int | None
    available: int | None
    reason: str | None
    expected_search: ExpectedSearch
    freshness: AvailabilityFreshness


class Lot(NamedTuple):
    """A lot now; blocked, sold: spaces that are closed, and that are promised for this quarter of an hour."""

    occupancy: Occupancy
    blocked: int
    sold: int
    is_open: bool

    def why_unknown(self, now: datetime) -> str | None:
        """Return why it is not known how full the lot is, None if it is."""
        counted_at = self.occupancy.counted_at
        if counted_at is None:
            return None
        if self.occupancy.standing is None:
            return NOT_COUNTED
        return STALE if now - counted_at > FRESH else None

    def occupied(self) -> int:
        """Return how many vehicles are known to stand there."""
        return max(self.occupancy.standing or 0, self.occupancy.checked_in)

    def available(self) -> int:
        """Return how many spaces a vehicle that comes now could have."""
        free = self.occupancy.capacity - self.blocked - max(self.occupied(), self.sold)
        return max(0, free) if self.is_open else 0


class Availability(NamedTuple):
    """Tells drivers of zones."""

    pool: Pool
    searches: Limiter
    ask_zone: AskZone
    clock: Callable[[], datetime] = utc_now

    async def of_zone(self, caller: Caller, zone_id: str) -> ZoneAvailability:
        """Return what is free in a zone in force; NotFoundError, AnswerTooLargeError, RateLimitedError."""
        await self.searches.take(str(caller.person_id))
        now = self.clock()
        zone = await get_zone(self.pool, zone_id, now)
        async with at_desk(self.pool, caller.person_id) as connection:
            lots = await _read_lots(connection, zone.geometry, now)
        search = await self.ask_zone(zone_id)
        counted = [lot.occupancy.counted_at for lot in lots if lot.occupancy.counted_at is not None]
        freshness = AvailabilityFreshness(now, min(counted, default=None), search.until)
        return ZoneAvailability(zone_id, *add_up(lots, now), search.expected, freshness)


def add_up(lots: Sequence[Lot], now: datetime) -> Spaces:
    """Return the spaces of all lots, null what one of them does not tell."""
    if not lots:
        return Spaces(0, None, None, None, NO_LOTS)
    total = sum(lot.occupancy.capacity for lot in lots)
    reason = next((reason for lot in lots if (reason := lot.why_unknown(now)) is not None), None)
    if reason is not None:
        return Spaces(len(lots), total, None, None, reason)
    return Spaces(len(lots), total, sum(lot.occupied() for lot in lots), sum(lot.available() for lot in lots), None)


async def _read_lots(connection: Connection, geometry: dict[str, Any], now: datetime) -> list[Lot]:
    """Return the listed lots within a GeoJSON MultiPolygon; AnswerTooLargeError."""
    rings = [ring for polygon in geometry["coordinates"] for ring in polygon]
    lons, lats = zip(*(corner[:2] for ring in rings for corner in ring), strict=True)
    parameters = {
        "rings": [f"({','.join(f'({lon},{lat})' for lon, lat, *_ in ring)})" for ring in rings],
        "south": min(lats),
        "north": max(lats),
        "west": min(lons),
        "east": max(lons),
        "now": now,
        "most": MAX_LOTS + 1,
    }
    rows = await (await connection.execute(_SQL["lots"], parameters)).fetchall()
    if len(rows) > MAX_LOTS:
        raise AnswerTooLargeError(f"More than {MAX_LOTS} lots.")
    occupancies = await read_occupancies(connection, [row.place_id for row in rows])
    return [_lot(row, occupancies, now) for row in rows]


def _lot(row: Any, occupancies: dict[UUID, Occupancy], now: datetime) -> Lot:  # noqa: ANN401  # a row of `lots`
    hours = msgspec.convert(row.hours, tuple[Hours, ...])
    opened = is_open(hours, ZoneInfo(row.time_zone), now, now + MOMENT)
    return Lot(occupancies[row.place_id], row.blocked, row.sold, opened)
