"""Phones: each sends its bodies one after the other and moves on only when the server has said that it has them."""

import asyncio
import gzip
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import httpx
import msgspec

from parkpal.demo.bodies import Body, PhoneLoad
from parkpal.demo.journal import Journal

AT_ONCE: Final = 24
TRIES: Final = 60
"""Tries of one request; a busy or starting server is asked again, and says when."""
CONSENT: Final = {"location_analytics": True}
ACCEPTED, DUPLICATES, REFUSED = "accepted", "duplicates", "refused bodies"


class PushError(Exception):
    """The server refused what it should take, or did not answer for long."""


class Phones:
    """All phones of the demo behind one HTTP client; `tally` counts the server's answers of this run."""

    def __init__(self, client: httpx.AsyncClient, journal: Journal, advance: Callable[[], None]) -> None:
        """Send through `client`, note in `journal`, call `advance` after each body."""
        self.tally: Counter[str] = Counter()
        self._client = client
        self._journal = journal
        self._advance = advance
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def push(self, loads: list[PhoneLoad]) -> None:
        """Send what the journal does not have; PushError if the server will not take it."""
        try:
            async with asyncio.TaskGroup() as group:
                for load in loads:
                    group.create_task(self._push_phone(load))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _push_phone(self, load: PhoneLoad) -> None:
        async with self._turn:
            begin = self._journal.done.get(load.name, 0)
            if begin >= len(load.bodies):
                return
            token = self._journal.tokens.get(load.name) or await self._register(load.name)
            for number, body in enumerate(load.bodies[begin:], begin + 1):
                await self._push_body(body, token, load.skew_ms)
                self._journal.acknowledged(load.name, number)
                self._advance()

    async def _register(self, phone: str) -> str:
        answer = await self._ask("/v1/devices", msgspec.json.encode({"consent": CONSENT, "platform": "android"}), {})
        if answer.status_code != httpx.codes.CREATED:
            raise PushError(f"registering answered {answer.status_code}: {answer.text[:300]}")
        token = str(answer.json()["token"])
        self._journal.registered(phone, token)
        return token

    async def _push_body(self, body: Body, token: str, skew_ms: int) -> None:
        sent_at = time.time_ns() // 1_000_000 + skew_ms
        packed = gzip.compress(msgspec.json.encode({"sent_at": sent_at, "events": body.events}), compresslevel=1)
        headers = {"authorization": f"Bearer {token}", "content-encoding": "gzip"}
        if body.torn:
            answer = await self._ask("/v1/events", packed[: len(packed) // 2], headers)
            if not answer.is_client_error:
                raise PushError(f"a torn body was answered {answer.status_code}")
            self.tally[REFUSED] += 1
        for _ in range(body.times):
            answer = await self._ask("/v1/events", packed, headers)
            if answer.status_code != httpx.codes.ACCEPTED:
                raise PushError(f"events answered {answer.status_code}: {answer.text[:300]}")
            receipt = answer.json()
            self.tally[ACCEPTED] += receipt["accepted"]
            self.tally[DUPLICATES] += receipt["duplicates"]
            self.tally.update(event["reason"] for event in receipt["rejected"])

    async def _ask(self, path: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
        """POST until the server is neither busy nor away."""
        for _ in range(TRIES):
            try:
                answer = await self._client.post(
                    path, content=content, headers={"content-type": "application/json"} | headers
                )
            except httpx.TransportError:
                await asyncio.sleep(0.5)
                continue
            if answer.status_code not in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}:
                return answer
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))
        raise PushError(f"{path} did not take a request in {TRIES} tries")
