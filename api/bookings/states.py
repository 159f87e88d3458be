"""The state machine of a booking: which event leads from which status to which. Pure; the database has the same table.

    event      from                     to          who
    confirm    HELD                     RESERVED    payments, or the driver where there is nothing to pay
    walk_in    HELD                     ACTIVE      the driver, at the space
    expire     HELD                     EXPIRED     the clock, or the next who wants the place
    cancel     HELD, RESERVED           CANCELED    driver, host, operator or platform, by the policy
    check_in   RESERVED                 ACTIVE      driver or attendant
    no_show    RESERVED                 NO_SHOW     the clock
    overrun    ACTIVE                   OVERSTAY    the clock, at end + grace
    check_out  ACTIVE, OVERSTAY         FULFILLED   driver, attendant, or the clock
    close      RESERVED (extensions)    FULFILLED   with the stay that it extends

An extension has no stay of its own: it is held and reserved like any booking, and ends with the stay.
"""

from typing import Final, Literal

Status = Literal["HELD", "RESERVED", "ACTIVE", "OVERSTAY", "FULFILLED", "CANCELED", "EXPIRED", "NO_SHOW"]
Event = Literal["confirm", "walk_in", "expire", "cancel", "check_in", "no_show", "overrun", "check_out", "close"]

TRANSITIONS: Final[dict[Event, tuple[frozenset[Status], Status]]] = {
    "confirm": (frozenset({"HELD"}), "RESERVED"),
    "walk_in": (frozenset({"HELD"}), "ACTIVE"),
    "expire": (frozenset({"HELD"}), "EXPIRED"),
    "cancel": (frozenset({"HELD", "RESERVED"}), "CANCELED"),
    "check_in": (frozenset({"RESERVED"}), "ACTIVE"),
    "no_show": (frozenset({"RESERVED"}), "NO_SHOW"),
    "overrun": (frozenset({"ACTIVE"}), "OVERSTAY"),
    "check_out": (frozenset({"ACTIVE", "OVERSTAY"}), "FULFILLED"),
    "close": (frozenset({"RESERVED"}), "FULFILLED"),
}
OF_EXTENSIONS: Final[frozenset[Event]] = frozenset({"confirm", "expire", "cancel", "no_show", "close"})
"""What happens to extensions; `close` happens to nothing else."""
LIVE: Final[frozenset[Status]] = frozenset({"HELD", "RESERVED", "ACTIVE", "OVERSTAY"})
"""While a booking is one of these, its window of its place is nobody else's."""
STAYING: Final[frozenset[Status]] = frozenset({"ACTIVE", "OVERSTAY"})


def advance(status: Status, event: Event, *, extension: bool = False) -> Status | None:
    """Return the status that follows, None where the event cannot happen."""
    allowed, following = TRANSITIONS[event]
    fits = event in OF_EXTENSIONS if extension else event != "close"
    return following if fits and status in allowed else None
