"""`parkpal`: the command line. A command's module is loaded when the command is called for."""

import importlib
import os
from typing import Final

import click

from parkpal.kernels import cache_by_source
from parkpal.settings import SettingsError

NAMES: Final = (
    "accuracy",
    "api",
    "backup",
    "demo",
    "grant",
    "lake",
    "log",
    "migrate",
    "network",
    "payments-simulator",
    "rejected",
    "replay",
    "restore",
    "run",
    "seed",
    "settings",
    "simulate",
)


class _Commands(click.Group):
    """The commands of `parkpal.commands`, each in the module of its name."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise click.UsageError(str(error)) from None

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in NAMES:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"parkpal.commands.{name}"), name)
        assert isinstance(command, click.Command)  # noqa: S101 - what a module of the package holds
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="parkpal")
def main() -> None:
    """Turn phone events into parking facts and serve them."""
    cache_by_source(os.environ)
