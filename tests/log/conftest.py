"""The adapters that the contract runs on: one more adapter is one more entry here.

Kafka is the broker that PARKPAL_TEST_KAFKA names (host:port), else the one inside librdkafka.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.log import EventLog
from pipeline.log.kafka.settings import read_place
from pipeline.log.open import open_log
from tests.log.kafka_stand_in import StandIn

STREAMS = {"positions": 4, "rejected": 1}
SERVERS = os.environ.get("PARKPAL_TEST_KAFKA")


@pytest.fixture(scope="session")
def stand_in() -> Iterator[StandIn]:
    """Start librdkafka's own broker."""
    broker = StandIn()
    yield broker
    broker.close()


@pytest.fixture
def missing_kafka_url(request: pytest.FixtureRequest) -> str:
    """Name a log on the broker that does not exist yet."""
    servers = SERVERS or request.getfixturevalue("stand_in").bootstrap
    return f"kafka://{servers}/{uuid.uuid4().hex[:12]}."


@pytest.fixture
def kafka_url(missing_kafka_url: str, request: pytest.FixtureRequest) -> str:
    """Name a log of which `STREAMS` can be created."""
    prepare(missing_kafka_url, request)
    return missing_kafka_url


@pytest.fixture
def real_kafka_url(missing_kafka_url: str) -> str:
    """Name a log on a real broker."""
    if not SERVERS:
        pytest.skip("needs a real broker: make kafka, and PARKPAL_TEST_KAFKA=host:port")
    return missing_kafka_url


def prepare(url: str, request: pytest.FixtureRequest) -> None:
    """Make topics where the broker cannot be asked for them."""
    if url.startswith("kafka") and not SERVERS:
        prefix = read_place(url).prefix
        request.getfixturevalue("stand_in").create(
            {prefix + stream: n for stream, n in {**STREAMS, "live": 1, "more": 2}.items()}
        )


def _sqlite_url(request: pytest.FixtureRequest) -> str:
    tmp_path: Path = request.getfixturevalue("tmp_path")
    return f"sqlite://{tmp_path / 'log' / 'log.sqlite'}"


def _kafka_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("missing_kafka_url")
    return url


ADAPTERS: dict[str, Callable[[pytest.FixtureRequest], str]] = {"sqlite": _sqlite_url, "kafka": _kafka_url}


@pytest.fixture(params=ADAPTERS)
def log_url(request: pytest.FixtureRequest) -> str:
    """Name a log that does not exist yet."""
    return ADAPTERS[request.param](request)


@pytest.fixture
def log(log_url: str, request: pytest.FixtureRequest) -> Iterator[EventLog]:
    """Open a log of 4 partitions of `positions` and 1 of `rejected`."""
    prepare(log_url, request)
    opened = open_log(log_url)
    opened.create(STREAMS)
    yield opened
    opened.close()


@pytest.fixture
def _trims(log_url: str) -> None:
    if log_url.startswith("kafka") and not SERVERS:
        pytest.skip("librdkafka's own broker deletes nothing: make kafka, and PARKPAL_TEST_KAFKA=host:port")
