"""The figures as tables for people; machines get the same numbers with `--json`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

DRIVE_COLUMNS: Final = {
    "n": "n",
    "search_mae_s": "MAE s",
    "start_60s": "start",
    "start_60s_searched": "if >0",
    "long_precision": "P",
    "long_recall": "R",
    "long_f1": "F1",
    "park_60s": "park",
    "place_p90_m": "p90 m",
}
SEARCH_COLUMNS: Final = ("precision", "recall", "f1")


def print_drives(console: Console, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the figures of real drives, a line for each way of looking at them."""
    table = Table("", *DRIVE_COLUMNS.values(), title="real drives, end to end", box=SIMPLE)
    for name, line in figures.items():
        table.add_row(name, *(_text(line[column]) for column in DRIVE_COLUMNS))
    console.print(table)
    console.print(
        "MAE of the search's duration; start (also of true searches alone) and park time within 60 s; precision, "
        "recall and F1 of searches of 120 s and more; 90th percentile of the place."
    )


def print_city(console: Console, figures: Mapping[str, Any]) -> None:
    """Print the figures of a simulated city."""
    searches, parks = figures["searches"], figures["parks"]
    table = Table("", "true", *SEARCH_COLUMNS, title="simulated city", box=SIMPLE)
    for name, line in (("searches, overlap .3", searches["iou"]), ("searches, by their end", searches["end"])):
        table.add_row(name, *_found(line))
    for name, line in parks.items():
        table.add_row(name.replace("_", " "), *_found(line))
    console.print(table)
    cells, false = searches["minutes_per_cell"], searches["false_per_100"]
    console.print(
        f"false sessions per 100 motor trips {_text(false['motor'])}, of all {_text(false['all'])}; search minutes per "
        f"cell: bias {_text(cells['bias_pct'])} %, wape {_text(cells['wape_pct'])} %; outcome right "
        f"{_text(searches['outcome_right'])}"
    )
    _print_shares(console, "recall of searches", searches["recall_by"])
    _print_shares(console, "false sessions by phone", false["by_label"])


def _found(line: Mapping[str, Any]) -> Sequence[str]:
    return (_text(line["tp"] + line["fn"]), *(_text(line[column]) for column in SEARCH_COLUMNS))


def _print_shares(console: Console, title: str, shares: Mapping[str, tuple[int, int]]) -> None:
    table = Table(title, "", "share", box=SIMPLE)
    for name, (part, whole) in shares.items():
        table.add_row(name, f"{part}/{whole}", _text(part / whole if whole else None))
    console.print(table)


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"
