"""A lake is found by URL, and what this program does not know is refused."""

from pathlib import Path

import pytest

from pipeline.lake.commit import LakeRefusedError, LakeWriteError
from pipeline.lake.lake import Lake, LakeMissingError


def test_a_url_and_a_path_name_the_same_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a lake"
    Lake.create(f"file://{str(folder).replace(' ', '%20')}")
    assert Lake.open(str(folder)).root == folder


@pytest.mark.parametrize("url", ["s3://bucket/lake", "file://host/lake", "data/l*ke", "data/[lake]"])
def test_a_url_that_is_no_local_folder_is_a_wrong_call(url: str) -> None:
    with pytest.raises(ValueError, match="lake "):
        Lake.open(url)


def test_a_folder_without_a_lake_is_said(tmp_path: Path) -> None:
    with pytest.raises(LakeMissingError, match="parkpal run creates it"):
        Lake.open(str(tmp_path))


def test_a_lake_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lake.json").write_text('{"version":2,"time_zone":"Asia/Manila","sink_partitions":4}')
    with pytest.raises(LakeRefusedError, match="version 2"):
        Lake.open(str(tmp_path))


def test_a_place_that_takes_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LakeWriteError, match="takes no writes"):
        Lake.create(str(tmp_path / "file" / "lake"))


def test_creating_again_changes_no_file_that_readers_see(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in lake.root.rglob("*.parquet")}
    Lake.create(str(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in lake.root.rglob("*.parquet")} == before
