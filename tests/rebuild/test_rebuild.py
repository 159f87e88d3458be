"""Derived tables can be had again from positions: the rows that the flow wrote, day by day, whatever was there."""

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from geo.holding import FOREVER
from parkpal.commands.lake import lake as command
from pipeline.fences import FileFences
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.ending import Ending, read_ending, write_ending
from pipeline.lake.exchange import exchanging, listing, swaps
from pipeline.lake.folder import COMMITS
from pipeline.lake.lake import Lake
from pipeline.lake.retention import RETAIN
from pipeline.lake.tables import POSITIONS, TABLES
from pipeline.rebuild import rebuild
from pipeline.recompute import DERIVED, Days, recompute, settled_until
from tests.rebuild.days import digests, make_lake

ALL_DAYS = Days(date(2026, 3, 3), date(2026, 3, 8))
MIDDLE = date(2026, 3, 5)


def rows_of(lake: Lake, table: str, condition: str) -> int:
    query = f"SELECT count(*) FROM '{lake.root}/{table}/**/*.parquet' WHERE {condition}"
    return duckdb.execute(query).fetchall()[0][0]


def rows_in(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def call(lake: Lake, fences: Path, *options: str) -> str:
    ended = CliRunner().invoke(command, ["rebuild", "--lake", str(lake.root), "--fences", str(fences), *options])
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_there_are_drives_and_visits_across_midnight(lake: Lake) -> None:
    across = "trip_start::DATE < trip_end::DATE"
    assert rows_of(lake, "trips", across) > 5
    assert (
        rows_of(lake, "geofence_events", "kind = 'exit' AND (event_time - to_seconds(dwell_s))::DATE < event_date") > 5
    )
    assert all(rows_of(lake, table, "event_date = '2026-03-05'") > 10 for table in DERIVED)


def test_facts_give_the_rows_that_the_flow_wrote(lake: Lake, fences: Path) -> None:
    index, _ = FileFences(fences).current()
    again = list(recompute(lake, index, ALL_DAYS))
    assert all(decided.certain for decided in again), "an ended lake leaves nothing open"
    for table in DERIVED:
        schema = TABLES[table].schema
        expected = pa.Table.from_batches([each.rows for each in again if each.table == table], schema)
        with duckdb.connect() as connection:
            connection.register("expected", expected)
            found = f"(SELECT * EXCLUDE event_date FROM '{lake.root}/{table}/**/*.parquet')"
            for here, there in (("expected", found), (found, "expected")):
                extra = connection.execute(f"FROM {here} EXCEPT ALL FROM {there}").fetchall()
                assert extra == [], f"{table}: in {here[:10]} alone"


def test_a_rebuild_of_any_day_changes_no_row(lake: Lake, fences: Path) -> None:
    before = digests(lake, DERIVED)
    call(lake, fences, "--from", "2026-03-05", "--to", "2026-03-05")
    assert digests(lake, DERIVED) == before
    call(lake, fences, "--from", "2026-03-03", "--to", "2026-03-08")
    assert digests(lake, DERIVED) == before
    assert {swap.job for swap in swaps(lake)} == {"rebuild"}


def test_a_rebuild_mends_what_was_lost_and_what_was_added(lake: Lake, fences: Path) -> None:
    before = digests(lake, DERIVED)
    for table in DERIVED:
        file = max((lake.root / table / f"event_date={MIDDLE}").glob("k*.parquet"), key=rows_in)
        rows = pq.read_table(file, partitioning=None)
        kept = rows.slice(0, len(rows) // 2)
        pq.write_table(pa.concat_tables([kept, kept]), file)
    assert not any(digests(lake, DERIVED)[table] == before[table] for table in DERIVED)
    told = call(lake, fences, "--from", str(MIDDLE), "--to", str(MIDDLE))
    assert digests(lake, DERIVED) == before
    assert told.count("2026-03-05") == len(DERIVED)


def test_only_the_tables_asked_for_are_rebuilt(lake: Lake, fences: Path) -> None:
    call(lake, fences, "--tables", "trips", "--from", str(MIDDLE), "--to", str(MIDDLE))
    assert {(swap.table, swap.day) for swap in swaps(lake)} == {("trips", str(MIDDLE))}


def test_facts_cannot_be_rebuilt(lake: Lake, fences: Path) -> None:
    index, _ = FileFences(fences).current()
    with pytest.raises(ValueError, match="positions is not derived"):
        rebuild(lake, index, ALL_DAYS, ["positions"], lambda *_: None)


def test_a_day_that_is_still_being_decided_is_refused(tmp_path: Path) -> None:
    lake, fences = make_lake(tmp_path, devices=4, drain=True)
    index, _ = FileFences(fences).current()
    before = digests(lake, DERIVED)
    with pytest.raises(LakeRefusedError, match="2026-03-05 is still being decided: the flow has read up to 2026-03-06"):
        rebuild(lake, index, Days(MIDDLE, date(2026, 3, 6)), DERIVED, lambda *_: None)
    rebuild(lake, index, Days(date(2026, 3, 4), date(2026, 3, 4)), DERIVED, lambda *_: None)
    assert digests(lake, DERIVED) == before


def test_days_whose_facts_are_expired_keep_their_rows(lake: Lake, fences: Path) -> None:
    """Deciding them from what is left would drop them."""
    before = digests(lake, DERIVED)
    with exchanging(lake, POSITIONS, min(listing(lake, POSITIONS)), RETAIN) as draft:
        draft.replace(draft.present)
        draft.dropped = sum(draft.replaced.values())
    index, _ = FileFences(fences).current()
    with pytest.raises(LakeRefusedError, match=r"expired: 2026-03-\d\d is the first day to be rebuilt"):
        rebuild(lake, index, ALL_DAYS, DERIVED, lambda *_: None)
    assert digests(lake, DERIVED) == before


def test_a_lake_that_hosts_ended_in_shares_is_settled_once_all_have(lake: Lake) -> None:
    ending = read_ending(lake)
    assert ending
    (lake.root / COMMITS / "ended.json").unlink()
    names = sorted(ending.ends)
    shares = ({name: ending.ends[name] for name in half} for half in (names[:2], names[2:]))
    until = [settled_until(lake)]
    for number, ends in enumerate(shares):
        write_ending(lake, Ending(complete=True, ends=ends), f"-{2 * number}-{2 * number + 1}")
        until.append(settled_until(lake))
    assert until[0] <= until[1] < until[2] == FOREVER
