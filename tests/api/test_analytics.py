"""Published statistics: right against a plain twin, and silent about fewer than k devices whatever is asked."""

import csv
import io
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import h3
import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.analytics.boxes import box_to_areas, cells_within, parse_box
from api.analytics.formats import ARROW, CSV, FORMATS, GEOJSON, JSON, PARQUET, answer_rows, choose_format
from api.analytics.publish import Period, choose_period, publish_cells, round_count
from api.analytics.reader import LakeReader
from api.analytics.search_times import SearchQuantile, SearchTimes
from api.analytics.zone_metrics import publish_series
from api.app import ApiConfig
from api.errors import InvalidRequestError, UnavailableError
from api.geofences.fences import seed_fences
from geo.survival import bound, estimate, observe, quantile
from geo.trips.rules import OUTCOMES
from pipeline.lake.commit import Extent
from pipeline.lake.lake import Lake
from pipeline.lake.rollups import refresh
from pipeline.lake.tables import TABLES
from pipeline.lake.writer import PartitionWriter
from pipeline.log import EventLog
from tests.api.conftest import Service, serve
from tests.api.test_geofences import collection, fence

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
LAT, LON = 14.55, 121.03
CELL = h3.str_to_int(h3.latlng_to_cell(LAT, LON, 9))
ENOUGH = [f"d{n}" for n in range(10)]


def seen(device: str, at: datetime, cell: int = CELL) -> dict[str, Any]:
    """A row of positions."""
    return {"device_id": device, "event_time": at, "receive_time": at, "h3_r9": cell, "late": False}


def visit(kind: str, device: str, at: datetime, dwell_s: float | None = None, fence_id: str = "mall") -> dict[str, Any]:
    """A row of geofence_events."""
    return {"kind": kind, "device_id": device, "event_time": at, "dwell_s": dwell_s, "fence_id": fence_id}


def drive(device: str, at: datetime, outcome: str, search_s: float, zone_id: str = "mall") -> dict[str, Any]:
    """A row of trips."""
    row = {"trip_id": f"{device} {at}", "device_id": device, "trip_end": at, "outcome": outcome, "search_s": search_s}
    return row | {"zone_id": zone_id, "h3_r9": CELL, "quality": "low" if outcome == "unknown" else "high"}


class Bin(NamedTuple):
    """A published bin of cells, its counts rounded."""

    place: int
    bin_start: datetime
    bin_s: int
    devices: int
    contributions: int


def fill(lake: Lake, positions: list[dict[str, Any]], **others: list[dict[str, Any]]) -> LakeReader:
    """Write rows as the sink does, and a last one a fortnight later, so that every bin has ended; roll them up."""
    late = seen("last", MONDAY + timedelta(days=14), h3.str_to_int(h3.latlng_to_cell(0.5, 0.5, 9)))
    tables = {"positions": [*positions, late], **others}
    writer = PartitionWriter.open(lake, 0, None)
    for table, rows in tables.items():
        writer.append(table, pa.RecordBatch.from_pylist(rows, schema=TABLES[table].schema))
    writer.extend(Extent("positions", 0, 0, 1, len(tables["positions"])))
    writer.snapshot()
    writer.snapshot()
    writer.close()
    refresh(lake)
    return LakeReader(str(lake.root))


def cells(reader: LakeReader, since: datetime = MONDAY, days: float = 7, resolution: int = 9) -> tuple[list[Bin], int]:
    period = choose_period(reader, since, since + timedelta(days=days))
    found = publish_cells(reader, "cells", period, resolution, None)
    return [Bin(*row[:3], *map(round_count, row[3:5])) for row in found.bins], found.suppressed


def twice(devices: list[str], at: datetime) -> list[dict[str, Any]]:
    """Two presences of each device in the quarter that begins at `at`."""
    return [seen(device, at + timedelta(minutes=m)) for device in devices for m in (1, 6)]


def test_ten_devices_with_twenty_presences_are_published(lake: Lake) -> None:
    reader = fill(lake, twice(ENOUGH, MONDAY))
    assert cells(reader) == ([Bin(CELL, MONDAY, 900, 10, 20)], 0)


def test_nine_devices_are_not_published_at_any_width(lake: Lake) -> None:
    """But for one more or less the caller cannot tell how much is missing: the count is rounded."""
    rows = [row for n in range(4) for row in twice(ENOUGH[:9], MONDAY + timedelta(minutes=15 * n))]
    assert cells(fill(lake, rows)) == ([], 5)


def test_one_busy_device_counts_twice_at_most(lake: Lake) -> None:
    """Nine devices once and one in every slot are eleven contributions, not thirty."""
    rows = [seen(device, MONDAY) for device in ENOUGH]
    rows += [seen("d0", MONDAY + timedelta(minutes=n)) for n in range(15)]
    assert cells(fill(lake, rows)) == ([], 0)


def test_a_bin_widens_until_it_passes(lake: Lake) -> None:
    """Five devices in each quarter of an hour are twenty in the hour; five each day are enough in the week."""
    quarters = [seen(f"q{n}", MONDAY + timedelta(minutes=15 * (n % 4))) for n in range(20)]
    days = [seen(f"w{n}", MONDAY + timedelta(days=n % 5, hours=12), CELL + (1 << 20)) for n in range(25)]
    found, _ = cells(fill(lake, quarters + days))
    assert {(each.bin_s, each.bin_start, each.devices) for each in found} == {
        (3_600, MONDAY, 20),
        (604_800, MONDAY, 25),
    }


def test_a_bin_never_widens_over_one_that_is_published(lake: Lake) -> None:
    """The hour would pass, but less its published quarter it would tell of three devices alone."""
    rows = twice(ENOUGH, MONDAY) + twice(["x", "y", "z"], MONDAY + timedelta(minutes=15))
    found, suppressed = cells(fill(lake, rows))
    assert found == [Bin(CELL, MONDAY, 900, 10, 20)]
    assert suppressed == 0  # one quarter, rounded


def test_a_period_is_answered_only_as_far_as_the_data_goes(lake: Lake) -> None:
    """A bin that has not ended by the newest receive_time is not published yet."""
    reader = fill(lake, [])
    period = choose_period(reader, MONDAY + timedelta(days=13), MONDAY + timedelta(days=20))
    assert period.until == period.data_through == MONDAY + timedelta(days=14)
    assert choose_period(reader, None, None)[:2] == (MONDAY + timedelta(days=13), MONDAY + timedelta(days=14))


def test_a_period_that_is_empty_or_too_long_is_refused(lake: Lake) -> None:
    reader = fill(lake, [])
    for since, until in [(MONDAY, MONDAY), (MONDAY - timedelta(days=3), MONDAY + timedelta(days=13))]:
        with pytest.raises(InvalidRequestError):
            choose_period(reader, since, until)


def test_a_lake_without_data_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        choose_period(LakeReader(str(tmp_path / "none")), None, None)


WIDTHS = [(900, 0), (3_600, 0), (14_400, 0), (86_400, 0), (604_800, 345_600)]


def publish_plainly(rows: list[dict[str, Any]], period: Period, resolution: int) -> dict[tuple[int, int, int], int]:
    """The rules once more, one thing at a time: (cell, bin_s, start) to rounded contributions."""
    slots: dict[tuple[int, int, int], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    since, until = period.since.timestamp(), period.until.timestamp()
    for row in rows:
        at = row["event_time"].timestamp()
        cell = h3.str_to_int(h3.cell_to_parent(h3.int_to_str(row["h3_r9"]), resolution))
        for bin_s, shift in WIDTHS:
            start = int((at - shift) // bin_s * bin_s + shift)
            if since <= at < until and since <= start and start + bin_s <= until:
                slots[cell, bin_s, start][row["device_id"]].add(int(at // 300))
    counts = {key: sum(min(2, len(times)) for times in devices.values()) for key, devices in slots.items()}
    passing = {key for key, devices in slots.items() if len(devices) >= 10 and counts[key] >= 20}

    def holds_narrower(cell: int, bin_s: int, start: int) -> bool:
        return any(
            other == cell and width < bin_s and start <= begin < start + bin_s for other, width, begin in passing
        )

    return {key: 5 * int(counts[key] / 5 + 0.5) for key in passing if not holds_narrower(*key)}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_query_equals_its_plain_twin_and_no_two_answers_overlap(lake: Lake, seed: int) -> None:
    """Random devices over a week, asked for in several periods: one bin has one answer, whoever asks."""
    draw = random.Random(seed)
    ring = [h3.str_to_int(cell) for cell in h3.grid_disk(h3.int_to_str(CELL), 1)]

    def moment() -> datetime:
        return MONDAY + timedelta(seconds=draw.choice((6e5, 3e4, 4e3)) * draw.random() ** 2)

    rows = [seen(f"d{draw.randrange(40)}", moment(), cell) for cell in ring for _ in range(draw.choice((50, 300, 900)))]
    reader = fill(lake, rows)
    known: dict[tuple[Any, int, datetime], Bin] = {}
    for resolution in (9, 8):
        for since, days in [(0.0, 7.0), (0.0, 1.0), (0.25, 0.5), (0.01, 2.3)]:
            start = MONDAY + timedelta(days=since)
            period = choose_period(reader, start, start + timedelta(days=days))
            found, _ = cells(reader, start, days, resolution)
            got = {(int(one.place), one.bin_s, int(one.bin_start.timestamp())): one.contributions for one in found}
            assert got == publish_plainly(rows, period, resolution)
            for one in found:
                assert known.setdefault((one.place, one.bin_s, one.bin_start), one) == one
    for place, bin_s, start in known:
        end = start + timedelta(seconds=bin_s)
        assert not any(other == place and width < bin_s and start <= begin < end for other, width, begin in known)


def test_a_box_is_widened_to_cells_of_resolution_6() -> None:
    areas = box_to_areas(parse_box(f"{LON - 1e-6},{LAT - 1e-6},{LON},{LAT}"))
    assert areas == [h3.str_to_int(h3.latlng_to_cell(LAT, LON, 6))]


def test_the_cells_within_an_area_have_numbers_in_its_range() -> None:
    area = h3.latlng_to_cell(LAT, LON, 6)
    for resolution in (7, 8, 9):
        first, last = cells_within(h3.str_to_int(area), resolution)
        children = [h3.str_to_int(child) for child in h3.cell_to_children(area, resolution)]
        assert first == min(children) <= max(children) <= last


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "2,1,1,2", "0,0,3,1", "179,0,181,1", "nan,0,1,1"])
def test_a_box_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_box(text)


@pytest.mark.anyio
@pytest.mark.postgres
async def test_cells_and_zones_over_http(config: ApiConfig, event_log: EventLog, lake: Lake) -> None:
    """The way ends where a customer stands: what the flow wrote is answered, with k, freshness and what is missing."""
    visits = [visit("enter", device, MONDAY + timedelta(minutes=m)) for device in ENOUGH for m in (1, 3)]
    visits += [visit("exit", device, MONDAY + timedelta(minutes=m), 60.0 * m) for device in ENOUGH for m in (2, 4)]
    visits += [visit("enter", device, MONDAY, fence_id="quiet") for device in ENOUGH[:9]]
    fill(lake, twice(ENOUGH, MONDAY), geofence_events=visits)
    seed_fences(config.database_url, collection(fence("mall", name="Mall"), fence("quiet"), fence("road", kind="area")))
    async with serve(config, event_log, lake) as service:
        where = f"from=2026-11-16T00:00:00Z&to=2026-11-17T00:00:00Z&bbox={LON},{LAT},{LON + 0.01},{LAT + 0.01}"
        heat = await ask(service, f"/v1/analytics/cells?{where}")
        bin_start = "2026-11-16T00:00:00Z"
        assert heat["cells"] == [
            {
                "cell": h3.int_to_str(CELL), "bin_start": bin_start, "bin_s": 900, "devices": 10, "presences": 20,
                "late_share": 0.0,
            }
        ]  # fmt: skip
        assert heat["k"] == {"devices": 10, "contributions": 20, "most_of_one_device": 2, "rounded_to": 5}
        assert heat["freshness"] == {"data_through": "2026-11-30T00:00:00Z"}
        elsewhere = await ask(service, "/v1/analytics/cells?from=2026-11-16T00:00:00Z&bbox=0,0,1,1")
        assert elsewhere["cells"] == []
        zones = await ask(service, "/v1/zones?from=2026-11-16T00:00:00Z&to=2026-11-17T00:00:00Z")
    entries = {"bin_start": bin_start, "bin_s": 900, "devices": 10, "count": 20, "dwell_median_s": None}
    assert zones["zones"] == [
        {"zone_id": "mall", "name": "Mall", "entries": [entries], "exits": [entries | {"dwell_median_s": 180.0}]},
        {"zone_id": "quiet", "name": "quiet", "entries": [], "exits": []},
    ]
    assert zones["suppressed"] == 0


async def ask(service: Service, path: str) -> dict[str, Any]:
    answer = await service.client.get(path, headers={"Authorization": f"Bearer {service.api_key}"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


DRIVES = [
    drive(device, MONDAY + timedelta(minutes=m), outcome, search_s)
    for n, device in enumerate(f"s{n}" for n in range(20))
    for m, outcome, search_s in [
        (1, "parked", 0.0 if n < 8 else 30.0 * n),
        (2, "gave_up" if n % 2 else "unknown", 120.0 + 10 * n),
        (3, "picked_up", 0.0),
    ]
]
"""Twenty devices with two drives each and somebody fetched: 8 without a search, 20 broken off."""


@pytest.mark.anyio
@pytest.mark.postgres
async def test_search_times_over_http(config: ApiConfig, event_log: EventLog, lake: Lake) -> None:
    """The figures are those of the drives themselves; the table formats hold what JSON does."""
    fill(lake, [], trips=[*DRIVES, *(drive(device, MONDAY, "parked", 9.0, "quiet") for device in ENOUGH[:9])])
    seed_fences(config.database_url, collection(fence("mall", name="Mall"), fence("quiet")))
    where = "/v1/analytics/search-times?from=2026-11-16T00:00:00Z&to=2026-11-17T00:00:00Z"
    async with serve(config, event_log, lake) as service:
        answer = await ask(service, where)
        by_cell = await ask(service, f"{where}&by=cell&resolution=8&bbox={LON},{LAT},{LON + 0.01},{LAT + 0.01}")
        elsewhere = await ask(service, f"{where}&by=cell&bbox=0,0,1,1")
        formats = {form: await get(service, where, form) for form in (CSV, ARROW, PARQUET)}
        shapes = (await get(service, f"{where}&by=cell", GEOJSON)).json()
        refused = await get(service, where, "image/png")
        document = (await service.client.get("/schema/openapi.json")).json()
    (place,) = answer["places"]
    exact = observe(
        np.array([OUTCOMES.index(row["outcome"]) for row in DRIVES], np.int8),
        np.array([row["search_s"] for row in DRIVES]),
    )
    for name, share in (("p50", 0.5), ("p90", 0.9)):
        expected = (*quantile(estimate(exact), share), *bound(exact, share))
        assert list(place[name].values()) == [None if each is None else pytest.approx(each, abs=5) for each in expected]
    assert (place["place"], place["bin_s"], place["devices"], place["drives"]) == ("mall", 900, 20, 40)
    assert (place["share_no_search"], place["low_quality_share"]) == (0.2, 0.25)
    # 12 parked after a minute and more, 10 gave up
    assert (place["searchers"]["drives"], place["searchers"]["failed_search_rate"]) == (30, 0.45)
    assert answer["k"]["devices"] == 10
    assert answer["suppressed"] == 0
    assert by_cell["places"][0]["drives"] == 50  # with the nine of the quiet zone, which are too few there
    assert by_cell["places"][0]["place"] == h3.cell_to_parent(h3.int_to_str(CELL), 8)
    assert elsewhere["places"] == []
    check_tables(formats, place)
    (shape,) = shapes["features"]
    assert shapes["k"] == answer["k"]
    assert shape["properties"]["place"] == h3.int_to_str(CELL)
    outline = [(lon, lat) for lat, lon in h3.cell_to_boundary(h3.int_to_str(CELL))]
    np.testing.assert_allclose(shape["geometry"]["coordinates"][0], [*outline, outline[0]])
    assert (refused.status_code, refused.json()["type"]) == (406, "urn:parkpal:problem:not-acceptable")
    assert set(document["paths"]["/v1/analytics/search-times"]["get"]["responses"]["200"]["content"]) == set(FORMATS)


@pytest.mark.anyio
@pytest.mark.postgres
async def test_a_zone_over_time_over_http(config: ApiConfig, event_log: EventLog, lake: Lake) -> None:
    """Each metric has its bins: entries and drives in the quarter, exits, which are spread, in the hour.

    Twenty exits an hour after ten minutes each: a turnover of 20, and a sixth of it inside.
    """
    visits = [visit("enter", device, MONDAY + timedelta(minutes=m)) for device in ENOUGH for m in (1, 3)]
    visits += [
        visit("exit", f"x{n}", MONDAY + timedelta(minutes=3 * n), 540.0 + 120 * (n % 2) + n / 10) for n in range(20)
    ]
    visits += [visit("enter", device, MONDAY, fence_id="quiet") for device in ENOUGH[:9]]
    fill(lake, [], geofence_events=visits, trips=DRIVES)
    seed_fences(config.database_url, collection(fence("mall", name="Mall"), fence("quiet"), fence("road", kind="area")))
    period = "from=2026-11-16T00:00:00Z&to=2026-11-17T00:00:00Z"
    where = f"/v1/analytics/zones/mall/metrics?{period}"
    async with serve(config, event_log, lake) as service:
        answer = await ask(service, where)
        quiet = await ask(service, f"/v1/analytics/zones/quiet/metrics?{period}")
        empty = await ask(
            service, f"/v1/analytics/zones/quiet/metrics?{period.replace('17', '18').replace('16', '17')}"
        )
        times = await ask(service, f"/v1/analytics/search-times?{period}")
        formats = {form: await get(service, where, form) for form in (CSV, ARROW, PARQUET, GEOJSON)}
        refused = [await get(service, where.replace("mall", name), JSON) for name in ("road", "nowhere")]
        unfit = await get(service, where, "image/png")
        long = await get(service, where.replace("16T", "01T"), JSON)
    assert (answer["zone_id"], answer["name"], answer["freshness"]["data_through"]) == (
        "mall",
        "Mall",
        "2026-11-30T00:00:00Z",
    )
    assert answer["k"] == {"devices": 10, "contributions": 20, "most_of_one_device": 2, "rounded_to": 5}
    assert answer["unpublished"] == {"entries": 95, "exits": 92, "drives": 95}
    told = {row["metric"]: row for row in answer["metrics"]}
    entries, exits, drives = told["entries"], told["exits"], told["drives"]
    nothing = dict.fromkeys(list(entries)[7:])
    assert entries == nothing | {
        "zone_id": "mall", "metric": "entries", "bin_start": "2026-11-16T00:00:00Z", "bin_s": 900,
        "devices": 10, "count": 20, "per_hour": 80.0,
    }  # fmt: skip
    assert [exits[name] for name in ("bin_s", "devices", "count", "per_hour")] == [3600, 20, 20, 20.0]
    assert exits["dwell_mean_s"] == 600.0
    assert exits["dwell_median_s"] == pytest.approx(600, abs=62)
    assert exits["occupancy"] == 3.33
    (place,) = times["places"]
    assert [drives[name] for name in ("devices", "count", "search_p50_s", "search_p90_s", "failed_search_rate")] == [
        place["devices"],
        place["drives"],
        place["p50"]["value_s"],
        place["p90"]["value_s"],
        place["searchers"]["failed_search_rate"],
    ]
    assert drives["low_quality_share"] == place["low_quality_share"]
    table = pa.ipc.open_stream(formats[ARROW].content).read_all()
    assert table.equals(pq.read_table(io.BytesIO(formats[PARQUET].content)))
    for row, line in zip(answer["metrics"], csv.DictReader(io.StringIO(formats[CSV].text)), strict=True):
        assert line == {name: "" if value is None else str(value) for name, value in row.items()}
    assert [row["count"] for row in table.to_pylist()] == [row["count"] for row in answer["metrics"]]
    assert formats[CSV].headers["parkpal-unpublished-exits"] == "92"
    assert [one["geometry"] for one in formats[GEOJSON].json()["features"]] == [None] * 3
    assert quiet["metrics"] == empty["metrics"] == []
    assert quiet["unpublished"] == empty["unpublished"] == {"entries": 96, "exits": 96, "drives": 96}
    assert [one.status_code for one in (*refused, unfit, long)] == [404, 404, 406, 400]


def test_a_mean_dwell_needs_k_of_its_own(lake: Lake) -> None:
    """Twenty exits of which nineteen tell their dwell have neither dwell nor occupancy."""
    visits = [visit("exit", f"x{n}", MONDAY, 600.0 if n else None) for n in range(20)]
    reader = fill(lake, [], geofence_events=visits)
    (row,) = publish_series(reader, choose_period(reader, MONDAY, MONDAY + timedelta(days=1)), "mall")
    assert (row.count, row.dwell_median_s, row.dwell_mean_s, row.occupancy) == (20, None, None, None)


def check_tables(formats: dict[str, httpx.Response], place: dict[str, Any]) -> None:
    """Each format has one row with the same values."""
    arrow = pa.ipc.open_stream(formats[ARROW].content).read_all()
    assert arrow.equals(pq.read_table(io.BytesIO(formats[PARQUET].content)))
    (row,) = arrow.to_pylist()
    (line,) = csv.DictReader(io.StringIO(formats[CSV].text))
    assert list(line) == list(row)
    expected = {
        "drives": place["drives"],
        "p50_value_s": place["p50"]["value_s"],
        "p90_never_s": place["p90"]["never_s"],
        "searchers_p50_low_s": place["searchers"]["p50"]["low_s"],
    }
    for name, value in expected.items():
        assert row[name] == value
        assert line[name] == ("" if value is None else str(value))
    for answer in formats.values():
        assert answer.headers["parkpal-k-devices"] == "10"
        assert answer.headers["parkpal-freshness-data-through"] == "2026-11-30T00:00:00Z"


def test_a_median_that_is_not_reached_has_its_lower_bound_and_few_searchers_have_no_figures() -> None:
    classes = [0] * 2 + [-20] * 18
    found = SearchTimes.read("mall", ("mall", MONDAY, 900, 20, 20, classes, 18, 18, 0, 9, 0))
    assert found.p50 == SearchQuantile(None, 195, None, 195, None)
    assert found.searchers.p50 == SearchQuantile(None, None, None, None, None)
    assert found.searchers.drives is found.searchers.failed_search_rate is None


class Named(msgspec.Struct):
    name: str


def test_a_spreadsheet_takes_no_name_for_a_formula() -> None:
    answer = answer_rows(CSV, Named("all"), Named, [Named("=1+1"), Named("mall")])
    assert answer.content == b"name\r\n'=1+1\r\nmall\r\n"


@pytest.mark.parametrize(
    ("accept", "form"),
    [(None, JSON), ("*/*", JSON), ("text/csv;q=0.5, application/json;q=0.1", CSV), ("text/*", CSV), (ARROW, ARROW)],
)
def test_the_accept_header_chooses_the_format(accept: str | None, form: str) -> None:
    assert choose_format(accept) == form


async def get(service: Service, path: str, accept: str) -> httpx.Response:
    return await service.client.get(path, headers={"Authorization": f"Bearer {service.api_key}", "Accept": accept})
