"""What ParkPal asks of a payment provider, in words that both adapters share.

Nothing here is believed for having been announced: a webhook gives a `Hint`, and the state is read from the provider.
Amounts are integer minor units; `reference` is our own id of a payment or refund, by which the provider's side is found
again when an answer was lost.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from api.payments.fees import RailRule


class ProviderDownError(Exception):
    """No answer, or none that decides (a fault, a key it does not know): nobody knows whether it did what was asked."""


class ProviderRefusedError(Exception):
    """The provider will not do this; `code` is its own word for why."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Order(NamedTuple):
    """What a checkout is opened for."""

    reference: str
    amount: int
    currency: str
    description: str
    rails: tuple[str, ...]
    closes_at: datetime
    """When the place is let go; a provider whose shortest expiry is longer is told to expire the checkout then."""
    success_url: str
    cancel_url: str


class Captured(NamedTuple):
    """Money that the provider has taken."""

    capture_id: str
    reference: str
    amount: int
    currency: str
    rail: str
    fee: int
    captured_at: datetime


class Checkout(NamedTuple):
    """A hosted checkout as the provider has it now."""

    checkout_id: str
    url: str
    status: Literal["open", "paid", "expired"]
    captures: tuple[Captured, ...]


class RefundOrder(NamedTuple):
    """What is to go back; `first` is false where an earlier try may have reached the provider."""

    reference: str
    capture_id: str
    amount: int
    first: bool


class Refunded(NamedTuple):
    """A refund as the provider has it now."""

    refund_id: str
    status: Literal["sent", "done", "failed"]
    reason: str


class Disputed(NamedTuple):
    """A payer's dispute as the provider has it now."""

    dispute_id: str
    amount: int
    status: Literal["open", "won", "lost"]


class Hint(NamedTuple):
    """What a webhook is about; ids are empty where it does not say."""

    event_id: str
    kind: str
    livemode: bool
    checkout_id: str
    capture_id: str
    refund_id: str


class Provider(Protocol):
    """A payment provider. Every call but `is_signed` and `read_hint` goes to the network."""

    name: str
    rails: dict[str, RailRule]
    currencies: frozenset[str]
    livemode: bool

    async def open_checkout(self, order: Order) -> Checkout:
        """Open a checkout, or find the one that was opened for this reference."""

    async def read_checkout(self, checkout_id: str) -> Checkout:
        """Return a checkout."""

    async def expire_checkout(self, checkout_id: str) -> Checkout:
        """End a checkout; one that was paid or had ended is returned as it is."""

    async def refund(self, order: RefundOrder) -> Refunded:
        """Send money back, once for a reference however often it is asked."""

    async def read_refund(self, refund_id: str) -> Refunded:
        """Return a refund."""

    async def disputes(self, capture_id: str) -> list[Disputed]:
        """Return the disputes of a capture."""

    def captures_since(self, since: datetime) -> AsyncIterator[Captured]:
        """Give all that was captured since then, newest first."""

    def disputed_since(self, since: datetime) -> AsyncIterator[str]:
        """Give the ids of captures that were disputed since then, however old they are."""

    def is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Return whether the provider signed this body."""

    def is_fresh(self, headers: Mapping[str, str], now_s: float) -> bool:
        """Return whether it did so within the last 300 s."""

    def read_hint(self, body: bytes) -> Hint:
        """Return what a signed body is about; ValueError if it is no event."""

    async def close(self) -> None:
        """Let go of connections."""
