"""`parkpal accuracy`: how good the detectors are, on labelled data."""

import json
import os
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from parkpal.accuracy.measure import SEED, measure_city, measure_drives
from parkpal.accuracy.report import print_city, print_drives

DATA: Final = "PARKPAL_DATA"


@click.command()
@click.option(
    "--sim",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Score this folder of `parkpal simulate --out` alone.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def accuracy(sim: Path | None, as_json: bool) -> None:
    """Score the detectors on labelled data: $PARKPAL_DATA/start2park and $PARKPAL_DATA/sim, or a simulated city."""
    drives, city = (None, sim) if sim else _folders()
    figures: dict[str, Any] = {"seed": SEED}
    if drives:
        figures["drives"] = measure_drives(drives)
    if city:
        figures["city"] = measure_city(city)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    console = Console()
    if drives:
        print_drives(console, figures["drives"])
    if city:
        print_city(console, figures["city"])


def _folders() -> tuple[Path | None, Path | None]:
    """Return the folders of labelled data that are there; wrong usage if none is."""
    data = os.environ.get(DATA)
    if not data:
        raise click.UsageError(
            f"{DATA} is not set: it names a folder with start2park/ (trips.csv, waypoints.csv), sim/ (a folder of "
            "`parkpal simulate`), or both. Or score a city of your own with --sim DIR."
        )
    found = [folder if folder.is_dir() else None for folder in (Path(data) / "start2park", Path(data) / "sim")]
    if found == [None, None]:
        raise click.UsageError(f"{data} holds neither start2park/ nor sim/")
    return found[0], found[1]
