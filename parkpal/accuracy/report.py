"""The figures as tables for people; machines get the same numbers with `--json`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

DRIVE_COLUMNS: Final = {
    "n": "n",
    "search_mae_s": "MAE s",
    "start_60s": "start",
    "start_60s_searched": "if > 0",
    "long_precision": "P",
    "long_recall": "R",
    "long_f1": "F1",
    "park_60s": "park",
    "place_p90_m": "place m",
}
METHOD_COLUMNS: Final = {
    "search_mae_s": "MAE s",
    "detector_minus_this_s": "detector less it",
    "start_60s": "start",
    "long_f1": "F1",
    "with_walk_mae_s": "walk",
    "without_walk_mae_s": "none",
    "sparse_mae_s": "15 s",
    "given_park_mae_s": "told",
    "in_sample_mae_s": "in-smpl",
}
FOUND_COLUMNS: Final = ("precision", "recall", "f1")


def print_drives(console: Console, figures: Mapping[str, Any]) -> None:
    """Print the figures of real drives: the detector's, and every method's beside it."""
    table = Table("detector", *DRIVE_COLUMNS.values(), title=f"real drives, end to end{_how(figures)}", box=SIMPLE)
    for name, line in figures["detector"].items():
        table.add_row(name, *(_text(line[column]) for column in DRIVE_COLUMNS))
    console.print(table)
    columns = (Column(name, no_wrap=True) for name in ("method", *METHOD_COLUMNS.values()))
    table = Table(*columns, title="methods beside it", box=SIMPLE)
    for name, line in figures["methods"].items():
        table.add_row(name, *(_text(line.get(column)) for column in METHOD_COLUMNS))
    console.print(table)
    console.print(
        "MAE: of the search's duration, in brackets its 95 % interval. start, park: within 60 s, the "
        "start also of true searches alone. P, R, F1: searches of 120 s and more. place: 90th percentile. walk, none: "
        "MAE of drives that go on on foot, or end at the car. 15 s: MAE at a fix every 15 s with 15 m of noise. told: "
        "MAE if the true park is told. What looks at labels is fitted without the drives it is judged on, in 10 "
        "folds; in-smpl: the MAE without that care."
    )
    _print_calibration(console, figures["calibration"])
    _print_hints(console, figures["hints"])
    table = Table("missed by most", "true s", "found s", "park off s", "walk", box=SIMPLE)
    for miss in figures["misses"]:
        numbers = (_text(miss[name]) for name in ("true_s", "found_s", "park_off_s"))
        table.add_row(miss["trip_id"], *numbers, "yes" if miss["walk"] else "no")
    console.print(table)
    real, simulated = figures["searches"]["real"], figures["searches"]["simulated"]
    table = Table(
        "searches", "real", "simulated", title="drivers who parked, and those of parkpal simulate", box=SIMPLE
    )
    for name in real:
        table.add_row(name.replace("_", " "), _text(real[name]), _text(simulated[name]))
    console.print(table)


def print_city(console: Console, figures: Mapping[str, Any]) -> None:
    """Print the figures of a simulated city."""
    searches, parks = figures["searches"], figures["parks"]
    table = Table("", "true", *FOUND_COLUMNS, title=f"simulated city{_how(figures)}", box=SIMPLE)
    for name, line in (("searches, overlap .3", searches["iou"]), ("searches, by their end", searches["end"])):
        table.add_row(name, *_found(line))
    for name, line in parks.items():
        table.add_row(name.replace("_", " "), *_found(line))
    console.print(table)
    table = Table("searches", *FOUND_COLUMNS, "false/100 motor", "bias %", "wape %", box=SIMPLE)
    for name, line in {"detector": searches, **figures["methods"]}.items():
        cells = line["minutes_per_cell"]
        found = (line["iou"][column] for column in FOUND_COLUMNS)
        figures_of = (*found, line["false_per_100"]["motor"], cells["bias_pct"], cells["wape_pct"])
        table.add_row(name, *map(_text, figures_of))
    console.print(table)
    _print_shares(console, "recall of searches", searches["recall_by"])
    _print_shares(console, "false sessions by phone", searches["false_per_100"]["by_label"])
    _print_calibration(console, figures["calibration"])
    _print_hints(console, figures["hints"])


def _how(figures: Mapping[str, Any]) -> str:
    return ", fitted without those judged" if figures["in_folds"] else ", in-sample"


def _found(line: Mapping[str, Any]) -> Sequence[str]:
    return (_text(line["tp"] + line["fn"]), *(_text(line[column]) for column in FOUND_COLUMNS))


def _print_shares(console: Console, title: str, shares: Mapping[str, tuple[int, int]]) -> None:
    table = Table(title, "", "share", box=SIMPLE)
    for name, (part, whole) in shares.items():
        table.add_row(name, f"{part}/{whole}", _text(part / whole if whole else None))
    console.print(table)


def _print_calibration(console: Console, figures: Mapping[str, Any]) -> None:
    pairs = zip(figures["said"], figures["so"], figures["number"], strict=True)
    bins = ", ".join(f"{_text(said)}: {_text(so)} of {n}" for said, so, n in pairs if n)
    console.print(
        f"confidence that a search of 60 s took place, said and so: {bins}; error {_text(figures['error'])}\n"
    )


def _print_hints(console: Console, figures: Mapping[str, Any]) -> None:
    console.print(
        f"hints: inside {_text(figures['recall'])} of {figures['long_searches']} searches of 120 s and more, a median "
        f"of {_text(figures['late_median_s'])} s after their start; in vain on {_text(figures['in_vain'])} of "
        f"{figures['quiet_trips']} trips without a search of 60 s"
    )


def _text(value: float | Sequence[float] | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, Sequence):
        middle, low, high = value
        return f"{middle:.1f} \\[{low:.0f}, {high:.0f}]"
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"
