"""Pictures of what was found: traces with the true and the found search, errors, and calibration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from parkpal.accuracy import ways
from parkpal.accuracy.calibration import Reliability
from parkpal.accuracy.drives import Drives
from parkpal.accuracy.ways import Floats, Way

TRACES: Final = 12
SHOWN_M: Final = 1_000.0


def draw(folder: Path, drives: Drives, found: pl.DataFrame, others: Mapping[str, Floats], bins: Reliability) -> None:
    """Write traces.png, errors.png and calibration.png; `others` are seconds of search by method."""
    folder.mkdir(parents=True, exist_ok=True)
    _draw_traces(drives, found).savefig(folder / "traces.png", dpi=110)
    _draw_errors(drives.truth, {"detector": found["search_s"].to_numpy(), **others}).savefig(folder / "errors.png")
    _draw_calibration(bins).savefig(folder / "calibration.png")


def _draw_traces(drives: Drives, found: pl.DataFrame) -> Figure:
    """Draw drives from the best to the worst, evenly chosen, around their true parking places."""
    off_s = np.abs(found["search_s"].to_numpy() - drives.truth["search_s"].to_numpy())
    chosen = np.argsort(off_s, kind="stable")[np.linspace(0, off_s.size - 1, min(TRACES, off_s.size)).astype(int)]
    to_park = ways.of_drives(drives, drives.truth)
    figure = Figure(figsize=(12, 9), layout="constrained")
    for place, drive in enumerate(chosen.tolist()):
        axes = figure.add_subplot(3, 4, place + 1)
        way = to_park[drive]
        if way is not None:
            _draw_way(axes, way, float(drives.truth["search_s"][drive]), float(found["search_s"][drive]))
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_way(axes: Axes, way: Way, true_s: float, found_s: float) -> None:
    axes.plot(way.east_m, way.north_m, color="0.7", linewidth=1, label="drive")
    for seconds, color, width, label in (
        (true_s, "tab:blue", 5, "true search"),
        (found_s, "tab:red", 1.5, "found search"),
    ):
        inside = way.since_s >= -seconds
        axes.plot(way.east_m[inside], way.north_m[inside], color=color, linewidth=width, alpha=0.7, label=label)
    axes.plot(0, 0, "k^", markersize=6, label="parked")
    axes.set(xlim=(-SHOWN_M, SHOWN_M), ylim=(-SHOWN_M, SHOWN_M), aspect="equal", xticks=[], yticks=[])
    axes.set_title(f"true {true_s:.0f} s, found {found_s:.0f} s", fontsize=9)


def _draw_errors(truth: pl.DataFrame, found_s: Mapping[str, Floats]) -> Figure:
    figure = Figure(figsize=(8, 2.2 * len(found_s)), layout="constrained")
    edges = np.arange(-300, 301, 20)
    for place, (name, seconds) in enumerate(found_s.items()):
        axes = figure.add_subplot(len(found_s), 1, place + 1)
        axes.hist(np.clip(seconds - truth["search_s"].to_numpy(), edges[0], edges[-1]), bins=edges.tolist())
        axes.set(ylabel=name)
    figure.axes[-1].set(xlabel="found minus true duration, s (beyond 300 s: at the edge)")
    return figure


def _draw_calibration(bins: Reliability) -> Figure:
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    known = [(said, so, n) for said, so, n in zip(bins.said, bins.so, bins.number, strict=True) if n]
    said, so, count = zip(*known, strict=True)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot(said, so, marker="o")
    for x, y, n in zip(said, so, count, strict=True):
        axes.annotate(str(n), (x, y), textcoords="offset points", xytext=(6, -4), fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share with a search of 60 s", aspect="equal")
    return figure
