"""Where a person's phones are reached by push: registered by the app, forgotten on request or when they are dead."""

from typing import Final, NamedTuple

from api.database import Pool, load_queries
from api.errors import NotFoundError
from api.limiter import Limiter
from api.people.access import Caller
from api.tenancy import acting, authenticating

MOST_TOKENS: Final = 10
"""Of a person; the ones registered longest ago go."""

_SQL: Final = load_queries("api.people", "push.sql")


class PushTokens(NamedTuple):
    """Registers and forgets tokens of the caller's installs."""

    pool: Pool
    limiter: Limiter

    async def register(self, caller: Caller, token: str) -> None:
        """Take a token as the caller's, whoever had it before; RateLimitedError."""
        await self.limiter.take(str(caller.person_id))
        parameters = {"person_id": caller.person_id, "token": token, "most": MOST_TOKENS}
        async with authenticating(self.pool) as connection:
            await connection.execute(_SQL["register"], parameters)
            await connection.execute(_SQL["keep_newest"], parameters)

    async def forget(self, caller: Caller, token: str) -> None:
        """Forget one of the caller's tokens; NotFoundError."""
        async with acting(self.pool, caller.person_id) as connection:
            if await (await connection.execute(_SQL["forget"], {"token": token})).fetchone() is None:
                raise NotFoundError("The token is not registered.")
