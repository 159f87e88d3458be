"""Devices whose people have asked that their events be erased: what is still to be done, and that it was done."""

from collections.abc import Sequence
from typing import Final

import psycopg

from api.database import load_queries

_SQL: Final = load_queries("api.people", "erasures.sql")


def read_requests(database_url: str) -> list[str]:
    """Return the devices whose events are still to be erased, in order of asking."""
    with psycopg.connect(database_url) as connection:
        return [device_id for (device_id,) in connection.execute(_SQL["requested"]).fetchall()]


def note_done(database_url: str, device_ids: Sequence[str]) -> None:
    """Note that nothing is left of these devices."""
    with psycopg.connect(database_url) as connection:
        connection.execute(_SQL["done"], {"device_ids": list(device_ids)})
