"""What the commands of `parkpal lake` share: which lake, log and fences, and what is told where one is not there."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import click
import duckdb
import psycopg
from rich.console import Console
from rich.progress import track

from api.embedded_postgres import open_database
from geo.fence_index import FenceIndex
from parkpal.settings import Settings
from pipeline.batch import NewerVersionError
from pipeline.fences import DatabaseFences, FileFences
from pipeline.lake.commit import LakeRefusedError, LakeWriteError
from pipeline.lake.lake import Lake, LakeMissingError
from pipeline.log import LogUnavailableError

T = TypeVar("T")

LAKE: Final = click.option("--lake", "lake_url", help="Lake, file:///FOLDER.")
LOG: Final = click.option("--log", "log_url", help="Event log, sqlite:///PATH or kafka://HOST:PORT.")
FENCES: Final = click.option(
    "--fences",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="GeoJSON of the fences that `parkpal run` was given; without it they come from the database.",
)

NETWORK: Final = click.option(
    "--network",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of `parkpal network` that `parkpal run` was given.",
)


@contextmanager
def opened(url: str | None, command: str = "lake") -> Iterator[Lake]:
    """Open the lake; end the command with status 1 where the lake, or what the block uses beside it, cannot be used."""
    try:
        yield Lake.open(url or Settings.read(os.environ).lake_url)
    except (
        LookupError,
        ValueError,
        duckdb.Error,
        psycopg.Error,
        LakeMissingError,
        LakeRefusedError,
        LakeWriteError,
        LogUnavailableError,
        NewerVersionError,
    ) as error:
        click.echo(f"parkpal {command}: {error}", err=True)
        sys.exit(1)


def read_fences(path: Path | None) -> FenceIndex:
    """Read every version of every fence once, from the file or the database; ValueError, psycopg.Error."""
    if path is not None:
        return FileFences(path).current()[0]
    with open_database(Settings.read(os.environ).database_url) as conninfo:
        fences = DatabaseFences(conninfo)
        try:
            return fences.current()[0]
        finally:
            fences.close()


def bar(text: str) -> Callable[[list[T]], Iterator[T]]:
    """Return what shows how far a job is, on a terminal."""
    console = Console(stderr=True)
    return partial(_tracked, console, text)


def _tracked(console: Console, text: str, days: list[T]) -> Iterator[T]:
    yield from track(days, text, console=console, transient=True, disable=not console.is_terminal)


def tell_waiting(old: int) -> None:
    """Say how many replaced folders are not deleted yet."""
    if old:
        click.echo(f"{old} replaced folders wait for readers; the next compact or retain after 10 minutes deletes them")
