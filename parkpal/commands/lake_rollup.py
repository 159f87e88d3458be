"""`parkpal lake rollup`: what the published statistics are answered from."""

import signal
from threading import Event

import click
from rich.console import Console
from rich.progress import track

from parkpal.commands.lake_options import LAKE, opened
from pipeline.lake.rollups import keep, refresh


@click.command("rollup")
@LAKE
@click.option("--watch", is_flag=True, help="Go on until SIGTERM or Ctrl-C.")
def rollup_command(lake_url: str | None, *, watch: bool) -> None:
    """Make the roll-ups anew of the days that have changed since, however they changed."""
    with opened(lake_url) as lake:
        if watch:
            stopped = Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stopped.set())
            keep(str(lake.root), stopped)
        else:
            console = Console(stderr=True)
            made = refresh(lake, lambda stale: track(stale, "days", console=console, disable=not stale))
            click.echo(f"{made} days made anew")
