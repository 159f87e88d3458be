"""PayMongo's way of speaking: JSON under `data.attributes`, the secret key as user of HTTP Basic, times in seconds."""

from typing import Any, Final, TypeVar

import msgspec

from parkpal.payments_simulator.asked import Asked, Endpoint, Object, page
from parkpal.payments_simulator.books import Books, Checkout, Payment, Refund, RefusedError, new_id

PREFIX: Final = "/paymongo"

_T = TypeVar("_T")


class _Item(msgspec.Struct, frozen=True):
    name: str
    amount: int
    currency: str
    quantity: int


class _QrPh(msgspec.Struct, frozen=True):
    expiry_seconds: int | None = None


class _Options(msgspec.Struct, frozen=True):
    qrph: _QrPh = _QrPh()


class _NewCheckout(msgspec.Struct, frozen=True):
    line_items: list[_Item]
    payment_method_types: list[str]
    success_url: str
    reference_number: str = ""
    cancel_url: str = ""
    description: str = ""
    metadata: dict[str, str] = {}
    payment_method_options: _Options = _Options()


class _NewRefund(msgspec.Struct, frozen=True):
    amount: int
    payment_id: str
    reason: str
    notes: str = ""
    metadata: dict[str, str] = {}


class _Data(msgspec.Struct, frozen=True):
    attributes: msgspec.Raw


class _Envelope(msgspec.Struct, frozen=True):
    data: _Data


def _open_checkout(books: Books, call: Asked) -> Object:
    asked = _read(call.body, _NewCheckout)
    if not asked.line_items or any(item.amount <= 0 or item.quantity <= 0 for item in asked.line_items):
        raise RefusedError(400, "parameter_below_minimum", "line_items need amounts and quantities above 0")
    now = int(books.clock())
    expiry_s = asked.payment_method_options.qrph.expiry_seconds
    checkout = Checkout(
        checkout_id=new_id("cs"),
        provider="paymongo",
        intent_id=new_id("pi"),
        reference=asked.reference_number,
        amount=sum(item.amount * item.quantity for item in asked.line_items),
        currency=asked.line_items[0].currency,
        description=asked.description,
        rails=asked.payment_method_types,
        success_url=asked.success_url,
        cancel_url=asked.cancel_url,
        metadata=asked.metadata,
        created=now,
        expires=now + expiry_s if expiry_s is not None else 0,
    )
    return {"data": checkout_to_json(books, books.open(checkout), call.url)}


def _read_checkout(books: Books, call: Asked) -> Object:
    return {"data": checkout_to_json(books, books.checkout("paymongo", call.id), call.url)}


def _expire_checkout(books: Books, call: Asked) -> Object:
    return {"data": checkout_to_json(books, books.expire("paymongo", call.id), call.url)}


def _list_payments(books: Books, call: Asked) -> Object:
    return _list([payment_to_json(each) for each in books.store.all(Payment) if each.provider == "paymongo"], call)


def _read_payment(books: Books, call: Asked) -> Object:
    return {"data": payment_to_json(books.payment("paymongo", call.id))}


def _refund(books: Books, call: Asked) -> Object:
    asked = _read(call.body, _NewRefund)
    if asked.reason not in {"duplicate", "fraudulent", "requested_by_customer", "others"}:
        raise RefusedError(400, "parameter_invalid", "reason is not one of those documented")
    refund = books.refund("paymongo", asked.payment_id, asked.amount, asked.reason, asked.metadata)
    return {"data": refund_to_json(refund)}


def _list_refunds(books: Books, call: Asked) -> Object:
    return _list([refund_to_json(each) for each in books.store.all(Refund) if each.provider == "paymongo"], call)


def _read_refund(books: Books, call: Asked) -> Object:
    return {"data": refund_to_json(books.find_refund("paymongo", call.id))}


def _list(objects: list[Object], call: Asked) -> Object:
    shown, more = page(objects, call.query.get("after"), call.query.get("limit", "10"))
    return {"data": shown, "has_more": more}


ENDPOINTS: Final = (
    Endpoint("POST", "/v2/checkout_sessions", _open_checkout),
    Endpoint("GET", "/v2/checkout_sessions/{id:str}", _read_checkout),
    Endpoint("POST", "/v2/checkout_sessions/{id:str}/expire", _expire_checkout),
    Endpoint("GET", "/v1/payments", _list_payments),
    Endpoint("GET", "/v1/payments/{id:str}", _read_payment),
    Endpoint("POST", "/v1/refunds", _refund),
    Endpoint("GET", "/v1/refunds", _list_refunds),
    Endpoint("GET", "/v1/refunds/{id:str}", _read_refund),
)


def checkout_to_json(books: Books, checkout: Checkout, url: str) -> Object:
    """Return the session resource."""
    return {
        "id": checkout.checkout_id,
        "type": "checkout_session",
        "attributes": {
            "checkout_url": f"{url}/checkout/{checkout.checkout_id}",
            "description": checkout.description,
            "line_items": [
                {"name": checkout.description, "amount": checkout.amount, "currency": checkout.currency, "quantity": 1}
            ],
            "livemode": False,
            "metadata": checkout.metadata,
            "payment_intent": {"id": checkout.intent_id, "type": "payment_intent"},
            "payment_method_types": checkout.rails,
            "payments": [payment_to_json(each) for each in books.payments_of(checkout)],
            "reference_number": checkout.reference,
            "status": "expired" if checkout.status == "expired" else "active",
            "success_url": checkout.success_url,
            "cancel_url": checkout.cancel_url,
            "created_at": checkout.created,
        },
    }


def payment_to_json(payment: Payment) -> Object:
    """Return the payment resource."""
    return {
        "id": payment.payment_id,
        "type": "payment",
        "attributes": {
            "amount": payment.amount,
            "currency": payment.currency,
            "disputed": payment.disputed,
            "external_reference_number": payment.reference,
            "fee": payment.fee,
            "livemode": False,
            "metadata": payment.metadata,
            "net_amount": payment.amount - payment.fee,
            "payment_intent_id": payment.intent_id,
            "source": {"type": payment.rail},
            "status": "paid",
            "paid_at": payment.created,
            "created_at": payment.created,
        },
    }


def refund_to_json(refund: Refund) -> Object:
    """Return the refund resource."""
    return {
        "id": refund.refund_id,
        "type": "refund",
        "attributes": {
            "amount": refund.amount,
            "currency": refund.currency,
            "livemode": False,
            "metadata": refund.metadata,
            "payment_id": refund.payment_id,
            "reason": refund.reason,
            "status": refund.status,
            "created_at": refund.created,
        },
    }


def event_to_json(books: Books, kind: str, what: Any, url: str) -> Object | None:  # noqa: ANN401  # one of the kept
    """Return the event of what happened; None where PayMongo has none."""
    if isinstance(what, Checkout) and kind == "checkout.paid":
        name, resource = "checkout_session.payment.paid", checkout_to_json(books, what, url)
    elif isinstance(what, Refund):
        name, resource = "payment.refund.updated", refund_to_json(what)
    else:
        return None
    attributes = {"type": name, "livemode": False, "data": resource, "created_at": int(books.clock())}
    return {"data": {"id": new_id("evt"), "type": "event", "attributes": attributes}}


def error_to_json(error: RefusedError) -> Object:
    """Return the body of a refusal."""
    return {"errors": [{"code": error.code, "detail": error.detail}]}


def _read(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(msgspec.json.decode(body, type=_Envelope).data.attributes, type=kind)
    except msgspec.DecodeError as error:
        raise RefusedError(400, "parameter_invalid", str(error)) from None
