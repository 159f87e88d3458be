"""The relay sends what stands in the outbox: any number of them, in any number of processes, each message by one.

A message is locked while it is sent and deleted in the same transaction, so a crash sends it again and never loses it.
What cannot be sent is tried again later, ever more seldom, until it is of no use any more.
"""

import asyncio
import logging
import os
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import psycopg

from api.database import Pool, load_queries
from api.tenancy import authenticating

POLL_S: Final = 1.0

_SQL: Final = load_queries("api.outbox", "outbox.sql")
log = logging.getLogger(__name__)


class Letter(NamedTuple):
    """A message as its recipient reads it."""

    message_id: UUID
    channel: str
    recipient: str
    subject: str
    text: str


class RecipientGoneError(Exception):
    """Nobody is reached there any more, nor will be."""


class Sender(Protocol):
    """Takes letters of one channel to people."""

    def send(self, letter: Letter) -> None:
        """Hand the letter over; RecipientGoneError, or OSError or smtplib.SMTPException if it could not be now."""


class FolderSender:
    """Keeps letters as files, for the owner's eyes: what development and tests use in place of a provider."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, letter: Letter) -> None:
        """Write the letter; sent twice, it is one file."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f".{letter.message_id}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"To: {letter.recipient}\nSubject: {letter.subject}\n\n{letter.text}")
        draft.rename(self._folder / f"{letter.message_id}.txt")


class SmtpSender(NamedTuple):
    """Sends e-mail through a server that speaks TLS."""

    host: str
    port: int
    user: str
    password: str
    sender: str
    tls: ssl.SSLContext

    def send(self, letter: Letter) -> None:
        """Send the letter as plain text; a repeat carries the same Message-ID."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, letter.recipient, letter.subject
        message["Message-ID"] = f"<{letter.message_id}@{self.sender.rpartition('@')[2]}>"
        message.set_content(letter.text)
        with smtplib.SMTP(self.host, self.port, timeout=10) as server:
            server.starttls(context=self.tls)
            if self.user:
                server.login(self.user, self.password)
            server.send_message(message)


class Relay:
    """Sends what is due."""

    def __init__(self, pool: Pool, senders: Mapping[str, Sender], public_url: str = "") -> None:
        self._pool = pool
        self._site = {"site": public_url.rstrip("/")}  # what links in letters begin with
        self._senders = senders

    async def run(self) -> None:
        """Send for ever; a database that does not answer is asked again."""
        while True:
            try:
                while await self.send_one():
                    pass
            except psycopg.Error as error:
                log.warning("outbox not read", extra={"error": type(error).__name__})
            await asyncio.sleep(POLL_S)

    async def send_one(self) -> bool:
        """Send the message that is due longest, or put it off; return whether there was one."""
        async with authenticating(self._pool) as connection:
            for expired in await (await connection.execute(_SQL["drop_expired"])).fetchall():
                log.error("message dropped: it could not be sent in time", extra={"channel": expired.channel})
            row = await (await connection.execute(_SQL["take"])).fetchone()
            if row is None:
                return False
            message = {"message_id": row.message_id}
            try:
                fields = row.fields | self._site
                letter = render(row.message_id, row.channel, row.recipient, row.template, row.locale, fields)
                await asyncio.to_thread(self._senders[row.channel].send, letter)
            except RecipientGoneError:
                log.info("message dropped: its recipient is gone", extra={"channel": row.channel})
                await connection.execute(_SQL["done"], message)
                await connection.execute(_SQL["forget_recipient"], {"recipient": row.recipient})
            except (OSError, smtplib.SMTPException, LookupError, ValueError) as error:  # a bad row stops no other
                log.warning("message put off", extra={"channel": row.channel, "error": type(error).__name__})
                await connection.execute(_SQL["later"], message | {"error": type(error).__name__})
            else:
                await connection.execute(_SQL["done"], message)
        return True


def render(
    message_id: UUID, channel: str, recipient: str, template: str, locale: str, fields: dict[str, Any]
) -> Letter:
    """Fill a template: its first line is the subject."""
    text = resources.files(__package__).joinpath("templates", locale, f"{template}.txt").read_text("utf-8")
    subject, _, body = Template(text).substitute(fields).partition("\n")
    return Letter(message_id, channel, recipient, subject, body.strip() + "\n")
