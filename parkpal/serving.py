"""The composition root of the api: settings and keys in, the wired app out."""

import os
import ssl
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final
from urllib.parse import unquote, urlsplit

from litestar import Litestar

from api.analytics.reader import LakeReader
from api.app import ApiConfig, build_app
from api.ingest.pseudonyms import key_name, month_of
from api.keys import KeyFolder
from api.outbox.fcm import FcmSender, read_account
from api.outbox.relay import FolderSender, Sender, SmtpSender
from parkpal.ingest_log import LogWriter
from parkpal.live_log import LiveTail
from parkpal.payments import build_payments, check_payments
from parkpal.photos import build_photo_store
from parkpal.settings import Settings
from pipeline.log.open import open_or_create_log

DEVICE_TOKEN_KEY: Final = "device-token"  # noqa: S105  # the name of a key, not the key
ACCESS_TOKEN_KEY: Final = "access-token"  # noqa: S105  # as above
FIRST_API_KEY: Final = "first-api-key"
METRICS_DIR_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
SUBMISSION_PORT: Final = 587


def prepare_keys(settings: Settings) -> None:
    """Make the keys that are missing; in production they must be there: MissingKeyError, SettingsError."""
    check_payments(settings)
    keys = KeyFolder(settings.keys_dir)
    need = keys.read if settings.env == "production" else keys.ensure
    need(DEVICE_TOKEN_KEY)
    need(ACCESS_TOKEN_KEY)
    need(key_name(month_of(int(datetime.now(UTC).timestamp() * 1000))))


def build_worker_app() -> Litestar:
    """Build the app of one serving process; the command has prepared keys, database and log before.

    The key of a month that begins while we run is made when its first event comes, in production too.
    """
    settings = Settings.read(os.environ)
    keys = KeyFolder(settings.keys_dir)
    config = ApiConfig(
        version=version("parkpal"),
        database_url=settings.database_url,
        redis_url=settings.redis_url,
        device_token_key=keys.read(DEVICE_TOKEN_KEY),
        pseudonym_key=keys.ensure,
        access_token_seed=keys.read(ACCESS_TOKEN_KEY),
        senders=_senders(settings),
        photos=build_photo_store(settings.photos_url, keys.read(ACCESS_TOKEN_KEY), settings.public_url),
        public_url=settings.public_url,
        cors_origins=tuple(filter(None, settings.cors_origins.split(","))),
        payments=build_payments(settings),
        secure_cookie=settings.env == "production",
        strict_webhooks=settings.env == "production",
        registrations_per_minute=settings.registrations_per_minute,
        metrics_dir=os.environ.get(METRICS_DIR_VARIABLE),
    )
    log = open_or_create_log(settings.log_url)
    return build_app(config, LogWriter(log), LakeReader(settings.lake_url), LiveTail(log))


def _senders(settings: Settings) -> dict[str, Sender]:
    """Return what takes messages to people: a mail server and FCM where they are set, else a folder."""
    folder = FolderSender(settings.data_dir / "outbox")
    account = settings.fcm_account_key
    return {
        "email": _smtp(settings.smtp_url, settings.mail_from) if settings.smtp_url else folder,
        "sms": folder,
        "push": FcmSender(read_account(account), settings.fcm_url) if account else folder,
    }


def _smtp(url: str, mail_from: str) -> SmtpSender:
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    tls = ssl.create_default_context()
    return SmtpSender(parts.hostname or "", parts.port or SUBMISSION_PORT, user, password, mail_from, tls)
