"""Stripe's way of speaking: forms in, JSON out, the key as bearer, `Idempotency-Key` kept for a day."""

import re
from collections.abc import Mapping
from typing import Any, Final

import httpx

from parkpal.payments_simulator.asked import Asked, Endpoint, Object, page
from parkpal.payments_simulator.books import Books, Checkout, Dispute, Payment, Refund, RefusedError, new_id

PREFIX: Final = "/stripe"
_API_VERSION: Final = "2026-10-28.endive"
_INDEXED: Final = re.compile(r"payment_method_types\[\d*\]")
_EVENTS: Final = {
    "checkout.paid": "checkout.session.completed",
    "checkout.expired": "checkout.session.expired",
    "refund.updated": "refund.updated",
    "dispute.created": "charge.dispute.created",
    "dispute.closed": "charge.dispute.closed",
}

Form = Mapping[str, str]


def _open_checkout(books: Books, asked: Asked) -> Object:
    form = _form(asked)
    if form.get("mode") != "payment":
        raise RefusedError(400, "parameter_invalid", "mode must be payment")
    item, now = "line_items[0]", int(books.clock())
    amount = _number(form, f"{item}[price_data][unit_amount]") * _number(form, f"{item}[quantity]")
    if amount <= 0:
        raise RefusedError(400, "parameter_invalid_integer", "unit_amount must be above 0")
    checkout = Checkout(
        checkout_id=new_id("cs_test"),
        provider="stripe",
        intent_id=new_id("pi"),
        reference=form.get("client_reference_id", ""),
        amount=amount,
        currency=form.get(f"{item}[price_data][currency]", "").upper(),
        description=form.get(f"{item}[price_data][product_data][name]", ""),
        rails=[value for name, value in form.items() if _INDEXED.fullmatch(name)] or ["card"],
        success_url=form.get("success_url", ""),
        cancel_url=form.get("cancel_url", ""),
        metadata=_metadata(form),
        created=now,
        expires=_number(form, "expires_at") if "expires_at" in form else 0,
    )
    return checkout_to_json(books, books.open(checkout), asked.url)


def _list_checkouts(books: Books, asked: Asked) -> Object:
    found = [each for each in books.store.all(Checkout) if each.provider == "stripe"]
    return _list("/v1/checkout/sessions", [checkout_to_json(books, each, asked.url) for each in found], asked)


def _read_checkout(books: Books, asked: Asked) -> Object:
    return checkout_to_json(books, books.checkout("stripe", asked.id), asked.url)


def _expire_checkout(books: Books, asked: Asked) -> Object:
    return checkout_to_json(books, books.expire("stripe", asked.id), asked.url)


def _list_charges(books: Books, asked: Asked) -> Object:
    found = [each for each in books.store.all(Payment) if each.provider == "stripe"]
    return _list("/v1/charges", [charge_to_json(each) for each in found], asked)


def _refund(books: Books, asked: Asked) -> Object:
    form = _form(asked)
    payment = books.payment("stripe", form.get("charge", ""))
    amount = _number(form, "amount") if "amount" in form else payment.amount - payment.refunded
    refund = books.refund("stripe", payment.payment_id, amount, form.get("reason", ""), _metadata(form))
    return refund_to_json(books, refund)


def _list_refunds(books: Books, asked: Asked) -> Object:
    found = [each for each in books.store.all(Refund) if each.provider == "stripe"]
    return _list("/v1/refunds", [refund_to_json(books, each) for each in found], asked)


def _read_refund(books: Books, asked: Asked) -> Object:
    return refund_to_json(books, books.find_refund("stripe", asked.id))


def _list_disputes(books: Books, asked: Asked) -> Object:
    found = [each for each in books.store.all(Dispute) if each.provider == "stripe"]
    return _list("/v1/disputes", [dispute_to_json(each) for each in found], asked)


def _list(url: str, objects: list[Object], asked: Asked) -> Object:
    since, charge = int(asked.query.get("created[gte]", "0")), asked.query.get("charge")
    recent = [each for each in objects if each["created"] >= since and (charge is None or each["charge"] == charge)]
    shown, more = page(recent, asked.query.get("starting_after"), asked.query.get("limit", "10"))
    return {"object": "list", "url": url, "has_more": more, "data": shown}


ENDPOINTS: Final = (
    Endpoint("POST", "/v1/checkout/sessions", _open_checkout),
    Endpoint("GET", "/v1/checkout/sessions", _list_checkouts),
    Endpoint("GET", "/v1/checkout/sessions/{id:str}", _read_checkout),
    Endpoint("POST", "/v1/checkout/sessions/{id:str}/expire", _expire_checkout),
    Endpoint("GET", "/v1/charges", _list_charges),
    Endpoint("POST", "/v1/refunds", _refund),
    Endpoint("GET", "/v1/refunds", _list_refunds),
    Endpoint("GET", "/v1/refunds/{id:str}", _read_refund),
    Endpoint("GET", "/v1/disputes", _list_disputes),
)


def checkout_to_json(books: Books, checkout: Checkout, url: str) -> Object:
    """Return the session object, with its intent and charge in place."""
    paid = books.payments_of(checkout)
    return {
        "id": checkout.checkout_id,
        "object": "checkout.session",
        "amount_total": checkout.amount,
        "cancel_url": checkout.cancel_url,
        "client_reference_id": checkout.reference,
        "created": checkout.created,
        "currency": checkout.currency.lower(),
        "expires_at": checkout.expires,
        "livemode": False,
        "metadata": checkout.metadata,
        "mode": "payment",
        "payment_intent": _intent_to_json(checkout, paid[0]) if paid else None,
        "payment_method_types": checkout.rails,
        "payment_status": "paid" if paid else "unpaid",
        "status": {"paid": "complete"}.get(checkout.status, checkout.status),
        "success_url": checkout.success_url,
        "url": f"{url}/checkout/{checkout.checkout_id}" if checkout.status == "open" else None,
    }


def charge_to_json(payment: Payment) -> Object:
    """Return the charge object."""
    return {
        "id": payment.payment_id,
        "object": "charge",
        "amount": payment.amount,
        "amount_refunded": payment.refunded,
        "balance_transaction": {
            "id": f"txn_{payment.payment_id}",
            "object": "balance_transaction",
            "currency": payment.currency.lower(),
            "exchange_rate": None,
            "fee": payment.fee,
        },
        "created": payment.created,
        "currency": payment.currency.lower(),
        "disputed": payment.disputed,
        "livemode": False,
        "metadata": payment.metadata,
        "paid": True,
        "payment_intent": payment.intent_id,
        "payment_method_details": {"type": payment.rail},
        "status": "succeeded",
    }


def refund_to_json(books: Books, refund: Refund) -> Object:
    """Return the refund object."""
    return {
        "id": refund.refund_id,
        "object": "refund",
        "amount": refund.amount,
        "charge": refund.payment_id,
        "payment_intent": books.payment("stripe", refund.payment_id).intent_id,
        "created": refund.created,
        "currency": refund.currency.lower(),
        "failure_reason": "declined" if refund.status == "failed" else None,
        "metadata": refund.metadata,
        "status": refund.status,
    }


def dispute_to_json(dispute: Dispute) -> Object:
    """Return the dispute object."""
    return {
        "id": dispute.dispute_id,
        "object": "dispute",
        "amount": dispute.amount,
        "charge": dispute.payment_id,
        "created": dispute.created,
        "currency": dispute.currency.lower(),
        "livemode": False,
        "status": dispute.status,
    }


def event_to_json(books: Books, kind: str, what: Any, url: str) -> Object | None:  # noqa: ANN401  # one of the kept
    """Return the event of what happened."""
    if isinstance(what, Checkout):
        body = checkout_to_json(books, what, url)
        body["payment_intent"] = what.intent_id
    else:
        body = refund_to_json(books, what) if isinstance(what, Refund) else dispute_to_json(what)
    return {
        "id": new_id("evt"),
        "object": "event",
        "api_version": _API_VERSION,
        "created": int(books.clock()),
        "data": {"object": body},
        "livemode": False,
        "type": _EVENTS[kind],
    }


def error_to_json(error: RefusedError) -> Object:
    """Return the body of a refusal."""
    kind = "idempotency_error" if error.code == "idempotency_error" else "invalid_request_error"
    return {"error": {"type": kind, "code": error.code, "message": error.detail}}


def _intent_to_json(checkout: Checkout, payment: Payment) -> Object:
    return {
        "id": checkout.intent_id,
        "object": "payment_intent",
        "amount": checkout.amount,
        "currency": checkout.currency.lower(),
        "latest_charge": charge_to_json(payment),
        "status": "succeeded",
    }


def _form(asked: Asked) -> Form:
    return dict(httpx.QueryParams(asked.body.decode()).multi_items())


def _metadata(form: Form) -> dict[str, str]:
    return {name[9:-1]: value for name, value in form.items() if name.startswith("metadata[")}


def _number(form: Form, name: str) -> int:
    try:
        return int(form[name])
    except KeyError:
        raise RefusedError(400, "parameter_missing", f"missing {name}") from None
    except ValueError:
        raise RefusedError(400, "parameter_invalid_integer", f"{name} is no integer") from None
