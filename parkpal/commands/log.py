"""`parkpal log`: create an event log, and see what it holds and how far the lake is behind."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from parkpal.settings import Settings
from pipeline.batch import NewerVersionError, count_rows
from pipeline.lake import Lake
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.lake import LakeMissingError
from pipeline.log import POSITIONS, REJECTED, EventLog, LogUnavailableError
from pipeline.log.open import DEFAULT_PARTITIONS, open_log
from pipeline.partition import SHARDS

_READ_BYTES = 8 * 2**20


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


@log.command()
@click.option("--log", "log_url", help="Event log, sqlite:///PATH or kafka://HOST:PORT.")
@click.option("--lake", "lake_url", help="Lake whose lag is shown, file:///FOLDER.")
def info(log_url: str | None, lake_url: str | None) -> None:
    """Show each partition's offsets, messages and bytes, and with --lake its lag."""
    table: list[tuple[str, ...]] = [("stream", "partition", "first", "next", "messages", "bytes")]
    if lake_url:
        table[0] += ("committed", "lag_rows", "lag_s")
    with _opened(log_url) as opened:
        committed = _committed(lake_url) if lake_url else {}
        for stream in (POSITIONS, REJECTED):
            for partition in range(opened.partitions(stream)):
                lag = _lag(opened, stream, partition, committed.get((stream, partition), 0)) if lake_url else ()
                table.append((stream, str(partition), *_held(opened, stream, partition), *lag))
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


def _held(opened: EventLog, stream: str, partition: int) -> tuple[str, ...]:
    first, following = opened.bounds(stream, partition)
    held_bytes = opened.stored_bytes(stream, partition)
    return str(first), str(following), str(following - first), "unknown" if held_bytes is None else str(held_bytes)


def _committed(url: str) -> dict[tuple[str, int], int]:
    """Return the next offset that the lake has not, by (stream, partition)."""
    lake = Lake.open(url)
    newest = [lake.committer().published(part) for part in range(lake.format.sink_partitions)]
    return {(o.stream, o.partition): o.next for commit in newest if commit is not None for o in commit.offsets}


def _lag(opened: EventLog, stream: str, partition: int, committed: int) -> tuple[str, str, str]:
    """Return the committed offset, the rows behind it, and how long the first of them has waited."""
    rows, waited_ms, offset = 0, 0, committed
    while messages := opened.read(stream, partition, offset, _READ_BYTES):
        if not rows:
            waited_ms = time.time_ns() // 1_000_000 - messages[0].appended_at
        rows += sum(count_rows(message.content_type, message.payload) for message in messages)
        offset = messages[-1].offset + 1
    return str(committed), str(rows), f"{waited_ms / 1_000:.1f}"
