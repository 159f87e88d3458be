"""`parkpal simulate`: a city in files."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich import print as say

from parkpal.simulate.simulation import simulate as simulate_city

START: Final = "2026-03-04T00:00:00Z"


def _time(_context: click.Context, _parameter: click.Parameter, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time like {START}") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


@click.command()
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Same seed, same bytes.")
@click.option("--devices", type=click.IntRange(min=1), default=1000, show_default=True, help="How many phones.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
@click.option("--start", default=START, callback=_time, show_default=True, help="When the simulation begins.")
def simulate(seed: int, devices: int, hours: float, out: Path, start: datetime) -> None:
    """Simulate a city's phones: events.parquet, fences.geojson and the truth tables."""
    city = simulate_city(seed, devices, hours, round(start.timestamp() * 1000))
    city.write(out)
    search = city.truth["search"]
    say(
        f"{city.events.height:,} events of {devices:,} phones, {search.height:,} trips, "
        f"{int(search['searched'].sum()):,} of them with a search: {out}"
    )
