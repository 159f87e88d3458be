"""`parkpal network`: the roads of an extract of OpenStreetMap in a compact file."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from pipeline.network import save

EXTRA: Final = ("osmium", "scipy")


@click.command()
@click.argument("extract", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def network(extract: Path, out: Path) -> None:
    """Write the roads of EXTRACT (.osm, .osm.gz, .osm.bz2, .pbf) to the file OUT, with one-ways and forbidden turns."""
    if not all(map(find_spec, EXTRA)):
        raise click.UsageError("needs osmium and scipy: pip install 'parkpal[network]'")
    from pipeline.extract import read_extract  # noqa: PLC0415 - only where the extra is there

    try:
        roads = read_extract(extract)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    save(roads, out)
    click.echo(f"{len(roads.lat)} nodes, {len(roads.tail)} edges, {len(roads.turn_from)} turns: {out}")
