"""Webhooks on their way: signed as the provider signs, tried again as it tries, and spoiled as the faults say."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import msgspec

from api.payments.signatures import sign
from parkpal.payments_simulator.books import Name
from parkpal.payments_simulator.faults import Dice

RETRIES: Final = 12
FIRST_WAIT_S: Final = 1.0
"""Doubled with each try; PayMongo's twelve take about 136 minutes, which nobody waits for in development."""
LONGEST_WAIT_S: Final = 60.0
_HOUR_S: Final = 3_600

log = logging.getLogger(__name__)


@dataclass
class Webhooks:
    """Delivers events to one address per provider, each in a task of its own, so that one waits for no other."""

    client: httpx.AsyncClient
    dice: Dice
    secrets: Mapping[Name, str]
    addresses: dict[Name, str]
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    def send(self, provider: Name, event: Mapping[str, Any]) -> None:
        """Send an event, unless nobody listens or the faults drop it."""
        faults = self.dice.faults
        if provider not in self.addresses or self.dice.falls(faults.drop):
            return
        body = msgspec.json.encode(event)
        for _ in range(2 if self.dice.falls(faults.repeat) else 1):
            task = asyncio.create_task(self._deliver(provider, body, self.dice.delay()))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _deliver(self, provider: Name, body: bytes, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        forged, age_s = self.dice.falls(self.dice.faults.forge), 0
        if self.dice.falls(self.dice.faults.old):
            age_s = _HOUR_S
        for tried in range(1 + RETRIES):
            headers = self._headers(provider, body, forged=forged, age_s=age_s)
            try:
                answer = await self.client.post(self.addresses[provider], content=body, headers=headers)
            except httpx.HTTPError as error:
                log.info("webhook not delivered", extra={"error": type(error).__name__})
            else:
                if answer.is_success or forged:
                    return
            await asyncio.sleep(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**tried))

    def _headers(self, provider: Name, body: bytes, *, forged: bool, age_s: int) -> dict[str, str]:
        timestamp = str(int(time.time()) - age_s)
        digest = sign("forged" if forged else self.secrets[provider], timestamp, body)
        headers = {"Content-Type": "application/json"}
        if provider == "paymongo":
            return headers | {"Paymongo-Signature": f"t={timestamp},te={digest},li="}
        return headers | {"Stripe-Signature": f"t={timestamp},v1={digest}"}
