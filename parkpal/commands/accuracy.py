"""`parkpal accuracy`: how good the detectors are, on labelled data."""

import json
import math
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

DATA: Final = "PARKPAL_DATA"
EXTRA: Final = ("sklearn", "matplotlib")
WIDTH: Final = 120


@click.command()
@click.option(
    "--sim",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Score this folder of `parkpal simulate --out` in place of $PARKPAL_DATA/sim.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--fit", is_flag=True, help="Print the detector's model fitted to all of $PARKPAL_DATA, and end.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write pictures to this folder.")
def accuracy(sim: Path | None, as_json: bool, fit: bool, out: Path | None) -> None:
    """Score the detectors on labelled data: $PARKPAL_DATA/start2park and $PARKPAL_DATA/sim, or a simulated city."""
    if not all(map(find_spec, EXTRA)):
        raise click.UsageError("needs scikit-learn and matplotlib: pip install 'parkpal[accuracy]'")
    drives, city = _folders(sim)
    if out and not drives:
        raise click.UsageError(f"--out draws real drives: {DATA} must name a folder with start2park/")
    if fit:
        click.echo(_fit(drives, city))
        return
    figures = _measure(drives, city, out)
    if as_json:
        click.echo(json.dumps(_plain(figures), indent=1))
        return
    _print(figures)


def _folders(sim: Path | None) -> tuple[Path | None, Path | None]:
    """Return the folders of labelled data that are there; wrong usage if none is."""
    data = os.environ.get(DATA)
    if not data and not sim:
        raise click.UsageError(
            f"{DATA} is not set: it names a folder with start2park/ (trips.csv, waypoints.csv), sim/ (a folder of "
            "`parkpal simulate`), or both. Or score a city of your own with --sim DIR."
        )
    found = [Path(data) / name if data else None for name in ("start2park", "sim")]
    drives, city = (folder if folder and folder.is_dir() else None for folder in found)
    if not (drives or city or sim):
        raise click.UsageError(f"{data} holds neither start2park/ nor sim/")
    return drives, sim or city


def _measure(drives: Path | None, city: Path | None, out: Path | None) -> dict[str, Any]:
    from parkpal.accuracy import cities, measure  # noqa: PLC0415 - only where the extra is there
    from parkpal.accuracy.drives import read_drives  # noqa: PLC0415
    from parkpal.accuracy.judge import Judge  # noqa: PLC0415

    real = read_drives(drives) if drives else None
    simulated = cities.read_city(city) if city else None
    judge = Judge(real, simulated, measure.SEED)
    figures: dict[str, Any] = {"seed": measure.SEED}
    benchmark = measure.Benchmark(real, judge) if real else None
    if benchmark:
        figures["drives"] = benchmark.measure()
        if out:
            benchmark.draw(out)
    if simulated:
        figures["city"] = measure.measure_city(simulated, judge, benchmark.methods if benchmark else {})
    return figures


def _fit(drives: Path | None, city: Path | None) -> str:
    from parkpal.accuracy import cities, fitting, judge  # noqa: PLC0415 - only where the extra is there
    from parkpal.accuracy.drives import read_drives  # noqa: PLC0415

    if not (drives and city):
        raise click.UsageError("--fit needs real drives and a city: start2park/ and sim/, or --sim")
    return fitting.to_source(judge.fit_whole(read_drives(drives), cities.read_city(city)))


def _print(figures: dict[str, Any]) -> None:
    from parkpal.accuracy.report import print_city, print_drives  # noqa: PLC0415 - as above

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    if "drives" in figures:
        print_drives(console, figures["drives"])
    if "city" in figures:
        print_city(console, figures["city"])


def _plain(value: Any) -> Any:  # noqa: ANN401 - nested figures
    """Return the figures as JSON can hold them: what is infinite (no park, no place) is null."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
