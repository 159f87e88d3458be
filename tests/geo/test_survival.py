"""Search times: equal to lifelines, to a plain twin, and from counts of classes nearly what the durations give."""

import warnings
from math import exp, log, sqrt
from typing import Final

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geo.survival import (
    BEYOND,
    Curve,
    Drives,
    Quantile,
    bound,
    classes_to_drives,
    drives_to_classes,
    estimate,
    failed_search_rate,
    merge_classes,
    observe,
    order,
    quantile,
    select_searchers,
    share_no_search,
)
from geo.trips.rules import OUTCOMES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lifelines import KaplanMeierFitter
    from lifelines.utils import median_survival_times, qth_survival_time

Pairs = list[tuple[float, bool]]
"""Durations, and which of them are ends."""

PAIRS = st.lists(st.tuples(st.integers(0, 60).map(float), st.booleans()), min_size=1, max_size=40)
SHARES: Final = (0.5, 0.9)
patiently = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def drives(pairs: Pairs) -> Drives:
    durations, is_end = (np.array(column) for column in zip(*pairs, strict=True))
    return order(durations.astype(float), is_end.astype(bool))


def curve_plainly(pairs: Pairs) -> list[tuple[float, float, float, float]]:
    """One distinct time after the other: (time, S, low, high) by the textbook, as long as S is above 0."""
    rows, survival, greenwood = [], 1.0, 0.0
    for time in sorted({duration for duration, _ in pairs}):
        at_risk = sum(duration >= time for duration, _ in pairs)
        ended = sum(duration == time and is_end for duration, is_end in pairs)
        survival *= (at_risk - ended) / at_risk
        if survival == 0:
            break
        greenwood += ended / (at_risk * (at_risk - ended))
        width = 1.959963984540054 * sqrt(greenwood) / log(survival) if survival < 1 else 0.0
        rows.append((time, survival, survival ** exp(-width), survival ** exp(width)))
    return rows


def last_of_each_time(curve: Curve) -> NDArray[np.float64]:
    """Rows (time, S, low, high), one a distinct time, as long as S is above 0."""
    rows = np.array(curve).T
    last = np.append(curve.times_s[1:] != curve.times_s[:-1], True)
    return rows[last & (curve.survival > 0)]


@patiently
@given(PAIRS)
def test_the_curve_equals_its_plain_twin(pairs: Pairs) -> None:
    found, plain = last_of_each_time(estimate(drives(pairs))), np.array(curve_plainly(pairs)).reshape(-1, 4)
    plain[:, 3] = np.minimum.accumulate(plain[:, 3])
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-12)


@patiently
@given(PAIRS)
def test_curve_band_and_quantiles_are_those_of_lifelines(pairs: Pairs) -> None:
    """Times are moved by a second, since lifelines begins its curves with a row at 0 of its own."""
    curve = estimate(drives(pairs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = KaplanMeierFitter().fit([duration + 1 for duration, _ in pairs], [is_end for _, is_end in pairs])
        band = theirs.confidence_interval_
    times, survival, low, high = last_of_each_time(curve).T
    whole = theirs.survival_function_.iloc[:, 0]
    np.testing.assert_allclose(survival, whole.loc[times + 1], atol=1e-9)
    begun = survival < 1
    np.testing.assert_allclose(low[begun], band.iloc[:, 0].loc[times + 1][begun], atol=1e-9)
    highs = np.minimum.accumulate(band.iloc[:, 1].loc[times + 1][begun])
    np.testing.assert_allclose(high[begun], highs, atol=1e-9)
    for share in SHARES:
        assume(np.abs(whole - (1 - share)).min() > 1e-9)  # there rounding decides
        value = quantile(curve, share).value_s
        assert (np.inf if value is None else value + 1) == qth_survival_time(1 - share, theirs.survival_function_)


def test_the_interval_of_a_published_median_is_that_of_lifelines() -> None:
    """Two hundred drives, a third of them broken off."""
    draw = np.random.default_rng(7)
    durations = np.round(draw.exponential(200, 200), 1) + 1
    is_end = draw.random(200) > 0.33
    fitted = KaplanMeierFitter().fit(durations, is_end)
    low, high = median_survival_times(fitted.confidence_interval_).to_numpy()[0]
    assert quantile(estimate(order(durations, is_end)), 0.5) == Quantile(fitted.median_survival_time_, low, high)


def test_the_population_is_who_parked_gave_up_or_fell_silent() -> None:
    """Picked up is out; no search is an end at 0 whatever came then; who did not park is censored."""
    outcome = np.array([OUTCOMES.index(name) for name in ("parked", "gave_up", "picked_up", "unknown", "unknown")])
    found = observe(outcome.astype(np.int8), np.array([90.0, 300.0, 0.0, 0.0, 45.0]))
    assert list(zip(*found, strict=True)) == [(0, True), (45, False), (90, True), (300, False)]


def test_those_who_gave_up_lengthen_the_median() -> None:
    """Of ten drives four gave up at 300 s; those who parked alone would say 100 s."""
    pairs = [(100.0, True)] * 3 + [(300.0, False)] * 4 + [(600.0, True)] * 3
    assert quantile(estimate(drives(pairs)), 0.5).value_s == 600
    assert bound(drives(pairs), 0.5) == (300, 600)


def test_a_quantile_that_is_not_reached_is_null_with_its_lower_bound() -> None:
    pairs = [(50.0, True)] * 2 + [(400.0, False)] * 18
    assert quantile(estimate(drives(pairs)), 0.5) == Quantile(None, 400, None)
    assert bound(drives(pairs), 0.5) == (400, None)


def test_where_all_find_a_place_at_once_the_interval_is_0_too() -> None:
    assert quantile(estimate(drives([(0.0, True)] * 20)), 0.5) == Quantile(0, 0, 0)


def test_nobody_has_no_quantile() -> None:
    nobody = classes_to_drives(np.zeros(0, np.int16))
    assert quantile(estimate(nobody), 0.5) == Quantile(None, None, None)
    assert bound(nobody, 0.5) == (None, None)
    assert share_no_search(nobody) is failed_search_rate(0, 0) is None


def test_shares_and_rates_of_a_known_crowd() -> None:
    pairs = [(0.0, True)] * 6 + [(59.9, True), (60.0, True), (90.0, False), (5_000.0, True)]
    kept = classes_to_drives(drives_to_classes(drives(pairs)))
    assert share_no_search(drives(pairs)) == share_no_search(kept) == 0.6
    # an hour and more is censored at an hour
    assert list(zip(*select_searchers(kept), strict=True)) == [(65, True), (95, False), (3_600, False)]
    assert failed_search_rate(3, 1) == 0.25


def test_a_class_is_zero_alone_or_ten_seconds_and_negative_where_censored() -> None:
    pairs = [(3_600.0, True), (3_599.0, True), (10.0, False), (10.0, True), (9.99, True), (0.5, False), (0.0, True)]
    assert drives_to_classes(drives(pairs)).tolist() == [0, -1, 1, 2, -2, BEYOND - 1, -BEYOND]


@patiently
@given(PAIRS, PAIRS)
def test_lists_merge_by_joining(some: Pairs, more: Pairs) -> None:
    """Whoever is censored in a class counts as its last, and nobody is lost."""
    merged = merge_classes(drives_to_classes(drives(some)), drives_to_classes(drives(more)))
    assert sorted(merged) == sorted(drives_to_classes(drives(some + more)))
    assert merged.tolist() == sorted(merged, key=lambda each: (abs(each), each < 0))


@patiently
@given(st.lists(st.tuples(st.floats(0, 3_599), st.booleans()), min_size=1, max_size=60))
def test_quantiles_of_classes_are_within_half_a_class(pairs: Pairs) -> None:
    """However many were censored in the class where the quantile falls; at 0 s a search has ended."""
    exact = drives([(duration, is_end or duration == 0) for duration, is_end in pairs])
    kept = classes_to_drives(drives_to_classes(exact))
    for share in SHARES:
        for one, other in zip(quantile(estimate(exact), share), quantile(estimate(kept), share), strict=True):
            assert (one is None) == (other is None)
            assert one is None or one == pytest.approx(other, abs=5)
