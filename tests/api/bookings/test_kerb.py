"""What a search says of the kerb is what is published for it, or why there is nothing."""

from datetime import timedelta
from pathlib import Path

import pytest

from api.analytics.publish import choose_period, publish_cells, publish_zones
from api.analytics.reader import LakeReader
from api.analytics.search_times import SearchTimes
from api.spaces.kerb import NO_LAKE, NOT_REACHED, TOO_FEW, Newest, build_search_times, build_zone_search
from api.spaces.search import ExpectedSearch
from pipeline.lake.lake import Lake
from tests.api.test_analytics import DRIVES, LAT, LON, MONDAY, drive, fill

pytestmark = pytest.mark.anyio


async def test_a_search_tells_the_median_that_is_published_there(lake: Lake) -> None:
    reader = fill(lake, [], trips=DRIVES)
    ask = build_search_times(reader)
    period = choose_period(reader, None, None)
    period = period._replace(since=MONDAY)
    (row,) = publish_cells(reader, "drives_of_cells", period, 8, None).bins
    published = SearchTimes.read("", row).p50.value_s
    assert published is not None
    assert await ask(LAT, LON) == ExpectedSearch(published, None)
    assert (await ask(LAT + 1, LON)).reason == TOO_FEW


async def test_a_zone_tells_the_newest_median_that_is_published_of_it(lake: Lake) -> None:
    """Nine devices a day later are too few to be the newest; a zone of theirs alone has no figure."""
    few = [
        drive(f"d{n}", MONDAY + timedelta(days=1), "parked", 9.0, zone) for n in range(9) for zone in ("mall", "gym")
    ]
    reader = fill(lake, [], trips=[*DRIVES, *few])
    ask = build_zone_search(reader)
    period = choose_period(reader, MONDAY, MONDAY + timedelta(days=1))
    (row,) = publish_zones(reader, "drives_of_zones", period, ["mall"]).bins
    published = SearchTimes.read("", row).p50.value_s
    assert published is not None
    assert await ask("mall") == Newest(ExpectedSearch(published, None), MONDAY + timedelta(minutes=15))
    assert await ask("gym") == Newest(ExpectedSearch(None, TOO_FEW), None)


async def test_a_median_that_is_not_reached_is_none(lake: Lake) -> None:
    lost = [drive(f"d{n}", MONDAY, "gave_up", 90.0) for n in range(20)]
    assert (await build_zone_search(fill(lake, [], trips=lost))("mall")).expected == ExpectedSearch(None, NOT_REACHED)


async def test_without_a_lake_the_reason_is_told(tmp_path: Path) -> None:
    assert (await build_search_times(LakeReader(str(tmp_path / "none")))(LAT, LON)).reason == NO_LAKE
    assert await build_zone_search(LakeReader(str(tmp_path / "none")))("mall") == Newest(
        ExpectedSearch(None, NO_LAKE), None
    )
