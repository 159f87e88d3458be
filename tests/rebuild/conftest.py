"""A lake of three days that the flow wrote and ended, copied for each test that changes it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.lake.lake import Lake
from tests.rebuild.days import make_lake


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of three days that was ended."""
    folder = tmp_path_factory.mktemp("written")
    make_lake(folder, until_end=True)
    return folder


@pytest.fixture
def lake(written: Path, tmp_path: Path) -> Iterator[Lake]:
    """A copy of it."""
    shutil.copytree(written / "lake", tmp_path / "lake")
    return Lake.create(str(tmp_path / "lake"))


@pytest.fixture
def fences(written: Path) -> Path:
    return written / "fences.geojson"
