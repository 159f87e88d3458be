"""People who sign up over HTTP, and read what ParkPal sends them."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import ApiConfig
from api.outbox import relay
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.conftest import Service, serve

PASSWORD = "correct horse battery"  # noqa: S105  # of people who do not exist


@dataclass
class Town:
    """A running service, and the folder where letters arrive."""

    service: Service
    letters: Path

    @property
    def client(self) -> httpx.AsyncClient:
        """Return the client, without credentials."""
        return self.service.client

    async def letter(self, to: str, count: int = 1) -> str:
        """Wait for so many letters to somebody; return the newest."""
        for _ in range(500):
            found = self._letters_to(to)
            if len(found) >= count:
                return max(found, key=lambda path: path.stat().st_mtime_ns).read_text()
            await asyncio.sleep(0.01)
        raise AssertionError(f"no letter to {to}")

    def _letters_to(self, to: str) -> list[Path]:
        return [path for path in self.letters.glob("*.txt") if f"To: {to}\n" in path.read_text()]

    async def code(self, to: str, count: int = 1) -> str:
        """Return the code of the newest letter."""
        found = re.search(r"\b\d{8}\b", await self.letter(to, count))
        assert found is not None
        return found[0]

    async def sign_up(self, contact: str, **more: Any) -> dict[str, Any]:
        """Make an account; return its tokens."""
        person = {"contact": contact, "password": PASSWORD, "name": "Ana"} | more
        before = len(self._letters_to(contact))
        answer = await self.client.post("/v1/auth/sign-up", json=person)
        assert answer.status_code == 202, answer.text
        body = {"contact": contact, "code": await self.code(contact, before + 1)}
        answer = await self.client.post("/v1/auth/confirm", json=body)
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def headers(self, contact: str, **more: Any) -> dict[str, str]:
        """Make an account; return the headers that its owner sends."""
        return bearer(await self.sign_up(contact, **more))

    async def sign_in(self, contact: str, password: str = PASSWORD, **more: Any) -> httpx.Response:
        """Try to sign in."""
        return await self.client.post("/v1/auth/sign-in", json={"contact": contact, "password": password} | more)


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    """Return the header that these tokens make."""
    return {"Authorization": f"Bearer {tokens['access_token']}"}


@pytest.fixture
async def town(
    config: ApiConfig, event_log: EventLog, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Town]:
    """A service whose relay does not wait, with room for a test's tries."""
    monkeypatch.setattr(relay, "POLL_S", 0.01)
    config = replace(config, codes_per_minute=5, tries_per_minute=12, registrations_per_minute=1_000)
    async with serve(config, event_log, lake) as service:
        yield Town(service, tmp_path / "outbox")
