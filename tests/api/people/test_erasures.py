"""From the account to the disk: a person who is erased has no event left in the log or in any table of the lake."""

import time
from pathlib import Path

import duckdb
import psycopg
import pytest
from click.testing import CliRunner, Result

from api.ingest.pseudonyms import key_name, month_of
from parkpal.commands.lake import lake as command
from pipeline.lake.lake import Lake
from pipeline.lake.tombstones import laid
from pipeline.log import EventLog
from pipeline.run import Run, run
from tests.api.conftest import month_key
from tests.api.people.conftest import PASSWORD, Town
from tests.flow.traffic import write_fences

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def environ(town: Town, folder: Path) -> dict[str, str]:
    """Point the command at the test's parts, and put this month's key where it looks."""
    month = month_of(time.time_ns() // 1_000_000)
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "keys" / f"{key_name(month)}.key").write_bytes(month_key(key_name(month)))
    places = {"DATA_DIR": folder, "KEYS_DIR": folder / "keys", "DATABASE_URL": town.service.database_url}
    return {f"PARKPAL_{name}": str(place) for name, place in places.items()}


def erase(environ: dict[str, str], *options: str) -> Result:
    return CliRunner().invoke(command, ["erase", *options], env=environ)


async def push(town: Town, phone: dict[str, str]) -> None:
    now = time.time_ns() // 1_000_000
    events = [{"seq": seq, "event_time": now - 9_000 + seq, "lat": 14.55, "lon": 121.03} for seq in range(5)]
    bad = [{"seq": 5, "event_time": now, "lat": 91, "lon": 121.03}]
    answer = await town.client.post("/v1/events", headers=phone, json={"sent_at": now, "events": events + bad})
    assert answer.status_code == 202, answer.text


def in_files(text: str, folder: Path, pattern: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.glob(pattern))


def devices(lake: Lake, table: str) -> int:
    """Return how many devices the table names."""
    query = f"SELECT count(DISTINCT device_id) FROM '{lake.root}/{table}/**/*.parquet'"
    return duckdb.execute(query).fetchall()[0][0]


async def test_an_erased_account_leaves_log_and_lake(
    town: Town, lake: Lake, event_log: EventLog, tmp_path: Path
) -> None:
    ana, gone, stays = (
        await town.headers("ana@example.ph"),
        await town.service.register(),
        await town.service.register(),
    )
    for phone in (gone, stays):
        await push(town, phone)
    token = gone["Authorization"].removeprefix("Bearer ")
    assert (await town.client.post("/v1/me/devices", headers=ana, json={"device_token": token})).status_code == 204
    assert (await town.client.post("/v1/me/erase", headers=ana, json={"password": PASSWORD})).status_code == 204
    config = Run(f"sqlite://{tmp_path}/log.sqlite", str(lake.root), write_fences(tmp_path / "f.geojson"), drain=True)
    run(config)
    assert (devices(lake, "positions"), devices(lake, "rejected")) == (2, 2)
    ended = erase(environ(town, tmp_path), "--requests")
    assert ended.exit_code == 0, ended.output
    assert "1 devices: 1 rows of geofence_events, 5 rows of positions, 1 rows of rejected erased" in ended.output
    assert "2 messages of the log no longer name them" in ended.output
    assert (devices(lake, "positions"), devices(lake, "rejected")) == (1, 1)
    (stone,) = laid(lake)
    assert stone.done
    assert not in_files(stone.tombstone.devices[0], tmp_path, "log.sqlite*")
    assert len(town.service.rows().rows) == 5
    audited = CliRunner().invoke(
        command, ["audit", "--lake", str(lake.root), "--log", f"sqlite://{tmp_path}/log.sqlite"]
    )
    assert audited.exit_code == 0, audited.output
    assert "5 rows of positions are gone by erase, as its records say" in audited.output
    with psycopg.connect(town.service.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM erasure_requests WHERE done_at IS NULL").fetchone() == (0,)
    again = erase(environ(town, tmp_path), "--requests")
    assert "0 devices: the lake held no row of theirs" in again.output


async def test_without_the_months_keys_nothing_is_called_done(town: Town, lake: Lake, tmp_path: Path) -> None:
    places = {"PARKPAL_DATA_DIR": str(tmp_path), "PARKPAL_KEYS_DIR": str(tmp_path / "none")}
    ended = erase(places, "--device", "somebody")
    assert ended.exit_code == 1
    assert "no month's key that would tell its pseudonyms" in ended.output
    assert laid(lake) == []
