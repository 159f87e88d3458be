"""`parkpal seed`: example data into the database."""

import os
import sys
from pathlib import Path

import click
import psycopg

from api.database import MigrationError, load_migrations, migrate
from api.embedded_postgres import open_database
from api.geofences.fences import seed_fences
from parkpal.settings import Settings


@click.command()
@click.option(
    "--fences",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="GeoJSON of geofences.",
)
def seed(fences: Path) -> None:
    """Load geofences from a file; those that the database knows already stay as they are."""
    try:
        with open_database(Settings.read(os.environ).database_url) as url:
            migrate(url, load_migrations())
            added, known = seed_fences(url, fences.read_bytes())
    except (MigrationError, psycopg.Error, ValueError) as error:
        click.echo(f"parkpal seed: {error}", err=True)
        sys.exit(1)
    click.echo(f"{added} fence versions added, {known} fences known already")
