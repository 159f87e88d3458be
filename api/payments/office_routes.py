"""What hosts see of their money, and what the platform's people do with it."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, PathParameter, QueryParameter

from api.database import Connection, Pool, load_queries
from api.errors import (
    CannotRefundError,
    InvalidRequestError,
    KeyInUseError,
    KeyReusedError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    RoleMissingError,
    SecondPersonError,
    UnauthenticatedError,
    UnavailableError,
    WrongStateError,
    responses,
)
from api.idempotency import IdempotencyKey, once, scope_of
from api.payments.disputes import Disputes
from api.payments.letters import tell
from api.payments.payouts import Payouts, audit
from api.payments.refund_requests import RefundRequests
from api.payments.routes import Amount
from api.people.access import Caller
from api.people.me import Own
from api.people.principal import Guard, caller_of, person_routes, require_platform_role, require_role
from api.people.tenants import HOST, OPERATOR_ADMIN, PLATFORM_ADMIN, PLATFORM_ROLES
from api.tenancy import acting, at_desk

_ALWAYS: Final = (InvalidRequestError, UnauthenticatedError, RoleMissingError, NotFoundError, UnavailableError)

_WITH_PASSWORD: Final = (*_ALWAYS, RateLimitedError, OverloadedError)
_SQL: Final = load_queries("api.payments", "payouts.sql")

AnyRequest = Request[Any, Any, Any]
PayoutId = Annotated[UUID, PathParameter(description="The payout")]
OperatorId = Annotated[UUID, PathParameter(description="The operator, or the host's tenant")]
DisputeId = Annotated[UUID, PathParameter(description="The dispute")]
RequestId = Annotated[UUID, PathParameter(description="The request for a refund")]
Admin = Callable[[AnyRequest], Awaitable[UUID]]
Status = Literal["draft", "approved", "sent", "paid", "failed", "dropped"]


class Waiting(msgspec.Struct, frozen=True):
    """What was earned and is not yet in a payout; due_minor of it would be paid today."""

    currency: str
    waiting_minor: int
    due_minor: int


class StatementLine(msgspec.Struct, frozen=True):
    """One booking's part of a payout; below zero where a dispute or a refund took it back."""

    booking_id: UUID
    kind: str
    price_minor: int
    amount_minor: int


class Payout(msgspec.Struct, frozen=True):
    """A payout with its statement; the account is shown by its last digits."""

    payout_id: UUID
    reference: str
    status: Status
    currency: str
    gross_minor: int
    withheld_minor: int
    amount_minor: int
    rail: str
    bank_code: str
    account_ending: str
    drafted_at: datetime
    sent_at: datetime | None
    settled_at: datetime | None
    failure: str | None
    statement: list[StatementLine]


class Earnings(msgspec.Struct, frozen=True):
    """What a host or an operator has earned, and what was paid out of it."""

    waiting: list[Waiting]
    payouts: list[Payout]


class BankAccount(msgspec.Struct, frozen=True):
    """Where payouts go, by the account's last digits; nothing goes there before usable_at."""

    bank_code: str
    account_ending: str
    account_name: str
    usable_at: datetime


class NewBankAccount(msgspec.Struct, frozen=True):
    """Another account, with the password of whoever changes it."""

    password: Annotated[str, msgspec.Meta(max_length=128)]
    bank_code: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{3,11}$")]
    account_number: Annotated[str, msgspec.Meta(pattern="^[0-9]{6,20}$")]
    account_name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class NewRefund(msgspec.Struct, frozen=True):
    """How much of a booking's money is to go back, and why."""

    booking_id: UUID
    amount_minor: Amount
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=400)]


class RefundRequest(msgspec.Struct, frozen=True):
    """A request for a refund: `waiting` for a second person above the limit."""

    request_id: UUID
    booking_id: UUID
    amount_minor: int
    reason: str
    status: Literal["waiting", "done", "refused"]
    asked_by: UUID
    decided_by: UUID | None
    created_at: datetime


class OpenDispute(msgspec.Struct, frozen=True):
    """A payer's dispute that is not decided."""

    dispute_id: UUID
    booking_id: UUID
    provider: str
    provider_ref: str
    amount_minor: int
    currency: str
    opened_at: datetime


class Decision(msgspec.Struct, frozen=True):
    """How a dispute ended, as the bank wrote."""

    status: Literal["won", "lost"]


class Settlement(msgspec.Struct, frozen=True):
    """What the bank did: paid, or not, with its reason."""

    failure: Annotated[str, msgspec.Meta(min_length=1, max_length=400)] | None = None


class Office:
    """What hosts and operators do with what they have earned."""

    def __init__(self, pool: Pool, own: Own) -> None:
        self._pool = pool
        self._own = own

    async def host_of(self, caller: Caller) -> UUID:
        """Return the tenant as which the person is a host; NotFoundError."""
        async with acting(self._pool, caller.person_id) as connection:
            row = await (await connection.execute(_SQL["own_host"])).fetchone()
        if row is None:
            raise NotFoundError("Only hosts have payouts.")
        return UUID(str(row.tenant_id))

    async def earnings(self, caller: Caller, tenant_id: UUID) -> Earnings:
        """Return what a tenant has earned; as `require_role`."""
        await require_role(self._pool, caller, tenant_id, HOST, OPERATOR_ADMIN)
        async with acting(self._pool, caller.person_id, tenant_id) as connection:
            waiting = await (await connection.execute(_SQL["waiting"])).fetchall()
            payouts = await (await connection.execute(_SQL["of_tenant"])).fetchall()
        return Earnings([Waiting(*row) for row in waiting], [payout_of(row) for row in payouts])

    async def bank_account(self, caller: Caller, tenant_id: UUID) -> BankAccount:
        """Return where a tenant's payouts go; NotFoundError if nobody has said, and as `require_role`."""
        await require_role(self._pool, caller, tenant_id, HOST, OPERATOR_ADMIN)
        async with acting(self._pool, caller.person_id, tenant_id) as connection:
            row = await (await connection.execute(_SQL["bank_account"])).fetchone()
        if row is None:
            raise NotFoundError("No bank account is set.")
        return BankAccount(row.bank_code, row.account_number[-4:], row.account_name, row.usable_at)

    async def put_bank_account(self, caller: Caller, tenant_id: UUID, new: NewBankAccount) -> None:
        """Set where payouts go, by who knows the password; all owners are told; another account rests for 72 h."""
        await require_role(self._pool, caller, tenant_id, HOST, OPERATOR_ADMIN)
        await self._own.check_password(caller, new.password)
        parameters = {**msgspec.structs.asdict(new), "tenant_id": tenant_id}
        async with at_desk(self._pool, caller.person_id) as connection:
            put = await (await connection.execute(_SQL["put_bank_account"], parameters)).fetchone()
            usable = "now" if put is None or not put.changed else f"{put.usable_at:%Y-%m-%d %H:%M} UTC"
            await audit(connection, tenant_id, "bank_account.changed", ending=new.account_number[-4:])
            await _tell_owners(connection, tenant_id, new.account_number[-4:], usable)


async def _tell_owners(connection: Connection, tenant_id: UUID, ending: str, usable: str) -> None:
    parameters = {"tenant_id": tenant_id}
    tenant = await (await connection.execute(_SQL["tenant"], parameters)).fetchone()
    name = "" if tenant is None else tenant.name
    for owner in await (await connection.execute(_SQL["owners"], parameters)).fetchall():
        await tell(connection, owner.person_id, "bank_account_changed", name=name, ending=ending, usable=usable)


def host_routes(office: Office, guard: Guard) -> list[Router]:
    """Build `/v1/hosts/me/payouts` and the same for operators."""
    return [
        person_routes("/v1/hosts/me", _own_handlers(office), guard, "payments"),
        person_routes("/v1/operators/{operator_id:uuid}", _operator_handlers(office), guard, "payments"),
    ]


def _own_handlers(office: Office) -> list[HTTPRouteHandler]:
    @get("/payouts", responses=responses(*_ALWAYS))
    async def read_own_payouts(request: AnyRequest) -> Earnings:
        """Return what the calling host has earned and was paid."""
        caller = caller_of(request)
        return await office.earnings(caller, await office.host_of(caller))

    @get("/bank-account", responses=responses(*_ALWAYS))
    async def read_own_bank_account(request: AnyRequest) -> BankAccount:
        """Return where the calling host's payouts go."""
        caller = caller_of(request)
        return await office.bank_account(caller, await office.host_of(caller))

    @put("/bank-account", status_code=204, responses=responses(*_WITH_PASSWORD))
    async def put_own_bank_account(data: JSONBody[NewBankAccount], request: AnyRequest) -> None:
        """Set where the calling host's payouts go."""
        caller = caller_of(request)
        await office.put_bank_account(caller, await office.host_of(caller), data)

    return [read_own_payouts, read_own_bank_account, put_own_bank_account]


def _operator_handlers(office: Office) -> list[HTTPRouteHandler]:
    @get("/payouts", responses=responses(*_ALWAYS))
    async def read_payouts(operator_id: OperatorId, request: AnyRequest) -> Earnings:
        """Return what an operator has earned and was paid."""
        return await office.earnings(caller_of(request), operator_id)

    @get("/bank-account", responses=responses(*_ALWAYS))
    async def read_bank_account(operator_id: OperatorId, request: AnyRequest) -> BankAccount:
        """Return where an operator's payouts go."""
        return await office.bank_account(caller_of(request), operator_id)

    @put("/bank-account", status_code=204, responses=responses(*_WITH_PASSWORD))
    async def put_bank_account(operator_id: OperatorId, data: JSONBody[NewBankAccount], request: AnyRequest) -> None:
        """Set where an operator's payouts go."""
        await office.put_bank_account(caller_of(request), operator_id, data)

    return [read_payouts, read_bank_account, put_bank_account]


def refund_routes(pool: Pool, requests: RefundRequests, guard: Guard) -> Router:
    """Build `/v1/payments/refunds`, for the platform's people."""
    decide = (*_ALWAYS, CannotRefundError)

    @post("/", responses=responses(*decide, KeyInUseError, KeyReusedError))
    async def ask_refund(
        data: JSONBody[NewRefund], request: AnyRequest, idempotency_key: IdempotencyKey
    ) -> RefundRequest:
        """Give a booking's money back, at once up to the limit; above it a second person decides."""
        caller, scope = caller_of(request), await scope_of(request, idempotency_key)
        await require_platform_role(pool, caller, *PLATFORM_ROLES)

        async def work(connection: Connection) -> RefundRequest:
            row = await requests.ask(connection, data.booking_id, data.amount_minor, data.reason)
            return _request_of(row)

        return await once(at_desk(pool, caller.person_id), scope, RefundRequest, work)

    @get("/", responses=responses(*_ALWAYS))
    async def list_refunds(request: AnyRequest) -> list[RefundRequest]:
        """Return what waits for a second person."""
        await require_platform_role(pool, caller_of(request), *PLATFORM_ROLES)
        return [_request_of(row) for row in await requests.waiting()]

    @post("/{request_id:uuid}/approve", status_code=200, responses=responses(*decide, SecondPersonError))
    async def approve_refund(request_id: RequestId, request: AnyRequest) -> RefundRequest:
        """Let a refund go ahead, as another person than who asked for it."""
        await require_platform_role(pool, caller_of(request), PLATFORM_ADMIN)
        return _request_of(await requests.decide(caller_of(request).person_id, request_id, refund=True))

    @post("/{request_id:uuid}/refuse", status_code=200, responses=responses(*decide, SecondPersonError))
    async def refuse_refund(request_id: RequestId, request: AnyRequest) -> RefundRequest:
        """Refuse a refund, as another person than who asked for it."""
        await require_platform_role(pool, caller_of(request), PLATFORM_ADMIN)
        return _request_of(await requests.decide(caller_of(request).person_id, request_id, refund=False))

    handlers = [ask_refund, list_refunds, approve_refund, refuse_refund]
    return person_routes("/v1/payments/refunds", handlers, guard, "payments")


def dispute_routes(pool: Pool, disputes: Disputes, guard: Guard) -> Router:
    """Build `/v1/payments/disputes`, for the platform's admins: some providers do not tell how a dispute ended."""

    @get("/", responses=responses(*_ALWAYS))
    async def list_disputes(request: AnyRequest) -> list[OpenDispute]:
        """Return the disputes that are not decided."""
        await require_platform_role(pool, caller_of(request), *PLATFORM_ROLES)
        return [OpenDispute(*row) for row in await disputes.open_ones()]

    @post("/{dispute_id:uuid}/settle", status_code=204, responses=responses(*_ALWAYS, WrongStateError))
    async def settle_dispute(dispute_id: DisputeId, data: JSONBody[Decision], request: AnyRequest) -> None:
        """Note how a dispute ended; its money goes where it belongs."""
        caller = caller_of(request)
        await require_platform_role(pool, caller, PLATFORM_ADMIN)
        await disputes.settle(caller.person_id, dispute_id, data.status)

    return person_routes("/v1/payments/disputes", [list_disputes, settle_dispute], guard, "payments")


def payout_routes(pool: Pool, payouts: Payouts, guard: Guard) -> Router:
    """Build `/v1/payments/payouts`, for the platform's admins."""

    async def admin(request: AnyRequest) -> UUID:
        caller = caller_of(request)
        await require_platform_role(pool, caller, PLATFORM_ADMIN)
        return caller.person_id

    handlers = [*_payout_handlers(pool, payouts, admin), *_step_handlers(payouts, admin)]
    return person_routes("/v1/payments/payouts", handlers, guard, "payments")


def _payout_handlers(pool: Pool, payouts: Payouts, admin: Admin) -> list[HTTPRouteHandler]:
    @get("/", responses=responses(*_ALWAYS))
    async def list_payouts(
        request: AnyRequest,
        status: Annotated[Status | None, QueryParameter(description="Only those in this state")] = None,
    ) -> list[Payout]:
        """Return the newest payouts."""
        person_id = await admin(request)
        async with at_desk(pool, person_id) as connection:
            rows = await (await connection.execute(_SQL["of_status"], {"status": status})).fetchall()
        return [payout_of(row) for row in rows]

    @post(
        "/files/{rail:str}",
        status_code=200,
        responses=responses(*_ALWAYS, KeyInUseError, KeyReusedError),
        media_type="text/csv",
    )
    async def make_file(
        rail: Annotated[str, PathParameter(pattern="^(instapay|pesonet)$", description="instapay or pesonet")],
        request: AnyRequest,
        idempotency_key: IdempotencyKey,
    ) -> Response[str]:
        """Return the file that a bank takes, of all that was approved; from now on it counts as sent.

        Whoever lost the answer asks again with the same key: what was sent is in no later file.
        """
        person_id, scope = await admin(request), await scope_of(request, idempotency_key)

        async def work(connection: Connection) -> str:
            return await payouts.send_file(connection, rail)

        text = await once(at_desk(pool, person_id), scope, str, work)
        return Response(text, media_type="text/csv", status_code=200)

    return [list_payouts, make_file]


def _step_handlers(payouts: Payouts, admin: Admin) -> list[HTTPRouteHandler]:
    change = (*_ALWAYS, WrongStateError)

    @post("/{payout_id:uuid}/approve", status_code=200, responses=responses(*change))
    async def approve_payout(payout_id: PayoutId, request: AnyRequest) -> Payout:
        """Let a draft be sent."""
        return payout_of(await payouts.approve(await admin(request), payout_id))

    @post("/{payout_id:uuid}/drop", status_code=200, responses=responses(*change))
    async def drop_payout(payout_id: PayoutId, request: AnyRequest) -> Payout:
        """Take a draft back; what it was to pay waits for the next."""
        return payout_of(await payouts.drop(await admin(request), payout_id))

    @post("/{payout_id:uuid}/settle", status_code=200, responses=responses(*change))
    async def settle_payout(payout_id: PayoutId, data: JSONBody[Settlement], request: AnyRequest) -> Payout:
        """Note what the bank did with a transfer that was sent."""
        return payout_of(await payouts.settle(await admin(request), payout_id, data.failure))

    return [approve_payout, drop_payout, settle_payout]


def payout_of(row: Any) -> Payout:  # noqa: ANN401  # a row of payouts
    """Return a payout as people see it."""
    fields = row._asdict() | {"account_ending": row.account_number[-4:]}
    fields["statement"] = msgspec.convert(row.statement, list[StatementLine])
    return Payout(**{name: fields[name] for name in Payout.__struct_fields__})


def _request_of(row: Any) -> RefundRequest:  # noqa: ANN401  # a row of refund_requests
    return RefundRequest(*(getattr(row, name) for name in RefundRequest.__struct_fields__))
