"""Stripe: Checkout Sessions through its own SDK. Our reference is the key of idempotency, kept by Stripe for a day."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import httpx
import msgspec
import stripe

from api.payments.fees import STRIPE_RAILS, RailRule
from api.payments.provider import (
    Captured,
    Checkout,
    Disputed,
    Hint,
    Order,
    ProviderDownError,
    ProviderRefusedError,
    Refunded,
    RefundOrder,
)
from api.payments.signatures import is_fresh, is_signed

TIMEOUT_S: Final = 10.0
SHORTEST: Final = timedelta(minutes=31)
LONGEST: Final = timedelta(hours=23, minutes=59)
"""Half an hour is the shortest life of a session, a day the longest; a minute allows for its clock and ours."""
SIGNATURE: Final = "stripe-signature"

_EXPAND: Final = ["payment_intent.latest_charge.balance_transaction"]
_REFUND: Final[dict[str, Literal["sent", "done", "failed"]]] = {
    "succeeded": "done",
    "failed": "failed",
    "canceled": "failed",
}
_CHECKOUT: Final[dict[str, Literal["open", "paid", "expired"]]] = {"complete": "paid", "expired": "expired"}
_DISPUTE: Final[dict[str, Literal["open", "won", "lost"]]] = {"won": "won", "lost": "lost", "warning_closed": "won"}

_T = TypeVar("_T")


class _Object(msgspec.Struct, frozen=True):
    id: str
    object: str
    charge: str | None = None


class _Data(msgspec.Struct, frozen=True):
    object: _Object


class _Event(msgspec.Struct, frozen=True):
    id: str
    type: str
    livemode: bool
    data: _Data


class Stripe:
    """The adapter. secret_key: `sk_...`; webhook_secret: `whsec_...`."""

    name = "stripe"
    currencies = frozenset({"PHP", "USD", "EUR"})

    def __init__(
        self,
        url: str,
        secret_key: str,
        webhook_secret: str,
        *,
        livemode: bool,
        rails: dict[str, RailRule] = STRIPE_RAILS,
    ) -> None:
        self.livemode = livemode
        self.rails = rails
        self._webhook_secret = webhook_secret
        self._http = _Http()
        self._api = stripe.StripeClient(
            secret_key, base_addresses={"api": url}, http_client=self._http, max_network_retries=0
        ).v1

    async def open_checkout(self, order: Order) -> Checkout:
        """Open a checkout; asked again within a day, it is the same one."""
        item: Any = {
            "quantity": 1,
            "price_data": {
                "currency": order.currency.lower(),
                "unit_amount": order.amount,
                "product_data": {"name": order.description},
            },
        }
        now = datetime.now(UTC)
        ends_at = min(max(order.closes_at, now + SHORTEST), now + LONGEST)
        params: Any = {
            "mode": "payment",
            "line_items": [item],
            "payment_method_types": list(order.rails),
            "client_reference_id": order.reference,
            "metadata": {"reference": order.reference},
            "payment_intent_data": {"metadata": {"reference": order.reference}},
            "success_url": order.success_url,
            "cancel_url": order.cancel_url,
            "expires_at": int(ends_at.timestamp()),
        }
        try:
            created = self._api.checkout.sessions.create_async(params, {"idempotency_key": order.reference})
            return _checkout(await _call(created))
        except ProviderRefusedError as error:
            if error.code != "idempotency_error":
                raise
            return await self._find_checkout(order)

    async def read_checkout(self, checkout_id: str) -> Checkout:
        """Return a checkout."""
        return _checkout(await _call(self._api.checkout.sessions.retrieve_async(checkout_id, {"expand": _EXPAND})))

    async def expire_checkout(self, checkout_id: str) -> Checkout:
        """End a checkout; what cannot be ended is returned as it is."""
        try:
            return _checkout(await _call(self._api.checkout.sessions.expire_async(checkout_id)))
        except ProviderRefusedError:
            return await self.read_checkout(checkout_id)

    async def refund(self, order: RefundOrder) -> Refunded:
        """Send money back; Stripe keeps the key for a day, so what may have reached it is looked for first."""
        known = None if order.first else await self._find_refund(order)
        if known is not None:
            return known
        params: Any = {
            "charge": order.capture_id,
            "amount": order.amount,
            "metadata": {"reference": order.reference},
        }
        return _refunded(await _call(self._api.refunds.create_async(params, {"idempotency_key": order.reference})))

    async def read_refund(self, refund_id: str) -> Refunded:
        """Return a refund."""
        return _refunded(await _call(self._api.refunds.retrieve_async(refund_id)))

    async def disputes(self, capture_id: str) -> list[Disputed]:
        """Return the disputes of a charge."""
        found = await _call(self._api.disputes.list_async({"charge": capture_id}))
        return [Disputed(each.id, each.amount, _DISPUTE.get(each.status, "open")) for each in found.data]

    async def captures_since(self, since: datetime) -> AsyncIterator[Captured]:
        """Give all charges since then, newest first."""
        params: Any = {
            "limit": 100,
            "created": {"gte": int(since.timestamp())},
            "expand": ["data.balance_transaction"],
        }
        async for charge in _all(self._api.charges.list_async, params):
            if charge.status == "succeeded":
                yield _captured(charge, _reference(charge))

    async def disputed_since(self, since: datetime) -> AsyncIterator[str]:
        """Give the charges that were disputed since then."""
        params: Any = {"limit": 100, "created": {"gte": int(since.timestamp())}}
        async for dispute in _all(self._api.disputes.list_async, params):
            yield dispute.charge

    def is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Return whether Stripe signed this body."""
        return is_signed(headers.get(SIGNATURE, ""), body, self._webhook_secret, "v1")

    def is_fresh(self, headers: Mapping[str, str], now_s: float) -> bool:
        """Return whether it did so within the last 300 s."""
        return is_fresh(headers.get(SIGNATURE, ""), now_s)

    def read_hint(self, body: bytes) -> Hint:
        """Return what an event is about; ValueError if it is none."""
        event = msgspec.json.decode(body, type=_Event)
        what = event.data.object
        return Hint(
            event.id,
            event.type,
            event.livemode,
            what.id if what.object == "checkout.session" else "",
            what.id if what.object == "charge" else what.charge or "",
            what.id if what.object == "refund" else "",
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.client.aclose()

    async def _find_refund(self, order: RefundOrder) -> Refunded | None:
        found = await _call(self._api.refunds.list_async({"charge": order.capture_id, "limit": 100}))
        return next((_refunded(each) for each in found.data if _reference(each) == order.reference), None)

    async def _find_checkout(self, order: Order) -> Checkout:
        """Find the session of a reference whose key came with another request: its time of expiry has moved on."""
        params: Any = {"limit": 100, "created": {"gte": int((datetime.now(UTC) - timedelta(days=1)).timestamp())}}
        async for session in _all(self._api.checkout.sessions.list_async, params):
            if session.client_reference_id == order.reference:
                return await self.read_checkout(session.id)
        raise ProviderDownError("a session that was opened is not listed")


class _Http(stripe.HTTPClient):
    """Carries the SDK's calls: its own client hands httpx the form in a way that httpx has deprecated."""

    name = "httpx"

    def __init__(self) -> None:
        super().__init__()
        self.client = httpx.AsyncClient(timeout=TIMEOUT_S)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | bytes | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            answer = await self.client.request(method, url, headers=dict(headers), content=post_data)
        except httpx.HTTPError as error:
            name = type(error).__name__
            raise stripe.APIConnectionError(name) from None  # type: ignore[no-untyped-call]  # carries no types
        return answer.content, answer.status_code, answer.headers


async def _all(fetch: Callable[[Any], Awaitable[Any]], params: dict[str, Any]) -> AsyncIterator[Any]:
    """Give what is listed, page by page."""
    page = await _call(fetch(params))
    while True:
        for each in page.data:
            yield each
        if not page.has_more or not page.data:
            return
        page = await _call(fetch(params | {"starting_after": page.data[-1].id}))


async def _call(call: Awaitable[_T]) -> _T:
    try:
        return await call
    except stripe.IdempotencyError as error:
        raise ProviderRefusedError("idempotency_error", str(error.user_message)) from None
    except (stripe.InvalidRequestError, stripe.CardError) as error:
        raise ProviderRefusedError(error.code or "refused", str(error.user_message)) from None
    except stripe.StripeError as error:  # a wrong key among them: that says nothing of what was asked
        raise ProviderDownError(type(error).__name__) from None


def _checkout(session: stripe.checkout.Session) -> Checkout:
    intent = session.payment_intent
    charge = intent.latest_charge if isinstance(intent, stripe.PaymentIntent) else None
    reference = session.client_reference_id or ""
    paid = isinstance(charge, stripe.Charge) and charge.status == "succeeded"
    captures = (_captured(charge, reference),) if paid and isinstance(charge, stripe.Charge) else ()
    status = _CHECKOUT.get(session.status or "", "open")
    return Checkout(session.id, session.url or "", status, captures)


def _captured(charge: stripe.Charge, reference: str) -> Captured:
    details: Any = charge.payment_method_details
    rail = details.type if details is not None else ""
    at = datetime.fromtimestamp(charge.created, UTC)
    return Captured(
        charge.id,
        reference,
        charge.amount,
        charge.currency.upper(),
        rail,
        _fee(charge),
        at,
    )


def _fee(charge: stripe.Charge) -> int:
    """Return the fee in the charge's currency; Stripe tells it in the one that it settles in."""
    balance = charge.balance_transaction
    if not isinstance(balance, stripe.BalanceTransaction):
        return 0
    return round(balance.fee / (balance.exchange_rate or 1))


def _reference(found: stripe.Charge | stripe.Refund) -> str:
    metadata: dict[str, str] = found.metadata.to_dict() if found.metadata else {}
    return metadata.get("reference", "")


def _refunded(refund: stripe.Refund) -> Refunded:
    return Refunded(
        refund.id, _REFUND.get(refund.status or "", "sent"), str(getattr(refund, "failure_reason", None) or "")
    )
