"""`parkpal replay`: recorded events into the event log."""

import os
import re
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from parkpal.settings import Settings
from pipeline.events_file import read_events
from pipeline.log import LogUnavailableError
from pipeline.log.open import open_or_create_log
from pipeline.replay import Recording, Sizes, append, arrange


def _rows(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most <= 100_000:
        raise click.BadParameter("want N or A-B, from 1 to 100000")
    return least, most


@click.command()
@click.argument("events", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--log", "log_url", help="Event log, sqlite:///PATH or kafka://HOST:PORT; created if it is missing.")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    help="1 appends as the events were received, 60 a minute a second; without it all at once.",
)
@click.option(
    "--batch-rows", callback=_rows, default="500", show_default=True, help="Rows a message: N, or drawn from A-B."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draw.")
def replay(events: Path, log_url: str | None, speed: float | None, batch_rows: tuple[int, int], seed: int) -> None:
    """Append recorded events (Parquet, NDJSON or CSV) in order of receive_time, then seq."""
    console = Console(stderr=True)
    try:
        with console.status(f"reading {events}"):
            recording = arrange(read_events(events), time.time_ns() // 1_000_000)
        _append(recording, log_url or Settings.read(os.environ).log_url, Sizes(*batch_rows, seed), speed, console)
    except (ValueError, LogUnavailableError) as error:
        click.echo(f"parkpal replay: {error}", err=True)
        sys.exit(1)
    click.echo(f"{len(recording.rows)} rows appended, {len(recording.refused)} refused")


def _append(recording: Recording, url: str, sizes: Sizes, speed: float | None, console: Console) -> None:
    columns = (TextColumn("appending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    log = open_or_create_log(url)
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=len(recording.rows) + len(recording.refused))
            append(log, recording, sizes, speed=speed, told=lambda rows: progress.advance(task, rows))
    finally:
        log.close()
