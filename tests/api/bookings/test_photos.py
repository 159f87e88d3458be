"""Photos over HTTP, in a folder and, where PARKPAL_TEST_S3 names a server, in a bucket of it."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from PIL import Image

from api.app import ApiConfig
from api.database import build_pool
from api.limiter import Limiter, PostgresAllowances
from api.outbox import relay
from api.photos.album import Album
from api.photos.picture import MAX_BYTES
from api.photos.store import FolderStore, PhotoStore
from parkpal.photos import build_photo_store
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.bookings.person import DRIVEWAY, Person, mall, quarter
from tests.api.conftest import serve
from tests.api.people.conftest import PASSWORD, Town

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

SERVER = os.environ.get("PARKPAL_TEST_S3", "")
SEED, HERE = bytes(32), "http://parkpal.test"
STORES = [
    "folder",
    pytest.param(
        "s3",
        marks=pytest.mark.skipif(
            not SERVER, reason="needs an S3 server: make s3, and PARKPAL_TEST_S3=s3://BUCKET?endpoint=URL"
        ),
    ),
]


def build_store(name: str, folder: Path) -> PhotoStore:
    if name == "folder":
        return build_photo_store(f"file://{folder}/photos", SEED, HERE)
    parts = urlsplit(SERVER)
    query = urlencode({key: value for key, value in parse_qsl(parts.query) if key != "home"})
    return build_photo_store(f"s3://{parts.netloc}/photos-{uuid4()}?{query}", SEED, HERE)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PhotoStore:
    return build_store(request.param, tmp_path)


@pytest.fixture
async def town(
    store: PhotoStore, config: ApiConfig, event_log: EventLog, lake: Lake, tmp_path: Path, monkeypatch: Any
) -> AsyncIterator[Town]:
    monkeypatch.setattr(relay, "POLL_S", 0.01)
    many = {"codes_per_minute": 5, "registrations_per_minute": 1_000, "holds_per_minute": 1_000}
    async with serve(replace(config, photos=store, **many), event_log, lake) as service:  # type: ignore[arg-type]
        yield Town(service, tmp_path / "outbox")


@pytest.fixture
async def album(store: PhotoStore, config: ApiConfig) -> AsyncIterator[Album]:
    """The album of another process."""
    pool = build_pool(config.database_url, max_size=2)
    await pool.open()
    yield Album(pool, store, Limiter(PostgresAllowances(pool), SEED, "uploads", 100))
    await pool.close()


def jpeg(color: str = "red") -> bytes:
    """Return a picture that says where it was taken."""
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (14.0, 33.0, 1.0)
    out = BytesIO()
    Image.new("RGB", (30, 20), color).save(out, "JPEG", exif=exif)
    return out.getvalue()


async def send(person: Person, path: str, data: bytes, key: str = "") -> httpx.Response:
    headers = person.headers | {"Idempotency-Key": key or uuid4().hex, "Content-Type": "image/jpeg"}
    return await person.client.post(path, headers=headers, content=data)


async def add(person: Person, path: str, data: bytes | None = None) -> dict[str, Any]:
    answer = await send(person, path, data or jpeg())
    assert answer.status_code == 201, answer.text
    photo: dict[str, Any] = answer.json()
    return photo


async def fetch(town: Town, url: str) -> httpx.Response:
    """Open an URL as a browser would: ours, or the object store's own."""
    if url.startswith(HERE):
        return await town.client.get(url)
    async with httpx.AsyncClient() as client:
        return await client.get(url)


async def test_a_place_shows_its_photos_without_what_the_files_said(town: Town, ana: Person, ben: Person) -> None:
    place = (await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201))["place_id"]
    path = f"/v1/spaces/{place}/photos"
    first, second = await add(ben, path), await add(ben, path, jpeg("blue"))
    assert [one["photo_id"] for one in await ana.get(path)] == [first["photo_id"], second["photo_id"]]
    shown = await fetch(town, second["url"])
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    with Image.open(BytesIO(shown.content)) as image:
        assert (image.size, dict(image.getexif())) == ((30, 20), {})
        pixel = image.getpixel((5, 5))
        assert isinstance(pixel, tuple)
        assert pixel[2] > 200 > pixel[0]
    order = {"photo_ids": [second["photo_id"], first["photo_id"]]}
    assert [one["photo_id"] for one in (await ben.send("PUT", f"{path}/order", order)).json()] == order["photo_ids"]
    details = await ana.get(f"/v1/spaces/{place}")
    assert [one["photo_id"] for one in details["photos"]] == order["photo_ids"]
    window = {"from": quarter(1).isoformat(), "to": quarter(2).isoformat()}
    (found,) = await ana.get("/v1/search", lat=14.55, lon=121.03, **window)
    assert found["photo"]["photo_id"] == second["photo_id"]


async def test_a_signed_url_opens_one_photo_for_its_time(town: Town, store: PhotoStore, ben: Person) -> None:
    path = f"/v1/spaces/{(await ben.post('/v1/hosts/me/spaces', DRIVEWAY, 201))['place_id']}/photos"
    first, second = await add(ben, path), await add(ben, path)
    assert (await fetch(town, first["url"])).status_code == 200
    bare = first["url"].partition("?")[0]
    mixed = f"{bare}?{second['url'].partition('?')[2]}" if isinstance(store, FolderStore) else bare + "?x=1"
    for url in (bare, mixed, first["url"].replace("ignature=", "ignature=A")):
        assert (await fetch(town, url)).status_code in {401, 403}, url
    if isinstance(store, FolderStore):
        store._clock = lambda: datetime.now(UTC) + timedelta(hours=2)
        assert (await fetch(town, first["url"])).status_code == 401


async def test_a_removed_photo_is_gone_from_the_store_and_the_others_close_up(
    town: Town, store: PhotoStore, album: Album, ana: Person, ben: Person
) -> None:
    path = f"/v1/spaces/{(await ben.post('/v1/hosts/me/spaces', DRIVEWAY, 201))['place_id']}/photos"
    photos = [await add(ben, path) for _ in range(3)]
    (middle_url,) = await store.urls([UUID(photos[1]["photo_id"])])
    assert (await ben.send("DELETE", f"{path}/{photos[1]['photo_id']}")).status_code == 204
    assert (await ben.send("DELETE", f"{path}/{photos[1]['photo_id']}")).status_code == 404
    assert [one["photo_id"] for one in await ana.get(path)] == [photos[0]["photo_id"], photos[2]["photo_id"]]
    await album.clean()
    assert (await fetch(town, middle_url)).status_code in {401, 404}
    assert await album.clean() == 0
    await add(ben, path)


async def test_of_twelve_that_come_at_once_ten_are_taken(ben: Person) -> None:
    path = f"/v1/spaces/{(await ben.post('/v1/hosts/me/spaces', DRIVEWAY, 201))['place_id']}/photos"
    answers = await asyncio.gather(*(send(ben, path, jpeg()) for _ in range(12)))
    refused = [answer.json()["type"] for answer in answers if answer.status_code != 201]
    assert refused == ["urn:parkpal:problem:too-many-photos"] * 2
    assert len(await ben.get(path)) == 10


async def test_a_repeat_adds_nothing_and_other_files_are_refused(town: Town, ana: Person, ben: Person) -> None:
    place = (await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201))["place_id"]
    path, data = f"/v1/spaces/{place}/photos", jpeg()
    answers = [await send(ben, path, data, "key") for _ in range(2)]
    assert answers[0].json()["photo_id"] == answers[1].json()["photo_id"]
    assert (await fetch(town, answers[1].json()["url"])).status_code == 200
    assert (await send(ben, path, jpeg("blue"), "key")).json()["type"].endswith("key-reused")
    svg = await send(ben, path, b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert (svg.status_code, svg.json()["detail"]) == (400, "The photo is no JPEG, PNG or WebP.")
    assert (await send(ben, path, bytes(MAX_BYTES + 1))).status_code == 413
    assert len(await ben.get(path)) == 1
    assert (await send(ana, path, data)).status_code == 404
    assert (await send(ben, f"/v1/spaces/{uuid4()}/photos", data)).status_code == 404
    both = {"photo_ids": [str(uuid4())]}
    assert (await ben.send("PUT", f"{path}/order", both)).status_code == 400
    assert (await ana.send("PUT", f"{path}/order", both)).status_code == 404


async def test_an_upload_that_died_half_way_is_cleaned_up(town: Town, album: Album, ben: Person) -> None:
    """A row without a picture is not shown, and gone ten minutes later; so is what the store has of it."""
    place = (await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201))["place_id"]
    path = f"/v1/spaces/{place}/photos"
    photo = await add(ben, path)
    async with album._pool.connection() as connection:
        await connection.execute("UPDATE photos SET state = 'coming'")
        assert await ben.get(path) == []
        await album.clean()
        assert (await fetch(town, photo["url"])).status_code == 200
        await connection.execute("UPDATE photos SET changed_at = changed_at - interval '11 minutes'")
        await album.clean()
        assert await (await connection.execute("SELECT FROM photos")).fetchone() is None
    assert (await fetch(town, photo["url"])).status_code in {401, 404}


async def test_a_retired_space_and_an_erased_host_have_no_photos_and_no_address(
    town: Town, album: Album, ana: Person, ben: Person
) -> None:
    """Nor stays what the host wrote of a guest; while guests are to come the account stays."""
    first = (await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201))["place_id"]
    second = (await ben.post("/v1/hosts/me/spaces", DRIVEWAY | {"name": "Garage"}, 201))["place_id"]
    photos = [await add(ben, f"/v1/spaces/{place}/photos") for place in (first, second)]
    exported = (await ben.get("/v1/me/export"))["photos"]
    assert [one["photo_id"] for one in exported] == [one["photo_id"] for one in photos]
    await ben.send("PUT", f"/v1/hosts/me/spaces/{first}", DRIVEWAY | {"state": "retired"})
    assert await ben.get(f"/v1/spaces/{first}/photos") == []
    held = await ana.hold(second, quarter(2))
    refused = await ben.send("POST", "/v1/me/erase", {"password": PASSWORD})
    assert refused.json()["facts"] == {"bookings": [held["booking_id"]]}
    await ana.post(f"/v1/bookings/{held['booking_id']}/cancel", {})
    assert (await ben.send("POST", "/v1/me/erase", {"password": PASSWORD})).status_code == 204
    await album.clean()
    for photo in photos:
        assert (await fetch(town, photo["url"])).status_code in {401, 404}
    async with album._pool.connection() as connection:
        rows = await (await connection.execute("SELECT * FROM places")).fetchall()
    told = [(row.state, row.name, row.address, row.access_note, row.lat == row.shown_lat) for row in rows]
    assert told == [("retired", "-", "", "", True)] * 2


async def test_a_report_names_a_photo_that_host_and_driver_see(town: Town, ana: Person, ben: Person) -> None:
    """And nobody else; with the driver's account it goes, and what they wrote."""
    cora, _ = await mall(town)
    place = (await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201))["place_id"]
    path = f"/v1/bookings/{(await ana.hold(place, quarter(2)))['booking_id']}"
    await ana.post(f"{path}/confirm")
    photo = await add(ana, f"{path}/photos")
    assert (await send(ben, f"{path}/photos", jpeg())).status_code == 403
    assert (await send(cora, f"{path}/photos", jpeg())).status_code in {403, 404}
    report = {"kind": "unsafe", "note": "a hole", "photo_id": photo["photo_id"]}
    assert await ana.refused(f"{path}/report", report | {"photo_id": str(uuid4())}) == "invalid-request"
    await ana.post(f"{path}/report", report)
    (seen,) = await ben.get(f"{path}/photos")
    assert seen["photo_id"] == photo["photo_id"]
    (told,) = (await ana.get("/v1/me/export"))["reports"]
    assert (told["note"], told["photo_id"]) == ("a hole", photo["photo_id"])
    await ana.post(f"{path}/cancel", {})
    await ana.send("POST", "/v1/me/erase", {"password": PASSWORD})
    assert await ben.get(f"{path}/photos") == []
