"""`parkpal restore`: a backup into an empty database, compared."""

import os
import sys
from pathlib import Path

import click
import psycopg

from api.backup import BackupError
from api.backup import restore as restore_backup
from api.embedded_postgres import open_database
from parkpal.settings import Settings


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def restore(folder: Path) -> None:
    """Read the backup in FOLDER into the database of the settings, which must be empty, and compare every row."""
    try:
        with open_database(Settings.read(os.environ).database_url) as url:
            contents = restore_backup(url, folder)
    except (BackupError, psycopg.Error) as error:
        click.echo(f"parkpal restore: {error}", err=True)
        sys.exit(1)
    rows = sum(held.rows for held in contents.tables.values())
    click.echo(f"{rows} rows of {len(contents.tables)} tables restored, each table as it was")
