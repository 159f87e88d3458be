"""One call of a provider's API, and the act that answers it."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from parkpal.payments_simulator.books import Books

Object = dict[str, Any]


class Asked(NamedTuple):
    """A call: body, the id in its path, its query, and how payers reach the simulator."""

    body: bytes
    id: str
    query: dict[str, str]
    url: str


Act = Callable[[Books, Asked], Object]


class Endpoint(NamedTuple):
    """What is answered where."""

    method: Literal["GET", "POST"]
    path: str
    act: Act


def page(objects: list[Object], after: str | None, limit: str) -> tuple[list[Object], bool]:
    """Return the page of objects, newest first, that follows an id; and whether there are more."""
    newest = list(reversed(objects))
    if after is not None:
        ids = [each["id"] for each in newest]
        newest = newest[ids.index(after) + 1 :] if after in ids else []
    most = min(100, int(limit))
    return newest[:most], len(newest) > most
