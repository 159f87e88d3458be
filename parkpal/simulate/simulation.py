"""One run of the city, from a seed to files: every draw comes from a generator named by the seed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geo.fix import ACTIVITIES, NULL_CODE
from parkpal.simulate.city import Curbs, build_city, to_degrees
from parkpal.simulate.crowd import gather
from parkpal.simulate.fences import draw_fences, fences_to_geojson
from parkpal.simulate.people import Person, World, jams, live
from parkpal.simulate.phones import Capture, build_phone, capture
from parkpal.simulate.track import trace
from parkpal.simulate.truth import SCENARIO, Life, device_truth, fence_truth, park_truth, search_truth
from parkpal.simulate.uploads import Upload, build_carrier, upload

LAST_DEPARTURE_S: Final = 1_400.0
"""Nobody sets out in the last of the simulated time, so that most stories end in it."""
EVENTS: Final = {
    "device_id": pl.String, "event_time": pl.Int64, "receive_time": pl.Int64, "lat": pl.Float64, "lon": pl.Float64,
    "accuracy_m": pl.Float32, "speed_mps": pl.Float32, "heading_deg": pl.Float32, "activity": pl.String,
    "activity_confidence": pl.Int8, "scenario": pl.String, "seq": pl.Int32,
}  # fmt: skip


@dataclass(frozen=True)
class Simulation:
    """The events as the server would hold them, the fences as GeoJSON, and the truth, table by name."""

    events: pl.DataFrame
    fences: dict[str, object]
    truth: dict[str, pl.DataFrame]

    def write(self, folder: Path) -> None:
        """Write events.parquet, fences.geojson and truth_<name>.parquet."""
        folder.mkdir(parents=True, exist_ok=True)
        self.events.write_parquet(folder / "events.parquet")
        (folder / "fences.geojson").write_text(json.dumps(self.fences), encoding="utf-8")
        for name, table in self.truth.items():
            table.write_parquet(folder / f"truth_{name}.parquet")


def simulate(seed: int, devices: int, hours: float, start_ms: int) -> Simulation:
    """Simulate `devices` phones that set out within `hours` from `start_ms` (ms UTC); ValueError without any."""
    if devices < 1 or hours <= 0:
        raise ValueError("a simulation needs at least one device and more than no time")
    streets, behaviour, drawing = (np.random.default_rng([seed, part]) for part in range(3))
    city = build_city(streets)
    world = World(city, Curbs(city, behaviour), jams(city, streets))
    departures_s = max(hours * 3600 - LAST_DEPARTURE_S, hours * 1800)
    people, stories = gather(city, devices, departures_s, behaviour, seed)
    origins = [(person.x, person.y) for person in people]
    live(people, [story(person, world) for person, story in zip(people, stories, strict=True)])
    told = [_report(*each, seed, i, start_ms) for i, each in enumerate(zip(people, origins, strict=True))]
    lives = sorted((life for life, _ in told), key=lambda life: life.device_id)
    events = pl.concat(sorted((rows for _, rows in told), key=lambda rows: str(rows["device_id"][0])))
    fences = draw_fences(city, drawing)
    truth = {
        "search": search_truth(lives, start_ms),
        "parks": park_truth(lives, start_ms),
        "fences": fence_truth(lives, fences, start_ms),
        "devices": device_truth(lives),
    }
    return Simulation(events, fences_to_geojson(fences, SCENARIO), truth)


def _report(
    person: Person, origin: tuple[float, float], seed: int, number: int, start_ms: int
) -> tuple[Life, pl.DataFrame]:
    """Let one phone tell what its owner did."""
    rng = np.random.default_rng([seed, 3, number])
    device_id = hashlib.sha256(f"{seed} {number}".encode()).hexdigest()[:12]
    track, phone = trace(person, origin), build_phone(rng)
    captured = capture(track, phone, rng)
    carrier = build_carrier(rng, float(track.time_s[0]), float(track.time_s[-1]))
    uploaded = upload(captured.time_s, carrier, start_ms, rng)
    fix_s = captured.time_s[~np.isnan(captured.x)]
    life = Life(device_id, person, track, phone, carrier, fix_s, uploaded.row.size)
    return life, _event_rows(device_id, captured, uploaded)


def _event_rows(device_id: str, captured: Capture, uploaded: Upload) -> pl.DataFrame:
    row = uploaded.row
    lat, lon = (np.round(axis, 6) for axis in to_degrees(captured.x[row], captured.y[row]))
    codes: Sequence[int] = captured.activity[row].tolist()
    confidence: Sequence[int] = captured.activity_confidence[row].tolist()
    columns: dict[str, Sequence[object] | NDArray[Any]] = {
        "device_id": [device_id] * row.size,
        "event_time": uploaded.event_ms,
        "receive_time": uploaded.receive_ms,
        "lat": lat,
        "lon": lon,
        "accuracy_m": captured.accuracy_m[row],
        "speed_mps": captured.speed_mps[row],
        "heading_deg": captured.heading_deg[row],
        "activity": [None if code == NULL_CODE else ACTIVITIES[code].upper() for code in codes],
        "activity_confidence": [None if value == NULL_CODE else value for value in confidence],
        "scenario": [SCENARIO] * row.size,
        "seq": row,
    }
    table = pl.DataFrame({name: pl.Series(name, values, strict=False) for name, values in columns.items()})
    return table.select(pl.col(name).cast(kind) for name, kind in EVENTS.items()).with_columns(
        pl.selectors.float().fill_nan(None)
    )
