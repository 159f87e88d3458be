"""`parkpal settings`: every setting, its value and where it comes from."""

import os

import click

from parkpal.settings import Settings, SettingsError, describe


@click.command()
def settings() -> None:
    """Print every setting with its source, secrets masked."""
    try:
        rows = describe(Settings.read(os.environ), os.environ)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    width = max(len(variable) for variable, _, _ in rows)
    for variable, value, source in rows:
        click.echo(f"{variable:{width}}  {source:11}  {value}")
