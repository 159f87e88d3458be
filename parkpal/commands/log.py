"""`parkpal log`: create an event log, and see what it holds and how far the lake is behind."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from parkpal.settings import Settings
from pipeline.batch import NewerVersionError
from pipeline.lag import Lag, lags
from pipeline.lake import Lake
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.lake import LakeMissingError
from pipeline.layout import Part
from pipeline.log import POSITIONS, REJECTED, EventLog, LogUnavailableError
from pipeline.log.open import DEFAULT_PARTITIONS, open_log
from pipeline.move import move
from pipeline.partition import SHARDS
from pipeline.trim import DAYS, LEAST_DAYS, trim

DAY_S: Final = 86_400
TRIM_EVERY_S: Final = 3_600.0


@click.group()
def log() -> None:
    """Create an event log and look into it."""


@log.command()
@click.option("--log", "log_url", help="Event log, sqlite:///PATH or kafka://HOST:PORT.")
@click.option(
    "--partitions",
    type=click.Choice([str(1 << bits) for bits in range(SHARDS.bit_length())]),
    default=str(DEFAULT_PARTITIONS[POSITIONS]),
    show_default=True,
    help="Of the stream `positions`, for the log's life.",
)
def create(log_url: str | None, partitions: str) -> None:
    """Create the log's streams; a log that has them already stays as it is."""
    streams = {**DEFAULT_PARTITIONS, POSITIONS: int(partitions)}
    with _opened(log_url) as opened:
        opened.create(streams)
    click.echo(", ".join(f"{stream}: {count} partitions" for stream, count in streams.items()))


@log.command("move")
@click.option("--from", "old_url", required=True, help="Event log that the lake was read from, drained to its end.")
@click.option("--to", "new_url", required=True, help="Event log to go on with, created.")
@click.option("--lake", "lake_url", help="Lake, file:///FOLDER.")
def move_command(old_url: str, new_url: str, lake_url: str | None) -> None:
    """Let the lake go on with another log, of more partitions or in another place."""
    with _opened(old_url) as old, _opened(new_url) as new:
        source = move(Lake.open(lake_url or Settings.read(os.environ).lake_url), old, new)
    click.echo(
        f"the lake goes on with {source.partitions[POSITIONS]} partitions of positions: parkpal run --log {new_url}"
    )


@log.command("trim")
@click.option("--log", "log_url", help="Event log, sqlite:///PATH or kafka://HOST:PORT.")
@click.option("--lake", "lake_urls", multiple=True, help="Lake that is read from it, file:///FOLDER; give each.")
@click.option("--days", type=click.FloatRange(min=LEAST_DAYS), default=DAYS, show_default=True, help="What stays.")
@click.option("--watch", is_flag=True, help="Go on, once an hour, until stopped.")
def trim_command(log_url: str | None, lake_urls: tuple[str, ...], days: float, watch: bool) -> None:
    """Drop messages that are older than some days and in every lake that is read from this log.

    Writers and `parkpal run` go on meanwhile. The embedded log's file does not shrink: the room is used again.
    """
    if watch:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        with _opened(log_url) as opened:
            lakes = [Lake.open(url) for url in lake_urls or [Settings.read(os.environ).lake_url]]
            dropped = trim(opened, lakes, int((time.time() - days * DAY_S) * 1_000))
        click.echo(f"{dropped} messages dropped")
        if not watch:
            return
        time.sleep(TRIM_EVERY_S)


@log.command()
@click.option("--log", "log_url", help="Event log, sqlite:///PATH or kafka://HOST:PORT.")
@click.option("--lake", "lake_url", help="Lake whose lag is shown, file:///FOLDER.")
def info(log_url: str | None, lake_url: str | None) -> None:
    """Show each partition's offsets, messages and bytes, and with --lake its lag."""
    table: list[tuple[str, ...]] = [("stream", "partition", "first", "next", "messages", "bytes")]
    with _opened(log_url) as opened:
        parts = [Part(stream, p) for stream in (POSITIONS, REJECTED) for p in range(opened.partitions(stream))]
        table += [(part.stream, str(part.partition), *_held(opened, part)) for part in parts]
        if lake_url:
            found = [(str(lag.committed), str(lag.rows), f"{lag.seconds:.1f}") for lag in _lags(opened, lake_url)]
            columns = [("committed", "lag_rows", "lag_s"), *found]
            table = [(*line, *more) for line, more in zip(table, columns, strict=True)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        click.echo("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


@contextmanager
def _opened(url: str | None) -> Iterator[EventLog]:
    """Open the log; end the command with status 1 where log or lake cannot be used."""
    try:
        opened = open_log(url or Settings.read(os.environ).log_url)
        yield opened
        opened.close()
    except (
        LookupError,
        ValueError,
        LogUnavailableError,
        NewerVersionError,
        LakeMissingError,
        LakeRefusedError,
    ) as error:
        click.echo(f"parkpal log: {error}", err=True)
        sys.exit(1)


def _held(opened: EventLog, part: Part) -> tuple[str, ...]:
    first, following = opened.bounds(*part)
    held_bytes = opened.stored_bytes(*part)
    return str(first), str(following), str(following - first), "unknown" if held_bytes is None else str(held_bytes)


def _lags(opened: EventLog, lake_url: str) -> Iterator[Lag]:
    return lags(opened, Lake.open(lake_url), exact=True)
