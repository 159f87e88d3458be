"""The adapters that the contract runs on: one more adapter is one more entry here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.log import EventLog
from pipeline.log.open import open_log


def _sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log' / 'log.sqlite'}"


ADAPTERS: dict[str, Callable[[Path], str]] = {"sqlite": _sqlite_url}


@pytest.fixture(params=ADAPTERS)
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a log that does not exist yet."""
    return ADAPTERS[request.param](tmp_path)


@pytest.fixture
def log(log_url: str) -> Iterator[EventLog]:
    """Open a log of 4 partitions of `positions` and 1 of `rejected`."""
    opened = open_log(log_url)
    opened.create({"positions": 4, "rejected": 1})
    yield opened
    opened.close()
