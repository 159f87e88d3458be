"""Live events over a real socket: pushed once decided, to keys with the scope alone, again from a cursor."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import websockets.sync.client as ws
from websockets.exceptions import InvalidStatus

from api.api_keys import ANALYTICS_READ, make_key
from api.live.feed import HELD_EVENTS, Feed, TailUnavailableError
from pipeline.log import JSON, LIVE, NewMessage
from pipeline.log.open import open_log
from tests.api.conftest import Service
from tests.api.test_server import server

CELL = 0x8969300000FFFFF


def event(name: str, place: str = "mall") -> dict[str, Any]:
    return {"table": "geofence_events", "id": name, "place": place, "row": {"event_id": name, "h3_r9": CELL}}


def push(folder: Path, *events: dict[str, Any]) -> None:
    with closing(open_log(f"sqlite://{folder}/log.sqlite")) as log:
        log.append([NewMessage(LIVE, 0, json.dumps(events).encode(), JSON)])


def connect(url: str, key: str, query: str = "") -> ws.ClientConnection:
    address = url.replace("http", "ws") + f"/v1/live{query}"
    return ws.connect(address, additional_headers={"Authorization": f"Bearer {key}"} if key else {})


def receive(socket: ws.ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(socket.recv(timeout=10))
    return message


@pytest.mark.postgres
def test_events_are_pushed_to_who_may_follow_and_again_from_a_cursor(tmp_path: Path, database_url: str) -> None:
    weak = make_key()
    with server(tmp_path, database_url) as (url, _):
        key = (tmp_path / "keys" / "first-api-key").read_text().strip()
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "INSERT INTO api_keys (key_id, secret_hash, name, scopes) VALUES (%s, %s, 'test', %s)",
                [weak.key_id, weak.secret_hash, [ANALYTICS_READ]],
            )
        for wrong, status in (("", 401), ("pp_live_0123456789abcdef_00", 401), (weak.text, 403)):
            with pytest.raises(InvalidStatus) as refused:
                connect(url, wrong)
            assert refused.value.response.status_code == status
            assert json.loads(refused.value.response.body or b"")["status"] == status
        with connect(url, key) as all_places, connect(url, key, "?fence_id=market&fence_id=gym") as two_places:
            assert receive(all_places)["complete"]
            assert receive(two_places)["type"] == "greeting"
            push(tmp_path, event("a"), event("b", "market"), event("a"))
            push(tmp_path, event("b", "market"), event("c", "gym"))
            seen = [receive(all_places) for _ in range(3)]
            assert [message["row"]["event_id"] for message in seen] == ["a", "b", "c"], "repeats are dropped"
            assert seen[0]["row"]["h3_r9"] == "8969300000fffff"
            assert [receive(two_places)["row"]["event_id"] for _ in range(2)] == ["b", "c"]
        with connect(url, key, f"?after={seen[0]['cursor']}") as again:
            assert receive(again) == {"type": "greeting", "cursor": seen[0]["cursor"], "complete": True}
            assert [receive(again) for _ in range(2)] == seen[1:]
        answer = httpx.get(f"{url}/v1/live", headers={"Authorization": f"Bearer {key}"})
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")


class ListedTail:
    """A tail whose messages a test writes."""

    def __init__(self, *reads: list[tuple[int, bytes]] | None) -> None:
        self.reads = list(reads)

    def read(self, offset: int | None) -> list[tuple[int, bytes]]:
        messages = self.reads.pop(0) if self.reads else []
        if messages is None:
            raise TailUnavailableError("away")
        return messages


@asynccontextmanager
async def running(feed: Feed) -> AsyncIterator[None]:
    task = asyncio.create_task(feed.run())
    yield
    task.cancel()


@pytest.mark.anyio
async def test_a_feed_outlives_outages_and_nonsense_and_says_what_it_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.live.feed.RETRY_S", 0.0)
    many = [event(f"e{n}") for n in range(HELD_EVENTS + 5)]
    feed = Feed(ListedTail(None, [(0, b"?"), (1, json.dumps(many[:5]).encode())], [(2, json.dumps(many[5:]).encode())]))
    async with running(feed):
        following = feed.follow(0, None)
        ids: list[str] = []
        while len(ids) < len(many):
            ids += [held.event.id for held in await anext(following)]
        assert ids == [f"e{n}" for n in range(len(many))]
        assert feed.followers == 1
        await following.aclose()
        assert feed.followers == 0
        assert not feed.holds(0)
        assert feed.holds(feed.newest())


@pytest.mark.anyio
@pytest.mark.postgres
async def test_the_plain_route_says_that_it_wants_a_web_socket(service: Service) -> None:
    answer = await service.client.get("/v1/live", headers={"Authorization": f"Bearer {service.api_key}"})
    assert (answer.status_code, answer.json()["type"]) == (426, "urn:parkpal:problem:upgrade-required")
