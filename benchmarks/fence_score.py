"""Score the geofence machine alone on labelled simulated phones, and time it.

    PARKPAL_DATA=... python benchmarks/fence_score.py [--out events.parquet]

Rows are ordered as the flow orders them (repeats dropped, late ones out, by seq, none whose clock runs back); the
scorer beside the data judges phones with a right clock. Printed: the figures of `dwell_30s` for all, by class of fence,
by kind of phone and by sampling; the same for the city moved to 14.55 N and turned by 30 degrees, which must not
matter; and ns per fix of `advance` on one core, rows by device and interleaved by time.
"""

import argparse
import importlib.util
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geo.fence_index import FenceIndex, build_index
from geo.fences import versions_from_geojson
from geo.geofence import KINDS, VERDICTS, GeofenceState, advance, expire
from geo.validity import MAX_AHEAD_MS, MAX_DELAY_MS

ELSEWHERE: Final = (14.55, 121.03)
TURN: Final = math.radians(30)
END: Final = 2**63 - 1

Move = Callable[[Any, Any], tuple[Any, Any]]
"""(lat, lon) to (lat, lon), numbers or arrays."""


def read_fixes(folder: Path) -> pl.DataFrame:
    """Return the position fixes that detection would see, in order of device and seq."""
    delay = pl.col("receive_time") - pl.col("event_time")
    rows = pl.read_parquet(folder / "events.parquet").filter(delay.is_between(-MAX_AHEAD_MS, MAX_DELAY_MS))
    rows = rows.sort("receive_time", "seq").unique(["device_id", "seq"], keep="first", maintain_order=True)
    rows = rows.sort("device_id", "seq").filter(
        pl.col("event_time") >= pl.col("event_time").cum_max().over("device_id"), pl.col("lat").is_not_null()
    )
    return rows.with_columns(slot=pl.col("device_id").rle_id().cast(pl.Int32))


def columns_of(rows: pl.DataFrame) -> list[NDArray[Any]]:
    """Return what `advance` takes."""
    micro = [np.round(rows[name].to_numpy() * 1e6).astype(np.int32) for name in ("lat", "lon")]
    accuracy = rows["accuracy_m"].fill_null(math.nan).to_numpy().astype(np.float32)
    return [rows["slot"].to_numpy(), rows["event_time"].to_numpy(), *micro, accuracy]


def detect(rows: pl.DataFrame, index: FenceIndex) -> pl.DataFrame:
    """Return the events as rows of geofence_events, as far as the scorer reads them."""
    state = GeofenceState(int(rows["slot"].max() or 0) + 1)
    found = advance(state, index, *columns_of(rows))
    print("fixes:", dict(zip(VERDICTS, found.verdicts.tolist(), strict=True)))
    closed = expire(state, index, END)
    slots = np.concatenate([rows["slot"].to_numpy()[found.events["row"]], closed["row"]])
    events = np.concatenate([found.events, closed])
    devices = rows.unique("slot").sort("slot")["device_id"].to_numpy()
    fences = np.array([version.fence_id for version in index.versions])
    table = {
        "device_id": devices[slots],
        "fence_id": fences[events["version"]],
        "kind": np.array(KINDS)[events["kind"]],
        "event_time": events["event_time"],
    }
    return pl.DataFrame(table)


def moved(centre: tuple[float, float]) -> Move:
    """Return a move of everything near `centre` to ELSEWHERE, turned, that keeps metres."""
    narrow, wide = math.cos(math.radians(centre[0])), math.cos(math.radians(ELSEWHERE[0]))

    def move(lat: Any, lon: Any) -> tuple[Any, Any]:  # noqa: ANN401 - numbers and arrays alike
        north, east = lat - centre[0], (lon - centre[1]) * narrow
        turned_north = north * math.cos(TURN) + east * math.sin(TURN)
        turned_east = east * math.cos(TURN) - north * math.sin(TURN)
        return ELSEWHERE[0] + turned_north, ELSEWHERE[1] + turned_east / wide

    return move


def move_geometry(nested: Any, move: Move) -> Any:  # noqa: ANN401 - GeoJSON's nested arrays
    """Move every [lon, lat] within."""
    if isinstance(nested[0], list):
        return [move_geometry(inner, move) for inner in nested]
    lat, lon = move(nested[1], nested[0])
    return [lon, lat]


def ns_per_fix(rows: pl.DataFrame, index: FenceIndex) -> float:
    """Return the best of three runs over all rows, CPU time."""
    columns, best = columns_of(rows), math.inf
    for _ in range(3):
        state = GeofenceState(int(columns[0].max()) + 1)
        began = time.process_time()
        advance(state, index, *columns)
        best = min(best, time.process_time() - began)
    return best / len(rows) * 1e9


def scorer(folder: Path) -> ModuleType:
    """Load the scorer that comes with the data."""
    spec = importlib.util.spec_from_file_location("score", folder / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def print_split(score: ModuleType, truth: pl.DataFrame, found: pl.DataFrame, by: str) -> None:
    """Print dwell_30s for each value of a column of both tables."""
    for (value,), real in sorted(truth.group_by(by)):
        result = score.score_fences(real.to_dicts(), found.filter(pl.col(by) == value))["dwell_30s"]
        shown = {name: result[name] for name in ("f1", "precision", "recall")}
        print(f"  {by} {value!s:16} {result['tp'] + result['fn']:6} true  {shown}")


def main() -> None:
    """Print the scores and the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("PARKPAL_DATA"), help="folder with sim/ and score.py")
    parser.add_argument("--out", help="write the events as Parquet")
    args = parser.parse_args()
    if not args.data:
        parser.error("set PARKPAL_DATA or --data")
    folder = Path(args.data) / "sim"
    score = scorer(Path(args.data))
    geojson = json.loads((folder / "fences.geojson").read_bytes())
    rows, index = read_fixes(folder), build_index(versions_from_geojson(json.dumps(geojson)))
    phones = pl.read_parquet(folder / "truth_devices.parquet").filter(pl.col("clock_kind") == "none")
    phones = phones.select("device_id", "label", "sampling")
    classes = {f["properties"]["fence_id"]: f["properties"].get("cls", "") for f in geojson["features"]}
    details = pl.col("fence_id").replace_strict(classes).alias("cls")
    truth = pl.read_parquet(folder / "truth_fences.parquet").join(phones, on="device_id").with_columns(details)

    found = detect(rows, index)
    if args.out:
        found.write_parquet(args.out)
    judged = found.join(phones, on="device_id").with_columns(details)
    for name, figures in score.score_fences(truth.to_dicts(), judged).items():
        print(name, figures)
    for by in ("cls", "sampling", "label"):
        print_split(score, truth, judged, by)

    centre = float(rows["lat"].mean()), float(rows["lon"].mean())  # type: ignore[arg-type]  # a mean of numbers is one
    move = moved(centre)
    for feature in geojson["features"]:
        feature["geometry"]["coordinates"] = move_geometry(feature["geometry"]["coordinates"], move)
    lat, lon = move(rows["lat"].to_numpy(), rows["lon"].to_numpy())
    elsewhere = detect(rows.with_columns(lat=lat, lon=lon), build_index(versions_from_geojson(json.dumps(geojson))))
    print("moved", score.score_fences(truth.to_dicts(), elsewhere.join(phones, on="device_id"))["dwell_30s"])

    print(f"advance: {ns_per_fix(rows, index):.0f} ns a fix by device, ", end="")
    print(f"{ns_per_fix(rows.sort('receive_time', 'seq').sort('event_time', maintain_order=True), index):.0f} by time")


if __name__ == "__main__":
    main()
