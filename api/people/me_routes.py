"""`/v1/me` and `/v1/vehicles`: what a signed-in person reads and changes of their own."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Request, Router, delete, get, patch, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, PathParameter

from api.errors import (
    ContactTakenError,
    DeviceLinkedError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    StrandedError,
    UnauthenticatedError,
    UnavailableError,
    VehicleExistsError,
    WrongCodeError,
    responses,
)
from api.ingest.devices import Consent
from api.ingest.tokens import decode_token
from api.people.accounts import read_contact
from api.people.auth_routes import Code, ContactText, Locale, Name, Password, Sent
from api.people.me import Export, Me, Own, Vehicle
from api.people.principal import Guard, caller_of, person_routes

_ALWAYS: Final = (UnauthenticatedError, UnavailableError)
_CHANGE: Final = (*_ALWAYS, InvalidRequestError)

AnyRequest = Request[Any, Any, Any]


class Change(msgspec.Struct, frozen=True):
    """What to change; what is left out stays."""

    name: Name | None = None
    locale: Locale | None = None


class PasswordChange(msgspec.Struct, frozen=True):
    """The password until now, and from now on."""

    old_password: Annotated[str, msgspec.Meta(max_length=128)]
    new_password: Password


class NewContact(msgspec.Struct, frozen=True):
    """A contact that is to become the person's, with the password, since a contact is what a password is reset by."""

    contact: ContactText
    password: Annotated[str, msgspec.Meta(max_length=128)]


class ProvedContact(msgspec.Struct, frozen=True):
    """That contact, and the code that was sent to it."""

    contact: ContactText
    code: Code


class OwnPassword(msgspec.Struct, frozen=True):
    """The person's password, asked for before what cannot be undone."""

    password: Annotated[str, msgspec.Meta(max_length=128)]


class DeviceToken(msgspec.Struct, frozen=True):
    """The token that the app's install got from `/v1/devices`."""

    device_token: Annotated[str, msgspec.Meta(max_length=128)]


class NewVehicle(msgspec.Struct, frozen=True):
    """A vehicle; sizes in centimetres decide where it fits."""

    plate: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{2,12}$")]
    kind: Literal["car", "motorcycle", "van"] = "car"
    length_cm: Annotated[int, msgspec.Meta(ge=100, le=2000)] | None = None
    width_cm: Annotated[int, msgspec.Meta(ge=40, le=400)] | None = None
    height_cm: Annotated[int, msgspec.Meta(ge=50, le=500)] | None = None


def me_routes(own: Own, guard: Guard, device_token_key: bytes) -> Router:
    """Build `/v1/me`."""

    @get("/", responses=responses(*_ALWAYS))
    async def read_me(request: AnyRequest) -> Me:
        """Return the calling person."""
        return await own.read(caller_of(request))

    @patch("/", responses=responses(*_CHANGE))
    async def change_me(data: JSONBody[Change], request: AnyRequest) -> Me:
        """Change name or language."""
        return await own.change(caller_of(request), data.name, data.locale)

    @put("/consent", responses=responses(*_CHANGE))
    async def put_my_consent(data: JSONBody[Consent], request: AnyRequest) -> Me:
        """Give or withdraw consent by purpose; purposes left out stay as they are."""
        return await own.consent(caller_of(request), data)

    @get("/export", responses=responses(*_ALWAYS))
    async def export_me(request: AnyRequest) -> Export:
        """Return all that the account holds."""
        return await own.export(caller_of(request))

    @post("/erase", status_code=204, responses=responses(*_CHANGE, RateLimitedError, OverloadedError, StrandedError))
    async def erase_me(data: JSONBody[OwnPassword], request: AnyRequest) -> None:
        """Erase the account: what tells who it was is gone, and the events of linked devices are to be erased."""
        await own.erase(caller_of(request), data.password)

    handlers = [read_me, change_me, put_my_consent, export_me, erase_me, *_proof_handlers(own, device_token_key)]
    return person_routes("/v1/me", handlers, guard, "people")


def _proof_handlers(own: Own, device_token_key: bytes) -> list[HTTPRouteHandler]:
    """Build what changes how a person proves who they are, and what is theirs."""

    @post("/password", status_code=204, responses=responses(*_CHANGE, RateLimitedError, OverloadedError))
    async def change_password(data: JSONBody[PasswordChange], request: AnyRequest) -> None:
        """Set a new password; every sign-in ends."""
        await own.set_password(caller_of(request), data.old_password, data.new_password)

    @post("/contacts", status_code=202, responses=responses(*_CHANGE, RateLimitedError, OverloadedError))
    async def add_contact(data: JSONBody[NewContact], request: AnyRequest) -> Sent:
        """Send a code to an e-mail address or a phone that is to become, or replace, the person's."""
        await own.ask_contact(caller_of(request), read_contact(data.contact), data.password)
        return Sent()

    @post(
        "/contacts/confirm",
        status_code=204,
        responses=responses(*_CHANGE, RateLimitedError, WrongCodeError, ContactTakenError),
    )
    async def confirm_contact(data: JSONBody[ProvedContact], request: AnyRequest) -> None:
        """Give the code back: the contact is the person's from now on."""
        await own.set_contact(caller_of(request), read_contact(data.contact), data.code)

    @post("/devices", status_code=204, responses=responses(*_CHANGE, DeviceLinkedError))
    async def link_device(data: JSONBody[DeviceToken], request: AnyRequest) -> None:
        """Link an install of the app to the account, so that export and erasure reach its events."""
        device_id = decode_token(device_token_key, data.device_token)
        if device_id is None:
            raise InvalidRequestError("device_token: is not one that /v1/devices gave")
        await own.link_device(caller_of(request), device_id)

    return [change_password, add_contact, confirm_contact, link_device]


def vehicle_routes(own: Own, guard: Guard) -> Router:
    """Build `/v1/vehicles`."""

    @get("/", responses=responses(*_ALWAYS))
    async def list_vehicles(request: AnyRequest) -> list[Vehicle]:
        """Return the person's vehicles."""
        return await own.vehicles(caller_of(request))

    @post("/", responses=responses(*_CHANGE, VehicleExistsError))
    async def add_vehicle(data: JSONBody[NewVehicle], request: AnyRequest) -> Vehicle:
        """Add a vehicle."""
        return await own.add_vehicle(caller_of(request), msgspec.structs.asdict(data))

    @delete("/{vehicle_id:uuid}", responses=responses(*_CHANGE, NotFoundError))
    async def delete_vehicle(
        vehicle_id: Annotated[UUID, PathParameter(description="The vehicle")], request: AnyRequest
    ) -> None:
        """Delete a vehicle."""
        await own.delete_vehicle(caller_of(request), vehicle_id)

    return person_routes("/v1/vehicles", [list_vehicles, add_vehicle, delete_vehicle], guard, "people")
