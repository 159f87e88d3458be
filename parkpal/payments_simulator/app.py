"""The simulator over HTTP: `/paymongo/*` and `/stripe/*` as documented, `/checkout/*` for payers, `/control/*`.

The control endpoint is what no provider has: it sets faults, pays in a payer's place (also late, twice, or another
amount), disputes, sends refunds back, forgets its keys of idempotency, and shows all that came in and went back.
"""

import base64
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import msgspec
from litestar import Litestar, Request, Response, Router, get, post, put
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from litestar.response import Redirect

from parkpal.payments_simulator import paymongo, stripe
from parkpal.payments_simulator.asked import Act, Asked, Endpoint
from parkpal.payments_simulator.books import Books, Checkout, Dispute, Name, Payment, Refund, RefusedError, Store
from parkpal.payments_simulator.faults import Dice, Faults
from parkpal.payments_simulator.page import checkout_page
from parkpal.payments_simulator.webhooks import Webhooks

AnyRequest = Request[Any, Any, Any]
Object = dict[str, Any]

_SPEAKERS: Final[dict[Name, Any]] = {"paymongo": paymongo, "stripe": stripe}


@dataclass(frozen=True)
class SimulatorConfig:
    """Who may call, where events go, and where the books are kept. url: how payers reach the pages."""

    url: str
    keys: Mapping[Name, str]
    webhook_secrets: Mapping[Name, str]
    webhook_addresses: Mapping[Name, str]
    books: Path | None = None
    seed: int = 0
    clock: Callable[[], float] = time.time


class Pay(msgspec.Struct, frozen=True):
    """A payer's act; force: also what the provider's page would not let happen."""

    checkout_id: str
    rail: str
    force: bool = False
    amount: int = 0
    currency: str = ""


class Decision(msgspec.Struct, frozen=True):
    """How a dispute ends."""

    status: Literal["won", "lost"]


class Money(msgspec.Struct, frozen=True):
    """All that came in, and all that went back or is disputed."""

    checkouts: list[Checkout]
    payments: list[Payment]
    refunds: list[Refund]
    disputes: list[Dispute]


def build_simulator(config: SimulatorConfig) -> Litestar:
    """Wire the simulator."""
    dice = Dice(config.seed)
    client = httpx.AsyncClient(timeout=10)
    webhooks = Webhooks(client, dice, config.webhook_secrets, dict(config.webhook_addresses))

    def tell(provider: Name, kind: str, what: Any) -> None:  # noqa: ANN401  # one of the kept
        event = _SPEAKERS[provider].event_to_json(books, kind, what, config.url)
        if event is not None:
            webhooks.send(provider, event)

    books = Books(Store(config.books), config.clock, tell, lambda: dice.falls(dice.faults.refuse_refund))

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await webhooks.close()
            await client.aclose()
            books.store.close()

    calls = Calls(config, books, dice)
    return Litestar(
        [
            *(_provider_routes(name, calls) for name in _SPEAKERS),
            _page_routes(books),
            _control_routes(books, dice, webhooks),
        ],
        lifespan=[lifespan],
        exception_handlers={RefusedError: _answer_refusal},
        openapi_config=None,
        logging_config=None,
    )


@dataclass(frozen=True)
class Calls:
    """What every call of a provider's API goes through: the key, the faults, and the form of a refusal."""

    config: SimulatorConfig
    books: Books
    dice: Dice

    async def answer(self, provider: Name, request: AnyRequest, act: Act) -> Response[bytes]:
        """Do what is asked, once where the caller gave a key, or fail as the faults say."""
        speaker, body = _SPEAKERS[provider], await request.body()
        asked = Asked(body, request.path_params.get("id", ""), dict(request.query_params), self.config.url)
        faults = self.dice.faults
        if self.dice.falls(faults.lose_request):
            return _json(503, {"errors": []})

        def once() -> tuple[int, str]:
            try:
                return 200, msgspec.json.encode(act(self.books, asked)).decode()
            except RefusedError as error:
                return error.status, msgspec.json.encode(speaker.error_to_json(error)).decode()

        try:
            self._check_key(provider, request.headers.get("authorization", ""))
            key = request.headers.get("idempotency-key", "") if provider == "stripe" else ""
            code, text = self.books.once(key, f"{request.method} {request.url.path} {body!r}", once)
        except RefusedError as error:
            return _json(error.status, speaker.error_to_json(error))
        if self.dice.falls(faults.lose_answer):
            return _json(503, {"errors": []})
        return Response(text.encode(), status_code=code, media_type=MediaType.JSON)

    def _check_key(self, provider: Name, authorization: str) -> None:
        key = self.config.keys[provider]
        basic = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
        if authorization not in ({basic} if provider == "paymongo" else {f"Bearer {key}", basic}):
            raise RefusedError(401, "api_key_invalid", "the key is not known")


def _provider_routes(provider: Name, calls: Calls) -> Router:
    def handler(endpoint: Endpoint) -> HTTPRouteHandler:
        async def answer(request: AnyRequest) -> Response[bytes]:
            return await calls.answer(provider, request, endpoint.act)

        return HTTPRouteHandler(endpoint.path, http_method=endpoint.method, status_code=200)(answer)

    speaker = _SPEAKERS[provider]
    return Router(speaker.PREFIX, route_handlers=[handler(endpoint) for endpoint in speaker.ENDPOINTS])


def _page_routes(books: Books) -> Router:
    def found(checkout_id: str) -> Checkout:
        known = books.store.find(Checkout, checkout_id)
        if known is None:
            raise RefusedError(404, "resource_missing", "no such checkout")
        return books.checkout(known.provider, checkout_id)

    @get("/{checkout_id:str}", media_type=MediaType.HTML)
    async def show(checkout_id: str) -> str:
        return checkout_page(found(checkout_id))

    @post("/{checkout_id:str}/pay")
    async def pay(checkout_id: str, request: AnyRequest) -> Redirect:
        checkout = found(checkout_id)
        books.pay(checkout_id, str((await request.form()).get("rail", "")))
        return Redirect(checkout.success_url, status_code=303)

    return Router("/checkout", route_handlers=[show, pay])


def _control_routes(books: Books, dice: Dice, webhooks: Webhooks) -> Router:
    @put("/faults", status_code=204)
    async def set_faults(data: JSONBody[Faults]) -> None:
        dice.faults = data

    @put("/webhooks", status_code=204)
    async def set_webhooks(data: JSONBody[dict[Name, str]]) -> None:
        webhooks.addresses = data

    @post("/pay", status_code=200)
    async def pay(data: JSONBody[Pay]) -> Payment:
        return books.pay(data.checkout_id, data.rail, force=data.force, amount=data.amount, currency=data.currency)

    @post("/payments/{payment_id:str}/dispute", status_code=200)
    async def dispute(payment_id: str) -> Dispute:
        return books.dispute(payment_id)

    @post("/disputes/{dispute_id:str}", status_code=200)
    async def decide(dispute_id: str, data: JSONBody[Decision]) -> Dispute:
        return books.decide(dispute_id, data.status)

    @post("/refunds/{refund_id:str}/return", status_code=200)
    async def return_refund(refund_id: str) -> Refund:
        return books.return_refund(refund_id)

    @post("/forget-keys", status_code=204)
    async def forget_keys() -> None:
        books.forget_keys()

    @get("/money")
    async def money() -> Money:
        kept = books.store
        return Money(kept.all(Checkout), kept.all(Payment), kept.all(Refund), kept.all(Dispute))

    handlers = [set_faults, set_webhooks, pay, dispute, decide, return_refund, forget_keys, money]
    return Router("/control", route_handlers=handlers)


def _answer_refusal(_: AnyRequest, error: RefusedError) -> Response[bytes]:
    return _json(error.status, {"code": error.code, "detail": error.detail})


def _json(status: int, body: Object) -> Response[bytes]:
    return Response(msgspec.json.encode(body), status_code=status, media_type=MediaType.JSON)
