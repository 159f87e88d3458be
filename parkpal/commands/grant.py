"""`parkpal grant`: roles on the platform itself, which no route gives."""

import os
import sys

import click
import psycopg

from api.contacts import parse_contact
from api.database import MigrationError, load_migrations, migrate
from api.embedded_postgres import open_database
from api.people.tenants import PLATFORM_ROLES, grant_platform_role
from parkpal.settings import Settings


@click.command()
@click.argument("contact")
@click.argument("role", type=click.Choice(PLATFORM_ROLES))
def grant(contact: str, role: str) -> None:
    """Give the person with the account of this e-mail address or phone a role on the platform."""
    try:
        with open_database(Settings.read(os.environ).database_url) as url:
            migrate(url, load_migrations())
            given = grant_platform_role(url, parse_contact(contact), role)
    except (MigrationError, psycopg.Error, ValueError) as error:
        click.echo(f"parkpal grant: {error}", err=True)
        sys.exit(1)
    if not given:
        click.echo(f"parkpal grant: nobody with this contact has an account, or they are {role} already", err=True)
        sys.exit(1)
    click.echo(f"{role} given")
