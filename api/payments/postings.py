"""What each event about money writes into the ledger: postings that sum to zero, and nothing else.

Positive: money stands on the account. Two accounts are sources and only ever fall: `captured` (drivers' money, at the
providers) and `platform_cost` (the platform's own). Every centavo that left a source stands on exactly one place, and
a place belongs to one class: held, earned, refund due, refunded, credit, disputed, unallocated.
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple
from uuid import UUID

from api.payments.fees import split_price

Account = Literal[
    "captured",
    "platform_cost",
    "unallocated",
    "held",
    "host_payable",
    "platform_fee",
    "paid_out",
    "withheld",
    "provider_fee",
    "refund_due",
    "refunded",
    "credit",
    "credit_given",
    "disputed",
]

SOURCES: Final[frozenset[Account]] = frozenset({"captured", "platform_cost"})
CLASSES: Final[dict[Account, str]] = {
    "unallocated": "unallocated",
    "held": "held",
    "host_payable": "earned",
    "platform_fee": "earned",
    "paid_out": "earned",
    "withheld": "earned",
    "provider_fee": "cost",
    "refund_due": "refund due",
    "refunded": "refunded",
    "credit": "credit",
    "credit_given": "credit",
    "disputed": "disputed",
}
"""The class of each place. `provider_fee` is the platform's own money, spent."""


class Posting(NamedTuple):
    """One line: how much arrives (or, below zero, leaves) where. owner: booking, host or person, by account."""

    account: Account
    owner: UUID | None
    amount: int


Postings = tuple[Posting, ...]


def move(
    amount: int, source: Account, source_owner: UUID | None, target: Account, target_owner: UUID | None
) -> Postings:
    """Move an amount > 0 from one account to another; ValueError for nothing or less."""
    if amount <= 0:
        raise ValueError(f"no amount to move: {amount}")
    return (Posting(source, source_owner, -amount), Posting(target, target_owner, amount))


def earn(amount: int, booking_id: UUID, host_id: UUID, fee_basis_points: int) -> Postings:
    """Give what was held for a booking to those who earned it."""
    split = split_price(amount, fee_basis_points)
    lines = (
        Posting("held", booking_id, -amount),
        Posting("host_payable", host_id, split.host),
        Posting("platform_fee", None, split.platform),
    )
    return tuple(line for line in lines if line.amount)


def freeze(amount: int, held: int, booking_id: UUID, host_id: UUID, fee_basis_points: int) -> Postings:
    """Book disputed money: what is still held first, the rest back from host and platform as it was earned."""
    from_held = min(amount, held)
    split = split_price(amount - from_held, fee_basis_points)
    lines = (
        Posting("held", booking_id, -from_held),
        Posting("host_payable", host_id, -split.host),
        Posting("platform_fee", None, -split.platform),
        Posting("disputed", booking_id, amount),
    )
    return tuple(line for line in lines if line.amount)


def reverse(postings: Iterable[Posting]) -> Postings:
    """Undo postings by their opposites."""
    return tuple(Posting(each.account, each.owner, -each.amount) for each in postings)
