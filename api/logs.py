"""One line of JSON for each request, and nothing in it that speaks of a person.

Kept: the route as declared, method, status, duration, request id. Left out: the path as sent, query, addresses,
headers, bodies, device ids, and the messages of foreign exceptions.
"""

import json
import logging
import re
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics

log = logging.getLogger(__name__)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9-]{8,64}")
_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"strict-transport-security", b"max-age=31536000"),
)
_NO_STORE: Final = (b"cache-control", b"no-store")


class JsonFormatter(logging.Formatter):
    """Formats a record and its `extra` fields as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; of an exception the type and the frames, never the message."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _OWN_FIELDS}
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, default=str)


def observe(app: ASGIApp, metrics: Metrics, clock: Callable[[], float] = time.perf_counter) -> ASGIApp:
    """Wrap an app: every answer gets a request id and the security headers, and is counted and logged."""

    async def observed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        started = clock()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_added_headers(message["headers"], request_id)]
                _report(scope, message["status"], clock() - started, request_id, metrics)
            await send(message)

        await app(scope, receive, send_observed)

    return observed


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _added_headers(present: Any, request_id: str) -> list[tuple[bytes, bytes]]:  # noqa: ANN401  # raw ASGI headers
    names = {name for name, _ in present}
    added = [(b"x-request-id", request_id.encode()), *_SECURITY_HEADERS, _NO_STORE]
    return [header for header in added if header[0] not in names]


def _report(scope: Scope, status: int, duration_s: float, request_id: str, metrics: Metrics) -> None:
    route = str(scope.get("path_template") or "none")
    method = str(scope.get("method"))
    metrics.requests.labels(method, route, status).inc()
    metrics.request_seconds.labels(route).observe(duration_s)
    fields = {"request_id": request_id, "method": method, "route": route, "status": status}
    log.info("answered", extra=fields | {"duration_ms": round(duration_s * 1000, 1)})
