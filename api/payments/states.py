"""The state machines of money, as tables: from where each state may be reached.

The tables decide nothing by themselves. Every change is one compare-and-swap in SQL, `WHERE status = ANY (sources)`,
so that of two rivals one changes the row and the other finds that it did not.
"""

from typing import Final

Machine = dict[str, tuple[str, ...]]
"""Each state with those it may be reached from; none for the first."""

PAYMENT: Final[Machine] = {
    "creating": (),
    "open": ("creating",),
    "paid": ("creating", "open", "closed", "failed"),
    "closed": ("creating", "open"),
    "failed": ("creating",),
}
"""A checkout: `creating` before the provider knows, `paid` even after it was closed (money may be late)."""

REFUND: Final[Machine] = {
    "due": (),
    "sent": ("due",),
    "done": ("due", "sent"),
    "failed": ("due", "sent", "done"),
}
"""What `failed` becomes credit, even after `done`: a bank may send back what it was sent."""

PAYOUT: Final[Machine] = {
    "draft": (),
    "approved": ("draft",),
    "sent": ("approved",),
    "paid": ("sent",),
    "failed": ("sent",),
    "dropped": ("draft",),
}

DISPUTE: Final[Machine] = {"open": (), "won": ("open",), "lost": ("open",)}


def sources(machine: Machine, state: str) -> list[str]:
    """Return where a state may be reached from; ValueError for a state that is none."""
    if state not in machine:
        raise ValueError(f"no state {state}")
    return list(machine[state])
