"""A driver's day over HTTP: a host lists a driveway; a driver finds it, pays, parks, and later stays too long.

Both are people of the demo's own database; codes come as letters in a folder, and money from the simulated provider.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import httpx

PATIENCE_S: Final = 60.0
POLL_S: Final = 0.3
LAT, LON = 14.5547, 121.0244
OVERSTAY_AFTER: Final = timedelta(seconds=10)
DRIVEWAY: Final = {
    "name": "Driveway in Makati",
    "lat": LAT,
    "lon": LON,
    "time_zone": "Asia/Manila",
    "access_note": "gate code 4711",
    "tariff": {
        "currency": "PHP",
        "rates": [
            {"rate": 5000, "increment_duration": 3, "end_duration": 3},
            {"rate": 2000, "start_duration": 3},
        ],
        "progressive": True,
    },
    "policy": {"grace_s": 0},
}
VEHICLE: Final = {"plate": "NBC1234"}

_T = TypeVar("_T")


class DayError(Exception):
    """The API answered otherwise than a driver expects; the message says to what and how."""


class Step(NamedTuple):
    """What somebody did, and what came of it."""

    who: str
    what: str
    outcome: str


class Person:
    """Somebody with an account; asks the API as a phone or a page would."""

    def __init__(self, client: httpx.AsyncClient, name: str, outbox: Path) -> None:
        self.name = name
        self._client = client
        self._outbox = outbox
        self._contact = f"{name.lower()}.{secrets.token_hex(4)}@example.ph"
        self._headers: dict[str, str] = {}

    async def sign_up(self) -> None:
        """Make an account, with the code of the letter."""
        account = {"contact": self._contact, "password": secrets.token_urlsafe(16), "name": self.name}
        await self.post("/v1/auth/sign-up", account)
        code = await _await(self._read_code)
        answer = await self.post("/v1/auth/confirm", {"contact": self._contact, "code": code})
        self._headers = {"authorization": f"Bearer {answer['access_token']}"}

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  JSON
        """Ask for a change, once however often it arrives."""
        headers = self._headers | {"idempotency-key": secrets.token_hex(8)}
        return _answer(await self._client.post(path, json=body or {}, headers=headers))

    async def get(self, path: str, **parameters: str | float) -> Any:  # noqa: ANN401  JSON
        """Ask for an answer."""
        return _answer(await self._client.get(path, params=parameters, headers=self._headers))

    async def _read_code(self) -> str | None:
        for letter in self._outbox.glob("*.txt"):
            text = letter.read_text("utf-8")
            if self._contact in text and (code := re.search(r"\b\d{8}\b", text)):
                return code[0]
        return None


async def spend_day(client: httpx.AsyncClient, outbox: Path) -> list[Step]:
    """Live the day; return what happened. DayError, TimeoutError."""
    host, driver = Person(client, "Ben", outbox), Person(client, "Ana", outbox)
    await asyncio.gather(host.sign_up(), driver.sign_up())
    place = await host.post("/v1/hosts/me/spaces", DRIVEWAY)
    steps = [Step("Ben", "lists his driveway", "PHP 50 for the first 3 h, 20 for each more")]
    steps += await _book(client, host, driver, place["place_id"])
    return steps + await _overstay(client, driver, place["place_id"])


async def _book(client: httpx.AsyncClient, host: Person, driver: Person, place_id: str) -> list[Step]:
    """Search, quote, hold, pay, check in by QR, check out."""
    begin = datetime.now(UTC) + timedelta(minutes=10)
    window = {"starts_at": begin.isoformat(), "ends_at": (begin + timedelta(hours=2)).isoformat()}
    found = await driver.get("/v1/search", lat=LAT, lon=LON, **{"from": window["starts_at"], "to": window["ends_at"]})
    quote = await driver.post("/v1/quotes", {"place_id": place_id, **window})
    booking = await driver.post("/v1/bookings", {"quote": quote["quote"], "vehicle": VEHICLE})
    where = f"/v1/bookings/{booking['booking_id']}"
    await _pay(client, driver, where)
    reserved = await _await_booking(driver, where, status="RESERVED")
    code = await driver.get(f"{where}/code", action="check-in")
    await host.post(f"{where}/check-in", {"code": code["code"]})
    await driver.post(f"{where}/check-out")
    receipt = await driver.get(f"{where}/receipt")
    return [
        Step("Ana", "searches near Ayala Avenue", f"{len(found)} free, {_money(found[0])} for 2 h"),
        Step("Ana", "holds it and pays at the provider", f"{reserved['status']}: {reserved['place']['access_note']}"),
        Step("Ben", "scans Ana's QR code", "checked in"),
        Step("Ana", "leaves", f"{receipt['status']}, paid {_money(receipt)}"),
    ]


async def _overstay(client: httpx.AsyncClient, driver: Person, place_id: str) -> list[Step]:
    """Walk up, stay longer than said, leave, and pay afterwards."""
    until = datetime.now(UTC) + OVERSTAY_AFTER
    stay = await driver.post("/v1/walk-ups", {"space_id": place_id, "ends_at": until.isoformat(), "vehicle": VEHICLE})
    where = f"/v1/bookings/{stay['booking_id']}"
    late = await _await_booking(driver, where, status="OVERSTAY")
    left = await driver.post(f"{where}/check-out")
    owed = left["payment_status"]
    await _pay(client, driver, where)
    await _await_booking(driver, where, payment_status="paid")
    receipt = await driver.get(f"{where}/receipt")
    return [
        Step("Ana", f"comes back by scanning the space, for {OVERSTAY_AFTER.seconds} s", late["status"]),
        Step("Ana", "leaves without waiting for money", f"{left['status']}, {owed.replace('_', ' ')}"),
        Step("Ana", "pays what she owes", f"paid {_money(receipt)}"),
    ]


async def _pay(client: httpx.AsyncClient, driver: Person, where: str) -> None:
    payment = await driver.post(f"{where}/checkout", {"provider": "paymongo"})
    answer = await client.post(f"{payment['checkout_url']}/pay", data={"rail": "gcash"})
    if not answer.is_redirect:
        raise DayError(f"the provider's page answered {answer.status_code}: {answer.text[:300]}")


async def _await_booking(driver: Person, where: str, **expected: str) -> dict[str, Any]:
    """Wait until the booking has these values."""

    async def read() -> dict[str, Any] | None:
        booking: dict[str, Any] = await driver.get(where)
        return booking if expected.items() <= booking.items() else None

    return await _await(read)


async def _await(read: Callable[[], Awaitable[_T | None]]) -> _T:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await read()
            if found is not None:
                return found
            await asyncio.sleep(POLL_S)


def _answer(answer: httpx.Response) -> Any:  # noqa: ANN401  JSON
    if answer.is_error:
        raise DayError(f"{answer.request.method} {answer.request.url.path} was answered {answer.text[:300]}")
    return answer.json()


def _money(amount: dict[str, Any]) -> str:
    return f"{amount['currency']} {amount['total_minor'] / 100:.2f}"
