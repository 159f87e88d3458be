"""Payments from settings: adapters, pages and rules; and what of them may not go into production."""

from typing import Final

from api.payments.checkouts import Pages
from api.payments.fees import Withholding
from api.payments.parts import PaymentsConfig
from api.payments.paymongo import PayMongo
from api.payments.provider import Provider
from api.payments.stripe import Stripe
from parkpal.settings import EXAMPLE_SECRET, SIMULATOR_URL, Settings, SettingsError

TEST_KEYS: Final = ("sk_test_", "rk_test_")
"""How the providers' keys for trying things out begin."""


def build_payments(settings: Settings) -> PaymentsConfig:
    """Return the payments that the settings ask for; a provider without a key is not there.

    In production the examples are not used, so that a provider of which nothing was said is not there either.
    """
    providers: list[Provider] = []
    livemode = settings.payments_livemode == "yes"
    if _is_set(settings, settings.paymongo_secret_key):
        key, hook = settings.paymongo_secret_key, settings.paymongo_webhook_secret
        providers.append(PayMongo(settings.paymongo_url, key, hook, livemode=livemode))
    if _is_set(settings, settings.stripe_secret_key):
        key, hook = settings.stripe_secret_key, settings.stripe_webhook_secret
        providers.append(Stripe(settings.stripe_url, key, hook, livemode=livemode))
    return PaymentsConfig(
        providers=tuple(providers),
        pages=Pages(settings.pay_success_url, settings.pay_cancel_url),
        fee_basis_points=settings.fee_basis_points,
        compensation_minor=settings.compensation_minor,
        host_bears_provider_fee=settings.provider_fee_bearer == "host",
        refund_limit_minor=settings.refund_limit_minor,
        payout_minimum_minor=settings.payout_minimum_minor,
        withholding=Withholding(rate=settings.withholding_basis_points, threshold=settings.withholding_threshold_minor),
    )


def check_payments(settings: Settings) -> None:
    """SettingsError where production would take play money or believe anybody's webhooks."""
    if settings.env != "production":
        return
    for name in ("paymongo", "stripe"):
        key = getattr(settings, f"{name}_secret_key")
        if not _is_set(settings, key):
            continue
        variable = f"PARKPAL_{name.upper()}"
        if key.startswith(TEST_KEYS) or settings.payments_livemode != "yes":
            raise SettingsError(f"{variable}_SECRET_KEY must be a live key, with PARKPAL_PAYMENTS_LIVEMODE=yes")
        if not _is_set(settings, getattr(settings, f"{name}_webhook_secret")):
            raise SettingsError(f"{variable}_WEBHOOK_SECRET must be set, to the provider's secret of the endpoint")
        if getattr(settings, f"{name}_url").startswith(SIMULATOR_URL):
            raise SettingsError(f"{variable}_URL must be the provider's, not the simulator's")
        if not settings.pay_success_url.startswith("https://") or not settings.pay_cancel_url.startswith("https://"):
            raise SettingsError("PARKPAL_PAY_SUCCESS_URL and PARKPAL_PAY_CANCEL_URL must be https")


def _is_set(settings: Settings, secret: str) -> bool:
    """Return whether there is a secret; the examples count in development alone."""
    return bool(secret) and (settings.env != "production" or not secret.startswith(EXAMPLE_SECRET))
