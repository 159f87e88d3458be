"""Upkeep of Delta tables: every row is there once before, while and after a day's files are exchanged."""

import os
from datetime import date
from pathlib import Path

import pytest
from deltalake import CommitProperties, Transaction

from pipeline import fault
from pipeline.lake import delta_exchange
from pipeline.lake.audit import audit
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.compaction import compact, read, sort
from pipeline.lake.delta import DeltaCommitter
from pipeline.lake.encoding import encode
from pipeline.lake.exchange import exchanging, swaps
from pipeline.lake.lake import Lake
from pipeline.lake.place import Place, list_paths
from pipeline.lake.retention import retain
from pipeline.lake.tables import POSITIONS
from tests.lake.build import NOON
from tests.lake.stores import delta_lake, open_lake, seen
from tests.lake.test_committer import Crash, stage

DAY = date(2026, 3, 7)
FOLDER = f"positions/event_date={DAY}"
ROWS = [("device-1", 0), ("device-1", 1), ("device-2", 0), ("device-2", 1)]
POINTS = tuple(f"exchange.{name}" for name in ("built", "planned", "swapped", "recorded", "settled"))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = delta_lake(tmp_path)
    for seq in (1, 2):
        publish(lake, seq)
    return lake


@pytest.fixture
def place(lake: Lake) -> Place:
    assert lake.place
    return lake.place


def publish(lake: Lake, seq: int, receive_time: int = NOON) -> None:
    """Publish one more commit of two positions."""
    lake.committer().publish(stage(lake.committer(), seq, f"device-{seq}", receive_time))


def merge(lake: Lake) -> None:
    """Replace the day's files by one."""
    with exchanging(lake, POSITIONS, DAY, "merge") as draft:
        rows = sort(POSITIONS, read(POSITIONS, draft.present))
        draft.path().write_bytes(encode(POSITIONS, rows.cast(POSITIONS.schema)))
        draft.replace(draft.present)


def objects(place: Place) -> list[str]:
    """Return the day's objects, whether or not the log lists them."""
    return [path for path in list_paths(place, FOLDER) if path.endswith(".parquet")]


def test_one_file_takes_the_place_of_several_with_the_same_rows(lake: Lake) -> None:
    merge(lake)
    assert seen(lake, "positions") == ROWS
    assert len([path for path in lake.committer().files() if path.startswith(FOLDER)]) == 1
    assert [(swap.job, len(swap.removed), swap.removed_rows, swap.dropped) for swap in swaps(lake)] == [
        ("merge", 2, 4, 0)
    ]


def test_old_files_stay_for_grace_and_are_swept_then(lake: Lake, place: Place) -> None:
    merge(lake)
    assert (delta_exchange.sweep(place, 600), len(objects(place))) == (1, 3)
    assert (delta_exchange.sweep(place, 0), len(objects(place))) == (0, 1)
    assert seen(lake, "positions") == ROWS


def test_rows_that_do_not_add_up_change_nothing(lake: Lake, place: Place) -> None:
    with pytest.raises(LakeRefusedError, match="4 rows replaced by 0, 0 dropped"):  # noqa: SIM117
        with exchanging(lake, POSITIONS, DAY, "merge") as draft:
            draft.replace(draft.present)
    assert seen(lake, "positions") == ROWS
    assert (len(objects(place)), list(swaps(lake))) == (2, [])


def test_what_is_published_meanwhile_stays(lake: Lake) -> None:
    with exchanging(lake, POSITIONS, DAY, "merge") as draft:
        draft.path().write_bytes(encode(POSITIONS, read(POSITIONS, draft.present).cast(POSITIONS.schema)))
        draft.replace(draft.present)
        publish(lake, 3)
    assert seen(lake, "positions") == [*ROWS, ("device-3", 0), ("device-3", 1)]


def test_a_day_loses_rows_only_where_it_is_said(lake: Lake) -> None:
    with exchanging(lake, POSITIONS, DAY, "retain") as draft:
        draft.replace(draft.present)
        draft.dropped = 4
    assert seen(lake, "positions") == []
    publish(lake, 3)
    assert len(seen(lake, "positions")) == 2


def test_upkeep_of_another_machine_that_was_first_is_respected(lake: Lake, place: Place) -> None:
    with pytest.raises(LakeRefusedError, match="another machine's upkeep was first"):  # noqa: PT012, SIM117
        with exchanging(lake, POSITIONS, DAY, "retain") as draft:
            draft.replace(draft.present)
            draft.dropped = 4
            other = DeltaCommitter(place).table("positions")
            mark = CommitProperties(app_transactions=[Transaction(delta_exchange.UPKEEP, 1)])
            other.create_write_transaction([], "append", other.schema(), ["event_date"], commit_properties=mark)
    assert seen(lake, "positions") == ROWS


def test_compaction_and_retention_run_as_over_a_folder_and_the_audit_follows_them(lake: Lake) -> None:
    assert audit(lake).problems == []
    assert compact(lake, files=1).rows == 4 + 2  # of positions and rejected
    assert seen(lake, "positions") == ROWS
    assert audit(lake).problems == []
    assert retain(lake, {"positions": 2}).rows == 0
    publish(lake, 3, receive_time=NOON + 4 * 86_400_000)
    assert retain(lake, {"positions": 2}).rows == 6
    assert seen(lake, "positions") == []
    report = audit(lake)
    assert (report.problems, report.dropped) == ([], {("retain", "positions"): 6})


@pytest.mark.parametrize("at", POINTS)
def test_killed_anywhere_the_next_upkeep_finishes_or_drops_it(
    lake: Lake, place: Place, tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", die)
        fault.arm(f"{at}:1")
        with pytest.raises(Crash):
            merge(lake)
        fault._target.clear()
    assert seen(lake, "positions") == ROWS
    again = open_lake(tmp_path)
    merge(again)
    assert seen(again, "positions") == ROWS
    delta_exchange.sweep(place, 0)
    known = {file for file in again.committer().files() if file.startswith(FOLDER)}
    unplanned = 1 if at == "exchange.built" else 0  # put, and then no plan knew of it
    assert (len(known), len(set(objects(place)) - known)) == (1, unplanned)
    assert list_paths(place, delta_exchange.UPKEEP) == []
