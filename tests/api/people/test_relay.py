"""What stands in the outbox is sent: once where nothing fails, again where something does, never lost."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from api.contacts import Contact
from api.database import Pool, build_pool
from api.outbox.messages import put_message
from api.outbox.relay import FolderSender, Letter, Relay, SmtpSender, render
from api.tenancy import authenticating

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

ANA = Contact("email", "ana@example.ph")
LETTER = Letter(UUID(int=1), "email", ANA.text, "Your code", "Your code is 12345678.\n")


class Broken:
    """A sender whose provider fails so often."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.sent: list[Letter] = []

    def send(self, letter: Letter) -> None:
        """Fail, or take the letter."""
        if self.times:
            self.times -= 1
            raise ConnectionRefusedError
        self.sent.append(letter)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with build_pool(database_url, max_size=4) as pool:
        yield pool


async def put(pool: Pool, count: int = 1) -> None:
    async with authenticating(pool) as connection:
        for n in range(count):
            await put_message(connection, ANA, "reset", "en", {"code": f"{n:08}"})


async def outbox(pool: Pool) -> list[Any]:
    async with pool.connection() as connection:
        return await (await connection.execute("SELECT attempts, error FROM outbox")).fetchall()


async def test_each_message_is_sent_by_one_of_several_relays(pool: Pool) -> None:
    await put(pool, 20)
    sender = Broken(0)
    relays = [Relay(pool, {"email": sender}) for _ in range(4)]

    async def drain(relay: Relay) -> None:
        while await relay.send_one():
            pass

    await asyncio.gather(*map(drain, relays))
    assert len({letter.subject for letter in sender.sent}) == len(sender.sent) == 20
    assert await outbox(pool) == []


async def test_what_cannot_be_sent_is_put_off_and_sent_later(pool: Pool) -> None:
    await put(pool)
    sender = Broken(1)
    relay = Relay(pool, {"email": sender})
    assert await relay.send_one()
    assert await outbox(pool) == [(1, "ConnectionRefusedError")]
    assert not await relay.send_one(), "not before its time"
    async with pool.connection() as connection:
        await connection.execute("UPDATE outbox SET due_at = now()")
    assert await relay.send_one()
    assert [letter.recipient for letter in sender.sent] == [ANA.text]


async def test_a_message_that_does_not_fit_its_template_stops_no_other(pool: Pool) -> None:
    async with authenticating(pool) as connection:
        await put_message(connection, ANA, "reset", "en", {})
    await put(pool)
    sender = Broken(0)
    relay = Relay(pool, {"email": sender})
    assert await relay.send_one()
    assert await relay.send_one()
    assert len(sender.sent) == 1
    assert await outbox(pool) == [(1, "KeyError")]


async def test_a_message_of_no_use_any_more_is_dropped(pool: Pool) -> None:
    await put(pool)
    async with pool.connection() as connection:
        await connection.execute("UPDATE outbox SET expires_at = now() - interval '1 second'")
    assert not await Relay(pool, {"email": Broken(0)}).send_one()
    assert await outbox(pool) == []


async def test_a_message_of_what_did_not_happen_does_not_exist(pool: Pool) -> None:
    async def change_one_s_mind() -> None:
        async with authenticating(pool) as connection:
            await put_message(connection, ANA, "reset", "en", {"code": "00000000"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await change_one_s_mind()
    assert await outbox(pool) == []


@pytest.mark.parametrize("locale", ["en", "fil"])
@pytest.mark.parametrize("template", ["sign_up", "known", "reset", "contact"])
def test_every_template_is_there_in_every_language(template: str, locale: str) -> None:
    letter = render(LETTER.message_id, "email", ANA.text, template, locale, {"code": "12345678"})
    assert letter.subject
    assert ("12345678" in letter.text) == (template != "known")


def test_a_folder_holds_a_letter_for_its_owners_eyes(tmp_path: Path) -> None:
    sender = FolderSender(tmp_path / "outbox")
    sender.send(LETTER)
    sender.send(LETTER)
    (file,) = (tmp_path / "outbox").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "12345678" in file.read_text()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    path = tmp_path / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signed = builder.sign(key, hashes.SHA256())
    path.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    return path


class Mailbox(Message):
    """What a mail server received."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Any] = []

    def handle_message(self, message: Any) -> None:
        """Keep a message."""
        self.messages.append(message)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def mail_server(certificate: Path) -> Iterator[tuple[Controller, Mailbox]]:
    """A mail server that takes nothing without TLS."""
    mailbox = Mailbox()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = Controller(mailbox, hostname="localhost", port=free_port(), tls_context=context, require_starttls=True)
    server.start()
    yield server, mailbox
    server.stop()


def test_e_mail_goes_over_tls_and_a_repeat_carries_the_same_id(
    mail_server: tuple[Controller, Mailbox], certificate: Path
) -> None:
    server, mailbox = mail_server
    trusting = ssl.create_default_context(cafile=certificate)
    sender = SmtpSender("localhost", server.port, "", "", "hello@parkpal.example", trusting)
    sender.send(LETTER)
    sender.send(LETTER)
    assert [message["To"] for message in mailbox.messages] == [ANA.text] * 2
    assert len({message["Message-ID"] for message in mailbox.messages}) == 1
    assert "12345678" in mailbox.messages[0].get_payload()


def test_a_mail_server_that_cannot_prove_who_it_is_gets_nothing(mail_server: tuple[Controller, Mailbox]) -> None:
    server, mailbox = mail_server
    with pytest.raises(ssl.SSLCertVerificationError):
        SmtpSender("localhost", server.port, "", "", "hello@parkpal.example", ssl.create_default_context()).send(LETTER)
    assert mailbox.messages == []
