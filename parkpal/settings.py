"""Settings are one frozen value per process: read once at the entry point from PARKPAL_* and passed down.

Each has a default, so that everything works with none set. The defaults of places lie under the data folder.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

Environment = Literal["development", "production"]

PREFIX: Final = "PARKPAL_"
SIMULATOR_URL: Final = "http://127.0.0.1:8082"
"""Where `parkpal payments-simulator` listens, and payments go unless told otherwise."""
EXAMPLE_SECRET: Final = "sk_test_example"  # noqa: S105  # what stands here is no secret, and is refused in production
_SECRET_NAMES: Final = ("_key", "_secret")
_PASSWORD: Final = re.compile(
    r"(://[^:/@]*:).*(?=@)|([\w.-]*(?:password|secret|key|token)[\w.-]*=)[^&]+", re.IGNORECASE
)


class SettingsError(ValueError):
    """A setting breaks its rule; the message names the variable and the rule."""


def _word(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return read


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return read


def _url(*schemes: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text

    return read


def _account(text: str) -> str:
    try:
        known = set(json.loads(text))
    except (ValueError, TypeError):
        known = set()
    if not known >= {"project_id", "client_email", "private_key", "private_key_id", "token_uri"}:
        raise ValueError("must be the JSON of a service account, as Google gives it")
    return text


def _retention(text: str) -> str:
    if not re.fullmatch(r"\w+=\d+(,\w+=\d+)*", text):
        raise ValueError("must be TABLE=DAYS,...")
    return text


def _origins(text: str) -> str:
    if not re.fullmatch(r"https?://[^/,\s]+(,https?://[^/,\s]+)*", text):
        raise ValueError("must be ORIGIN,... as https://app.example.ph")
    return text


def _optional(read: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: read(text) if text else ""


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting; the variable of `log_url` is PARKPAL_LOG_URL, and so on. `Settings.read` is how to get one."""

    env: Environment
    data_dir: Path
    log_url: str
    lake_url: str
    photos_url: str
    public_url: str
    retention: str
    database_url: str
    redis_url: str
    keys_dir: Path
    host: str
    port: int
    metrics_port: int
    trusted_proxies: str
    cors_origins: str
    registrations_per_minute: int
    smtp_url: str
    fcm_url: str
    fcm_account_key: str
    mail_from: str
    paymongo_url: str
    paymongo_secret_key: str
    paymongo_webhook_secret: str
    stripe_url: str
    stripe_secret_key: str
    stripe_webhook_secret: str
    payments_livemode: str
    pay_success_url: str
    pay_cancel_url: str
    fee_basis_points: int
    compensation_minor: int
    provider_fee_bearer: str
    refund_limit_minor: int
    payout_minimum_minor: int
    withholding_basis_points: int
    withholding_threshold_minor: int

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """Read every setting; SettingsError names the first variable that breaks its rule."""
        values: dict[str, Any] = {}
        for name, (default, read) in _RULES.items():
            try:
                values[name] = read(environ.get(_variable(name)) or _default(default, values))
            except ValueError as error:
                raise SettingsError(f"{_variable(name)} {error}") from None
        return cls(**values)


_RULES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "env": ("development", _word("development", "production")),
    "data_dir": ("data", _path),
    "log_url": ("sqlite://{data_dir}/log.sqlite", _url("sqlite", "kafka")),
    "lake_url": ("file://{data_dir}/lake", _url("file", "s3")),
    "photos_url": ("file://{data_dir}/photos", _url("file", "s3")),
    "public_url": ("http://127.0.0.1:8080", _url("http", "https")),
    "retention": ("positions=30,rejected=30", _retention),
    "database_url": (
        "postgresql+embedded:///{data_dir}/postgres",
        _url("postgresql+embedded", "postgresql", "postgres"),
    ),
    "redis_url": ("", _optional(_url("redis", "rediss", "unix"))),
    "keys_dir": ("{data_dir}/keys", _path),
    "host": ("127.0.0.1", str),
    "port": ("8080", _number(0, 65_535)),
    "metrics_port": ("0", _number(0, 65_535)),
    "trusted_proxies": ("", str),
    "cors_origins": ("", _optional(_origins)),
    "registrations_per_minute": ("30", _number(1, 1_000_000)),
    "smtp_url": ("", _optional(_url("smtp"))),
    "fcm_url": ("https://fcm.googleapis.com", _url("http", "https")),
    "fcm_account_key": ("", _optional(_account)),
    "mail_from": ("parkpal@localhost", str),
    "paymongo_url": (f"{SIMULATOR_URL}/paymongo", _url("http", "https")),
    "paymongo_secret_key": (f"{EXAMPLE_SECRET}_paymongo", str),
    "paymongo_webhook_secret": (f"{EXAMPLE_SECRET}_paymongo_webhook", str),
    "stripe_url": (f"{SIMULATOR_URL}/stripe", _url("http", "https")),
    "stripe_secret_key": (f"{EXAMPLE_SECRET}_stripe", str),
    "stripe_webhook_secret": (f"{EXAMPLE_SECRET}_stripe_webhook", str),
    "payments_livemode": ("no", _word("no", "yes")),
    "pay_success_url": ("http://127.0.0.1:8080/schema", _url("http", "https")),
    "pay_cancel_url": ("http://127.0.0.1:8080/schema", _url("http", "https")),
    "fee_basis_points": ("500", _number(0, 10_000)),
    "compensation_minor": ("10000", _number(0, 1 << 40)),
    "provider_fee_bearer": ("platform", _word("platform", "host")),
    "refund_limit_minor": ("500000", _number(0, 1 << 40)),
    "payout_minimum_minor": ("10000", _number(1, 1 << 40)),
    "withholding_basis_points": ("100", _number(0, 10_000)),
    "withholding_threshold_minor": ("50000000", _number(0, 1 << 40)),
}
"""Default and rule of each setting, in order of reading."""


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _default(template: str, values: Mapping[str, Any]) -> str:
    if "{data_dir}" not in template:
        return template
    place = str(values["data_dir"])
    return template.format(data_dir=quote(place) if "://" in template else place)


def describe(settings: Settings, environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """List (variable, value, source) of each setting; source is `default` or `environment`, passwords are masked."""
    return [
        (
            _variable(name),
            "***" if name.endswith(_SECRET_NAMES) else _PASSWORD.sub(r"\1\2***", str(value)),
            "environment" if environ.get(_variable(name)) else "default",
        )
        for name, value in asdict(settings).items()
    ]
