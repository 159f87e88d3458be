"""`parkpal backup`: the database into a folder."""

import os
import sys
from pathlib import Path

import click
import psycopg

from api.backup import BackupError, back_up
from api.embedded_postgres import open_database
from parkpal.settings import Settings


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def backup(folder: Path) -> None:
    """Write the database into a new FOLDER, for the owner's eyes alone. Keep the keys folder beside it."""
    settings = Settings.read(os.environ)
    try:
        with open_database(settings.database_url) as url:
            contents = back_up(url, folder)
    except (BackupError, psycopg.Error, OSError) as error:
        click.echo(f"parkpal backup: {error}", err=True)
        sys.exit(1)
    rows = sum(held.rows for held in contents.tables.values())
    click.echo(f"{rows} rows of {len(contents.tables)} tables in {folder}")
    click.echo(f"not in it, and needed with it: the keys in {settings.keys_dir}")
