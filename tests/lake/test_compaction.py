"""Compaction changes the form of a day and never its rows, and every proof holds afterwards as before."""

import signal
from datetime import date
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import fault
from pipeline.lake import compaction
from pipeline.lake.audit import audit
from pipeline.lake.commit import Extent, State
from pipeline.lake.compaction import compact, find_due, read, row_hash, sort
from pipeline.lake.digest import digest
from pipeline.lake.exchange import swaps
from pipeline.lake.jobs import jobs
from pipeline.lake.lake import Lake
from pipeline.lake.lineage import merge, pack, read_lineage
from pipeline.lake.tables import POSITIONS, TABLES
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import CELL, NOON, positions, write_messages
from tests.lake.test_exchange import died

DAY = date(2026, 3, 7)
MESSAGES = 12
PROOF = """
    SELECT bool_and(tiles), sum(decoded), (SELECT bool_and(decoded = held) FROM (
        SELECT sum(rows) AS decoded, any_value(held) AS held FROM extents GROUP BY part, seq
    )) FROM (
        SELECT stream, "partition", sum(rows) AS decoded, bool_and(first = before) AS tiles
        FROM (SELECT *, lag(next, 1, 0) OVER (PARTITION BY stream, "partition" ORDER BY first) AS before FROM extents)
        GROUP BY ALL
    )
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Six commits of two messages in each of two sink partitions, each reading two log partitions."""
    lake = Lake.create(str(tmp_path / "lake"))
    for part in (0, 1):
        write(lake, part, MESSAGES)
    return lake


def write(lake: Lake, part: int, messages: int) -> None:
    writer = PartitionWriter.open(lake, part, None)
    for first in range(0, messages, 2):
        write_messages(writer, part, first, first + 2)
        write_messages(writer, part + 4, first, first + 2)
        writer.snapshot()
    writer.close()
    publish_pending(lake)


def run(lake: Lake, *, files: int = 2, patience_s: float = 600.0) -> list[tuple[str, int]]:
    """Compact and return table and number of files of each merge."""
    due = find_due(lake, files=files, patience_s=patience_s)
    job = compact(lake, files=files, patience_s=patience_s)
    assert job.refused == []
    assert job.changed == len(due)
    return [(each.table.name, len(each.files)) for each in due]


def proof(lake: Lake) -> tuple[bool, int, bool]:
    """Ask lake.duckdb alone: do the offsets tile, how many rows were decoded, does each commit hold them."""
    with duckdb.connect(str(lake.root / "lake.duckdb"), read_only=True) as connection:
        return connection.execute(PROOF).fetchall()[0]


def paths(lake: Lake, table: str = "positions") -> list[Path]:
    return sorted((lake.root / table / f"event_date={DAY}").glob("*.parquet"))


def test_many_files_become_one_with_the_same_rows(lake: Lake) -> None:
    before = {name: digest(lake, name) for name in TABLES}
    assert run(lake) == [("positions", 12), ("rejected", 12)]
    assert {name: digest(lake, name) for name in TABLES} == before
    assert len(paths(lake)) == 1


def test_all_proofs_hold_over_files_that_replace_others(lake: Lake) -> None:
    assert proof(lake) == (True, 144, True)
    run(lake)
    assert proof(lake) == (True, 144, True)
    assert audit(lake).problems == []
    write(lake, 2, 4)
    assert proof(lake) == (True, 168, True)
    assert audit(lake).problems == []
    run(lake, files=1)
    assert proof(lake) == (True, 168, True)
    report = audit(lake)
    assert report.problems == []
    assert dict(report.tables) == {"positions": 112, "rejected": 56}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_what_a_killed_merge_leaves_is_no_problem_and_settled_first(lake: Lake) -> None:
    def die() -> None:
        fault.arm("exchange.recorded:1")
        compact(lake, files=2)

    assert died(die) == signal.SIGKILL
    with pytest.raises(duckdb.InvalidInputException, match="too small"):
        proof(lake)
    assert audit(lake).problems == []
    compact(lake, files=100)
    assert proof(lake) == (True, 4 * MESSAGES * 3, True)


def test_lineage_survives_packing(lake: Lake) -> None:
    whole = merge(map(read_lineage, paths(lake)), dropped=3)
    assert len(whole.held) == 12
    path = lake.root / "packed.parquet"
    with pq.ParquetWriter(path, pa.schema([])) as writer:
        writer.add_key_value_metadata({"parkpal": pack(whole)})
    assert read_lineage(path) == whole


def test_an_open_day_waits_for_files_or_age(lake: Lake) -> None:
    assert run(lake, files=64) == []
    assert run(lake, files=13) == []
    assert len(run(lake, files=64, patience_s=0)) == 2


def test_a_clock_set_back_only_leaves_the_number_of_files_to_decide(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction.time, "time", lambda: 0.0)
    assert run(lake, files=64) == []
    assert len(run(lake, files=12)) == 2


def test_compacted_files_are_merged_again_only_with_as_much_that_is_new(lake: Lake) -> None:
    run(lake)
    write(lake, 2, 2)
    assert run(lake, files=1)[0] == ("positions", 1)
    assert len(paths(lake)) == 2
    write(lake, 3, 12)
    assert run(lake, files=1)[0][0] == "positions"
    assert len(paths(lake)) < 3


def test_a_closed_day_becomes_one_run_sorted_by_place_and_time(lake: Lake) -> None:
    for part in (0, 1):
        writer = PartitionWriter.open(lake, part, _state(lake, part))
        later = [NOON + 36 * 3_600_000 + part]
        writer.append("positions", positions("later", [part], event_time=later))
        writer.extend(Extent("positions", part, MESSAGES, MESSAGES + 1, 1))
        writer.snapshot()
        writer.close()
    publish_pending(lake)
    assert ("positions", 12) in run(lake, files=64)
    assert run(lake, files=64) == []
    rows = pq.read_table(paths(lake)[0], partitioning=None)
    assert rows.equals(rows.sort_by([("h3_r9", "ascending"), ("event_time", "ascending")]))


def _state(lake: Lake, part: int) -> bytes:
    last = lake.committer().published(part)
    assert last is not None
    return msgspec.json.encode(State(part=part, seq=last.seq))


def test_a_directory_stays_small_however_long_it_is_written(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path / "lake"))
    writer = PartitionWriter.open(lake, 0, None)
    most = 0
    for offset in range(60):
        write_messages(writer, 0, offset, offset + 1)
        writer.snapshot()
        run(lake, files=2)
        most = max(most, len(paths(lake)))
    writer.close()
    assert most <= 8


def test_a_truncated_file_stops_its_day_alone_and_is_named(lake: Lake) -> None:
    broken = paths(lake)[0]
    broken.write_bytes(broken.read_bytes()[:-100])
    job = compact(lake, files=2)
    (reason,) = job.refused
    assert str(broken) in reason
    assert "parkpal lake audit" in reason
    assert job.changed == 1
    assert len(paths(lake)) == 12
    assert [swap.table for swap in swaps(lake)] == ["rejected"]


def test_rows_lost_or_changed_on_the_way_are_found_before_anything_is_replaced(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(table: object, rows: pa.Table) -> pa.Table:
        return rows.set_column(
            0, rows.schema.field(0), pa.chunked_array([rows[0].combine_chunks().take(pa.array([0] * len(rows)))])
        )

    monkeypatch.setattr(compaction, "sort", changing)
    job = compact(lake, files=2)
    assert "other rows than what it replaces" in job.refused[0]
    assert len(paths(lake)) == 12


def test_row_hash_is_of_the_rows_and_not_of_their_order(lake: Lake) -> None:
    names = POSITIONS.schema.names
    rows = read(POSITIONS, paths(lake))
    whole = row_hash(rows, names)
    assert row_hash(sort(POSITIONS, rows), names) == whole
    parts = [row_hash(path, names) for path in paths(lake)]
    assert tuple(map(sum, zip(*parts, strict=True))) == whole
    assert row_hash(rows.slice(1), names) != whole


def test_a_column_that_an_old_file_lacks_is_null(lake: Lake) -> None:
    path = paths(lake)[0]
    old = pq.read_table(path, partitioning=None)
    pq.write_table(old.drop_columns(["late", "device_time", "activity", "device_id"]), path)
    rows = read(POSITIONS, paths(lake)[:2])
    assert rows["late"].null_count == old.num_rows
    assert rows["device_id"].null_count == old.num_rows


def test_a_job_leaves_a_record_of_what_it_did_and_met(lake: Lake) -> None:
    compact(lake, files=64)
    compact(lake, files=2)
    paths(lake)[0].write_bytes(b"")
    write(lake, 2, 2)
    compact(lake, files=1)
    first, second = jobs(lake)
    assert (first.job, first.changed, first.rows, first.dropped, first.refused) == ("compact", 2, 144, 0, [])
    assert second.refused
    assert first.started <= first.ended <= second.started


@pytest.mark.parametrize("days", [1, 3])
def test_rows_are_ordered_by_place_and_time_whichever_sort_it_takes(days: int) -> None:
    rng = np.random.default_rng(days)
    cell = np.append(rng.choice([CELL, CELL + (1 << 18), CELL - (1 << 30), CELL ^ (1 << 50)], 400), [0, 0] * (days > 1))
    at = NOON + rng.integers(0, days * 86_400_000 // 2, len(cell))
    batch = positions("device", list(range(len(cell))), event_time=at.tolist())
    place = batch.schema.get_field_index("h3_r9")
    cells = pa.array(np.where(rng.random(len(cell)) < 0.1, None, cell).tolist(), pa.int64())
    rows = pa.Table.from_batches([batch.set_column(place, batch.schema.field(place), cells)])
    found = sort(POSITIONS, rows)
    keys = list(zip(found["h3_r9"].to_pylist(), found["event_time"].to_pylist(), found["seq"].to_pylist(), strict=True))
    assert keys == sorted(keys, key=lambda key: (key[0] is None, key[0] or 0, key[1], key[2]))
