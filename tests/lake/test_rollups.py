"""Roll-ups equal a count by hand, and are made anew whenever what they were made from has changed, however it did."""

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import duckdb
import h3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geo.survival import bound, classes_to_drives, estimate, observe, quantile
from geo.trips.rules import OUTCOMES
from pipeline.lake import rollups
from pipeline.lake.commit import Extent
from pipeline.lake.exchange import exchanging
from pipeline.lake.freshness import rolled_up
from pipeline.lake.lake import Lake
from pipeline.lake.reader import connect
from pipeline.lake.retention import RETAIN
from pipeline.lake.rollups import find_stale, keep, refresh
from pipeline.lake.tables import POSITIONS, TABLES
from pipeline.lake.writer import PartitionWriter, publish_pending

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
CELL = h3.latlng_to_cell(14.55, 121.03, 9)
RING = [h3.str_to_int(cell) for cell in h3.grid_disk(CELL, 1)]
PARKS = ("park_start", "park_end")
WIDTHS = [(900, 0), (3_600, 0), (14_400, 0), (86_400, 0), (604_800, 345_600)]

Row = dict[str, Any]
Rows = dict[str, list[Row]]
Key = tuple[int | str, int, int, int]
"""Cell or fence, resolution (0 for a fence), width and start of the bin."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.create(str(tmp_path / "lake"))


def write(lake: Lake, rows: Rows, state: bytes | None = None) -> bytes:
    """Write rows as the sink does, in one commit; return the state to go on from."""
    writer = PartitionWriter.open(lake, 0, state)
    for table, some in rows.items():
        writer.append(table, pa.RecordBatch.from_pylist(some, schema=TABLES[table].schema))
    first = writer._offsets.get(("positions", 0), 0)
    writer.extend(Extent("positions", 0, first, first + 1, len(rows.get("positions", []))))
    state = writer.snapshot()
    writer.close()
    publish_pending(lake)
    return state


def seen(device: str, at: datetime, cell: int = RING[0]) -> Row:
    return {"device_id": device, "event_time": at, "receive_time": at, "h3_r9": cell, "late": device == "d1"}


def drive(device: str, at: datetime, outcome: str, search_s: float, cell: int = RING[0]) -> Row:
    return {
        "trip_id": f"{device} {at}", "device_id": device, "trip_end": at, "outcome": outcome, "search_s": search_s,
        "zone_id": "mall", "h3_r9": cell, "quality": "low" if search_s > 600 else "high",
    }  # fmt: skip


def city(seed: int) -> Rows:
    """Forty devices over a week, most of it in its first hours."""
    draw = random.Random(seed)

    def moments(count: int) -> Iterator[tuple[str, datetime]]:
        for _ in range(count):
            at = MONDAY + timedelta(seconds=round(draw.choice((6e5, 3e4, 4e3)) * draw.random() ** 2, 3))
            yield f"d{draw.randrange(40)}", at

    kinds = ("enter", "exit", "exit_inferred", "cross")
    return {
        "positions": [seen(device, at, draw.choice(RING)) for device, at in moments(2_000)],
        "geofence_events": [
            {"event_id": str(at), "device_id": device, "event_time": at, "kind": kind, "fence_id": "mall",
             "dwell_s": draw.random() * 900 if kind == "exit" else None}
            for device, at in moments(600) for kind in [draw.choice(kinds)]
        ],
        "park_events": [
            {"event_id": str(at), "device_id": device, "event_time": at, "kind": draw.choice(PARKS),
             "zone_id": draw.choice(("mall", None)), "h3_r9": draw.choice(RING)}
            for device, at in moments(300)
        ],
        "trips": [
            drive(device, at, draw.choice(OUTCOMES), draw.choice((0.0, draw.random() * 4_000, 60.0)), draw.choice(RING))
            for device, at in moments(600)
        ],
    }  # fmt: skip


def places(row: Row) -> Iterator[tuple[int | str, int]]:
    """The cells and the fence of a row."""
    if "h3_r9" in row:
        for resolution in (7, 8, 9):
            yield h3.str_to_int(h3.cell_to_parent(h3.int_to_str(row["h3_r9"]), resolution)), resolution
    for name in ("zone_id", "fence_id"):
        if row.get(name):
            yield row[name], 0


def bins(rows: list[Row], time: str) -> dict[Key, list[Row]]:
    """The rows of each bin, in order of time."""
    found: dict[Key, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row[time]):
        for place, resolution in places(row):
            for width, shift in WIDTHS:
                start = int((row[time].timestamp() - shift) // width * width + shift)
                found[place, resolution, width, start].append(row)
    return found


def first_two(rows: list[Row]) -> list[Row]:
    """At most two rows of a device."""
    kept: list[Row] = []
    for row in rows:
        kept += [row] if sum(row["device_id"] == each["device_id"] for each in kept) < 2 else []
    return kept


def devices(rows: list[Row]) -> int:
    return len({row["device_id"] for row in rows})


def count_presences(rows: list[Row]) -> Row:
    slots = {(row["device_id"], row["event_time"].timestamp() // 300) for row in rows}
    of_device = [sum(slot[0] == device for slot in slots) for device in {slot[0] for slot in slots}]
    late = sum(row["late"] for row in rows)
    presences = sum(min(2, count) for count in of_device)
    return {"devices": len(of_device), "presences": presences, "fixes": len(rows), "late_fixes": late}


def count_visits(rows: list[Row]) -> Row:
    entries = first_two([row for row in rows if row["kind"] == "enter"])
    exits = first_two([row for row in rows if row["kind"] in ("exit", "exit_inferred")])
    told = [row for row in exits if row["dwell_s"] is not None]
    dwells = [row["dwell_s"] for row in told]
    return {
        "entry_devices": devices(entries), "entries": len(entries), "exit_devices": devices(exits), "exits": len(exits),
        "dwell_devices": devices(told), "dwells": len(told), "dwell_total_s": sum(dwells),
        "dwell_median_s": float(np.median(dwells)) if dwells else None,
    }  # fmt: skip


def count_parks(rows: list[Row]) -> Row:
    starts = sum(row["kind"] == "park_start" for row in rows)
    return {"park_starts": starts, "park_ends": len(rows) - starts}


def count_drives(rows: list[Row]) -> Row:
    kept = first_two([row for row in rows if row["outcome"] != "picked_up"])
    searchers = [row for row in kept if row["search_s"] >= 60]
    ends = [sum(row["outcome"] == outcome for row in searchers) for outcome in ("parked", "gave_up")]
    return {
        "drive_devices": devices(kept), "drives": len(kept), "searcher_devices": devices(searchers),
        "searchers": len(searchers), "searchers_parked": ends[0], "searchers_gave_up": ends[1],
        "low_quality": sum(row["search_s"] > 600 for row in kept),
    }  # fmt: skip


COUNTS = {
    "positions": ("event_time", count_presences),
    "geofence_events": ("event_time", count_visits),
    "park_events": ("event_time", count_parks),
    "trips": ("trip_end", count_drives),
}


def count_plainly(rows: Rows) -> dict[Key, Row]:
    found: dict[Key, Row] = defaultdict(dict)
    for table, (time, count) in COUNTS.items():
        for key, some in bins(rows[table], time).items():
            found[key] |= count(some)
    return found


def read(lake: Lake) -> dict[Key, Row]:
    """All rows of all roll-ups."""
    found: dict[Key, Row] = {}
    with connect(lake) as connection:
        for table, resolution in [*((f"cell_metrics_r{r}", r) for r in (9, 8, 7)), ("cell_metrics_wide", None),
                                  ("zone_metrics", 0), ("zone_metrics_wide", 0)]:  # fmt: skip
            for row in connection.sql(f"FROM {table}").to_arrow_table().to_pylist():
                place, start = row.get("cell", row.get("zone_id")), int(row["bin_start"].timestamp())
                key = (place, row.get("resolution", resolution), row.get("bin_s", 900), start)
                assert key not in found
                assert row["bin_start"].date() == row["event_date"]
                found[key] = row
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_roll_ups_equal_a_count_by_hand(lake: Lake, seed: int) -> None:
    """Every column of every place and width; the week is over."""
    rows = city(seed)
    rows["positions"].append(seen("last", MONDAY + timedelta(days=7)))
    write(lake, rows)
    refresh(lake)
    found, expected = read(lake), count_plainly(rows)
    last = (MONDAY + timedelta(days=7)).timestamp()
    expected = {key: row for key, row in expected.items() if key[2:] != (604_800, last)}  # that week is not over
    wanted = {key for key, row in expected.items() if any(row.values())}
    assert wanted <= found.keys() <= expected.keys()
    for key in wanted:
        got = {name: found[key][name] for name in expected[key]}
        assert got == pytest.approx(expected[key]), key
    drives = bins([row for row in rows["trips"] if row["outcome"] != "picked_up"], "trip_end")
    for key, some in drives.items():
        check_quantiles(found[key]["search_classes"], first_two(some))
    assert len({key[2] for key, row in found.items() if row["publish_drives"]}) > 1


def check_quantiles(kept: list[int], rows: list[Row]) -> None:
    """From the classes of a bin come the quantiles that the drives themselves give, within half a class."""
    outcome = np.array([OUTCOMES.index(row["outcome"]) for row in rows], np.int8)
    exact = observe(outcome, np.array([row["search_s"] for row in rows]))
    classed = classes_to_drives(np.array(kept, np.int16))
    for share in (0.5, 0.9):
        pairs = zip(
            (quantile(estimate(exact), share).value_s, *bound(exact, share)),
            (quantile(estimate(classed), share).value_s, *bound(classed, share)), strict=True,
        )  # fmt: skip
        for one, other in pairs:
            if one is not None and one < 3_600:
                assert other == pytest.approx(one, abs=5)
            else:
                assert other in (None, 3_600)


def test_nothing_is_made_anew_while_nothing_changes(lake: Lake) -> None:
    write(lake, {"positions": [seen("a", MONDAY)]})
    assert refresh(lake) == 1
    assert refresh(lake) == 0
    assert rolled_up(lake) == MONDAY.timestamp() * 1000


def test_a_late_row_makes_its_day_stale_and_no_other(lake: Lake) -> None:
    tuesday = MONDAY + timedelta(days=1)
    state = write(lake, {"positions": [seen("a", MONDAY), seen("a", tuesday)]})
    assert refresh(lake) == 2
    write(
        lake,
        {"trips": [drive("b", MONDAY, "gave_up", 90.0)], "positions": [seen("b", tuesday + timedelta(days=1))]},
        state,
    )
    assert [stale.day for stale in find_stale(lake, 0)] == [date(2026, 11, 16), date(2026, 11, 18)]
    refresh(lake)
    found = read(lake)["mall", 0, 900, int(MONDAY.timestamp())]
    assert (found["drives"], found["search_classes"]) == (1, [-10])


def test_a_week_is_made_once_it_is_over_and_again_when_one_of_its_days_changes(lake: Lake) -> None:
    state = write(lake, {"positions": [seen("a", MONDAY), seen("b", MONDAY + timedelta(days=2))]})
    refresh(lake)
    assert not [key for key in read(lake) if key[2] == 604_800]
    state = write(lake, {"positions": [seen("c", MONDAY + timedelta(days=7))]}, state)
    refresh(lake)
    week = RING[0], 9, 604_800, int(MONDAY.timestamp())
    assert (read(lake)[week]["devices"], read(lake)[week]["presence_quarters"]) == (2, 2)
    write(lake, {"positions": [seen("d", MONDAY + timedelta(days=6))]}, state)
    refresh(lake)
    assert read(lake)[week]["devices"] == 3


def test_what_erasure_or_rebuild_takes_away_is_gone_from_the_roll_ups(lake: Lake) -> None:
    """Nobody tells: the files of the day are other ones, and so its roll-up is stale, up to the last row."""
    write(lake, {"positions": [seen("a", MONDAY), seen("b", MONDAY)]})
    refresh(lake)
    for kept in (["b"], []):
        with exchanging(lake, POSITIONS, MONDAY.date(), "erase") as draft:
            draft.dropped = None
            draft.replace(draft.present)
            if kept:
                rows = pa.Table.from_pylist([seen(device, MONDAY) for device in kept], schema=POSITIONS.schema)
                pq.write_table(rows, draft.path())
        assert refresh(lake) == 1
        assert sum(row["devices"] for key, row in read(lake).items() if key[1:3] == (9, 900)) == len(kept)
    assert refresh(lake) == 0


def test_a_day_that_has_expired_keeps_its_roll_ups(lake: Lake) -> None:
    state = write(lake, {"positions": [seen("a", MONDAY)], "trips": [drive("a", MONDAY, "parked", 30.0)]})
    refresh(lake)
    before = read(lake)
    with exchanging(lake, POSITIONS, MONDAY.date(), RETAIN) as draft:
        draft.dropped = 1
        draft.replace(draft.present)
    write(lake, {"trips": [drive("b", MONDAY, "parked", 30.0)]}, state)
    assert refresh(lake) == 0
    assert read(lake) == before


def test_another_way_of_counting_makes_every_day_stale(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    write(lake, {"positions": [seen("a", MONDAY), seen("a", MONDAY + timedelta(days=1))]})
    refresh(lake)
    monkeypatch.setattr(rollups, "VERSION", 0)
    assert refresh(lake) == 2


def test_an_empty_lake_has_no_roll_ups_and_no_record(lake: Lake) -> None:
    assert refresh(lake) == 0
    assert rolled_up(lake) is None
    assert read(lake) == {}


def test_they_are_kept_while_the_lake_is_written_and_once_more_at_the_end(tmp_path: Path) -> None:
    """The keeper may be there before the lake is."""
    stopped = Event()
    keeper = Thread(target=keep, args=(str(tmp_path / "lake"), stopped))
    keeper.start()
    lake = Lake.create(str(tmp_path / "lake"))
    write(lake, {"positions": [seen("a", MONDAY)]})
    stopped.set()
    keeper.join()
    assert len(read(lake)) == 3 * 4


def test_a_plain_glob_over_a_roll_up_reads_quarters_alone(lake: Lake) -> None:
    """Whoever sums over a table counts nothing twice."""
    write(lake, city(3))
    refresh(lake)
    fixes = f"SELECT sum(fixes) FROM '{lake.root}/cell_metrics_r9/**/*.parquet'"
    assert duckdb.sql(fixes).fetchall() == [(2_000,)]
