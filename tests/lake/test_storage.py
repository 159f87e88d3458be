"""What upkeep says where storage fails it, and that nothing is lost: it goes on once that is mended."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.lake import exchange
from pipeline.lake.audit import audit
from pipeline.lake.commit import LakeWriteError
from pipeline.lake.compaction import compact
from pipeline.lake.digest import digest
from pipeline.lake.exchange import sweep
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import write_messages

MOUNTS = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"may not mount: {error.stderr.decode().strip()}")
    yield place
    run("umount", str(place))


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def written(folder: Path) -> Lake:
    """A lake of four small commits."""
    lake = Lake.create(str(folder / "lake"))
    writer = PartitionWriter.open(lake, 0, None)
    for first in range(0, 8, 2):
        write_messages(writer, 0, first, first + 2)
        writer.snapshot()
    writer.close()
    publish_pending(lake)
    return lake


def contents(lake: Lake) -> dict[str, tuple[int, str]]:
    return {name: digest(lake, name) for name in TABLES}


@MOUNTS
def test_a_full_disk_stops_compaction_with_its_reason_and_nothing_is_lost(disk: Path) -> None:
    lake = written(disk)
    before = contents(lake)
    ballast = disk / "ballast"
    with suppress(OSError):
        ballast.write_bytes(bytes(8 << 20))
    with pytest.raises(LakeWriteError, match="No space left on device"):
        compact(lake, files=1)
    assert contents(lake) == before
    ballast.unlink()
    assert compact(lake, files=1).changed == 2
    assert contents(lake) == before
    assert audit(lake).problems == []


@MOUNTS
def test_a_read_only_folder_is_named_and_readers_and_audit_go_on(disk: Path) -> None:
    lake = written(disk)
    before = contents(lake)
    run("mount", "-o", "remount,ro", str(disk))
    with pytest.raises(LakeWriteError, match=rf"{lake.root} takes no writes: Read-only file system"):
        compact(lake, files=1)
    assert audit(lake).problems == []
    assert contents(lake) == before
    run("mount", "-o", "remount,rw", str(disk))
    assert compact(lake, files=1).changed == 2


@MOUNTS
def test_a_lake_on_tmpfs_can_be_compacted(disk: Path) -> None:
    lake = written(disk)
    assert compact(lake, files=1).changed == 2
    assert sweep(lake, 0) == 0


def test_a_file_system_without_exchange_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call stands in for a network file system: it answers as one does."""

    def refusing(source: Path, target: Path, flags: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(source))

    lake = written(tmp_path)
    before = contents(lake)
    monkeypatch.setattr(exchange, "rename", refusing)
    job = compact(lake, files=1)
    assert job.changed == 0
    assert "cannot exchange two directories (Invalid argument)" in job.refused[0]
    assert "Put the lake on ext4, XFS or tmpfs; writing goes on as it is" in job.refused[0]
    assert contents(lake) == before
    assert list((lake.root / "_upkeep").iterdir()) == []
