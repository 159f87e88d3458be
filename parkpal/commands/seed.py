"""`parkpal seed`: example data into the database."""

import os
import sys
from pathlib import Path

import click
import psycopg

from api.database import MigrationError, load_migrations, migrate
from api.embedded_postgres import open_database
from api.geofences.fences import seed_fences
from parkpal.examples.town import NAMES, PASSWORD, seed_town
from parkpal.settings import Settings, SettingsError


@click.command()
@click.option(
    "--fences",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="GeoJSON of geofences, in place of the examples.",
)
def seed(fences: Path | None) -> None:
    """Add example zones, people and spaces; what the database knows already stays as it is."""
    try:
        settings = Settings.read(os.environ)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    if fences is None and settings.env == "production":
        raise click.UsageError("examples do not go into production; give --fences")
    try:
        with open_database(settings.database_url) as url:
            migrate(url, load_migrations())
            click.echo(_seed_examples(url) if fences is None else _seed_fences(url, fences))
    except (MigrationError, psycopg.Error, ValueError) as error:
        click.echo(f"parkpal seed: {error}", err=True)
        sys.exit(1)


def _seed_fences(url: str, fences: Path) -> str:
    added, known = seed_fences(url, fences.read_bytes())
    return f"{added} fence versions added, {known} fences known already"


def _seed_examples(url: str) -> str:
    added = seed_town(url)
    people = " and ".join(NAMES)
    return (
        f"{added.fences} fence versions, {added.people} people and {added.spaces} spaces added; "
        f"{people} sign in with the password: {PASSWORD}"
    )
