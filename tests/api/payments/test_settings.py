"""What of payments may not go into production, and what a provider without a key is."""

import pytest
from click.testing import CliRunner

from parkpal.commands.payments_simulator import payments_simulator
from parkpal.payments import build_payments, check_payments
from parkpal.settings import Settings, SettingsError, describe

LIVE = {
    "PARKPAL_ENV": "production",
    "PARKPAL_PAYMENTS_LIVEMODE": "yes",
    "PARKPAL_PAYMONGO_SECRET_KEY": "sk_live_1",
    "PARKPAL_PAYMONGO_WEBHOOK_SECRET": "whsk_1",
    "PARKPAL_PAYMONGO_URL": "https://api.paymongo.com",
    "PARKPAL_PAY_SUCCESS_URL": "https://parkpal.example/paid",
    "PARKPAL_PAY_CANCEL_URL": "https://parkpal.example/back",
}


def test_production_takes_live_keys_and_leaves_out_who_was_not_named() -> None:
    settings = Settings.read(LIVE)
    check_payments(settings)
    assert [provider.name for provider in build_payments(settings).providers] == ["paymongo"]
    assert build_payments(settings).providers[0].livemode


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("PAYMONGO_SECRET_KEY", "sk_test_1", "must be a live key"),
        ("PAYMENTS_LIVEMODE", "no", "must be a live key"),
        ("PAYMONGO_WEBHOOK_SECRET", "", "WEBHOOK_SECRET must be set"),
        ("PAYMONGO_URL", "http://127.0.0.1:8082/paymongo", "not the simulator"),
        ("PAY_SUCCESS_URL", "http://parkpal.example/", "must be https"),
    ],
)
def test_production_refuses_play_money(name: str, value: str, rule: str) -> None:
    environ = {name: text for name, text in (LIVE | {f"PARKPAL_{name}": value}).items() if text}
    with pytest.raises(SettingsError, match=rule):
        check_payments(Settings.read(environ))


def test_development_has_both_providers_at_the_simulator() -> None:
    settings = Settings.read({})
    check_payments(settings)
    assert {provider.name for provider in build_payments(settings).providers} == {"paymongo", "stripe"}


def test_secrets_are_not_printed() -> None:
    rows = {variable: value for variable, value, _ in describe(Settings.read(LIVE), LIVE)}
    assert rows["PARKPAL_PAYMONGO_SECRET_KEY"] == rows["PARKPAL_STRIPE_WEBHOOK_SECRET"] == "***"  # noqa: S105  # what stands in their place


def test_the_simulator_does_not_start_in_production() -> None:
    ended = CliRunner().invoke(payments_simulator, env=LIVE)
    assert (ended.exit_code, "not in production" in ended.output) == (1, True)
