"""Webhooks out: what a real receiver gets, when it is sent again, and whom nobody is made to call."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from cryptography.exceptions import InvalidTag

from api.app import ApiConfig
from api.database import Pool, build_pool
from api.webhooks import delivering, endpoints
from api.webhooks.delivering import Deliveries
from api.webhooks.egress import ANSWER_BYTES, Egress, EgressError, is_public
from api.webhooks.signing import Seal
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.conftest import Service, serve
from tests.api.matrix_world import SEED, World, build_world

pytestmark = pytest.mark.anyio

RESERVED = ["booking.reserved", "booking.canceled"]


@dataclass
class Receiver:
    """A real HTTP server that keeps what it gets and answers what it is told to."""

    url: str = ""
    answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request and answer it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in head[1:] if line}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append((headers, body))
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.take, "127.0.0.1", 0)
    async with server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks"
        yield receiver


@dataclass
class Operator:
    """A service, an operator with its admin, and what sends webhooks."""

    service: Service
    world: World
    deliveries: Deliveries

    async def call(self, method: str, path: str = "", body: Any = None, status: int = 200) -> Any:
        """Call as the operator's admin."""
        address = f"/v1/operators/{self.world.estates['operator'].ids['tenant']}/webhooks{path}"
        headers = self.world.headers("operator_admin")
        answer = await self.service.client.request(method, address, headers=headers, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def add(self, url: str) -> tuple[str, str]:
        """Add an endpoint; return its id and secret."""
        made = await self.call("POST", body={"url": url, "kinds": RESERVED}, status=201)
        return made["endpoint"]["endpoint_id"], made["secret"]

    def change(self, status: str, booking: str = "held") -> None:
        """Let something happen to a booking."""
        booking_id = self.world.estates["operator"].ids[booking]
        self.run("UPDATE bookings SET status = %s, hold_expires_at = NULL WHERE booking_id = %s", status, booking_id)

    def run(self, query: str, *parameters: Any) -> list[Any]:
        """Run a query as the database's owner."""
        with psycopg.connect(self.world.url) as connection:
            found = connection.execute(query.encode(), parameters)
            return found.fetchall() if found.description else []

    def hurry(self) -> None:
        """Let what waits be due now."""
        self.run("UPDATE webhook_deliveries SET due_at = now() WHERE outcome = 'waiting'")


@pytest.fixture
async def pool(config: ApiConfig) -> AsyncIterator[Pool]:
    """Connections to the test's database."""
    pool = build_pool(config.database_url, max_size=4)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
async def operator(
    config: ApiConfig, event_log: EventLog, lake: Lake, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Operator]:
    """An operator whose webhooks are sent when the test says so; http and this machine are allowed."""

    async def never(_: Deliveries) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Deliveries, "run", never)
    world = build_world(config.database_url, config.device_token_key)
    async with serve(replace(config, strict_webhooks=False), event_log, lake) as service:
        yield Operator(service, world, Deliveries(pool, Egress(strict=False), Seal(SEED)))


def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Check a signature as a receiver does, written without a look at the code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{wanted}" in headers["webhook-signature"].split(" ")


@pytest.mark.postgres
async def test_a_change_is_told_once_signed_and_without_names(operator: Operator) -> None:
    async with receiving() as receiver:
        _, secret = await operator.add(receiver.url)
        operator.change("RESERVED")
        operator.run("UPDATE bookings SET reason = 'nothing new' WHERE status = 'RESERVED'")
        assert await operator.deliveries.send_due() == 1
        assert await operator.deliveries.send_due() == 0
    ((headers, body),) = receiver.got
    assert verify(secret, headers, body)
    assert not verify("whsec_" + base64.b64encode(bytes(32)).decode(), headers, body)
    told = json.loads(body)
    assert told["type"] == "booking.reserved"
    assert told["data"]["booking_id"] == operator.world.estates["operator"].ids["held"]
    assert set(told["data"]) == {"booking_id", "place_id", "status", "starts_at", "ends_at"}
    assert operator.run("SELECT outcome, answer FROM webhook_deliveries") == [("taken", "204")]
    assert secret.encode() not in bytes(operator.run("SELECT sealed_secret FROM webhook_endpoints")[0][0])


@pytest.mark.postgres
async def test_nobody_is_told_of_what_others_do_or_what_is_rolled_back(operator: Operator) -> None:
    async with receiving() as receiver:
        await operator.add(receiver.url)
        booking_id = operator.world.estates["host"].ids["held"]
        reserved = "UPDATE bookings SET status = 'RESERVED', hold_expires_at = NULL WHERE "
        operator.run(f"{reserved} booking_id = %s", booking_id)
        with psycopg.connect(operator.world.url) as connection:
            connection.execute(f"{reserved} status = 'HELD'".encode())
            connection.rollback()
        assert await operator.deliveries.send_due() == 0
    assert receiver.got == []


@pytest.mark.postgres
async def test_both_secrets_sign_for_a_day_after_a_rotation(operator: Operator) -> None:
    async with receiving() as receiver:
        endpoint_id, first = await operator.add(receiver.url)
        second = (await operator.call("POST", f"/{endpoint_id}/rotate"))["secret"]
        operator.change("RESERVED")
        await operator.deliveries.send_due()
        operator.run("UPDATE webhook_endpoints SET former_until = now()")
        operator.change("CANCELED")
        await operator.deliveries.send_due()
    assert [[verify(secret, *one) for secret in (first, second)] for one in receiver.got] == [
        *([True, True], [False, True]),
    ]


@pytest.mark.postgres
async def test_a_failure_comes_again_ever_later_and_is_given_up_and_replayed(operator: Operator) -> None:
    async with receiving() as receiver:
        endpoint_id, _ = await operator.add(receiver.url)
        receiver.answer = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
        operator.change("RESERVED")
        for number, pause in enumerate(delivering.PAUSES, 1):
            assert await operator.deliveries.send_due() == 1
            ((attempts, wait),) = operator.run("SELECT attempts, due_at - now() FROM webhook_deliveries")
            assert attempts == number
            assert pause - timedelta(minutes=1) < wait <= pause
            assert await operator.deliveries.send_due() == 0
            operator.hurry()
        await operator.deliveries.send_due()
        (given_up,) = await operator.call("GET", f"/{endpoint_id}/deliveries?outcome=given_up")
        assert (given_up["attempts"], given_up["answer"]) == (len(delivering.PAUSES) + 1, "302")
        receiver.answer = Receiver.answer
        assert (await operator.call("POST", f"/{endpoint_id}/replay", {"since": "2020-01-01T00:00:00Z"}))["count"] == 1
        await operator.deliveries.send_due()
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
        assert len({body for _, body in receiver.got}) == 1
        await operator.call("POST", f"/{endpoint_id}/deliveries/{given_up['event_id']}/replay")
        assert await operator.deliveries.send_due() == 1
    assert operator.run("SELECT failing_since FROM webhook_endpoints") == [(None,)]


@pytest.mark.postgres
async def test_an_endpoint_that_fails_for_days_or_is_gone_is_disabled_and_its_owners_are_told(
    operator: Operator,
) -> None:
    async with receiving() as receiver:
        endpoint_id, _ = await operator.add(receiver.url)
        receiver.answer = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
        operator.change("RESERVED")
        await operator.deliveries.send_due()
        assert operator.run("SELECT disabled_at FROM webhook_endpoints") == [(None,)]
        operator.run("UPDATE webhook_endpoints SET failing_since = now() - %s", delivering.PATIENCE)
        operator.hurry()
        await operator.deliveries.send_due()
        operator.hurry()
        assert await operator.deliveries.send_due() == 0
        assert (await operator.call("GET"))[0]["disabled_at"] is not None
        assert operator.run("SELECT template FROM outbox WHERE template = 'webhook_disabled'") != []
        await operator.call("POST", f"/{endpoint_id}/enable", status=204)
        receiver.answer = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"
        assert await operator.deliveries.send_due() == 1
        assert (await operator.call("GET"))[0]["disabled_at"] is not None
    assert len(receiver.got) == 3


@pytest.mark.postgres
async def test_who_dies_with_a_delivery_leaves_it_to_be_sent_again(operator: Operator, pool: Pool) -> None:
    """A receiver that is called while the process dies: nobody says what became of it, the lease ends."""

    class KilledError(BaseException):
        """Caught by nobody."""

    class Dying(Egress):
        async def post(self, *_: Any) -> int:
            raise KilledError

    async with receiving() as receiver:
        await operator.add(receiver.url)
        operator.change("RESERVED")
        with pytest.raises(KilledError):
            await Deliveries(pool, Dying(strict=False), Seal(SEED)).send_due()
        assert await operator.deliveries.send_due() == 0  # the lease
        operator.hurry()
        assert await operator.deliveries.send_due() == 1
    assert len(receiver.got) == 1


@pytest.mark.postgres
async def test_urls_that_are_never_called_are_refused_and_endpoints_are_few(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("ftp://example.ph/", "https://", "https://user:word@example.ph/", "nonsense", "http://[::1"):
        await operator.call("POST", body={"url": url, "kinds": RESERVED}, status=400)
    monkeypatch.setattr(endpoints, "MOST_ENDPOINTS", 1)
    endpoint_id, _ = await operator.add("https://example.ph/hooks")
    await operator.call("POST", body={"url": "https://example.ph/more", "kinds": RESERVED}, status=409)
    await operator.call("DELETE", f"/{endpoint_id}", status=204)
    await operator.add("https://example.ph/more")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),  # noqa: S104  nobody binds
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1"),
        *("ff02::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1"),
    ],
)
async def test_an_address_that_is_not_public_is_never_called(address: str) -> None:
    """Whatever name leads to it, alone or beside a public one."""
    assert not is_public(address)
    for addresses in ([address], ["93.184.216.34", address]):
        egress = Egress(strict=True, resolve=_resolving(addresses))
        with pytest.raises(EgressError, match="not public"):
            await egress.post("https://example.ph/", {}, b"{}")


async def test_public_addresses_are_public() -> None:
    assert all(map(is_public, ("93.184.216.34", "8.8.8.8", "2606:4700::1111")))


def _resolving(addresses: list[str]) -> Any:
    async def resolve(_: str, __: int) -> list[str]:
        return addresses

    return resolve


async def test_in_production_only_https_is_called() -> None:
    with pytest.raises(EgressError, match="https"):
        await Egress(strict=True).post("http://example.ph/", {}, b"{}")


async def test_the_address_that_was_looked_at_is_the_one_that_is_called() -> None:
    """A name that means another address at the second look gains nothing: there is none."""
    looks = 0

    async def rebinding(_: str, __: int) -> list[str]:
        nonlocal looks
        looks += 1
        return ["127.0.0.1"] if looks == 1 else ["10.0.0.1"]

    async with receiving() as receiver:
        port = receiver.url.rsplit(":", 1)[1]
        status = await Egress(strict=False, resolve=rebinding).post(f"http://example.ph:{port}", {}, b"{}")
    assert (status, looks) == (204, 1)
    assert receiver.got[0][0]["host"].startswith("example.ph")


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    async with receiving() as receiver:
        receiver.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n" + bytes(2 * ANSWER_BYTES)
        assert await Egress(strict=False).post(receiver.url, {}, b"{}") == 200


async def test_nobody_at_the_address_is_an_answer_too() -> None:
    with pytest.raises(EgressError, match="ConnectError"):
        await Egress(strict=False).post("http://127.0.0.1:9/", {}, b"{}")


def test_a_secret_in_the_database_is_opened_by_the_key_alone() -> None:
    sealed = Seal(bytes(32)).close("whsec_x")
    assert Seal(bytes(32)).open(sealed) == "whsec_x"
    with pytest.raises(InvalidTag):
        Seal(bytes([1] * 32)).open(sealed)
