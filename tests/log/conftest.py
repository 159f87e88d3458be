"""The adapters that the contract runs on: one more adapter is one more entry here."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.log import EventLog
from pipeline.log.open import open_log
from tests.log.kafka_stand_in import StandIn

STREAMS = {"positions": 4, "rejected": 1}


@pytest.fixture(scope="session")
def stand_in() -> Iterator[StandIn]:
    """Start librdkafka's own broker."""
    broker = StandIn()
    yield broker
    broker.close()


@pytest.fixture
def new_kafka_url(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Give names of logs that do not exist yet, on the broker of PARKPAL_TEST_KAFKA or the stand-in."""
    servers = os.environ.get("PARKPAL_TEST_KAFKA")
    broker = None if servers else request.getfixturevalue("stand_in")

    def name() -> str:
        return f"kafka://{servers or broker.bootstrap}/{uuid.uuid4().hex[:12]}."

    return name


def _sqlite_url(request: pytest.FixtureRequest) -> str:
    tmp_path: Path = request.getfixturevalue("tmp_path")
    return f"sqlite:///{tmp_path / 'log' / 'log.sqlite'}"


def _kafka_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("new_kafka_url")()
    return url


ADAPTERS: dict[str, Callable[[pytest.FixtureRequest], str]] = {"sqlite": _sqlite_url, "kafka": _kafka_url}


@pytest.fixture(params=ADAPTERS)
def log_url(request: pytest.FixtureRequest) -> str:
    """Name a log that does not exist yet."""
    return ADAPTERS[request.param](request)


@pytest.fixture
def log(log_url: str, request: pytest.FixtureRequest) -> Iterator[EventLog]:
    """Open a log of 4 partitions of `positions` and 1 of `rejected`."""
    if log_url.startswith("kafka") and not os.environ.get("PARKPAL_TEST_KAFKA"):
        prefix = log_url.rpartition("/")[2]
        request.getfixturevalue("stand_in").create({prefix + stream: n for stream, n in {**STREAMS, "more": 2}.items()})
    opened = open_log(log_url)
    opened.create(STREAMS)
    yield opened
    opened.close()
