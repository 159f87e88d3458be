"""`parkpal lake erase`: a person's events leave the log, the lake and everything derived."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import click

from api.database import load_migrations, migrate
from api.embedded_postgres import open_database
from api.ingest.pseudonyms import pseudonyms_of
from api.keys import KeyFolder
from api.people.erasures import note_done, read_requests
from parkpal.commands.lake_options import LAKE, LOG, bar, opened, tell_waiting
from parkpal.settings import Settings
from pipeline.lake.erasure import finish, is_named, take_down
from pipeline.lake.exchange import sweep
from pipeline.lake.lake import Lake
from pipeline.lake.tombstones import Tombstones
from pipeline.log.open import open_log
from pipeline.log_erasure import blank_log


@click.command("erase")
@LAKE
@LOG
@click.option("--device", "device_ids", multiple=True, help="A device id, as the account knows it; may be repeated.")
@click.option("--requests", "--requested", "requests", is_flag=True, help="The devices of people who asked for it.")
def erase_command(lake_url: str | None, log_url: str | None, device_ids: tuple[str, ...], requests: bool) -> None:
    """Erase all events of devices, and what an earlier call that was cut short left to do.

    With no device named, whatever is left of all that were ever erased.

    Readers and `parkpal run` go on meanwhile; no new row of these devices is taken from the start on.
    """
    settings = Settings.read(os.environ)
    with opened(lake_url) as lake, _asked(requests, settings) as asked:
        known = {device_id: _names(lake, device_id, settings) for device_id in (*device_ids, *asked)}
        names = {name for names in known.values() for name in names}
        take_down(lake, names)
        click.echo(_log_outcome(log_url or settings.log_url, sorted(names or Tombstones(lake).devices())))
        erased = finish(lake, track=bar("erasing"))
        click.echo(f"{len(known)} devices: {_outcome(erased)}")
        click.echo("a running flow forgets them within a minute, one that stands still when it is started")
        tell_waiting(sweep(lake))


@contextmanager
def _asked(requests: bool, settings: Settings) -> Iterator[list[str]]:
    """Give the devices that people asked for, none unless they are wanted; note them as done if the block ends well."""
    if not requests:
        yield []
        return
    with open_database(settings.database_url) as url:
        migrate(url, load_migrations())
        asked = read_requests(url)
        yield asked
        note_done(url, asked)


def _names(lake: Lake, device_id: str, settings: Settings) -> list[str]:
    """Return what log and lake call the device: its pseudonyms, or in a recording that was replayed the id itself."""
    names = pseudonyms_of(device_id, KeyFolder(settings.keys_dir))
    if is_named(lake, device_id):
        names.append(device_id)
    if not names:
        click.echo(
            f"parkpal lake: {device_id} is in no row, and {settings.keys_dir} has no month's key that would tell its "
            "pseudonyms: give PARKPAL_KEYS_DIR",
            err=True,
        )
        sys.exit(1)
    return names


def _log_outcome(log_url: str, names: list[str]) -> str:
    try:
        log = open_log(log_url)
        blanked = blank_log(log, names, bar("reading the log"))
    except LookupError as error:
        return f"{error}; nothing to erase there"
    if blanked is None:
        return "the log keeps its messages until its retention drops them; nothing of them reaches the lake any more"
    return f"{blanked} messages of the log no longer name them"


def _outcome(erased: Counter[str]) -> str:
    if not erased:
        return "the lake held no row of theirs"
    return ", ".join(f"{rows} rows of {table}" for table, rows in sorted(erased.items())) + " erased"
