"""A person's rows leave every table, only the files that name them are written again, and nobody else's row changes."""

from datetime import date
from pathlib import Path

import duckdb
import pytest

from pipeline.fences import FileFences
from pipeline.lake import erasure
from pipeline.lake.audit import audit
from pipeline.lake.commit import Extent, LakeRefusedError
from pipeline.lake.compaction import compact
from pipeline.lake.erasure import finish, remains
from pipeline.lake.exchange import swaps
from pipeline.lake.jobs import jobs
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.lake.tombstones import laid, lay, note_done
from pipeline.lake.writer import PartitionWriter, publish_pending
from pipeline.rebuild import rebuild
from pipeline.recompute import DERIVED, Days
from tests.lake.build import positions

ALL_DAYS = Days(date(2026, 3, 3), date(2026, 3, 8))


def tables(lake: Lake) -> list[str]:
    return [name for name in TABLES if list((lake.root / name).glob("event_date=2*"))]


def count(lake: Lake, table: str, devices: list[str], *, named: bool = True) -> tuple[int, str | None]:
    """Return how many rows name one of the devices, or none of them, and a hash of these rows."""
    condition = f"coalesce(list_contains({devices}, device_id), false) = {named}"
    query = f"SELECT count(*), sum(hash(t))::VARCHAR FROM '{lake.root}/{table}/**/*.parquet' t WHERE {condition}"
    return duckdb.execute(query).fetchall()[0]


def busiest(lake: Lake) -> str:
    """Return the device with rows in the most tables, and most rows there."""
    found = " UNION ALL ".join(f"SELECT device_id FROM '{lake.root}/{name}/**/*.parquet'" for name in DERIVED)
    query = f"SELECT device_id, count(*) FROM ({found}) GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
    return duckdb.execute(query).fetchall()[0][0]


@pytest.mark.parametrize("compacted", [False, True])
def test_every_table_forgets_the_device_and_keeps_all_others(lake: Lake, compacted: bool) -> None:
    if compacted:
        compact(lake, files=1)
    device = busiest(lake)
    before = {name: count(lake, name, [device], named=False) for name in tables(lake)}
    rows = {name: count(lake, name, [device])[0] for name in tables(lake)}
    assert all(rows[name] for name in (*DERIVED, "positions"))
    lay(lake, [device])
    assert finish(lake) == {name: n for name, n in rows.items() if n}
    assert {name: count(lake, name, [device])[0] for name in tables(lake)} == dict.fromkeys(tables(lake), 0)
    assert {name: count(lake, name, [device], named=False) for name in tables(lake)} == before
    assert [each.done for each in laid(lake)] == [True]
    report = audit(lake)
    assert report.problems == []
    assert {name: report.dropped["erase", name] for name in rows if rows[name]} == {n: r for n, r in rows.items() if r}
    assert [(job.job, job.dropped) for job in jobs(lake)][-1] == ("erase", sum(rows.values()))


def test_only_files_that_name_the_device_are_written_again(lake: Lake) -> None:
    device = busiest(lake)
    query = f"SELECT DISTINCT filename FROM read_parquet('{lake.root}/positions/**/*.parquet', filename = true)"
    everything = {Path(name).name for (name,) in duckdb.execute(query).fetchall()}
    naming = {Path(name).name for (name,) in duckdb.execute(f"{query} WHERE device_id = '{device}'").fetchall()}
    assert 0 < len(naming) < len(everything)
    lay(lake, [device])
    finish(lake)
    assert {name for swap in swaps(lake) if swap.table == "positions" for name in swap.removed} == naming


def test_an_erasure_again_or_of_nobody_changes_nothing(lake: Lake) -> None:
    lay(lake, ["nobody"])
    assert finish(lake) == {}
    assert finish(lake) == {}
    assert list(swaps(lake)) == []
    assert list(jobs(lake)) == []


def test_a_rebuild_does_not_bring_an_erased_device_back(lake: Lake, fences: Path) -> None:
    device, (index, _) = busiest(lake), FileFences(fences).current()
    lay(lake, [device])  # and positions still hold it
    rebuild(lake, index, ALL_DAYS, DERIVED, lambda *_: None)
    assert [count(lake, name, [device])[0] for name in DERIVED] == [0] * len(DERIVED)
    finish(lake)
    after = {name: count(lake, name, []) for name in DERIVED}
    rebuild(lake, index, ALL_DAYS, DERIVED, lambda *_: None)
    assert {name: count(lake, name, []) for name in DERIVED} == after


def pending(lake: Lake, device: str) -> PartitionWriter:
    """Stage a commit that names the device, and leave it pending."""
    writer = PartitionWriter.open(lake, 0, None)
    writer.append("positions", positions(device, [0]))
    writer.extend(Extent("positions", 0, 0, 1, 1))
    writer.snapshot()
    return writer


def test_what_a_killed_flow_left_staged_is_waited_for_and_said_so(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path / "lake"))
    pending(lake, "gone").close()
    lay(lake, ["gone"])
    with pytest.raises(LakeRefusedError, match="commit 1 of sink partition 0 names a device to be erased"):
        finish(lake)
    assert [each.done for each in laid(lake)] == [False]
    publish_pending(lake)
    assert finish(lake) == {"positions": 1}
    assert audit(lake).problems == []


def test_a_running_flow_is_given_time_to_publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.create(str(tmp_path / "lake"))
    writer = pending(lake, "gone")
    lay(lake, ["gone"])
    with pytest.raises(LakeRefusedError, match="has not published its staged commits within 0 s"):
        finish(lake, patience_s=0)
    monkeypatch.setattr(erasure.time, "sleep", lambda _: writer.snapshot())
    assert finish(lake) == {"positions": 1}
    writer.close()


def test_a_pending_commit_that_names_others_is_none_of_its_business(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path / "lake"))
    pending(lake, "stays").close()
    lay(lake, ["gone"])
    assert finish(lake) == {}
    assert [each.done for each in laid(lake)] == [True]


def test_rows_that_an_older_copy_brought_back_are_noticed_and_taken_out_again(lake: Lake) -> None:
    device = busiest(lake)
    lay(lake, [device])
    note_done(lake, laid(lake)[0].tombstone)
    left = remains(lake)
    assert set(left) >= {"positions", *DERIVED}
    assert finish(lake) == left
    assert remains(lake) == {}
