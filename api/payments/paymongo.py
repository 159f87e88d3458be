"""PayMongo: its checkout sessions, payments and refunds, by a small client of our own.

It documents no keys of idempotency. A checkout whose creation was not answered is left behind: nobody was given its
address, so nobody pays it. A refund is looked for by our reference in its metadata before it is asked for again.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Literal, TypeVar

import httpx
import msgspec

from api.payments.fees import PAYMONGO_RAILS, RailRule
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
PAGE: Final = 100
SHORTEST_QR_S: Final = 60
LONGEST_QR_S: Final = 9_000
SIGNATURE: Final = "paymongo-signature"
DISPUTABLE: Final = timedelta(days=120)
"""So long a payer may go to his bank."""
NO_DECISION: Final = frozenset({401, 403, 408, 409, 425, 429})
"""Statuses that say nothing of what was asked: a wrong key, a rival, too many calls."""

_REFUND: Final[dict[str, Literal["sent", "done", "failed"]]] = {"succeeded": "done", "failed": "failed"}


class _Id(msgspec.Struct, frozen=True):
    id: str = ""


class _Source(msgspec.Struct, frozen=True):
    type: str = ""


class _PaymentAttributes(msgspec.Struct, frozen=True):
    amount: int
    currency: str
    status: str
    created_at: int
    fee: int = 0
    disputed: bool = False
    source: _Source = _Source()
    metadata: dict[str, Any] | None = None
    external_reference_number: str | None = None


class _Payment(msgspec.Struct, frozen=True):
    id: str
    attributes: _PaymentAttributes


class _CheckoutAttributes(msgspec.Struct, frozen=True):
    checkout_url: str
    status: str
    payments: list[_Payment] | None = None
    reference_number: str | None = None


class _Checkout(msgspec.Struct, frozen=True):
    id: str
    attributes: _CheckoutAttributes


class _RefundAttributes(msgspec.Struct, frozen=True):
    status: str
    payment_id: str
    metadata: dict[str, Any] | None = None


class _Refund(msgspec.Struct, frozen=True):
    id: str
    attributes: _RefundAttributes


class _EventResourceAttributes(msgspec.Struct, frozen=True):
    payment_id: str = ""


class _EventResource(msgspec.Struct, frozen=True):
    id: str
    type: str
    attributes: _EventResourceAttributes = _EventResourceAttributes()


class _EventAttributes(msgspec.Struct, frozen=True):
    type: str
    livemode: bool
    data: _EventResource


class _Event(msgspec.Struct, frozen=True):
    id: str
    attributes: _EventAttributes


class _Failure(msgspec.Struct, frozen=True):
    code: str = "unknown"
    detail: str = ""


class _Failures(msgspec.Struct, frozen=True):
    errors: list[_Failure] = []


_T = TypeVar("_T")


class _One(msgspec.Struct, Generic[_T], frozen=True):
    data: _T


class _Page(msgspec.Struct, Generic[_T], frozen=True):
    data: list[_T]
    has_more: bool = False


class PayMongo:
    """The adapter. secret_key: `sk_...`; webhook_secret: `whsk_...`; livemode decides which digest counts."""

    name = "paymongo"
    currencies = frozenset({"PHP"})

    def __init__(
        self,
        url: str,
        secret_key: str,
        webhook_secret: str,
        *,
        livemode: bool,
        rails: dict[str, RailRule] = PAYMONGO_RAILS,
    ) -> None:
        self.livemode = livemode
        self.rails = rails
        self._webhook_secret = webhook_secret
        self._client = httpx.AsyncClient(base_url=url, auth=(secret_key, ""), timeout=TIMEOUT_S)

    async def open_checkout(self, order: Order) -> Checkout:
        """Open a checkout; a QR code of it ends before the place is let go."""
        left_s = int((order.closes_at - datetime.now(UTC)).total_seconds())
        rails = [rail for rail in order.rails if rail != "qrph" or left_s > SHORTEST_QR_S]
        attributes: dict[str, Any] = {
            "line_items": [
                {"name": order.description, "amount": order.amount, "currency": order.currency, "quantity": 1}
            ],
            "payment_method_types": rails,
            "success_url": order.success_url,
            "cancel_url": order.cancel_url,
            "reference_number": order.reference,
            "description": order.description,
            "metadata": {"reference": order.reference},
        }
        if "qrph" in rails:
            expiry_s = min(max(left_s - 1, SHORTEST_QR_S), LONGEST_QR_S)
            attributes["payment_method_options"] = {"qrph": {"expiry_seconds": expiry_s}}
        return _checkout(await self._post("/v2/checkout_sessions", attributes, _One[_Checkout]))

    async def read_checkout(self, checkout_id: str) -> Checkout:
        """Return a checkout."""
        return _checkout(await self._get(f"/v2/checkout_sessions/{checkout_id}", {}, _One[_Checkout]))

    async def expire_checkout(self, checkout_id: str) -> Checkout:
        """End a checkout; what cannot be ended is returned as it is."""
        try:
            path = f"/v2/checkout_sessions/{checkout_id}/expire"
            return _checkout(await self._post(path, {}, _One[_Checkout]))
        except ProviderRefusedError:
            return await self.read_checkout(checkout_id)

    async def refund(self, order: RefundOrder) -> Refunded:
        """Send money back."""
        known = None if order.first else await self._find_refund(order)
        if known is not None:
            return known
        attributes = {
            "amount": order.amount,
            "payment_id": order.capture_id,
            "reason": "requested_by_customer",
            "metadata": {"reference": order.reference},
        }
        return _refunded((await self._post("/v1/refunds", attributes, _One[_Refund])).data)

    async def read_refund(self, refund_id: str) -> Refunded:
        """Return a refund."""
        return _refunded((await self._get(f"/v1/refunds/{refund_id}", {}, _One[_Refund])).data)

    async def disputes(self, capture_id: str) -> list[Disputed]:
        """Return the dispute of a payment: PayMongo shows only that there is one, or, won, that there is none."""
        payment = (await self._get(f"/v1/payments/{capture_id}", {}, _One[_Payment])).data
        status: Literal["open", "won"] = "open" if payment.attributes.disputed else "won"
        return [Disputed(f"dispute-{payment.id}", payment.attributes.amount, status)]

    async def captures_since(self, since: datetime) -> AsyncIterator[Captured]:
        """Give all payments since then, newest first."""
        async for payment in self._payments_since(since):
            yield _captured(payment, _reference(payment.attributes))

    async def disputed_since(self, since: datetime) -> AsyncIterator[str]:
        """Give the payments that are disputed, of all that can be: PayMongo lists no disputes."""
        async for payment in self._payments_since(since - DISPUTABLE):
            if payment.attributes.disputed:
                yield payment.id

    def is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Return whether PayMongo signed this body, in the mode that we are in."""
        header = headers.get(SIGNATURE, "")
        return is_signed(header, body, self._webhook_secret, "li" if self.livemode else "te")

    def is_fresh(self, headers: Mapping[str, str], now_s: float) -> bool:
        """Return whether it did so within the last 300 s."""
        return is_fresh(headers.get(SIGNATURE, ""), now_s)

    def read_hint(self, body: bytes) -> Hint:
        """Return what an event is about; ValueError if it is none."""
        event = msgspec.json.decode(body, type=_One[_Event]).data
        what, attributes = event.attributes.data, event.attributes
        return Hint(
            event.id,
            attributes.type,
            attributes.livemode,
            what.id if what.type == "checkout_session" else "",
            what.id if what.type == "payment" else what.attributes.payment_id,
            what.id if what.type == "refund" else "",
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def _payments_since(self, since: datetime) -> AsyncIterator[_Payment]:
        async for payment in self._all("/v1/payments", _Page[_Payment]):
            if payment.attributes.created_at < since.timestamp():
                return
            if payment.attributes.status == "paid":
                yield payment

    async def _find_refund(self, order: RefundOrder) -> Refunded | None:
        async for refund in self._all("/v1/refunds", _Page[_Refund]):
            if (refund.attributes.metadata or {}).get("reference") == order.reference:
                return _refunded(refund)
        return None

    async def _all(self, path: str, kind: type[_Page[_T]]) -> AsyncIterator[_T]:
        query: dict[str, str] = {"limit": str(PAGE)}
        while True:
            page = await self._get(path, query, kind)
            for each in page.data:
                yield each
            if not page.has_more or not page.data:
                return
            query["after"] = page.data[-1].id  # type: ignore[attr-defined]  # every resource has an id

    async def _get(self, path: str, query: dict[str, str], kind: type[_T]) -> _T:
        return await self._call(self._client.build_request("GET", path, params=query), kind)

    async def _post(self, path: str, attributes: dict[str, Any], kind: type[_T]) -> _T:
        body = {"data": {"attributes": attributes}}
        return await self._call(self._client.build_request("POST", path, json=body), kind)

    async def _call(self, request: httpx.Request, kind: type[_T]) -> _T:
        try:
            answer = await self._client.send(request)
            if answer.is_success:
                return msgspec.json.decode(answer.content, type=kind)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise ProviderDownError(type(error).__name__) from None
        if answer.is_server_error or answer.status_code in NO_DECISION:
            raise ProviderDownError(f"status {answer.status_code}")
        raise ProviderRefusedError(*_failure(answer))


def _failure(answer: httpx.Response) -> tuple[str, str]:
    try:
        first = msgspec.json.decode(answer.content, type=_Failures).errors[0]
    except (msgspec.DecodeError, IndexError):
        return f"status_{answer.status_code}", ""
    return first.code, first.detail


def _checkout(found: _One[_Checkout]) -> Checkout:
    attributes = found.data.attributes
    captures = tuple(
        _captured(each, attributes.reference_number or _reference(each.attributes))
        for each in attributes.payments or []
        if each.attributes.status == "paid"
    )
    status: Literal["open", "paid", "expired"] = "paid" if captures else "open"
    if not captures and attributes.status == "expired":
        status = "expired"
    return Checkout(found.data.id, attributes.checkout_url, status, captures)


def _captured(payment: _Payment, reference: str) -> Captured:
    each = payment.attributes
    at = datetime.fromtimestamp(each.created_at, UTC)
    return Captured(payment.id, reference, each.amount, each.currency, each.source.type, each.fee, at)


def _reference(attributes: _PaymentAttributes) -> str:
    return str((attributes.metadata or {}).get("reference") or attributes.external_reference_number or "")


def _refunded(refund: _Refund) -> Refunded:
    status = refund.attributes.status
    return Refunded(refund.id, _REFUND.get(status, "sent"), "declined" if status == "failed" else "")
