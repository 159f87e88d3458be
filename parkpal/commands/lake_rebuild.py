"""`parkpal lake rebuild`: derived tables of past days decided anew, as the detectors decide now."""

from datetime import datetime
from pathlib import Path

import click

from parkpal.commands.lake_options import FENCES, LAKE, NETWORK, opened, read_fences
from pipeline.network import read_roads
from pipeline.rebuild import rebuild
from pipeline.recompute import DERIVED, Days

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("rebuild")
@LAKE
@FENCES
@NETWORK
@click.option("--tables", default=",".join(DERIVED), show_default=True, help="Which, separated by commas.")
@click.option("--from", "first", type=_DAY, required=True, help="First UTC day.")
@click.option("--to", "last", type=_DAY, required=True, help="Last UTC day.")
def rebuild_command(
    lake_url: str | None, fences: Path | None, network: Path | None, tables: str, first: datetime, last: datetime
) -> None:
    """Decide the derived tables of these days anew from positions, and replace them a day at a time.

    The flow may run meanwhile; a day can be rebuilt once it has decided all of it, 26 hours after its end.
    """
    if last < first:
        raise click.UsageError("--to lies before --from")
    names = [name.strip() for name in tables.split(",")]
    with opened(lake_url) as lake:
        rebuild(
            lake,
            read_fences(fences),
            Days(first.date(), last.date()),
            names,
            lambda table, day, before, now: click.echo(f"{day} {table}: {before} rows before, {now} now"),
            read_roads(network),
        )
