"""`parkpal migrate`: bring the database's schema up to date."""

import os
import sys

import click
import psycopg

from api.database import MigrationError, load_migrations
from api.database import migrate as apply_migrations
from api.embedded_postgres import open_database
from parkpal.settings import Settings


@click.command()
def migrate() -> None:
    """Apply the database migrations that are missing."""
    try:
        with open_database(Settings.read(os.environ).database_url) as url:
            applied = apply_migrations(url, load_migrations())
    except (MigrationError, psycopg.Error) as error:
        click.echo(f"parkpal migrate: {error}", err=True)
        sys.exit(1)
    for name in applied:
        click.echo(f"applied {name}")
    click.echo("the schema is up to date")
