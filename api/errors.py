"""One tree of errors and one table from error to answer: every refusal leaves as `application/problem+json` (RFC 9457).

The docstring of an error is its title. What a client may rely on is `type` and `status`; titles and details are for
people and may change.
"""

import logging
import traceback
from collections import defaultdict
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec

PROBLEM_JSON: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:parkpal:problem:"

log = logging.getLogger(__name__)


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field of a request."""

    field: str
    reason: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error answer; `instance` is the request id that the server's log carries too."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: tuple[FieldError, ...] = ()
    facts: dict[str, Any] = {}
    """What a client may act on, by name; the titles of the errors that have some name them."""


class ApiError(Exception):
    """The request cannot be answered."""

    def __init__(
        self,
        detail: str = "",
        *,
        retry_after_s: int | None = None,
        errors: Sequence[FieldError] = (),
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.errors = tuple(errors)
        self.facts = dict(facts)


class InvalidRequestError(ApiError):
    """A parameter or the body does not have the documented shape."""


class NotJsonError(ApiError):
    """The body is no JSON, or its compression is damaged."""


class UnauthenticatedError(ApiError):
    """Credentials are missing, unknown, expired or withdrawn."""


class InsufficientScopeError(ApiError):
    """The credentials do not carry the scope that this route needs."""


class ConsentMissingError(ApiError):
    """The person has not consented to this use of the device's events, or has withdrawn it."""


class RoleMissingError(ApiError):
    """The person does not have the role that this needs."""


class NotFoundError(ApiError):
    """There is nothing at this address."""


class MethodNotAllowedError(ApiError):
    """This address does not take this method."""


class NotAcceptableError(ApiError):
    """The answer is not made in any format that the Accept header takes."""


class BodyTooSlowError(ApiError):
    """The body did not arrive in time."""


class FenceExistsError(ApiError):
    """A geofence with this id is in force; put a new version instead."""


class ContactTakenError(ApiError):
    """Another account has this contact."""


class DeviceLinkedError(ApiError):
    """The device is linked to another account."""


class VehicleExistsError(ApiError):
    """The person has a vehicle with this plate."""


class KeyInUseError(ApiError):
    """A request with this Idempotency-Key is at work; send again after a pause."""


class KeyReusedError(ApiError):
    """This Idempotency-Key came with another body before."""


class PlaceTakenError(ApiError):
    """The place is not free for this window; facts may hold `latest_end` and `other_places`."""


class PlaceClosedError(ApiError):
    """The place is closed, blocked or not for sale in this window."""


class WrongStateError(ApiError):
    """The booking's state does not allow this; facts hold `status`."""


class TooEarlyError(ApiError):
    """It is too early to check in; facts hold `from`."""


class BalanceDueError(ApiError):
    """A balance of an earlier booking is due first; facts hold `bookings`."""


class StrandedError(ApiError):
    """The change would strand live bookings; facts hold `bookings`."""


class DayClosedError(ApiError):
    """This day of the lot, or a later one, is closed."""


class TooManyPhotosError(ApiError):
    """There are ten photos already; remove one first."""


class ReviewExistsError(ApiError):
    """This booking was reviewed already."""


class TooManyKeysError(ApiError):
    """The contract has as many keys as it may."""


class TooManyEndpointsError(ApiError):
    """The operator has as many webhook endpoints as it may."""


class InvalidQuoteError(ApiError):
    """The quote is not one of ours, has ended, or is for something else."""


class CannotPayError(ApiError):
    """No way to pay takes this total; facts may hold `shortest_s`."""


class CannotRefundError(ApiError):
    """Less than this is left of what was paid for the booking."""


class SecondPersonError(ApiError):
    """Above the limit a second person decides: not the one who asked."""


class InvalidTariffError(ApiError):
    """The tariff breaks a rule."""


class WrongTokenError(ApiError):
    """The QR code is not one of ours, has ended, is for something else, or was used."""


class BodyTooLargeError(ApiError):
    """The body is larger than the limit, as sent or inflated."""


class TooManyEventsError(ApiError):
    """The batch holds more events than one request may carry."""


class UnsupportedMediaTypeError(ApiError):
    """The body's Content-Type is not taken here."""


class UnsupportedEncodingError(ApiError):
    """The body's Content-Encoding is not gzip, zstd or identity, once."""


class InvalidBatchError(ApiError):
    """The body is JSON, but no batch of events."""


class InvalidFenceError(ApiError):
    """The geofence breaks a rule of its format."""


class WrongCodeError(ApiError):
    """The code is wrong, used, or has expired; ask for a new one."""


class AnswerTooLargeError(ApiError):
    """The answer would be larger than the limit; ask for less."""


class UpgradeRequiredError(ApiError):
    """This address speaks WebSocket: send the headers of an upgrade."""


class RateLimitedError(ApiError):
    """Too many requests of this kind from this address."""


class InternalError(ApiError):
    """The server failed; the same request may work later."""


class OverloadedError(ApiError):
    """The server holds as much unfinished work as it may; send again after a pause."""


class UnavailableError(ApiError):
    """A part that this answer needs does not respond; send again after a pause."""


class Answer(NamedTuple):
    """Status and stable slug of an error."""

    status: int
    slug: str


TABLE: Final[dict[type[ApiError], Answer]] = {
    InvalidRequestError: Answer(400, "invalid-request"),
    NotJsonError: Answer(400, "not-json"),
    UnauthenticatedError: Answer(401, "unauthenticated"),
    InsufficientScopeError: Answer(403, "insufficient-scope"),
    ConsentMissingError: Answer(403, "consent-missing"),
    RoleMissingError: Answer(403, "role-missing"),
    NotFoundError: Answer(404, "not-found"),
    MethodNotAllowedError: Answer(405, "method-not-allowed"),
    NotAcceptableError: Answer(406, "not-acceptable"),
    BodyTooSlowError: Answer(408, "body-too-slow"),
    FenceExistsError: Answer(409, "fence-exists"),
    ContactTakenError: Answer(409, "contact-taken"),
    DeviceLinkedError: Answer(409, "device-linked"),
    VehicleExistsError: Answer(409, "vehicle-exists"),
    KeyInUseError: Answer(409, "key-in-use"),
    PlaceTakenError: Answer(409, "place-taken"),
    PlaceClosedError: Answer(409, "place-closed"),
    WrongStateError: Answer(409, "wrong-state"),
    TooEarlyError: Answer(409, "too-early"),
    BalanceDueError: Answer(409, "balance-due"),
    StrandedError: Answer(409, "stranded-bookings"),
    ReviewExistsError: Answer(409, "review-exists"),
    TooManyKeysError: Answer(409, "too-many-keys"),
    TooManyEndpointsError: Answer(409, "too-many-endpoints"),
    DayClosedError: Answer(409, "day-closed"),
    TooManyPhotosError: Answer(409, "too-many-photos"),
    CannotPayError: Answer(409, "cannot-pay"),
    CannotRefundError: Answer(409, "cannot-refund"),
    SecondPersonError: Answer(409, "second-person-needed"),
    BodyTooLargeError: Answer(413, "body-too-large"),
    TooManyEventsError: Answer(413, "too-many-events"),
    UnsupportedMediaTypeError: Answer(415, "unsupported-media-type"),
    UnsupportedEncodingError: Answer(415, "unsupported-encoding"),
    InvalidBatchError: Answer(422, "invalid-batch"),
    InvalidFenceError: Answer(422, "invalid-fence"),
    WrongCodeError: Answer(422, "wrong-code"),
    AnswerTooLargeError: Answer(422, "answer-too-large"),
    KeyReusedError: Answer(422, "key-reused"),
    InvalidQuoteError: Answer(422, "invalid-quote"),
    InvalidTariffError: Answer(422, "invalid-tariff"),
    WrongTokenError: Answer(422, "wrong-token"),
    UpgradeRequiredError: Answer(426, "upgrade-required"),
    RateLimitedError: Answer(429, "rate-limited"),
    InternalError: Answer(500, "internal"),
    OverloadedError: Answer(503, "overloaded"),
    UnavailableError: Answer(503, "unavailable"),
}
"""Every error that leaves the API. The first error of a status also speaks for the framework's own of that status."""

_FIRST_OF_STATUS: Final = {answer.status: error for error, answer in reversed(TABLE.items())}
_EXTRA_HEADERS: Final[dict[type[ApiError], dict[str, str]]] = {
    UnauthenticatedError: {"WWW-Authenticate": 'Bearer realm="parkpal"'},
    UnsupportedEncodingError: {"Accept-Encoding": "gzip, zstd"},
    UpgradeRequiredError: {"Upgrade": "websocket"},
}


def error_to_problem(error: ApiError, instance: str) -> Problem:
    """Describe an error for its receiver."""
    status, slug = TABLE[type(error)]
    title = (type(error).__doc__ or "").rstrip(".")
    return Problem(TYPE_PREFIX + slug, title, status, error.detail or f"{title}.", instance, error.errors, error.facts)


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer any exception that a request raised; what is not ours is logged without its message.

    Messages of foreign exceptions are left out on purpose: a driver's message may quote the row it failed on.
    """
    known = error if isinstance(error, ApiError) else _adopt(error)
    instance = request.scope.get("state", {}).get("request_id", "")
    if isinstance(known, InternalError):
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("failed", extra={"request_id": instance, "error": type(error).__name__, "frames": frames})
    problem = error_to_problem(known, instance)
    headers = dict(getattr(error, "headers", None) or {}) | _EXTRA_HEADERS.get(type(known), {})
    if known.retry_after_s is not None:
        headers["Retry-After"] = str(known.retry_after_s)
    return Response(msgspec.json.encode(problem), status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


def _adopt(error: Exception) -> ApiError:
    """Translate what the framework and the database raise; anything else is a bug of ours."""
    if isinstance(error, psycopg.OperationalError):
        return UnavailableError("The database does not respond.", retry_after_s=5)
    if isinstance(error, psycopg.errors.UntranslatableCharacter) or (
        isinstance(error, psycopg.DataError) and "NUL" in str(error)
    ):
        return InvalidRequestError("No text may hold a NUL character.")
    if not isinstance(error, HTTPException) or error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return InternalError()
    kind = _FIRST_OF_STATUS.get(error.status_code, InvalidRequestError)
    extra = error.extra if isinstance(error.extra, list) else []
    return kind(errors=[FieldError(str(item.get("key", "")), str(item.get("message", ""))) for item in extra])


def responses(*errors: type[ApiError]) -> dict[int, ResponseSpec]:
    """Return the OpenAPI entries of a route that may answer with these errors, and with 500 like every route."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for error in (*errors, InternalError):
        status, slug = TABLE[error]
        by_status[status].append(f"{slug}: {(error.__doc__ or '').rstrip('.')}")
    return {
        status: ResponseSpec(Problem, generate_examples=False, description="; ".join(texts), media_type=PROBLEM_JSON)
        for status, texts in by_status.items()
    }
