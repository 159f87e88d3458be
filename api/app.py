"""Build the app from parts; nothing is opened before the app starts, everything is closed when it stops."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from litestar import Litestar, Router
from litestar.config.cors import CORSConfig

from api.analytics.reader import LakeReader
from api.analytics.routes import analytics_routes
from api.bookings.clock import BookingClock
from api.bookings.codes import Codes as BookingCodes
from api.bookings.desk import Desk
from api.bookings.quotes import Quote
from api.bookings.routes import booking_routes
from api.bookings.signed import Signer
from api.booth.cash import Cash
from api.booth.days import Days
from api.booth.routes import booth_routes
from api.customers.contracts import Contracts
from api.customers.routes import customer_routes
from api.dashboard.routes import dashboard_routes
from api.database import build_pool
from api.errors import answer_error
from api.geofences.routes import geofence_routes
from api.health import Check, RejectRate, database_check, health_routes
from api.ingest.body import Budget
from api.ingest.consents import Denied
from api.ingest.devices import Devices, device_routes
from api.ingest.grouping import EventWriter, Grouper
from api.ingest.pseudonyms import Pseudonyms
from api.ingest.remembered import Remembered
from api.ingest.routes import Ingest, event_routes
from api.limiter import Limiter, PostgresAllowances, RedisAllowances
from api.links.routes import link_routes
from api.live.feed import Feed, Tail
from api.live.routes import live_routes
from api.logs import observe
from api.metrics import Metrics
from api.outbox.relay import Relay, Sender
from api.passes.holders import Passes
from api.passes.routes import pass_routes
from api.payments.parts import Payments, PaymentsConfig
from api.people.access import AccessTokens
from api.people.accounts import Accounts, Limits
from api.people.auth_routes import auth_routes
from api.people.codes import Codes
from api.people.me import Own
from api.people.me_routes import me_routes, vehicle_routes
from api.people.passwords import Passwords
from api.people.principal import build_person_guard
from api.people.push import PushTokens
from api.people.push_routes import push_routes
from api.people.sign_ins import SignIns
from api.people.tenant_routes import tenant_routes
from api.people.tenants import Tenants
from api.photos.album import Album
from api.photos.routes import photo_routes
from api.photos.store import PhotoStore
from api.schema_page import describe_api
from api.spaces.availability import Availability
from api.spaces.host_routes import host_routes
from api.spaces.kerb import build_search_times, build_zone_search
from api.spaces.listing import Listing
from api.spaces.operator_routes import operator_routes
from api.spaces.reviews import Reviews
from api.spaces.routes import space_routes
from api.spaces.search import Search
from api.spaces.sheet_routes import Sheets
from api.webhooks.delivering import Deliveries
from api.webhooks.egress import Egress
from api.webhooks.endpoints import Endpoints
from api.webhooks.routes import webhook_out_routes
from api.webhooks.signing import Seal
from api.who import declare
from geo.fix import FIX
from geo.validity import violations

INGEST_BUDGET_BYTES: Final = 64 << 20
REMEMBERED_EVENTS: Final = 100_000
KEYS_PER_MINUTE: Final = 10


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
    redis_url: str = ""
    """Where limits are counted; in the database if empty."""
    cors_origins: tuple[str, ...] = ()
    """Of pages elsewhere that may ask this API from a browser; never with its cookie."""
    strict_webhooks: bool = True
    """Whether webhooks go by https to public addresses alone; else to this machine too."""
    secure_cookie: bool = True
    payments: PaymentsConfig = field(default_factory=PaymentsConfig)
    registrations_per_minute: int = 30
    codes_per_minute: int = 2
    """How many codes a contact may be sent."""
    tries_per_minute: int = 10
    """How many passwords and codes may be tried for a contact, and contacts be given a role by a person."""
    holds_per_minute: int = 20
    searches_per_minute: int = 60
    uploads_per_minute: int = 20
    """How many photos a person may send."""
    pool_size: int = 8
    metrics_dir: str | None = None
    """Folder of the metrics of several workers."""


class _Parts:
    """The parts of one app, each built once from what an installation decides."""

    def __init__(self, config: ApiConfig, writer: EventWriter, reader: LakeReader, tail: Tail) -> None:
        self._config = config
        self._writer = writer
        self._reader = reader
        self.metrics = Metrics(config.metrics_dir)
        self._pool = build_pool(config.database_url, max_size=config.pool_size)
        self._allowances = RedisAllowances(config.redis_url) if config.redis_url else PostgresAllowances(self._pool)
        self._denied = Denied(self._pool, self.metrics)
        self._grouper = Grouper(writer, self.metrics)
        self._reject_rate = RejectRate()
        self._relay = Relay(self._pool, config.senders, config.public_url)
        self._egress = Egress(strict=config.strict_webhooks)
        self._seal = Seal(config.access_token_seed)
        self._deliveries = Deliveries(self._pool, self._egress, self._seal)
        self._payments = Payments(self._pool, config.payments, self.metrics)
        self._booking_clock = BookingClock(self._pool, self._payments.money)
        self._album = Album(self._pool, config.photos, self._limiter("uploads", config.uploads_per_minute))
        self._feed = Feed(tail)
        self._accounts = self._build_accounts()
        self._tenants = Tenants(self._pool, self._limiter("grants", config.tries_per_minute))
        self._signed_in = build_person_guard(self._accounts.sign_ins.tokens)

    @asynccontextmanager
    async def run(self, _: Litestar) -> AsyncIterator[None]:
        """Open what needs opening and run what goes on by itself, until the app stops."""
        violations(np.empty(0, FIX))  # compiled now, not under the first phone's request
        await self._pool.open()
        await self._denied.refresh()
        background = [asyncio.create_task(run()) for run in self._runs()]
        grouping = asyncio.create_task(self._grouper.run())
        try:
            yield
        finally:
            await _end(background)
            self._grouper.close()
            await grouping
            self._writer.close()
            self._reader.close()
            await self._payments.close()
            await self._allowances.close()
            await self._pool.close()

    def routes(self) -> list[Router]:
        """Build every route."""
        return [
            health_routes(self._checks(), self.metrics),
            *self._event_routes(),
            geofence_routes(self._pool),
            analytics_routes(self._pool, self._reader),
            live_routes(self._pool, self._feed),
            dashboard_routes(),
            link_routes(),
            *self._people_routes(),
            *self._booking_routes(),
            booth_routes(Days(self._pool), self._cash(), self._signed_in),
            *pass_routes(Passes(self._pool, self._payments.money), self._signed_in),
            *photo_routes(self._album, self._config.photos, self._signed_in),
        ]

    def _runs(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        return (
            self._denied.run,
            self._relay.run,
            self._deliveries.run,
            self._feed.run,
            self._booking_clock.run,
            self._payments.reconciliation.run,
            self._album.run,
        )

    def _checks(self) -> dict[str, Check]:
        async def check_lake() -> None:
            await asyncio.to_thread(self._reader.freshness)

        return {
            "database": database_check(self._pool),
            "log": self._grouper.check,
            "lake": check_lake,
            "rejects": self._reject_rate.check,
        }

    def _event_routes(self) -> list[Router]:
        key = self._config.device_token_key
        limiter = self._limiter("registration", self._config.registrations_per_minute)
        devices = Devices(self._pool, key, self._denied, limiter)
        ingest = Ingest(
            devices,
            Pseudonyms(self._config.pseudonym_key),
            Remembered(REMEMBERED_EVENTS),
            self._grouper,
            Budget(INGEST_BUDGET_BYTES),
            self.metrics,
            self._reject_rate,
        )
        return [device_routes(devices), event_routes(ingest)]

    def _people_routes(self) -> list[Router]:
        own = Own(self._pool, self._accounts, self._denied)
        return [
            auth_routes(self._accounts, secure_cookie=self._config.secure_cookie),
            me_routes(own, self._signed_in, self._config.device_token_key),
            vehicle_routes(own, self._signed_in),
            tenant_routes(self._tenants, self._signed_in),
            customer_routes(Contracts(self._pool, self._limiter("keys", KEYS_PER_MINUTE)), self._signed_in),
            push_routes(PushTokens(self._pool, self._limiter("push", KEYS_PER_MINUTE)), self._signed_in),
            webhook_out_routes(self._endpoints(), self._signed_in),
            *self._payments.routes(own, self._signed_in),
        ]

    def _booking_routes(self) -> list[Router]:
        pool, money, seed = self._pool, self._payments.money, self._config.access_token_seed
        holds = self._limiter("holds", self._config.holds_per_minute)
        searches = self._limiter("searches", self._config.searches_per_minute)
        desk = Desk(pool, money, Signer(seed, "quote", Quote), BookingCodes(seed), holds)
        listing = Listing(pool)
        sheets = Sheets(listing, self._config.public_url)
        search = Search(pool, money, searches, build_search_times(self._reader), self._album)
        availability = Availability(pool, searches, build_zone_search(self._reader))
        return [
            *booking_routes(desk, self._signed_in),
            *space_routes(search, availability, Reviews(pool), self._signed_in),
            host_routes(listing, desk, search, sheets, self._signed_in),
            operator_routes(listing, desk, self._tenants, sheets, self._signed_in),
        ]

    def _endpoints(self) -> Endpoints:
        return Endpoints(self._pool, self._egress, self._seal, self._limiter("webhooks", KEYS_PER_MINUTE))

    def _cash(self) -> Cash:
        return Cash(self._pool, self._payments.checkouts, self._payments.capturing)

    def _build_accounts(self) -> Accounts:
        seed = self._config.access_token_seed
        return Accounts(
            self._pool,
            Passwords(),
            Codes(self._pool, hmac.digest(seed, b"parkpal codes v1", "sha256")),
            SignIns(self._pool, AccessTokens(seed)),
            Limits(
                self._limiter("codes", self._config.codes_per_minute),
                self._limiter("tries", self._config.tries_per_minute),
                self._limiter("people", self._config.registrations_per_minute),
            ),
        )

    def _limiter(self, scope: str, per_minute: int) -> Limiter:
        return Limiter(self._allowances, self._config.device_token_key, scope, per_minute)


def build_app(config: ApiConfig, writer: EventWriter, reader: LakeReader, tail: Tail) -> Litestar:
    """Wire an app; it owns the writer and closes it, and the reader, when it stops.

    Without a payment provider, only what is free can be booked.
    """
    parts = _Parts(config, writer, reader, tail)
    app = _build_litestar(config, parts.routes(), parts.run)
    app.asgi_handler = observe(app.asgi_handler, parts.metrics)
    return app


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: before Python 3.12 a wait that ends at that moment swallows the cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=1)


def _allow(origins: Sequence[str]) -> CORSConfig:
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["authorization", "content-type", "idempotency-key"],
        expose_headers=["retry-after", "x-request-id"],
    )


def _build_litestar(
    config: ApiConfig, routers: Sequence[Router], lifespan: Callable[[Litestar], AbstractAsyncContextManager[None]]
) -> Litestar:
    declare(routers)
    return Litestar(
        routers,
        lifespan=[lifespan],
        cors_config=_allow(config.cors_origins) if config.cors_origins else None,
        exception_handlers={Exception: answer_error},
        logging_config=None,
        openapi_config=describe_api(config.version),
    )
