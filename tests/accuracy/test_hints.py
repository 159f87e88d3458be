"""A hint counts inside a long search, and is in vain on a trip on which nobody searched."""

import polars as pl

from parkpal.accuracy import hints

TRIPS = pl.DataFrame(
    {
        "device_id": ["long", "long too", "short", "none"],
        "trip_start": [0, 0, 0, 0],
        "trip_end": [900_000] * 4,
        "search_start": [600_000, 600_000, 850_000, None],
        "search_end": [900_000, 900_000, 900_000, None],
        "search_s": [300.0, 300.0, 50.0, 0.0],
    }
)


def raised(*hint: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(hint, schema=["hint_id", "device_id", "raised_at"], orient="row")


def test_a_hint_is_right_inside_the_search_and_late_from_its_start() -> None:
    figures = hints.score(TRIPS, raised(("a", "long", 650_000), ("b", "long too", 500_000), ("a", "long", 650_000)))
    assert (figures["recall"], figures["late_median_s"], figures["in_vain"]) == (0.5, 50.0, 0.0)
    assert (figures["long_searches"], figures["quiet_trips"]) == (2, 2)


def test_a_hint_on_a_quiet_trip_is_in_vain() -> None:
    figures = hints.score(TRIPS, raised(("a", "none", 100_000), ("b", "none", 200_000), ("c", "short", 2_000_000)))
    assert (figures["recall"], figures["in_vain"]) == (0.0, 0.5)


def test_nobody_raised_a_hint() -> None:
    assert hints.score(TRIPS, None)["recall"] == 0
