"""`parkpal lake adopt`: go on with a lake whose recovery store is lost."""

import click

from parkpal.commands.lake_options import LAKE, opened
from pipeline.lake.adoption import adopt


@click.command("adopt")
@LAKE
def adopt_command(lake_url: str | None) -> None:
    """Let the next `parkpal run` go on with this lake without its recovery store, which is deleted if there is one.

    That run reads the log again from 26 hours before the last committed offsets, writes nothing of it, and goes on
    behind them. Only what a device had kept open for longer, a drive or a visit, begins anew there.
    """
    with opened(lake_url) as lake:
        adoption = adopt(lake)
    again = sum(source.next - source.first for source in adoption.sources)
    commits = sum(part.seq for part in adoption.parts.values())
    click.echo(f"adopted {commits} commits of {len(adoption.parts)} sink partitions")
    click.echo(f"the next parkpal run reads {again} messages again and goes on behind them")
