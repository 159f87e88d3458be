"""In an object store history is rebuilt, proved and erased from as in a folder: the same rows, by Delta's log."""

import shutil
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from pipeline.fences import FileFences
from pipeline.lake.audit import audit
from pipeline.lake.commit import Slice
from pipeline.lake.compaction import compact
from pipeline.lake.digest import digest
from pipeline.lake.erasure import finish, remains
from pipeline.lake.exchange import listing, swaps, sweep
from pipeline.lake.folder import COMMITS
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.lake.tombstones import lay
from pipeline.proof import prove
from pipeline.rebuild import rebuild
from pipeline.recompute import DERIVED, Days
from tests.lake.stores import delta_lake, seen
from tests.rebuild.days import digests


def copy_to_store(source: Lake, home: Path) -> Lake:
    """Return a lake of Delta tables with the commits of one that is a folder."""
    lake = delta_lake(home)
    committer = lake.committer()
    for commit in source.committer().commits():
        slices = [
            Slice(TABLES[file.table], 0, pq.read_table(source.root / file.path, schema=TABLES[file.table].schema))
            for file in commit.files
        ]
        committer.publish(committer.stage(msgspec.structs.replace(commit, files=()), slices))
    shutil.copy(source.root / COMMITS / "ended.json", lake.root / COMMITS)
    return lake


@pytest.fixture
def stored(lake: Lake, tmp_path: Path) -> Lake:
    """A lake of three days in an object store, that was ended."""
    (tmp_path / "store").mkdir()
    return copy_to_store(lake, tmp_path / "store")


def devices(lake: Lake, table: str) -> Counter[object]:
    return Counter(device for (device,) in seen(lake, table, "device_id"))


def test_history_is_proved_rebuilt_and_erased_from(stored: Lake, lake: Lake, fences: Path) -> None:
    index, _ = FileFences(fences).current()
    assert digests(stored, tuple(TABLES)) == digests(lake, tuple(TABLES))
    proof = prove(stored, index)
    assert proof.problems == []
    assert proof.rows > 100

    days = sorted(listing(stored, TABLES["trips"]))
    rebuild(stored, index, Days(days[0], days[-1]), ["trips", "park_events"], lambda *_: None)
    assert digests(stored, DERIVED) == digests(lake, DERIVED)
    assert {swap.job for swap in swaps(stored)} == {"rebuild"}

    compact(stored, files=1)
    device, _ = devices(stored, "circling_sessions").most_common(1)[0]
    rows = {name: devices(stored, name) for name in TABLES}
    lay(stored, [str(device)])
    named = {name: of[device] for name, of in rows.items() if of[device]}
    assert {"positions", "trips", "circling_sessions"} <= set(named)
    assert remains(stored) == named
    assert finish(stored) == named
    assert remains(stored) == {}
    left = {name: Counter({d: n for d, n in of.items() if d != device}) for name, of in rows.items()}
    assert {name: devices(stored, name) for name in rows} == left
    assert sweep(stored, 0) == 0, "no object that named the device is left"
    assert audit(stored).problems == []
    assert prove(stored, index).problems == []
    assert digest(stored, "positions") != digest(lake, "positions")
