"""The booking desk as signed-in people meet it: who may do what to which booking, and what they are answered.

A request finds its booking as the person who asks, under row-level security; the change is made at the desk, in the
same transaction. What is not theirs does not exist for them.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from api.bookings.answers import BookingAnswer, HistoryLine, ReportAnswer, read_answer, read_answers
from api.bookings.booking import lock_booking
from api.bookings.changes import CancelTerms, approve, cancel, confirm_free, read_terms
from api.bookings.clock import utc_now
from api.bookings.codes import Action, Codes
from api.bookings.holding import Taking, hold, to_quarter
from api.bookings.letters import local_text, tell_owners
from api.bookings.money import Money
from api.bookings.places import QUARTER, Vehicle, Window, read_place
from api.bookings.policy import EARLY, Canceler, no_show_at
from api.bookings.quotes import Quote, quote_extension, quote_place
from api.bookings.relocation import relocate_or_refund
from api.bookings.signed import Signer
from api.bookings.stays import check_in, check_out, price_so_far, walk_in
from api.bookings.tariff import VehicleKind
from api.database import Connection, Pool, load_queries
from api.errors import (
    CannotPayError,
    InvalidQuoteError,
    InvalidRequestError,
    NotFoundError,
    RoleMissingError,
    WrongStateError,
)
from api.idempotency import Scope, once
from api.limiter import Limiter
from api.people.access import Caller
from api.tenancy import acting, go_to_desk

STAFF: Final = frozenset({"host", "attendant", "operator_admin", "support", "platform_admin"})
OWNERS: Final = frozenset({"host", "operator_admin", "support", "platform_admin"})
_CANCELERS: Final[dict[str, Canceler]] = {"host": "host", "operator_admin": "operator"}

_SQL: Final = load_queries("api.bookings", "desk.sql")


class Party(NamedTuple):
    """What a person is to a booking."""

    is_driver: bool
    roles: frozenset[str]

    def require(self, roles: frozenset[str], *, driver: bool = True) -> None:
        """Raise RoleMissingError unless the person is the driver, where that is enough, or has one of the roles."""
        if not ((driver and self.is_driver) or roles & self.roles):
            raise RoleMissingError("Somebody else's booking.")

    @property
    def canceler(self) -> Canceler:
        if self.is_driver:
            return "driver"
        return next((_CANCELERS[role] for role in _CANCELERS if role in self.roles), "platform")


Change = Callable[[Connection, Party, datetime], Awaitable[UUID]]


class Desk(NamedTuple):
    """Quotes, holds and changes for signed-in people."""

    pool: Pool
    money: Money
    quotes: Signer[Quote]
    codes: Codes
    holds: Limiter
    clock: Callable[[], datetime] = utc_now

    async def quote(self, caller: Caller, place_id: UUID, window: Window, vehicle: VehicleKind) -> tuple[Quote, str]:
        """Price a window of a place; return the quote, and as a signed text. NotFoundError, PlaceClosedError."""
        now = self.clock()
        async with acting(self.pool, caller.person_id) as connection:
            place = await read_place(connection, place_id)
        place.check_window(window, now)
        rails = self.money.rails(place.tariff.currency)
        quote = quote_place(place, caller.person_id, window, vehicle, rails, now)
        return quote, self.quotes.sign(quote)

    async def hold(self, caller: Caller, scope: Scope, quote_text: str, vehicle: "ChosenVehicle") -> BookingAnswer:
        """Hold what was quoted; InvalidQuoteError, and as `holding.hold`."""
        await self.holds.take(str(caller.person_id))

        async def work(connection: Connection) -> BookingAnswer:
            now = self.clock()
            quote = self._check_quote(caller, quote_text, now)
            chosen = await _vehicle(connection, vehicle)
            if chosen.kind != quote.vehicle:
                raise InvalidQuoteError(f"The quote is for a {quote.vehicle}.")
            await go_to_desk(connection)
            booking_id = await hold(connection, Taking(quote, chosen), now)
            booking = await lock_booking(connection, booking_id, now)
            if booking.approval == "asked":
                await tell_owners(connection, booking, "host_asked")
            return await read_answer(connection, booking_id, now)

        return await once(acting(self.pool, caller.person_id), scope, BookingAnswer, work)

    async def walk_up(
        self, caller: Caller, scope: Scope, space_id: UUID, until: datetime, vehicle: "ChosenVehicle"
    ) -> BookingAnswer:
        """Begin a stay at once on the space whose code was scanned, or in its lot; it is paid for at the end."""
        await self.holds.take(str(caller.person_id))

        async def work(connection: Connection) -> BookingAnswer:
            now = self.clock()
            chosen = await _vehicle(connection, vehicle)
            await go_to_desk(connection)
            bay = await (await connection.execute(_SQL["bay"], {"space_id": space_id})).fetchone()
            place = await read_place(connection, space_id if bay is None else bay.lot_id)
            window = _walk_up_window(place.kind, now, until)
            rails = self.money.rails(place.tariff.currency)
            priced = quote_place(place, caller.person_id, window, chosen.kind, rails, now)
            if priced.total_minor and not rails:
                raise CannotPayError
            quote = msgspec.structs.replace(priced, kind="walk_up")
            bay_id = None if bay is None else bay.space_id
            booking_id = await hold(connection, Taking(quote, chosen, pay_later=True, bay_id=bay_id), now)
            await walk_in(connection, booking_id, now)
            return await read_answer(connection, booking_id, now)

        return await once(acting(self.pool, caller.person_id), scope, BookingAnswer, work)

    async def confirm(self, caller: Caller, scope: Scope, booking_id: UUID) -> BookingAnswer:
        """Reserve a hold for which nothing is to be paid now."""

        async def change(connection: Connection, party: Party, now: datetime) -> UUID:
            party.require(frozenset())
            return (await confirm_free(connection, booking_id, now)).booking_id

        return await self._change(caller, scope, booking_id, change)

    async def approve(self, caller: Caller, scope: Scope, booking_id: UUID) -> BookingAnswer:
        """Agree, as host, to a booking that was asked for."""

        async def change(connection: Connection, party: Party, now: datetime) -> UUID:
            party.require(OWNERS, driver=False)
            return (await approve(connection, booking_id, now)).booking_id

        return await self._change(caller, scope, booking_id, change)

    async def cancel(self, caller: Caller, scope: Scope, booking_id: UUID, reason: str) -> BookingAnswer:
        """Cancel, as driver or as who runs the place; the latter must say why."""

        async def change(connection: Connection, party: Party, now: datetime) -> UUID:
            party.require(OWNERS)
            if not party.is_driver and not reason:
                raise InvalidRequestError("Say why.")
            return (await cancel(connection, self.money, booking_id, party.canceler, reason, now)).booking_id

        return await self._change(caller, scope, booking_id, change)

    async def extend(self, caller: Caller, scope: Scope, booking_id: UUID, until: datetime) -> BookingAnswer:
        """Hold more time of a stay, priced as its new total less what is paid; reserve it if nothing is due now."""

        async def change(connection: Connection, party: Party, now: datetime) -> UUID:
            party.require(frozenset())
            booking = await lock_booking(connection, booking_id, now)
            if booking.status not in {"RESERVED", "ACTIVE"} or booking.extends or booking.extension_held:
                raise WrongStateError("Nothing to extend now.", facts={"status": booking.status})
            place = await read_place(connection, booking.place_id)
            stay = (booking_id, booking.stay, price_so_far(booking))
            rails = self.money.rails(booking.currency)
            quote = quote_extension(place, booking.driver_id, stay, until, booking.vehicle_kind, rails, now)
            taking = Taking(quote, Vehicle(booking.plate, booking.vehicle_kind), pay_later=booking.pay_later)
            extension_id = await hold(connection, taking, now)
            if booking.pay_later or not quote.total_minor:
                await confirm_free(connection, extension_id, now)
            return extension_id

        return await self._change(caller, scope, booking_id, change)

    async def check_in(self, caller: Caller, scope: Scope, booking_id: UUID, code: str | None) -> BookingAnswer:
        """Begin the stay, as driver or attendant; a code that is shown must be the driver's."""

        async def change(connection: Connection, party: Party, now: datetime) -> UUID:
            party.require(STAFF)
            await self._use(connection, code, booking_id, "check-in", now)
            return (await check_in(connection, self.money, booking_id, now)).booking_id

        return await self._change(caller, scope, booking_id, change)

    async def check_out(self, caller: Caller, scope: Scope, booking_id: UUID, code: str | None) -> BookingAnswer:
        """End the stay, as driver or attendant."""

        async def change(connection: Connection, party: Party, now: datetime) -> UUID:
            party.require(STAFF)
            await self._use(connection, code, booking_id, "check-out", now)
            return (await check_out(connection, self.money, booking_id, now)).booking_id

        return await self._change(caller, scope, booking_id, change)

    async def report(self, caller: Caller, scope: Scope, booking_id: UUID, report: dict[str, Any]) -> BookingAnswer:
        """Say that something is wrong at the space; who finds it taken is moved, or gets everything back."""

        async def change(connection: Connection, party: Party, now: datetime) -> UUID:
            party.require(frozenset())
            booking = await lock_booking(connection, booking_id, now)
            outcome = ""
            taken = report["kind"] in {"occupied", "blocked"}
            if taken and booking.status == "RESERVED" and now >= booking.starts_at - EARLY and not booking.extends:
                after = await relocate_or_refund(connection, self.money, booking, "the driver found it taken", now)
                outcome = "moved" if after.status == "RESERVED" else "refunded"
            parameters = {"booking_id": booking_id, "tenant_id": booking.tenant_id, "outcome": outcome, **report}
            if await (await connection.execute(_SQL["report"], parameters)).fetchone() is None:
                raise InvalidRequestError("photo_id: is no photo of this booking.")
            return booking_id

        return await self._change(caller, scope, booking_id, change)

    async def run_late(self, caller: Caller, scope: Scope, booking_id: UUID, arrives_at: datetime) -> BookingAnswer:
        """Tell who runs the place when a late driver will come; WrongStateError if it is given up by then."""

        async def change(connection: Connection, party: Party, now: datetime) -> UUID:
            party.require(frozenset())
            booking = await lock_booking(connection, booking_id, now)
            if booking.status != "RESERVED" or booking.extends is not None:
                raise WrongStateError(f"The booking is {booking.status}.", facts={"status": booking.status})
            kept_until = no_show_at(
                booking.policy, booking.starts_at, booking.stay_ends_at, pay_later=booking.pay_later
            )
            if not max(now, booking.starts_at) <= arrives_at < kept_until:
                facts = {"status": booking.status, "kept_until": kept_until.isoformat()}
                raise WrongStateError("The place is kept from its start until then.", facts=facts)
            await connection.execute(_SQL["late"], {"booking_id": booking_id, "arrives_at": arrives_at})
            await tell_owners(connection, booking, "host_late", arrives=local_text(arrives_at, booking.zone))
            return booking_id

        return await self._change(caller, scope, booking_id, change)

    async def validate(self, caller: Caller, scope: Scope, booking_id: UUID) -> BookingAnswer:
        """Let a shop's validation count for a stay that goes on."""

        async def change(connection: Connection, party: Party, now: datetime) -> UUID:
            party.require(STAFF, driver=False)
            parameters = {"booking_id": booking_id, "now": now}
            if await (await connection.execute(_SQL["validate"], parameters)).fetchone() is None:
                raise WrongStateError("Only a stay that goes on can be validated.")
            return booking_id

        return await self._change(caller, scope, booking_id, change)

    async def code(self, caller: Caller, booking_id: UUID, action: Action) -> str:
        """Return a QR code for the driver's next action."""
        now = self.clock()
        async with acting(self.pool, caller.person_id) as connection:
            (await find_party(connection, booking_id)).require(frozenset())
            await go_to_desk(connection)
            return self.codes.sign(await lock_booking(connection, booking_id, now), action, now)

    async def read(self, caller: Caller, booking_id: UUID) -> BookingAnswer:
        """Return a booking; NotFoundError."""
        async with acting(self.pool, caller.person_id) as connection:
            await find_party(connection, booking_id)
            await go_to_desk(connection)
            return await read_answer(connection, booking_id, self.clock())

    async def cancel_terms(self, caller: Caller, booking_id: UUID) -> CancelTerms:
        """Return what cancelling now would come to; NotFoundError, RoleMissingError, WrongStateError."""
        async with acting(self.pool, caller.person_id) as connection:
            party = await find_party(connection, booking_id)
            party.require(OWNERS)
            await go_to_desk(connection)
            return await read_terms(connection, booking_id, party.canceler, self.clock())

    async def reports(self, caller: Caller, booking_id: UUID) -> list[ReportAnswer]:
        """Return what the driver said of the space; NotFoundError."""
        async with acting(self.pool, caller.person_id) as connection:
            await find_party(connection, booking_id)
            rows = await (await connection.execute(_SQL["reports"], {"booking_id": booking_id})).fetchall()
        return [ReportAnswer(*row) for row in rows]

    async def history(self, caller: Caller, booking_id: UUID) -> list[HistoryLine]:
        """Return what happened to a booking; NotFoundError."""
        async with acting(self.pool, caller.person_id) as connection:
            await find_party(connection, booking_id)
            rows = await (await connection.execute(_SQL["history"], {"booking_id": booking_id})).fetchall()
        return [HistoryLine(*row) for row in rows]

    async def mine(
        self, caller: Caller, status: str | None, before: datetime | None, limit: int
    ) -> list[BookingAnswer]:
        """Return the driver's bookings, newest first."""
        return await self._list(caller, "mine", {"status": status, "before": before, "limit": limit})

    async def of_tenant(self, caller: Caller, tenant_id: UUID, filters: dict[str, Any]) -> list[BookingAnswer]:
        """Return a tenant's bookings around a window; the caller's role there has been checked."""
        return await self._list(caller, "of_tenant", {"tenant_id": tenant_id, **filters})

    async def _list(self, caller: Caller, query: str, parameters: dict[str, Any]) -> list[BookingAnswer]:
        async with acting(self.pool, caller.person_id) as connection:
            found = await (await connection.execute(_SQL[query], parameters)).fetchall()
            await go_to_desk(connection)
            return await read_answers(connection, [row.booking_id for row in found], self.clock())

    async def _change(self, caller: Caller, scope: Scope, booking_id: UUID, change: Change) -> BookingAnswer:
        async def work(connection: Connection) -> BookingAnswer:
            now = self.clock()
            party = await find_party(connection, booking_id)
            await go_to_desk(connection)
            return await read_answer(connection, await change(connection, party, now), now)

        return await once(acting(self.pool, caller.person_id), scope, BookingAnswer, work)

    async def _use(
        self, connection: Connection, code: str | None, booking_id: UUID, action: Action, now: datetime
    ) -> None:
        if code is not None:
            await self.codes.use(connection, code, await lock_booking(connection, booking_id, now), action, now)

    def _check_quote(self, caller: Caller, text: str, now: datetime) -> Quote:
        quote = self.quotes.check(text)
        if quote is None or quote.driver_id != caller.person_id or quote.expires_at <= now:
            raise InvalidQuoteError
        return quote


class ChosenVehicle(msgspec.Struct, frozen=True):
    """One of the driver's vehicles, or another by plate and kind."""

    vehicle_id: UUID | None = None
    plate: str | None = None
    kind: VehicleKind = "car"


async def find_party(connection: Connection, booking_id: UUID) -> Party:
    """Return what the acting person is to a booking; NotFoundError if they may not know of it."""
    row = await (await connection.execute(_SQL["party"], {"booking_id": booking_id})).fetchone()
    if row is None:
        raise NotFoundError("There is no such booking.")
    return Party(row.is_driver, frozenset(row.roles))


async def _vehicle(connection: Connection, chosen: ChosenVehicle) -> Vehicle:
    if chosen.vehicle_id is None:
        if chosen.plate is None:
            raise InvalidRequestError("vehicle: name one of yours by vehicle_id, or another by plate.")
        return Vehicle(chosen.plate, chosen.kind)
    row = await (await connection.execute(_SQL["vehicle"], {"vehicle_id": chosen.vehicle_id})).fetchone()
    if row is None:
        raise NotFoundError("There is no such vehicle.")
    return Vehicle(*row)


def _walk_up_window(kind: str, now: datetime, until: datetime) -> Window:
    """Return the window of a stay that begins now; of a lot it takes the quarter under way, and whole ones."""
    if kind == "space":
        return Window(now, until)
    last = to_quarter(until)
    return Window(to_quarter(now), last if last == until else last + QUARTER)
