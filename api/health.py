"""Alive means that the process answers; ready means that it should be sent work.

Not ready: a part does not answer, the clock is more than 5 s from the database's (rows would be stamped wrongly), or
most of what phones send is refused (more likely our fault than theirs).
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
import psycopg
from litestar import Response, Router, get
from litestar.openapi.datastructures import ResponseSpec

from api.database import Pool, fetch_row
from api.errors import UnavailableError
from api.metrics import Metrics

MAX_CLOCK_OFFSET_S: Final = 5.0
REJECT_WINDOW_S: Final = 300.0
MIN_REJECTS: Final = 1_000
MAX_REJECT_SHARE: Final = 0.5

Check = Callable[[], Awaitable[None]]
"""Returns if the part is well, else raises UnavailableError with the reason."""


class Readiness(msgspec.Struct, frozen=True):
    """Whether to send work here, and what each part says."""

    status: Literal["ready", "not ready"]
    parts: dict[str, str]


class RejectRate:
    """Counts accepted and rejected events of the last minutes, in slots of one minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots: deque[tuple[float, int, int]] = deque()

    def add(self, accepted: int, rejected: int) -> None:
        """Count the outcome of one batch."""
        minute = self._clock() // 60
        if self._slots and self._slots[-1][0] == minute:
            _, before_accepted, before_rejected = self._slots.pop()
            accepted, rejected = accepted + before_accepted, rejected + before_rejected
        self._slots.append((minute, accepted, rejected))
        while self._slots[0][0] < minute - REJECT_WINDOW_S // 60:
            self._slots.popleft()

    async def check(self) -> None:
        """UnavailableError while most events of the last 5 min were refused, and not a few."""
        oldest = self._clock() // 60 - REJECT_WINDOW_S // 60
        recent = [slot for slot in self._slots if slot[0] >= oldest]
        accepted, rejected = sum(slot[1] for slot in recent), sum(slot[2] for slot in recent)
        if rejected >= MIN_REJECTS and rejected > MAX_REJECT_SHARE * (accepted + rejected):
            raise UnavailableError(f"{rejected} of {accepted + rejected} events of the last 5 min were rejected")


def database_check(pool: Pool) -> Check:
    """Build the check that the database answers and its clock agrees with ours."""

    async def check() -> None:
        before = datetime.now(UTC)
        try:
            async with pool.connection(timeout=2) as connection:
                now = (await fetch_row(connection, b"SELECT clock_timestamp() AS now", {})).now
        except psycopg.Error as error:
            raise UnavailableError(type(error).__name__) from None
        after = datetime.now(UTC)
        offset_s = max((before - now).total_seconds(), (now - after).total_seconds())
        if offset_s > MAX_CLOCK_OFFSET_S:
            raise UnavailableError(f"the clock is {offset_s:.1f} s from the database's")

    return check


def health_routes(checks: dict[str, Check], metrics: Metrics) -> Router:
    """Build `/health/*` and `/metrics`."""

    @get("/health/live")
    async def read_live() -> dict[str, str]:
        """Answer while the process runs."""
        return {"status": "alive"}

    @get("/health/ready", responses={503: ResponseSpec(Readiness, generate_examples=False, description="Not ready")})
    async def read_ready() -> Response[Readiness]:
        """Answer 200 if this process should be sent work, else 503 with what is wrong."""
        parts = {}
        for name, check in checks.items():
            try:
                await check()
                parts[name] = "ok"
            except UnavailableError as error:
                parts[name] = error.detail
        ready = all(state == "ok" for state in parts.values())
        return Response(Readiness("ready" if ready else "not ready", parts), status_code=200 if ready else 503)

    @get("/metrics", media_type="text/plain; version=0.0.4")
    async def read_metrics() -> bytes:
        """Return the metrics in Prometheus' text format."""
        return metrics.render()

    return Router("/", route_handlers=[read_live, read_ready, read_metrics], tags=["operation"])
