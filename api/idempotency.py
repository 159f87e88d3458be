"""A POST with an Idempotency-Key happens once, however often it is sent.

The scope is person, route and key. Whoever comes while the first is at work gets 409, because an advisory lock is
tried before the key's row, on which a second request would only wait. Afterwards the same body gets the stored answer,
refusals too, and another body 422. A failure of the server is rolled back with the rest, so nothing of it is stored.

`once` is for work of one transaction. Where the work goes on after a commit (a payment provider is asked in between),
`claim` and `keep` frame it: a key without an answer is claimed again by the next repeat, which then resumes. Answers
hold no secrets: QR codes are signed anew by their own route.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import psycopg
from litestar import Request
from litestar.params import HeaderParameter

from api.database import Connection, fetch_row, load_queries
from api.errors import (
    TABLE,
    ApiError,
    FieldError,
    KeyInUseError,
    KeyReusedError,
)
from api.people.principal import caller_of
from api.tenancy import Transaction

KEPT_HOURS: Final = 24
TRIES: Final = 4
LONGEST_PAUSE_S: Final = 0.1
"""Drawn at random up to here, so that two that have met do not meet again."""

IdempotencyKey = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Names this attempt: sent again with the same body it is answered alike and does nothing more",
    ),
]
_T = TypeVar("_T")
_SQL: Final = load_queries("api", "idempotency.sql")
_ERRORS: Final = {answer.slug: error for error, answer in TABLE.items()}
_SERVER_ERROR: Final = 500


class Scope(NamedTuple):
    """What a key is unique within, and the body it came with."""

    principal: UUID
    route: str
    key: str
    body_hash: bytes


class Stored(NamedTuple):
    """An answer that was given before."""

    status: int
    answer: bytes


class _Refusal(msgspec.Struct, frozen=True):
    """An error as it is stored."""

    slug: str
    detail: str
    errors: tuple[FieldError, ...]
    facts: dict[str, Any]


async def scope_of(request: Request[Any, Any, Any], key: str) -> Scope:
    """Return the scope of a signed-in person's request."""
    route = f"{request.method} {request.scope['path']}"
    return Scope(caller_of(request).person_id, route, key, hashlib.sha256(await request.body()).digest())


async def claim(connection: Connection, scope: Scope) -> Stored | None:
    """Take the key until the transaction ends; None if its work is to be done, or to be resumed.

    KeyInUseError if another transaction has it; KeyReusedError if it came with another body.
    """
    parameters = scope._asdict()
    if not (await fetch_row(connection, _SQL["lock"], parameters)).locked:
        raise KeyInUseError(retry_after_s=1)
    row = await (await connection.execute(_SQL["claim"], parameters)).fetchone()
    if row is None:
        return None
    if bytes(row.body_hash) != scope.body_hash:
        raise KeyReusedError
    return None if row.answer is None else Stored(row.status, bytes(row.answer))


async def keep(connection: Connection, scope: Scope, stored: Stored) -> None:
    """Store the answer to a claimed key."""
    await connection.execute(_SQL["keep"], scope._asdict() | stored._asdict())


async def once(
    transaction: Transaction,
    scope: Scope,
    kind: type[_T],
    work: Callable[[Connection], Awaitable[_T]],
) -> _T:
    """Do the work in this transaction, once; return its answer, of this kind, or raise its refusal, as stored.

    Where PostgreSQL ends the transaction for the sake of another one, nothing of it has happened: it is tried again.
    """
    for left in reversed(range(TRIES)):
        try:
            async with transaction as connection:
                outcome = await _outcome(connection, scope, kind, work)
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            if not left:
                raise
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_S))  # noqa: S311  no secret
        else:
            break
    if isinstance(outcome, ApiError):
        raise outcome
    return outcome


async def _outcome(
    connection: Connection, scope: Scope, kind: type[_T], work: Callable[[Connection], Awaitable[_T]]
) -> _T | ApiError:
    stored = await claim(connection, scope)
    if stored is not None:
        return _decode(stored, kind)
    try:
        async with connection.transaction():
            answer = await work(connection)
    except ApiError as error:
        if TABLE[type(error)].status >= _SERVER_ERROR:
            raise
        await keep(connection, scope, _refusal(error))
        return error
    await keep(connection, scope, Stored(200, msgspec.json.encode(answer)))
    return answer


def _refusal(error: ApiError) -> Stored:
    status, slug = TABLE[type(error)]
    return Stored(status, msgspec.json.encode(_Refusal(slug, error.detail, error.errors, dict(error.facts))))


def _decode(stored: Stored, kind: type[_T]) -> _T | ApiError:
    if stored.status == 200:
        return msgspec.json.decode(stored.answer, type=kind)
    refusal = msgspec.json.decode(stored.answer, type=_Refusal)
    return _ERRORS[refusal.slug](refusal.detail, errors=refusal.errors, facts=refusal.facts)
