"""Whole minor units in, whole minor units out: what the platform keeps, what the tax office gets, what may go back.

Shares are basis points (1/10,000). Rounding is half up, and what is rounded off one side stands on the other, so that
no split loses or makes a centavo.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

BASIS: Final = 10_000


def share(amount: int, basis_points: int) -> int:
    """Return this share of an amount >= 0, rounded half up; ValueError for less than nothing."""
    if amount < 0 or not 0 <= basis_points <= BASIS:
        raise ValueError(f"no share of {basis_points} basis points of {amount}")
    return (2 * amount * basis_points + BASIS) // (2 * BASIS)


class Split(NamedTuple):
    """A booking's price, divided."""

    platform: int
    host: int


def split_price(amount: int, fee_basis_points: int) -> Split:
    """Divide a price between platform and host."""
    platform = share(amount, fee_basis_points)
    return Split(platform, amount - platform)


class Withholding(NamedTuple):
    """The tax that a platform keeps back from what it remits to a seller.

    Defaults: BIR RR 16-2023, 1 % of half of what is remitted beyond PHP 500,000 in a calendar year.
    """

    rate: int = 100
    base: int = 5_000
    threshold: int = 50_000_000

    def of(self, remitted_before: int, remittance: int) -> int:
        """Return what to keep back of a remittance, given what was remitted earlier in the year."""
        beyond = min(remittance, max(0, remitted_before + remittance - self.threshold))
        return share(share(beyond, self.base), self.rate)


class RailRule(NamedTuple):
    """What a provider documents of one way of paying; `refund_days` 0: it cannot be refunded."""

    minimum: int
    refund_days: int


PAYMONGO_RAILS: Final = {
    "card": RailRule(10_000, 60),
    "gcash": RailRule(2_000, 180),
    "paymaya": RailRule(2_000, 180),
    "qrph": RailRule(2_000, 0),
}
STRIPE_RAILS: Final = {"card": RailRule(3_000, 180)}


def payable_rails(amount: int, rules: dict[str, RailRule]) -> tuple[str, ...]:
    """Return the ways in which an amount can be paid."""
    return tuple(rail for rail, rule in rules.items() if amount >= rule.minimum)


def is_refundable(rail: str, captured_at: datetime, now: datetime, rules: dict[str, RailRule]) -> bool:
    """Return whether money that came this way can still go back the same way."""
    rule = rules.get(rail)
    return rule is not None and now < captured_at + timedelta(days=rule.refund_days)
