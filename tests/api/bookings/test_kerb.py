"""What a search says of the kerb is what is published for it, or why there is nothing."""

from pathlib import Path

import pytest

from api.analytics.publish import choose_period, publish_cells
from api.analytics.reader import LakeReader
from api.analytics.search_times import SearchTimes
from api.spaces.kerb import NO_LAKE, TOO_FEW, build_search_times
from api.spaces.search import ExpectedSearch
from pipeline.lake.lake import Lake
from tests.api.test_analytics import DRIVES, LAT, LON, MONDAY, fill

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


async def test_without_a_lake_the_reason_is_told(tmp_path: Path) -> None:
    assert (await build_search_times(LakeReader(str(tmp_path / "none")))(LAT, LON)).reason == NO_LAKE
