"""A real PostgreSQL (the wheel's, or PARKPAL_TEST_DATABASE_URL), a real log, a real lake; each test has its own."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest

from api.analytics.reader import LakeReader
from api.api_keys import ensure_first_key
from api.app import ApiConfig, build_app
from api.database import load_migrations, migrate
from api.embedded_postgres import EMBEDDED_SCHEME, open_database
from api.ingest.grouping import EventWriter
from api.outbox.relay import FolderSender
from api.photos.store import FolderStore
from parkpal.ingest_log import LogWriter
from parkpal.live_log import LiveTail
from pipeline.batch import Decoded, Malformed, decode, decode_refused
from pipeline.lake.lake import Lake
from pipeline.log import LIVE, POSITIONS, REJECTED, EventLog, Message
from pipeline.log.open import open_log


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder for embedded servers outside pytest's own: each session of pytest takes others' rights on that away."""
    with TemporaryDirectory(prefix="parkpal-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def template_url(server_folder: Path) -> Iterator[str]:
    """The URL of a migrated database that nobody connects to."""
    folder = server_folder / "postgres"
    with open_database(os.environ.get("PARKPAL_TEST_DATABASE_URL") or f"{EMBEDDED_SCHEME}:///{folder}") as server_url:
        name = f"template_{uuid4().hex}"
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        migrate(_other_database(server_url, name), load_migrations())
        yield _other_database(server_url, name)
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name}".encode())


@pytest.fixture
def database_url(template_url: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    template = urlsplit(template_url).path.removeprefix("/")
    name = f"test_{uuid4().hex}"
    server_url = _other_database(template_url, "postgres")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    yield _other_database(template_url, name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _other_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, which is what the server runs on."""
    return "asyncio"


@dataclass
class Service:
    """A running app with its client and its parts."""

    client: httpx.AsyncClient
    log: EventLog
    database_url: str
    api_key: str

    async def register(self, **consent: bool) -> dict[str, str]:
        """Register a phone; return the headers it then sends."""
        answer = await self.client.post("/v1/devices", json={"consent": consent or {"location_analytics": True}})
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    def rows(self) -> Decoded:
        """Return everything in the positions stream."""
        return decode([message for p in range(self.log.partitions(POSITIONS)) for message in self._read(POSITIONS, p)])

    def refused(self) -> list[Malformed]:
        """Return everything in the rejected stream."""
        return decode_refused(self._read(REJECTED, 0))

    def _read(self, stream: str, partition: int) -> list[Message]:
        return self.log.read(stream, partition, 0, 1 << 30)


def month_key(name: str) -> bytes:
    """Give each month its own key."""
    return sha256(name.encode()).digest()


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> ApiConfig:
    """Settings of an app for tests."""
    return ApiConfig(
        version="0",
        database_url=database_url,
        device_token_key=bytes(32),
        pseudonym_key=month_key,
        access_token_seed=bytes(32),
        senders={channel: FolderSender(tmp_path / "outbox") for channel in ("email", "sms")},
        photos=FolderStore(tmp_path / "photos", bytes(32), "http://parkpal.test"),
        public_url="http://parkpal.test",
        pool_size=4,
    )


@asynccontextmanager
async def serve(
    config: ApiConfig, log: EventLog, lake: Lake, writer: EventWriter | None = None
) -> AsyncIterator[Service]:
    """Run an app over a log."""
    key_file = Path(mkdtemp()) / "key"
    ensure_first_key(config.database_url, key_file)
    app = build_app(config, writer or LogWriter(log), LakeReader(str(lake.root)), LiveTail(log))
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # its scope is a plain dict
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://parkpal.test") as client:
        yield Service(client, log, config.database_url, key_file.read_text().strip())


@pytest.fixture
def event_log(tmp_path: Path) -> EventLog:
    """A real log of 8 partitions."""
    log = open_log(f"sqlite:///{tmp_path / 'log.sqlite'}")
    log.create({POSITIONS: 8, REJECTED: 1, LIVE: 1})
    return log


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A real lake without data."""
    return Lake.create(f"file://{tmp_path / 'lake'}")


@pytest.fixture
async def service(config: ApiConfig, event_log: EventLog, lake: Lake) -> AsyncIterator[Service]:
    """A running app over a real log and database."""
    async with serve(config, event_log, lake) as service:
        yield service
