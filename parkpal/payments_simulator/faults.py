"""What goes wrong when told to: each fault by its share of the cases, drawn from one seeded source of chance."""

import random
from typing import Annotated

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of 0 to 1; all 0: the provider works as documented."""

    delay: Share = 0.0
    """A webhook that comes up to `delay_s` late, and so out of order."""
    delay_s: float = 2.0
    repeat: Share = 0.0
    """A webhook that comes twice."""
    drop: Share = 0.0
    """A webhook that never comes."""
    forge: Share = 0.0
    """A webhook signed with a wrong secret; the true one does not follow."""
    old: Share = 0.0
    """A webhook whose signature is an hour old."""
    refuse_refund: Share = 0.0
    """A refund that is taken and then fails."""
    lose_request: Share = 0.0
    """A call that is answered 503 and not done."""
    lose_answer: Share = 0.0
    """A call that is done, and answered 503."""


class Dice:
    """Draws faults."""

    def __init__(self, seed: int) -> None:
        self.faults = Faults()
        self._random = random.Random(seed)  # noqa: S311  # chance, not secrecy

    def falls(self, share: float) -> bool:
        """Return whether a fault of this share happens now."""
        return share > 0 and self._random.random() < share

    def delay(self) -> float:
        """Return by how many seconds the next webhook is late."""
        return self._random.uniform(0, self.faults.delay_s) if self.falls(self.faults.delay) else 0.0
