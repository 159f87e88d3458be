"""Push by FCM: over HTTP against a stand-in for Google that checks what Google checks, and what a dead token does."""

import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.app import ApiConfig
from api.database import Pool, build_pool
from api.outbox.fcm import SCOPE, FcmSender, read_account
from api.outbox.messages import put_pushes
from api.outbox.relay import Relay
from api.people.push import MOST_TOKENS
from api.tenancy import at_desk
from tests.api.conftest import Service
from tests.api.matrix_world import World, build_world

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

FIELDS = {"booking": "1", "place": "Yard", "plate": "ABC1234", "start": "", "end": "12:00", "total": ""}
KEY = rsa.generate_private_key(65537, 2048)
ERRORS = {
    "dead": (404, "UNREGISTERED"),
    "lost": (404, ""),
    "busy": (503, "UNAVAILABLE"),
    "wrong": (400, "INVALID_ARGUMENT"),
}


@dataclass
class Google:
    """The token endpoint and FCM; tokens named in ERRORS are answered so."""

    url: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    sign_ins: int = 0
    valid: str = ""

    def answer(self, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer as Google does."""
        if path == "/token":
            form = parse_qs(body.decode())
            assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
            audience = f"{self.url}/token"
            claims = jwt.decode(form["assertion"][0], KEY.public_key(), ["RS256"], audience=audience)
            assert (claims["iss"], claims["scope"]) == ("push@parkpal.example", SCOPE)
            assert jwt.get_unverified_header(form["assertion"][0])["kid"] == "key-1"
            self.sign_ins += 1
            self.valid = f"access-{self.sign_ins}"
            return 200, {"access_token": self.valid, "expires_in": 3600, "token_type": "Bearer"}
        assert path == "/v1/projects/parkpal/messages:send"
        if headers["authorization"] != f"Bearer {self.valid}":
            return 401, {"error": {"status": "UNAUTHENTICATED"}}
        message = json.loads(body)["message"]
        if message["token"] in ERRORS:
            status, code = ERRORS[message["token"]]
            return status, {"error": {"details": [{"errorCode": code}] if code else []}}
        self.sent.append(message)
        return 200, {"name": "projects/parkpal/messages/1"}


@contextmanager
def run_google() -> Iterator[Google]:
    """Run both."""
    google = Google()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, answer = google.answer(
                self.path, self.headers, self.rfile.read(int(self.headers["content-length"]))
            )
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    google.url = f"http://127.0.0.1:{server.server_port}"
    yield google
    server.shutdown()
    server.server_close()


@dataclass
class Post:
    """A relay that pushes to Google's stand-in, and somebody who may be told."""

    google: Google
    relay: Relay
    pool: Pool
    url: str
    person_id: UUID

    async def tell(self, *tokens: str) -> None:
        """Register these tokens, and write a reminder to all of them."""
        with psycopg.connect(self.url) as connection:
            for token in tokens:
                connection.execute("INSERT INTO push_tokens VALUES (%s, %s)", [token, self.person_id])
        async with at_desk(self.pool) as connection_:
            await put_pushes(connection_, self.person_id, "booking_ending", "en", FIELDS)

    def rows(self, query: str) -> list[Any]:
        """Run a query as the database's owner."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture
async def post(config: ApiConfig) -> AsyncIterator[Post]:
    """A relay over the test's database."""
    world = build_world(config.database_url, config.device_token_key)
    pool = build_pool(config.database_url, max_size=2)
    await pool.open()
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with run_google() as google:
        account = {
            "type": "service_account",
            "project_id": "parkpal",
            "client_email": "push@parkpal.example",
            "private_key": pem,
            "private_key_id": "key-1",
            "token_uri": f"{google.url}/token",
        }
        sender = FcmSender(read_account(json.dumps(account)), google.url)
        relay = Relay(pool, {"push": sender}, "https://parkpal.example")
        yield Post(google, relay, pool, config.database_url, world.people["driver"])
    await pool.close()


async def test_a_letter_reaches_every_install_and_signs_in_once(post: Post) -> None:
    await post.tell("first:a-b_c", "second")
    while await post.relay.send_one():
        pass
    assert sorted(message["token"] for message in post.google.sent) == ["first:a-b_c", "second"]
    assert post.google.sent[0]["notification"]["title"] == "Your time at Yard ends soon"
    assert "https://parkpal.example/b/1/extend" in post.google.sent[0]["notification"]["body"]
    assert post.google.sign_ins == 1
    assert post.rows("SELECT * FROM outbox") == []


async def test_a_dead_token_is_removed_and_others_are_tried_again(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    """Only what FCM documents as gone; nothing that is logged tells whose it was."""
    caplog.set_level(logging.DEBUG)
    await post.tell(*ERRORS, "alive")
    while await post.relay.send_one():
        pass
    assert post.rows("SELECT token FROM push_tokens ORDER BY 1") == [("alive",), ("busy",), ("lost",), ("wrong",)]
    waiting = post.rows("SELECT recipient, attempts FROM outbox ORDER BY 1")
    assert waiting == [("busy", 1), ("lost", 1), ("wrong", 1)]
    logged = [str(vars(record)) for record in caplog.records if record.name.startswith("api")]
    assert logged
    assert not [line for line in logged if any(word in line for word in (*ERRORS, "ABC1234", str(post.person_id)))]


async def test_an_access_token_that_ended_early_is_replaced(post: Post) -> None:
    await post.tell("alive")
    await post.relay.send_one()
    post.google.valid = "another"
    await post.tell()
    assert await post.relay.send_one()
    with psycopg.connect(post.url) as connection:
        connection.execute("UPDATE outbox SET due_at = now()")
    await post.relay.send_one()
    assert (post.google.sign_ins, len(post.google.sent)) == (2, 2)


async def test_who_has_no_phone_registered_is_sent_no_push(post: Post) -> None:
    await post.tell()
    assert not await post.relay.send_one()


@pytest.fixture
async def world(service: Service, config: ApiConfig) -> World:
    """People of a running service."""
    return build_world(service.database_url, config.device_token_key)


async def test_a_token_is_of_who_registered_it_last_and_forgotten_by_them_alone(service: Service, world: World) -> None:
    async def call(who: str, method: str, path: str = "", body: Any = None) -> int:
        address = f"/v1/me/push-tokens{path}"
        return (await service.client.request(method, address, headers=world.headers(who), json=body)).status_code

    assert await call("driver", "PUT", body={"token": "phone:1"}) == 204
    assert await call("stranger", "PUT", body={"token": "phone:1"}) == 204
    assert await call("driver", "DELETE", "/phone:1") == 404
    assert await call("stranger", "DELETE", "/phone:1") == 204
    assert await call("stranger", "PUT", body={"token": "no token"}) == 400
    with psycopg.connect(service.database_url) as connection:
        for number in range(MOST_TOKENS):
            connection.execute("INSERT INTO push_tokens VALUES (%s, %s)", [f"old{number}", world.people["driver"]])
    assert await call("driver", "PUT", body={"token": "new"}) == 204
    with psycopg.connect(service.database_url) as connection:
        rows = connection.execute("SELECT token FROM push_tokens ORDER BY registered_at DESC").fetchall()
    assert len(rows) == MOST_TOKENS
    assert rows[0] == ("new",)
