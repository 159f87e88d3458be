"""`parkpal demo`: a city hour through the whole way, with no settings."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Never

import click
from rich.console import Console

from parkpal.demo.day import DayError
from parkpal.demo.processes import BusyError, DiedError
from parkpal.demo.push import PushError
from parkpal.demo.run import run_demo


@click.command()
@click.option("--exit", "once", is_flag=True, help="End after the page instead of serving on.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data/demo"),
    show_default=True,
    help="Where the demo lives; a second run goes on there.",
)
def demo(folder: Path, *, once: bool) -> None:
    """Simulate a city hour and a driver's day, push them as phones and people do, and show what is found."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    console = Console()
    try:
        run_demo(folder.absolute(), console, stay=not once)
    except KeyboardInterrupt:
        console.print("Ended.")
    except (BusyError, DayError, DiedError, PushError, TimeoutError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(1)


def _interrupt(number: int, frame: FrameType | None) -> Never:  # noqa: ARG001  the signature of a signal handler
    """Begin the end, once: what follows must be able to wait for its children in peace."""
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt
