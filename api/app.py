"""Build the app from parts; nothing is opened before the app starts, everything is closed when it stops."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from litestar import Litestar, Router
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Reference, SecurityScheme

from api.analytics.reader import LakeReader
from api.analytics.routes import analytics_routes
from api.bookings.clock import BookingClock
from api.bookings.codes import Codes as BookingCodes
from api.bookings.desk import Desk
from api.bookings.money import Money
from api.bookings.quotes import Quote
from api.bookings.routes import booking_routes
from api.bookings.signed import Signer
from api.booth.cash import Cash
from api.booth.days import Days
from api.booth.routes import booth_routes
from api.dashboard.routes import dashboard_routes
from api.database import Pool, build_pool
from api.errors import answer_error
from api.geofences.routes import geofence_routes
from api.health import RejectRate, database_check, health_routes
from api.ingest.body import Budget
from api.ingest.consents import Denied
from api.ingest.devices import Devices, device_routes
from api.ingest.grouping import EventWriter, Grouper
from api.ingest.pseudonyms import Pseudonyms
from api.ingest.remembered import Remembered
from api.ingest.routes import Ingest, event_routes
from api.limiter import Limiter
from api.links.routes import link_routes
from api.live.feed import Feed, Tail
from api.live.routes import live_routes
from api.logs import observe
from api.metrics import Metrics
from api.outbox.relay import Relay, Sender
from api.payments.parts import Payments, PaymentsConfig
from api.people.access import AccessTokens
from api.people.accounts import Accounts, Limits
from api.people.auth_routes import auth_routes
from api.people.codes import Codes
from api.people.me import Own
from api.people.me_routes import me_routes, vehicle_routes
from api.people.passwords import Passwords
from api.people.principal import Guard, build_person_guard
from api.people.sign_ins import SignIns
from api.people.tenant_routes import tenant_routes
from api.people.tenants import Tenants
from api.photos.album import Album
from api.photos.routes import photo_routes
from api.photos.store import PhotoStore
from api.schema_page import SchemaPage
from api.spaces.host_routes import host_routes
from api.spaces.kerb import build_search_times
from api.spaces.listing import Listing
from api.spaces.operator_routes import operator_routes
from api.spaces.reviews import Reviews
from api.spaces.routes import space_routes
from api.spaces.search import Search
from api.spaces.sheet_routes import Sheets
from api.who import declare
from geo.fix import FIX
from geo.validity import violations

INGEST_BUDGET_BYTES: Final = 64 << 20
REMEMBERED_EVENTS: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class ApiConfig:
    """What an app needs to know; all of it is decided at the entry point."""

    version: str
    database_url: str
    device_token_key: bytes
    pseudonym_key: Callable[[str], bytes]
    """Gives the key of this name; called once a month."""
    access_token_seed: bytes
    senders: Mapping[str, Sender]
    """What takes messages to people, by channel."""
    photos: PhotoStore
    public_url: str
    """Where people reach this API: printed codes and letters lead there."""
    secure_cookie: bool = True
    payments: PaymentsConfig = field(default_factory=PaymentsConfig)
    registrations_per_minute: int = 30
    codes_per_minute: int = 2
    """How many codes a contact may be sent."""
    tries_per_minute: int = 10
    """How many passwords and codes may be tried for a contact."""
    holds_per_minute: int = 20
    searches_per_minute: int = 60
    uploads_per_minute: int = 20
    """How many photos a person may send."""
    pool_size: int = 8
    metrics_dir: str | None = None
    """Folder of the metrics of several workers."""


def build_app(config: ApiConfig, writer: EventWriter, reader: LakeReader, tail: Tail) -> Litestar:
    """Wire an app; it owns the writer and closes it, and the reader, when it stops.

    Without a payment provider, only what is free can be booked.
    """
    metrics = Metrics(config.metrics_dir)
    pool = build_pool(config.database_url, max_size=config.pool_size)
    denied = Denied(pool, metrics)
    grouper = Grouper(writer, metrics)
    limiter = Limiter(pool, config.device_token_key, "registration", config.registrations_per_minute)
    devices = Devices(pool, config.device_token_key, denied, limiter)
    reject_rate = RejectRate()
    ingest = Ingest(
        devices,
        Pseudonyms(config.pseudonym_key),
        Remembered(REMEMBERED_EVENTS),
        grouper,
        Budget(INGEST_BUDGET_BYTES),
        metrics,
        reject_rate,
    )

    relay = Relay(pool, config.senders, config.public_url)
    payments = Payments(pool, config.payments, metrics)
    booking_clock = BookingClock(pool, payments.money)
    album = Album(pool, config.photos, Limiter(pool, config.device_token_key, "uploads", config.uploads_per_minute))
    feed = Feed(tail)

    async def check_lake() -> None:
        await asyncio.to_thread(reader.freshness)

    checks = {
        "database": database_check(pool),
        "log": grouper.check,
        "lake": check_lake,
        "rejects": reject_rate.check,
    }

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        violations(np.empty(0, FIX))  # compiled now, not under the first phone's request
        await pool.open()
        await denied.refresh()
        runs = (denied.run, relay.run, feed.run, booking_clock.run, payments.reconciliation.run, album.run)
        background = [asyncio.create_task(run()) for run in runs]
        grouping = asyncio.create_task(grouper.run())
        try:
            yield
        finally:
            await _end(background)
            grouper.close()
            await grouping
            writer.close()
            reader.close()
            await payments.close()
            await pool.close()

    accounts = _build_accounts(config, pool)
    signed_in = build_person_guard(accounts.sign_ins.tokens)
    routers = [
        health_routes(checks, metrics),
        device_routes(devices),
        event_routes(ingest),
        geofence_routes(pool),
        analytics_routes(pool, reader),
        live_routes(pool, feed),
        dashboard_routes(),
        link_routes(),
        *_people_routes(config, pool, denied, accounts, payments),
        *_booking_routes(config, pool, payments.money, reader, album, signed_in),
        booth_routes(Days(pool), Cash(pool, payments.checkouts, payments.capturing), signed_in),
        *photo_routes(album, config.photos, signed_in),
    ]
    app = _build_litestar(config.version, routers, lifespan)
    app.asgi_handler = observe(app.asgi_handler, metrics)
    return app


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: before Python 3.12 a wait that ends at that moment swallows the cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=1)


def _people_routes(
    config: ApiConfig, pool: Pool, denied: Denied, accounts: Accounts, payments: Payments
) -> list[Router]:
    own = Own(pool, accounts, denied)
    signed_in = build_person_guard(accounts.sign_ins.tokens)
    return [
        auth_routes(accounts, secure_cookie=config.secure_cookie),
        me_routes(own, signed_in, config.device_token_key),
        vehicle_routes(own, signed_in),
        tenant_routes(Tenants(pool), signed_in),
        *payments.routes(own, signed_in),
    ]


def _booking_routes(
    config: ApiConfig, pool: Pool, money: Money, reader: LakeReader, album: Album, signed_in: Guard
) -> list[Router]:
    seed = config.access_token_seed
    holds = Limiter(pool, config.device_token_key, "holds", config.holds_per_minute)
    searches = Limiter(pool, config.device_token_key, "searches", config.searches_per_minute)
    desk = Desk(pool, money, Signer(seed, "quote", Quote), BookingCodes(seed), holds)
    listing, search = Listing(pool), Search(pool, money, searches, build_search_times(reader), album)
    sheets = Sheets(listing, config.public_url)
    return [
        *booking_routes(desk, signed_in),
        *space_routes(search, Reviews(pool), signed_in),
        host_routes(listing, desk, search, sheets, signed_in),
        operator_routes(listing, desk, Tenants(pool), sheets, signed_in),
    ]


def _build_accounts(config: ApiConfig, pool: Pool) -> Accounts:
    def limiter(scope: str, per_minute: int) -> Limiter:
        return Limiter(pool, config.device_token_key, scope, per_minute)

    return Accounts(
        pool,
        Passwords(),
        Codes(pool, hmac.digest(config.access_token_seed, b"parkpal codes v1", "sha256")),
        SignIns(pool, AccessTokens(config.access_token_seed)),
        Limits(
            limiter("codes", config.codes_per_minute),
            limiter("tries", config.tries_per_minute),
            limiter("people", config.registrations_per_minute),
        ),
    )


def _build_litestar(
    version: str, routers: Sequence[Router], lifespan: Callable[[Litestar], AbstractAsyncContextManager[None]]
) -> Litestar:
    schemes: dict[str, SecurityScheme | Reference] = {
        "deviceToken": SecurityScheme(type="http", scheme="bearer", description="The token that /v1/devices gave"),
        "accessToken": SecurityScheme(type="http", scheme="bearer", description="A person's token, from /v1/auth"),
        "signedUrl": SecurityScheme(
            type="apiKey", security_scheme_in="query", name="signature", description="As the URL of a photo has it"
        ),
        "webhookSignature": SecurityScheme(
            type="apiKey",
            security_scheme_in="header",
            name="Paymongo-Signature",
            description="The provider's signature over the raw body; Stripe's stands in Stripe-Signature",
        ),
        "apiKey": SecurityScheme(type="http", scheme="bearer", description="A customer's key, pp_live_..."),
    }
    declare(routers)
    return Litestar(
        routers,
        lifespan=[lifespan],
        exception_handlers={Exception: answer_error},
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="ParkPal",
            version=version,
            description="Parking events in, parking facts out.",
            components=Components(security_schemes=schemes),
            render_plugins=[SchemaPage(path="/"), JsonRenderPlugin()],
            use_handler_docstrings=True,
        ),
    )
