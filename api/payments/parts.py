"""The parts of payments, wired: what an installation decides goes in, routes and a background task come out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from litestar import Router

from api.bookings.clock import utc_now
from api.database import Pool
from api.metrics import Metrics
from api.payments.capturing import Capturing
from api.payments.checkouts import Checkouts, Pages
from api.payments.disputes import Disputes
from api.payments.fees import Withholding
from api.payments.money import BookingMoney, MoneyRules
from api.payments.office_routes import Office, dispute_routes, host_routes, payout_routes, refund_routes
from api.payments.payouts import Payouts
from api.payments.provider import Provider
from api.payments.reconciliation import Reconciliation
from api.payments.refund_requests import RefundRequests
from api.payments.refunds import Refunds
from api.payments.routes import payment_routes, wallet_routes
from api.payments.webhooks import Webhooks, webhook_routes
from api.people.me import Own
from api.people.principal import Guard


@dataclass(frozen=True, kw_only=True)
class PaymentsConfig:
    """What an installation decides about payments. providers: adapters, opened and closed with the app."""

    providers: tuple[Provider, ...] = ()
    pages: Pages = field(default_factory=lambda: Pages("http://localhost/", "http://localhost/"))
    fee_basis_points: int = 500
    host_bears_provider_fee: bool = False
    compensation_minor: int = 10_000
    refund_limit_minor: int = 500_000
    payout_minimum_minor: int = 10_000
    withholding: Withholding = field(default_factory=Withholding)

    @property
    def rules(self) -> MoneyRules:
        """What bookings and refunds go by."""
        return MoneyRules(
            {provider.name: provider.rails for provider in self.providers},
            {provider.name: provider.currencies for provider in self.providers},
            self.fee_basis_points,
            self.host_bears_provider_fee,
            self.compensation_minor,
        )


class Payments:
    """Payments of one app."""

    def __init__(
        self, pool: Pool, config: PaymentsConfig, metrics: Metrics, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._pool = pool
        self._config = config
        self.providers: dict[str, Provider] = {provider.name: provider for provider in config.providers}
        self.money = BookingMoney(config.rules)
        self.capturing = Capturing(pool, self.money, now)
        self.checkouts = Checkouts(pool, self.providers, self.capturing, config.pages)
        self.refunds = Refunds(pool, self.providers)
        self.disputes = Disputes(pool, self.money)
        self.payouts = Payouts(pool, config.withholding, config.payout_minimum_minor)
        self.reconciliation = Reconciliation(
            pool,
            self.providers,
            self.checkouts,
            self.capturing,
            self.refunds,
            self.disputes,
            self.payouts,
            metrics,
        )

    def routes(self, own: Own, guard: Guard) -> list[Router]:
        """Build every route of payments."""
        requests = RefundRequests(self._pool, self.money, self._config.refund_limit_minor)
        return [
            webhook_routes(Webhooks(self._pool, self.providers)),
            payment_routes(self._pool, self.checkouts, guard),
            wallet_routes(self._pool, own, guard),
            *host_routes(Office(self._pool, own), guard),
            refund_routes(self._pool, requests, guard),
            dispute_routes(self._pool, self.disputes, guard),
            payout_routes(self._pool, self.payouts, guard),
        ]

    async def close(self) -> None:
        """Let go of the providers' connections."""
        for provider in self.providers.values():
            await provider.close()
