"""A request that is sent twice happens once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from uuid import UUID

import msgspec
import psycopg
import pytest

from api.database import Connection, Pool, build_pool
from api.errors import InternalError, KeyInUseError, KeyReusedError, PlaceTakenError
from api.idempotency import TRIES, Scope, claim, once
from api.tenancy import acting

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

ANA = UUID(int=7)
SCOPE = Scope(ANA, "POST /v1/bookings", "key-1", bytes(32))


class Answer(msgspec.Struct, frozen=True):
    """What the work gives."""

    number: int


class Work:
    """Counts how often it is done; raises what it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.done = 0
        self.error = error

    async def __call__(self, _: Connection) -> Answer:
        """Do it."""
        self.done += 1
        if self.error is not None:
            raise self.error
        return Answer(self.done)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to the test's database."""
    pool = build_pool(database_url, max_size=4)
    await pool.open()
    yield pool
    await pool.close()


async def test_a_repeat_gets_the_first_answer_and_does_nothing(pool: Pool) -> None:
    work = Work()
    assert [await once(acting(pool, ANA), SCOPE, Answer, work) for _ in range(3)] == [Answer(1)] * 3
    assert work.done == 1


async def test_another_key_route_or_person_is_another_scope(pool: Pool) -> None:
    work = Work()
    for scope in (SCOPE, SCOPE._replace(key="key-2"), SCOPE._replace(route="POST /v1/walk-ups")):
        await once(acting(pool, ANA), scope, Answer, work)
    await once(acting(pool, UUID(int=8)), SCOPE._replace(principal=UUID(int=8)), Answer, work)
    assert work.done == 4


async def test_the_same_key_with_another_body_is_refused(pool: Pool) -> None:
    await once(acting(pool, ANA), SCOPE, Answer, Work())
    with pytest.raises(KeyReusedError):
        await once(acting(pool, ANA), SCOPE._replace(body_hash=bytes([1] * 32)), Answer, Work())


async def test_a_refusal_is_stored_with_its_facts_and_a_failure_is_not(pool: Pool) -> None:
    refused = Work(PlaceTakenError("taken", facts={"latest_end": None}))
    for _ in range(2):
        with pytest.raises(PlaceTakenError) as raised:
            await once(acting(pool, ANA), SCOPE, Answer, refused)
        assert (raised.value.detail, raised.value.facts) == ("taken", {"latest_end": None})
    failing = Work(InternalError())
    for _ in range(2):
        with pytest.raises(InternalError):
            await once(acting(pool, ANA), SCOPE._replace(key="key-2"), Answer, failing)
    assert (refused.done, failing.done) == (1, 2)


async def test_who_comes_while_the_first_is_at_work_is_told_so(pool: Pool) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Connection) -> Answer:
        begun.set()
        await go_on.wait()
        return Answer(1)

    first = asyncio.create_task(once(acting(pool, ANA), SCOPE, Answer, slow))
    await begun.wait()
    with pytest.raises(KeyInUseError):
        await once(acting(pool, ANA), SCOPE, Answer, Work())
    go_on.set()
    assert await first == Answer(1)


async def test_a_key_without_an_answer_is_claimed_again(pool: Pool) -> None:
    """The work went on after a commit and died there: the repeat resumes it."""
    for _ in range(2):
        async with acting(pool, ANA) as connection:
            assert await claim(connection, SCOPE) is None


async def test_who_is_ended_for_the_sake_of_another_tries_again(pool: Pool) -> None:
    """Two take two locks in opposite order, and both have the first before either asks for the second."""
    first_taken = asyncio.Barrier(2)
    tries = 0

    async def cross(connection: Connection, locks: tuple[int, int]) -> Answer:
        nonlocal tries
        tries += 1
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [locks[0]])
        if tries <= 2:
            await first_taken.wait()
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [locks[1]])
        return Answer(locks[0])

    def attempt(key: str, locks: tuple[int, int]) -> Awaitable[Answer]:
        return once(acting(pool, ANA), SCOPE._replace(key=key), Answer, lambda connection: cross(connection, locks))

    answers = await asyncio.gather(attempt("key-1", (1, 2)), attempt("key-2", (2, 1)))
    assert answers == [Answer(1), Answer(2)]
    assert tries == 3


async def test_who_is_ended_again_and_again_is_told(pool: Pool) -> None:
    work = Work(psycopg.errors.SerializationFailure())
    with pytest.raises(psycopg.errors.SerializationFailure):
        await once(acting(pool, ANA), SCOPE, Answer, work)
    assert work.done == TRIES
    assert await once(acting(pool, ANA), SCOPE, Answer, Work()) == Answer(1)
