"""`POST /v1/events`: authenticate, read, judge, write, answer - in this order, and answered only once durable."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import msgspec
from litestar import Request, Router, post
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from api.api_keys import DEVICE_SECURITY
from api.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    ConsentMissingError,
    InvalidBatchError,
    NotJsonError,
    OverloadedError,
    TooManyEventsError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedEncodingError,
    UnsupportedMediaTypeError,
    responses,
)
from api.health import RejectRate
from api.ingest.body import MAX_DISCARDED_BYTES, Budget, inflate, read_body
from api.ingest.devices import Devices
from api.ingest.events import Batch
from api.ingest.grouping import Grouper
from api.ingest.intake import Intake, judge_batch
from api.ingest.pseudonyms import Pseudonyms
from api.ingest.remembered import Remembered
from api.metrics import Metrics


class RejectedEvent(msgspec.Struct, frozen=True):
    """An event of the batch that was not taken: its place in `events`, the field, and a reason of a closed list."""

    index: int
    field: str
    reason: str


class Receipt(msgspec.Struct, frozen=True):
    """What became of a batch; everything accepted or rejected is durable by now."""

    accepted: int
    duplicates: int
    rejected: list[RejectedEvent]


def _batch_schema() -> dict[str, Any]:
    schemas: dict[str, dict[str, Any]] = msgspec.json.schema_components([Batch])[1]
    batch = schemas["Batch"]
    batch["properties"]["events"]["items"] = schemas["Event"]
    return batch


@dataclass
class _BatchOperation(Operation):
    """Tells the OpenAPI document of a body that the framework must not read for us."""

    def __post_init__(self) -> None:
        schema = cast("Schema", _batch_schema())  # the document takes plain JSON Schema too
        self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=True)


class Ingest(NamedTuple):
    """What the route of events needs."""

    devices: Devices
    pseudonyms: Pseudonyms
    remembered: Remembered
    grouper: Grouper
    budget: Budget
    metrics: Metrics
    reject_rate: RejectRate

    async def take(self, request: Request[Any, Any, Any]) -> Receipt:
        """Take a batch from a phone."""
        receive_time = time.time_ns() // 1_000_000
        device_id = self.devices.authenticate(request)
        self.devices.denied.check(device_id)
        if request.content_type[0] != "application/json":
            raise UnsupportedMediaTypeError("Send application/json.")
        with self.budget.hold() as held:
            self.metrics.held_bytes.set(self.budget.used)
            body = inflate(await read_body(request.stream(), held), request.headers.get("content-encoding", ""))
            intake = judge_batch(body, device_id, receive_time, self.pseudonyms, self.remembered)
            del body
            if intake.submission.row_count:
                held.set(intake.submission.size)
                await self.grouper.append(intake.submission)
        self.metrics.held_bytes.set(self.budget.used)
        self.remembered.add(device_id, intake.durable_events)
        self._count(intake)
        rejected = [RejectedEvent(misfit.position, misfit.field, misfit.reason) for misfit in intake.rejected]
        return Receipt(intake.accepted, intake.duplicates, rejected)

    def _count(self, intake: Intake) -> None:
        self.metrics.events_accepted.inc(intake.accepted)
        self.metrics.events_repeated.inc(intake.duplicates)
        self.metrics.unknown_fields.inc(intake.unknown_fields)
        self.metrics.clocks_corrected.inc(intake.clock_corrected)
        for reason, count in Counter(misfit.reason for misfit in intake.rejected).items():
            self.metrics.events_rejected.labels(reason).inc(count)
        self.reject_rate.add(intake.accepted, len(intake.rejected))


def event_routes(ingest: Ingest) -> Router:
    """Build `/v1/events`."""

    @post(
        "/",
        status_code=202,
        security=DEVICE_SECURITY,
        operation_class=_BatchOperation,
        request_max_body_size=MAX_DISCARDED_BYTES,
        responses=responses(
            NotJsonError,
            UnauthenticatedError,
            ConsentMissingError,
            BodyTooSlowError,
            BodyTooLargeError,
            TooManyEventsError,
            UnsupportedMediaTypeError,
            UnsupportedEncodingError,
            InvalidBatchError,
            OverloadedError,
            UnavailableError,
        ),
    )
    async def post_events(request: Request[Any, Any, Any]) -> Receipt:
        """Take a batch of events; answered once they are durable."""
        return await ingest.take(request)

    return Router("/v1/events", route_handlers=[post_events], tags=["phones"])
