"""A message is a row: it exists if, and only if, what it tells of has happened."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from api.contacts import Contact
from api.database import Connection, load_queries

USEFUL_FOR: Final = timedelta(hours=24)
"""A message that could not be sent for this long is dropped."""

_CHANNEL: Final = {"email": "email", "phone": "sms"}
_SQL: Final = load_queries("api.outbox", "outbox.sql")


async def put_message(connection: Connection, to: Contact, template: str, locale: str, fields: dict[str, Any]) -> None:
    """Write a message within the caller's transaction; `template` is a file of `templates/<locale>`."""
    parameters = {
        "channel": _CHANNEL[to.kind],
        "recipient": to.text,
        "template": template,
        "locale": locale,
        "fields": Jsonb(fields),
        "useful_for": USEFUL_FOR,
    }
    await connection.execute(_SQL["put"], parameters)


async def put_pushes(
    connection: Connection, person_id: UUID, template: str, locale: str, fields: dict[str, Any]
) -> None:
    """Write the same to each phone on which the person's app is registered for it."""
    parameters = {
        "person_id": person_id,
        "template": template,
        "locale": locale,
        "fields": Jsonb(fields),
        "useful_for": USEFUL_FOR,
    }
    await connection.execute(_SQL["put_pushes"], parameters)
