"""What is known of a person, what they may change, take with them, and have forgotten.

Erasure keeps the account's row without anything that tells who it was, since ledgers point at it, and asks for the
events of the person's devices to leave log and lake.
"""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import psycopg

from api.contacts import Contact
from api.database import Connection, Pool, load_queries
from api.errors import (
    ContactTakenError,
    DeviceLinkedError,
    InvalidRequestError,
    NotFoundError,
    StrandedError,
    UnauthenticatedError,
    VehicleExistsError,
    WrongCodeError,
)
from api.ingest.consents import Denied
from api.outbox.messages import put_message
from api.people.access import Caller
from api.people.accounts import Accounts, add_consents
from api.people.codes import use_code
from api.tenancy import acting, authenticating, go_to_desk

_T = TypeVar("_T")

MOST_VEHICLES: Final = 20

_ERASING: Final = (
    *("request_erasures", "forget_push_tokens", "delete_vehicles", "leave_tenants", "end_sign_ins", "erase"),
)
"""What the person does, before the desk empties the rest."""
_FORGETTING: Final = (
    *("forget_plates", "forget_pass_plates", "drop_photos", "empty_reviews", "empty_reports"),
    *("close_places", "empty_blocks", "empty_tenants"),
)
"""What is emptied at the desk, in order."""
_SQL: Final = load_queries("api.people", "me.sql")
_ACCOUNTS_SQL: Final = load_queries("api.people", "people.sql")


class Membership(msgspec.Struct, frozen=True):
    """A role within a tenant."""

    tenant_id: UUID
    name: str
    kind: str
    role: str


class Me(msgspec.Struct, frozen=True):
    """The calling person; `consent` is by purpose, as last answered."""

    person_id: UUID
    email: str | None
    phone: str | None
    name: str
    locale: str
    created_at: datetime
    consent: dict[str, bool]
    memberships: list[Membership]


class Vehicle(msgspec.Struct, frozen=True):
    """A vehicle of a person; sizes in centimetres."""

    vehicle_id: UUID
    plate: str
    kind: str
    length_cm: int | None
    width_cm: int | None
    height_cm: int | None


class ConsentAnswer(msgspec.Struct, frozen=True):
    """One answer that a person gave."""

    purpose: str
    granted: bool
    recorded_at: datetime


class LinkedDevice(msgspec.Struct, frozen=True):
    """An install of the app that the person has linked to the account."""

    device_id: str
    linked_at: datetime


class SignInRecord(msgspec.Struct, frozen=True):
    """A sign-in that goes on."""

    family_id: UUID
    began_at: datetime
    last_used_at: datetime


class BookingRecord(msgspec.Struct, frozen=True):
    """A booking that the person made."""

    booking_id: UUID
    place: str
    status: str
    starts_at: datetime
    ends_at: datetime
    plate: str
    currency: str
    total_minor: int


class PaymentRecord(msgspec.Struct, frozen=True):
    """Money that the person paid for a booking, or below zero got back."""

    booking_id: UUID
    at: datetime
    way: str
    currency: str
    amount_minor: int


class PhotoRecord(msgspec.Struct, frozen=True):
    """A photo that the person added to a place or a booking."""

    photo_id: UUID
    place_id: UUID | None
    booking_id: UUID | None
    width_px: int
    height_px: int
    added_at: datetime


class ReviewRecord(msgspec.Struct, frozen=True):
    """A review that the person wrote."""

    booking_id: UUID
    stars: int
    text: str
    created_at: datetime


class ReportRecord(msgspec.Struct, frozen=True):
    """What the person reported of a space."""

    booking_id: UUID
    kind: str
    note: str
    photo_id: UUID | None
    outcome: str
    created_at: datetime


class PassRecord(msgspec.Struct, frozen=True):
    """A monthly pass that the person has or had."""

    place_id: UUID
    month: date
    plate: str
    currency: str
    price_minor: int
    issued_at: datetime
    ended_at: datetime | None


class Export(msgspec.Struct, frozen=True):
    """All that the account holds."""

    me: Me
    consents: list[ConsentAnswer]
    vehicles: list[Vehicle]
    devices: list[LinkedDevice]
    sign_ins: list[SignInRecord]
    bookings: list[BookingRecord]
    payments: list[PaymentRecord]
    photos: list[PhotoRecord]
    reviews: list[ReviewRecord]
    reports: list[ReportRecord]
    passes: list[PassRecord]


class Own(NamedTuple):
    """Reads and changes what belongs to the person who asks."""

    pool: Pool
    accounts: Accounts
    denied: Denied

    async def read(self, caller: Caller) -> Me:
        """Return the person; UnauthenticatedError if the account was erased."""
        async with acting(self.pool, caller.person_id) as connection:
            return await _me(connection)

    async def change(self, caller: Caller, name: str | None, locale: str | None) -> Me:
        """Change what is given."""
        async with acting(self.pool, caller.person_id) as connection:
            await connection.execute(_SQL["change"], {"name": name, "locale": locale})
            return await _me(connection)

    async def consent(self, caller: Caller, consent: dict[str, bool]) -> Me:
        """Record answers by purpose."""
        async with acting(self.pool, caller.person_id) as connection:
            await _me(connection)
            await add_consents(connection, caller.person_id, consent)
            return await _me(connection)

    async def set_password(self, caller: Caller, old: str, new: str) -> None:
        """Set a new password and end all sign-ins; UnauthenticatedError if the old one is wrong."""
        await self.check_password(caller, old)
        password_hash = await self.accounts.passwords.hash(new)
        async with authenticating(self.pool) as connection:
            parameters = {"person_id": caller.person_id, "password_hash": password_hash}
            await connection.execute(_ACCOUNTS_SQL["set_password"], parameters)
            await connection.execute(_ACCOUNTS_SQL["revoke_person"], parameters)

    async def ask_contact(self, caller: Caller, contact: Contact, password: str) -> None:
        """Send a code to a contact that is to become, or replace, the person's; as `check_password`."""
        await self.check_password(caller, password)
        await self.accounts.limits.codes_by_contact.take(contact.text)
        async with acting(self.pool, caller.person_id) as connection:
            locale = (await _me(connection)).locale
        async with authenticating(self.pool) as connection:
            payload = {"person_id": str(caller.person_id)}
            code = await self.accounts.codes.draw(connection, "contact", contact, payload)
            await put_message(connection, contact, "contact", locale, {"code": code})

    async def set_contact(self, caller: Caller, contact: Contact, code: str) -> None:
        """Take over a contact that a code has proved; WrongCodeError, ContactTakenError."""
        await self.accounts.limits.tries_by_contact.take(contact.text)
        tried = await self.accounts.codes.check("contact", contact, code)
        if tried.payload != {"person_id": str(caller.person_id)}:
            raise WrongCodeError
        try:
            async with authenticating(self.pool) as connection:
                await use_code(connection, tried.code_id)
                parameters = {"person_id": caller.person_id, "kind": contact.kind, "contact": contact.text}
                await connection.execute(_ACCOUNTS_SQL["set_contact"], parameters)
        except psycopg.errors.UniqueViolation:
            raise ContactTakenError from None

    async def export(self, caller: Caller) -> Export:
        """Return all that the account holds."""
        async with acting(self.pool, caller.person_id) as connection:
            return Export(
                await _me(connection),
                await _all(connection, "consent_history", ConsentAnswer),
                await _all(connection, "vehicles", Vehicle),
                await _all(connection, "devices", LinkedDevice),
                await _all(connection, "sign_ins", SignInRecord),
                await _all(connection, "bookings", BookingRecord),
                await _all(connection, "payments", PaymentRecord),
                await _all(connection, "photos", PhotoRecord),
                await _all(connection, "reviews", ReviewRecord),
                await _all(connection, "reports", ReportRecord),
                await _all(connection, "passes", PassRecord),
            )

    async def erase(self, caller: Caller, password: str) -> None:
        """Forget the person; UnauthenticatedError if the password is wrong, StrandedError if bookings go on."""
        await self.check_password(caller, password)
        async with acting(self.pool, caller.person_id) as connection:
            tenants = [row.tenant_id for row in await (await connection.execute(_SQL["alone_in"])).fetchall()]
            live = await (await connection.execute(_SQL["live_bookings"])).fetchall()
            live += await (await connection.execute(_SQL["live_guests"], {"tenants": tenants})).fetchall()
            if live:
                raise StrandedError(
                    "Cancel or end these bookings first.", facts={"bookings": [str(i) for (i,) in live]}
                )
            revoked = await (await connection.execute(_SQL["revoke_devices"])).fetchall()
            for step in _ERASING:
                await connection.execute(_SQL[step])
            await go_to_desk(connection)
            for step in _FORGETTING:
                await connection.execute(_SQL[step], {"tenants": tenants})
        for (device_id,) in revoked:
            self.denied.set(device_id, may_push=False)

    async def vehicles(self, caller: Caller) -> list[Vehicle]:
        """Return the person's vehicles."""
        async with acting(self.pool, caller.person_id) as connection:
            return await _all(connection, "vehicles", Vehicle)

    async def add_vehicle(self, caller: Caller, vehicle: dict[str, Any]) -> Vehicle:
        """Add a vehicle; VehicleExistsError, InvalidRequestError past MOST_VEHICLES."""
        try:
            async with acting(self.pool, caller.person_id) as connection:
                found = await connection.execute(_SQL["add_vehicle"], vehicle | {"most": MOST_VEHICLES})
                row = await found.fetchone()
        except psycopg.errors.UniqueViolation:
            raise VehicleExistsError from None
        if row is None:
            raise InvalidRequestError(f"A person has at most {MOST_VEHICLES} vehicles.")
        return Vehicle(*row)

    async def delete_vehicle(self, caller: Caller, vehicle_id: UUID) -> None:
        """Delete a vehicle; NotFoundError."""
        async with acting(self.pool, caller.person_id) as connection:
            row = await (await connection.execute(_SQL["delete_vehicle"], {"vehicle_id": vehicle_id})).fetchone()
        if row is None:
            raise NotFoundError

    async def link_device(self, caller: Caller, device_id: str) -> None:
        """Link an install of the app, whose token was shown, to the account; DeviceLinkedError if it is another's."""
        async with acting(self.pool, caller.person_id) as connection:
            await _me(connection)
            await connection.execute(_SQL["link_device"], {"device_id": device_id})
            if device_id not in {device.device_id for device in await _all(connection, "devices", LinkedDevice)}:
                raise DeviceLinkedError

    async def check_password(self, caller: Caller, password: str) -> None:
        """Return if the password is the person's; UnauthenticatedError, RateLimitedError."""
        await self.accounts.limits.tries_by_contact.take(str(caller.person_id))
        async with acting(self.pool, caller.person_id) as connection:
            row = await (await connection.execute(_SQL["password_hash"])).fetchone()
        if not await self.accounts.passwords.verify(row.password_hash if row else None, password):
            raise UnauthenticatedError("The password is wrong.")


async def _me(connection: Connection) -> Me:
    row = await (await connection.execute(_SQL["me"])).fetchone()
    if row is None:
        raise UnauthenticatedError
    consents = await (await connection.execute(_SQL["consents"])).fetchall()
    return Me(*(*row, dict(consents), await _all(connection, "memberships", Membership)))


async def _all(connection: Connection, query: str, kind: Callable[..., _T]) -> list[_T]:
    return [kind(*row) for row in await (await connection.execute(_SQL[query])).fetchall()]
