"""What a phone captures of its way: sampled, blurred, sometimes silent, never quite what happened.

Position error is a slow correlated drift (Gauss-Markov) with multipath episodes on top, a third of which the phone
does not admit in `accuracy_m`. The activity comes late and is at times wrong. Uploading is another matter: `uploads`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.fix import ACTIVITIES, NULL_CODE
from parkpal.simulate.city import Floats
from parkpal.simulate.track import Track

SAMPLINGS: Final = ("1hz", "5s", "adaptive")
SAMPLING_SHARES: Final = (0.20, 0.42, 0.38)
ACCURACY_PER_SIGMA: Final = 1.515
"""Radius of 68 % of a round two-dimensional normal error, per sigma of one axis."""
DRIFT_STEP_S: Final = 5
EPISODE_EVERY_S: Final = 600.0
SIMILAR: Final = {"walking": "on_foot", "running": "on_foot"}
"""What a phone often calls an activity instead."""


class Phone(NamedTuple):
    """The make-up of one phone: sampling, `gps_sigma` in metres per axis, and what it leaves out."""

    sampling: str
    filter_m: float
    gps_sigma: float
    drift_s: float
    has_speed: bool
    has_heading: bool
    dozes_after_s: float
    ar_broken: bool
    wrong_share: float


class Capture(NamedTuple):
    """What a phone wrote down, in order: fixes (lat, lon set) and activities (lat, lon NaN). NaN and -1 are null."""

    time_s: NDArray[np.int64]
    x: Floats
    y: Floats
    accuracy_m: Floats
    speed_mps: Floats
    heading_deg: Floats
    activity: NDArray[np.int8]
    activity_confidence: NDArray[np.int8]


def build_phone(rng: np.random.Generator) -> Phone:
    """Draw a phone."""
    return Phone(
        sampling=str(rng.choice(SAMPLINGS, p=SAMPLING_SHARES)),
        filter_m=float(rng.uniform(10, 50)),
        gps_sigma=float(np.clip(rng.lognormal(np.log(4.5), 0.45), 2.5, 15)),
        drift_s=float(rng.uniform(20, 150)),
        has_speed=bool(rng.random() > 0.12),
        has_heading=bool(rng.random() > 0.25),
        dozes_after_s=float(rng.uniform(120, 400)) if rng.random() < 0.5 else np.inf,
        ar_broken=bool(rng.random() < 0.06),
        wrong_share=float(rng.uniform(0.05, 0.14)),
    )


def capture(track: Track, phone: Phone, rng: np.random.Generator) -> Capture:
    """Write down what the phone notices along a track: fixes and activities, in order of time."""
    rows = _sampled(track, phone)
    fixes = _fixes(track, rows, phone, rng)
    activities = _activities(track, phone, rng)
    order = np.argsort(np.concatenate((fixes.time_s, activities.time_s)), kind="stable")
    columns: list[NDArray[Any]] = [np.concatenate(pair)[order] for pair in _pairs(fixes, activities)]
    return Capture(*columns)


def _pairs(one: Sequence[Any], other: Sequence[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    return zip(one, other, strict=True)


def _sampled(track: Track, phone: Phone) -> NDArray[np.int64]:
    """Choose the seconds with a fix: none under a roof, none while dozing."""
    step_m = np.hypot(np.diff(track.x, prepend=track.x[0]), np.diff(track.y, prepend=track.y[0]))
    second = np.arange(track.time_s.size)
    if phone.sampling == "adaptive":
        passed = np.floor(np.cumsum(step_m) / phone.filter_m)
        wanted = np.diff(passed, prepend=-1.0) > 0
    else:
        wanted = second % (1 if phone.sampling == "1hz" else 5) == 0
    still_since = np.maximum.accumulate(np.where(step_m > 0.3, second, 0))
    dozing = second - still_since > phone.dozes_after_s
    return np.flatnonzero(wanted & ~track.covered & ~dozing)


def _drift(seconds: int, tau_s: float, rng: np.random.Generator) -> Floats:
    """Return a Gauss-Markov walk of unit variance and correlation time `tau_s`, two axes, one row per second."""
    kernel = np.exp(-np.arange(0, 5 * tau_s, DRIFT_STEP_S) / tau_s)
    kernel /= np.sqrt(np.sum(kernel**2))
    steps = seconds // DRIFT_STEP_S + 2
    noise = rng.standard_normal((2, steps + kernel.size - 1))
    walk = [np.convolve(axis, kernel, mode="valid") for axis in noise]
    return np.stack([np.interp(np.arange(seconds), np.arange(steps) * DRIFT_STEP_S, axis) for axis in walk])


def _multipath(seconds: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the offset of reflected signals in metres, two axes, and the part of it the phone admits."""
    offset, admitted = np.zeros((2, seconds)), np.zeros(seconds)
    for _ in range(rng.poisson(seconds / EPISODE_EVERY_S)):
        begin, length = int(rng.integers(seconds)), int(rng.uniform(15, 90))
        swell = np.sin(np.linspace(0, np.pi, length))[: seconds - begin] ** 0.5
        far_m, angle = rng.uniform(18, 80), rng.uniform(0, 2 * np.pi)
        offset[:, begin : begin + length] += np.outer((np.cos(angle), np.sin(angle)), far_m * swell)
        admitted[begin : begin + length] += (rng.random() > 1 / 3) * rng.uniform(0.6, 1.2) * far_m * swell
    return offset, admitted


def _fixes(track: Track, rows: NDArray[np.int64], phone: Phone, rng: np.random.Generator) -> Capture:
    offset, admitted = _multipath(track.time_s.size, rng)
    drift = phone.gps_sigma * _drift(track.time_s.size, phone.drift_s, rng)
    error = (drift + offset)[:, rows] + rng.normal(0, 0.4, (2, rows.size))
    own = ACCURACY_PER_SIGMA * phone.gps_sigma * rng.lognormal(0.15, 0.25, rows.size)
    accuracy_m: Floats = np.maximum(np.hypot(own, admitted[rows]), 2.0)
    east, north = np.gradient(track.x)[rows], np.gradient(track.y)[rows]
    speed_mps: Floats = np.abs(np.hypot(east, north) + rng.normal(0, 0.3, rows.size))
    heading_deg = (np.degrees(np.arctan2(east, north)) + rng.normal(0, 8, rows.size)) % 360
    no_speed = ~np.full(rows.size, phone.has_speed) | (rng.random(rows.size) < 0.02)
    no_heading = ~np.full(rows.size, phone.has_heading) | (speed_mps < 0.7)
    none = np.full(rows.size, NULL_CODE, dtype=np.int8)
    return Capture(
        track.time_s[rows],
        track.x[rows] + error[0],
        track.y[rows] + error[1],
        np.round(accuracy_m, 1),
        np.where(no_speed, np.nan, np.round(speed_mps, 1)),
        np.where(no_heading, np.nan, np.floor(heading_deg)),
        none,
        none,
    )


def _activities(track: Track, phone: Phone, rng: np.random.Generator) -> Capture:
    """Recognise activities: 10-85 s after each change and about once a minute, some of them wrong."""
    changes = np.flatnonzero(np.diff(track.activity, prepend=-1))
    routine = np.arange(rng.integers(20, 60), track.time_s.size, 60)
    rows = np.concatenate((changes, routine)) if not phone.ar_broken else np.zeros(0, np.int64)
    late = rows + np.floor(rng.uniform(10, 85, rows.size)).astype(np.int64)
    seen = late < track.time_s.size
    rows, late = rows[seen], late[seen]
    code = track.activity[rows].copy()
    # A change that has passed before it was recognised is never reported.
    code[: changes.size] = track.activity[np.maximum(late - 10, rows)][: changes.size]
    names = [SIMILAR.get(name, name) for name in ACTIVITIES]
    code = np.where(rng.random(rows.size) < 0.4, np.array([ACTIVITIES.index(n) for n in names], np.int8)[code], code)
    wrong = rng.random(rows.size) < phone.wrong_share
    code = np.where(wrong, rng.integers(len(ACTIVITIES), size=rows.size), code).astype(np.int8)
    confidence = np.where(wrong, rng.integers(30, 70, rows.size), rng.integers(55, 100, rows.size)).astype(np.int8)
    null = np.full(rows.size, np.nan)
    return Capture(track.time_s[late], null, null, null, null, null, code, confidence)
