"""A phone registers once per install, says what its events may be used for, and may change its mind at any time."""

from datetime import datetime
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from litestar import Request, Router, delete, get, post, put
from litestar.params import JSONBody

from api.api_keys import DEVICE_SECURITY, bearer
from api.database import Pool, load_queries
from api.errors import (
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
    responses,
)
from api.ingest.consents import Denied
from api.ingest.tokens import decode_token, encode_token, new_device_id
from api.limiter import Limiter, address_subject

ANALYTICS_PURPOSE: Final = "location_analytics"
"""The purpose without which no event of a device is taken."""

Purpose = Annotated[str, msgspec.Meta(pattern="^[a-z_]{1,40}$")]
Consent = Annotated[dict[Purpose, bool], msgspec.Meta(max_length=16)]
Words = Annotated[str, msgspec.Meta(max_length=64)]

_SQL: Final = load_queries("api.ingest", "devices.sql")


class NewDevice(msgspec.Struct, frozen=True):
    """An install of the app: its consent by purpose, and what helps to support it."""

    consent: Consent
    platform: Words | None = None
    app_version: Words | None = None


class RegisteredDevice(msgspec.Struct, frozen=True):
    """The device's id and its token; the token is not stored and cannot be asked for again."""

    device_id: str
    token: str
    consent: dict[str, bool]


class Device(msgspec.Struct, frozen=True):
    """What is known of the calling device."""

    device_id: str
    platform: str | None
    app_version: str | None
    registered_at: datetime
    consent: dict[str, bool]


class Devices(NamedTuple):
    """What the routes of devices need."""

    pool: Pool
    token_key: bytes
    denied: Denied
    limiter: Limiter

    def authenticate(self, request: Request[Any, Any, Any]) -> str:
        """Return the calling device's id; UnauthenticatedError without a genuine token."""
        device_id = decode_token(self.token_key, bearer(request))
        if device_id is None:
            raise UnauthenticatedError
        return device_id

    async def register(self, device: NewDevice) -> RegisteredDevice:
        """Store a device with its consent and sign its token."""
        device_id = new_device_id()
        may_push = device.consent.get(ANALYTICS_PURPOSE, False)
        details = {"device_id": device_id, "platform": device.platform, "app_version": device.app_version}
        async with self.pool.connection() as connection:
            await connection.execute(_SQL["register"], details | _given(device.consent) | {"may_push": may_push})
        self.denied.set(device_id, may_push=may_push)
        return RegisteredDevice(device_id, encode_token(self.token_key, device_id), device.consent)

    async def read(self, device_id: str) -> Device:
        """Return a device; NotFoundError if it has been revoked."""
        async with self.pool.connection() as connection:
            device = await (await connection.execute(_SQL["one"], {"device_id": device_id})).fetchone()
            if device is None:
                raise NotFoundError("This device is not registered any more.")
            consents = await (await connection.execute(_SQL["consents"], {"device_id": device_id})).fetchall()
        return Device(device.device_id, device.platform, device.app_version, device.registered_at, dict(consents))

    async def consent(self, device_id: str, consent: dict[str, bool]) -> None:
        """Record answers by purpose; NotFoundError if the device has been revoked."""
        may_push = consent.get(ANALYTICS_PURPOSE)
        async with self.pool.connection() as connection, connection.transaction():
            parameters = {"device_id": device_id, "may_push": may_push} | _given(consent)
            if await (await connection.execute(_SQL["consent"], parameters)).fetchone() is None:
                raise NotFoundError("This device is not registered any more.")
        if may_push is not None:
            self.denied.set(device_id, may_push=may_push)

    async def revoke(self, device_id: str) -> None:
        """End a device; its token is worth nothing from now on."""
        async with self.pool.connection() as connection:
            await connection.execute(_SQL["revoke"], {"device_id": device_id})
        self.denied.set(device_id, may_push=False)


def _given(consent: dict[str, bool]) -> dict[str, list[str] | list[bool]]:
    return {"purposes": list(consent), "granted": list(consent.values())}


def device_routes(devices: Devices) -> Router:
    """Build `/v1/devices`."""

    @post("/", responses=responses(InvalidRequestError, RateLimitedError, UnavailableError))
    async def register_device(data: JSONBody[NewDevice], request: Request[Any, Any, Any]) -> RegisteredDevice:
        """Register an install and its consent by purpose; answers its token, once."""
        await devices.limiter.take(address_subject(request.client.host if request.client else ""))
        return await devices.register(data)

    @get("/me", responses=responses(UnauthenticatedError, NotFoundError, UnavailableError), security=DEVICE_SECURITY)
    async def read_own_device(request: Request[Any, Any, Any]) -> Device:
        """Return what is known of the calling device."""
        return await devices.read(devices.authenticate(request))

    @put(
        "/me/consent",
        responses=responses(InvalidRequestError, UnauthenticatedError, NotFoundError, UnavailableError),
        security=DEVICE_SECURITY,
    )
    async def put_consent(data: JSONBody[Consent], request: Request[Any, Any, Any]) -> Device:
        """Give or withdraw consent by purpose; purposes left out stay as they are."""
        device_id = devices.authenticate(request)
        await devices.consent(device_id, data)
        return await devices.read(device_id)

    @delete("/me", responses=responses(UnauthenticatedError, UnavailableError), security=DEVICE_SECURITY)
    async def delete_own_device(request: Request[Any, Any, Any]) -> None:
        """End the calling device: its token is worth nothing from now on."""
        await devices.revoke(devices.authenticate(request))

    return Router(
        "/v1/devices",
        route_handlers=[register_device, read_own_device, put_consent, delete_own_device],
        tags=["phones"],
        request_max_body_size=16_384,
    )
