"""What a provider knows, and the rules it documents: checkouts, payments, refunds, disputes, keys of idempotency.

One state for both providers; how it is spoken of over HTTP is the business of `paymongo` and `stripe`. Every change is
kept in SQLite before it is answered, so that a simulator that is killed has forgotten nothing that it said.
"""

import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

import msgspec

Name = Literal["paymongo", "stripe"]
DAY_S: Final = 86_400


@dataclass(frozen=True)
class Rules:
    """The documented limits of one provider."""

    minimum: dict[str, int]
    """Smallest amount by rail, in minor units."""
    currencies: frozenset[str]
    refund_days: dict[str, int]
    """By rail; a rail that is not there cannot be refunded."""
    expiry_s: tuple[int, int]
    """Shortest and longest life of a checkout that a caller may ask for."""
    lives_s: int
    """Life of a checkout whose caller asked for none."""
    fee_basis_points: int


RULES: Final[dict[Name, Rules]] = {
    "paymongo": Rules(
        {"card": 10_000, "gcash": 2_000, "paymaya": 2_000, "qrph": 2_000},
        frozenset({"PHP"}),
        {"card": 60, "gcash": 180, "paymaya": 180},
        (60, 9_000),
        DAY_S,
        250,
    ),
    "stripe": Rules({"card": 3_000}, frozenset({"PHP", "USD", "EUR"}), {"card": 180}, (30 * 60, DAY_S), DAY_S, 290),
}


class RefusedError(Exception):
    """The provider would refuse this; code as it documents it."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class Checkout(msgspec.Struct):
    """A hosted checkout."""

    checkout_id: str
    provider: Name
    intent_id: str
    reference: str
    amount: int
    currency: str
    description: str
    rails: list[str]
    success_url: str
    cancel_url: str
    metadata: dict[str, str]
    created: int
    expires: int
    status: Literal["open", "paid", "expired"] = "open"
    payment_ids: list[str] = []


class Payment(msgspec.Struct):
    """Money that came in."""

    payment_id: str
    provider: Name
    checkout_id: str
    intent_id: str
    reference: str
    amount: int
    currency: str
    rail: str
    fee: int
    created: int
    refunded: int = 0
    disputed: bool = False
    metadata: dict[str, str] = {}


class Refund(msgspec.Struct):
    """Money on its way back."""

    refund_id: str
    provider: Name
    payment_id: str
    amount: int
    currency: str
    reason: str
    metadata: dict[str, str]
    created: int
    status: Literal["pending", "succeeded", "failed"] = "pending"


class Dispute(msgspec.Struct):
    """A payer who went to his bank."""

    dispute_id: str
    provider: Name
    payment_id: str
    amount: int
    currency: str
    created: int
    status: Literal["needs_response", "won", "lost"] = "needs_response"


class Answered(msgspec.Struct):
    """What was answered to a key of idempotency."""

    key: str
    request: str
    status: int
    body: str
    created: int


Kept = Checkout | Payment | Refund | Dispute | Answered
_T = TypeVar("_T", Checkout, Payment, Refund, Dispute, Answered)
_Told = TypeVar("_Told", Checkout, Payment, Refund, Dispute)
_ID: Final[dict[Any, str]] = {
    Checkout: "checkout_id",
    Payment: "payment_id",
    Refund: "refund_id",
    Dispute: "dispute_id",
    Answered: "key",
}

Tell = Callable[[Name, str, Any], None]
"""Is told of each event: provider, what happened, and to what."""


class Store:
    """Objects by kind and id, in order of their first keeping; in a file if there is a path."""

    def __init__(self, path: Path | None) -> None:
        self._sql = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._sql.execute("PRAGMA synchronous = OFF")
        self._sql.execute("CREATE TABLE IF NOT EXISTS kept (kind TEXT, id TEXT, body BLOB, PRIMARY KEY (kind, id))")
        self._objects: dict[Any, dict[str, Kept]] = {kind: {} for kind in _ID}
        for kind in _ID:
            for each, body in self._sql.execute("SELECT id, body FROM kept WHERE kind = ?", [kind.__name__]):
                self._objects[kind][each] = msgspec.json.decode(body, type=kind)

    def keep(self, kept: Kept) -> None:
        """Keep an object, new or changed."""
        each = getattr(kept, _ID[type(kept)])
        self._objects[type(kept)][each] = kept
        row = [type(kept).__name__, each, msgspec.json.encode(kept)]
        self._sql.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", row)

    def find(self, kind: type[_T], each: str) -> _T | None:
        """Return an object or None."""
        return cast("_T | None", self._objects[kind].get(each))

    def all(self, kind: type[_T]) -> list[_T]:
        """Return all objects of a kind."""
        return cast("list[_T]", list(self._objects[kind].values()))

    def close(self) -> None:
        """Close the file."""
        self._sql.close()


@dataclass
class Books:
    """Both providers' books. clock: seconds since 1970; tell: is told of each event."""

    store: Store
    clock: Callable[[], float]
    tell: Tell
    refuse_refunds: Callable[[], bool] = lambda: False

    def open(self, checkout: Checkout) -> Checkout:
        """Open a checkout; RefusedError where a limit is broken."""
        rules = RULES[checkout.provider]
        if checkout.currency not in rules.currencies:
            raise RefusedError(400, "parameter_invalid", f"currency {checkout.currency} is not taken")
        unknown = [rail for rail in checkout.rails if rail not in rules.minimum]
        if unknown or not checkout.rails:
            raise RefusedError(400, "parameter_invalid", f"payment methods not available: {unknown}")
        if checkout.amount < min(rules.minimum[rail] for rail in checkout.rails):
            raise RefusedError(400, "amount_too_small", "the amount is below the minimum")
        shortest, longest = rules.expiry_s
        lives = checkout.expires - checkout.created
        if checkout.expires and not shortest <= lives <= longest:
            raise RefusedError(400, "parameter_invalid", f"a checkout lives {shortest} to {longest} s, not {lives}")
        checkout.expires = checkout.expires or checkout.created + rules.lives_s
        self.store.keep(checkout)
        return checkout

    def checkout(self, provider: Name, checkout_id: str) -> Checkout:
        """Return a checkout as it is now; RefusedError if there is none."""
        found = self._get(Checkout, checkout_id, provider)
        if found.status == "open" and self.clock() >= found.expires:
            self._end(found)
        return found

    def expire(self, provider: Name, checkout_id: str) -> Checkout:
        """End a checkout; RefusedError if it is paid or has ended."""
        found = self.checkout(provider, checkout_id)
        if found.status != "open":
            raise RefusedError(400, "resource_state", f"the session is {found.status}: only an open one can be expired")
        self._end(found)
        return found

    def pay(self, checkout_id: str, rail: str, *, force: bool = False, amount: int = 0, currency: str = "") -> Payment:
        """Take the money; force: after the end, a second time, with another amount or currency, as faults are."""
        found = self._get(Checkout, checkout_id)
        if not force and self.checkout(found.provider, checkout_id).status != "open":
            raise RefusedError(400, "resource_state", f"the session is {found.status}")
        if rail not in found.rails:
            raise RefusedError(400, "parameter_invalid", f"{rail} is not offered here")
        taken, rules = amount or found.amount, RULES[found.provider]
        if not force and taken < rules.minimum[rail]:
            raise RefusedError(400, "amount_too_small", f"{rail} takes {rules.minimum[rail]} or more")
        payment = Payment(
            payment_id=new_id("pay" if found.provider == "paymongo" else "ch"),
            provider=found.provider,
            checkout_id=checkout_id,
            intent_id=found.intent_id,
            reference=found.reference,
            amount=taken,
            currency=currency or found.currency,
            rail=rail,
            fee=taken * rules.fee_basis_points // 10_000,
            created=int(self.clock()),
            metadata=found.metadata,
        )
        found.status = "paid"
        found.payment_ids.append(payment.payment_id)
        self.store.keep(found)
        self.store.keep(payment)
        self.tell(found.provider, "checkout.paid", found)
        return payment

    def payment(self, provider: Name, payment_id: str) -> Payment:
        """Return a payment; RefusedError if there is none."""
        return self._get(Payment, payment_id, provider)

    def payments_of(self, checkout: Checkout) -> list[Payment]:
        """Return what was paid at a checkout."""
        return [self.payment(checkout.provider, each) for each in checkout.payment_ids]

    def refund(self, provider: Name, payment_id: str, amount: int, reason: str, metadata: dict[str, str]) -> Refund:
        """Begin to give money back; RefusedError where the rail, the time, a dispute or the rest does not allow it."""
        payment, now = self.payment(provider, payment_id), int(self.clock())
        days = RULES[provider].refund_days.get(payment.rail, 0)
        if now >= payment.created + days * DAY_S:
            raise RefusedError(400, "refund_not_allowed", f"{payment.rail} payments are refunded within {days} days")
        if payment.disputed:
            raise RefusedError(400, "charge_disputed", "a disputed payment cannot be refunded")
        if not 0 < amount <= payment.amount - payment.refunded:
            raise RefusedError(400, "amount_too_large", "more than what is left of the payment")
        refund = Refund(
            new_id("ref" if provider == "paymongo" else "re"),
            provider,
            payment_id,
            amount,
            payment.currency,
            reason,
            metadata,
            now,
        )
        payment.refunded += amount
        self.store.keep(payment)
        self.store.keep(refund)
        return refund

    def settle_refund(self, refund: Refund) -> Refund:
        """Let a pending refund come to its end: refused if the faults say so, else done."""
        if refund.status != "pending":
            return refund
        if self.refuse_refunds():
            return self._fail(refund)
        refund.status = "succeeded"
        self.store.keep(refund)
        self.tell(refund.provider, "refund.updated", refund)
        return refund

    def find_refund(self, provider: Name, refund_id: str) -> Refund:
        """Return a refund, come to its end; RefusedError if there is none."""
        return self.settle_refund(self._get(Refund, refund_id, provider))

    def return_refund(self, refund_id: str) -> Refund:
        """Let the payer's bank send back a refund that had been made."""
        found = self._get(Refund, refund_id)
        if found.status != "succeeded":
            raise RefusedError(400, "resource_state", f"the refund is {found.status}")
        return self._fail(found)

    def dispute(self, payment_id: str) -> Dispute:
        """Let the payer dispute a payment."""
        payment = self._get(Payment, payment_id)
        dispute = Dispute(
            new_id("dp"),
            payment.provider,
            payment_id,
            payment.amount - payment.refunded,
            payment.currency,
            int(self.clock()),
        )
        payment.disputed = True
        self.store.keep(payment)
        self.store.keep(dispute)
        self.tell(payment.provider, "dispute.created", dispute)
        return dispute

    def decide(self, dispute_id: str, status: Literal["won", "lost"]) -> Dispute:
        """Let the bank decide a dispute."""
        found = self._get(Dispute, dispute_id)
        found.status = status
        payment = self.payment(found.provider, found.payment_id)
        payment.disputed = status == "lost"
        self.store.keep(payment)
        self.store.keep(found)
        self.tell(found.provider, "dispute.closed", found)
        return found

    def once(self, key: str, request: str, answer: Callable[[], tuple[int, str]]) -> tuple[int, str]:
        """Answer a key of idempotency the same for a day; RefusedError if it comes with another request."""
        known = self.store.find(Answered, key) if key else None
        if known is not None and self.clock() < known.created + DAY_S:
            if known.request != request:
                raise RefusedError(400, "idempotency_error", "the key was used with another request")
            return known.status, known.body
        status, body = answer()
        if key:
            self.store.keep(Answered(key, request, status, body, int(self.clock())))
        return status, body

    def forget_keys(self) -> None:
        """Forget what was answered to keys, as after a day."""
        for each in self.store.all(Answered):
            self.store.keep(msgspec.structs.replace(each, created=0))

    def _get(self, kind: type[_Told], each: str, provider: Name | None = None) -> _Told:
        """Return an object, of this provider if one is named; RefusedError if there is none."""
        found = self.store.find(kind, each)
        if found is None or provider not in {None, found.provider}:
            raise RefusedError(404, "resource_missing", f"no such {kind.__name__.lower()}")
        return found

    def _fail(self, refund: Refund) -> Refund:
        payment = self.payment(refund.provider, refund.payment_id)
        payment.refunded -= refund.amount
        refund.status = "failed"
        self.store.keep(payment)
        self.store.keep(refund)
        self.tell(refund.provider, "refund.updated", refund)
        return refund

    def _end(self, checkout: Checkout) -> None:
        checkout.status = "expired"
        self.store.keep(checkout)
        self.tell(checkout.provider, "checkout.expired", checkout)


def new_id(prefix: str) -> str:
    """Return an id of the form that providers use."""
    return f"{prefix}_{secrets.token_hex(12)}"
