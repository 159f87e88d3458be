"""`/v1/auth`: sign up, sign in, stay signed in, forget a password.

Apps keep the refresh token themselves. Pages ask for `cookie`: it then stands in an httpOnly cookie that scripts cannot
read and other sites cannot send, and no answer shows it. Nor can a form of another site sign anybody in or out: forms
send no JSON, and nothing else is taken.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, Router, post
from litestar.datastructures import Cookie
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import JSONBody

from api.errors import (
    InvalidRequestError,
    OverloadedError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    WrongCodeError,
    responses,
)
from api.ingest.devices import Consent
from api.limiter import address_subject
from api.people.access import LIFETIME
from api.people.accounts import Accounts, read_contact
from api.people.codes import LIFETIME as CODE_LIFETIME
from api.people.principal import MAX_BODY_BYTES, Connection
from api.people.sign_ins import LIFETIME as REFRESH_LIFETIME
from api.people.sign_ins import SignedIn

COOKIE: Final = "parkpal_refresh"
COOKIE_PATH: Final = "/v1/auth"

AnyRequest = Request[Any, Any, Any]
ContactText = Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
Password = Annotated[str, msgspec.Meta(min_length=10, max_length=128)]
Code = Annotated[str, msgspec.Meta(pattern="^[0-9]{8}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Locale = Literal["en", "fil"]
Keep = Literal["body", "cookie"]

_ALWAYS: Final = (InvalidRequestError, UnsupportedMediaTypeError, RateLimitedError, UnavailableError)


class NewPerson(msgspec.Struct, frozen=True):
    """A person who wants an account: e-mail or phone, and consent by purpose."""

    contact: ContactText
    password: Password
    name: Name
    locale: Locale = "en"
    consent: Consent = {}


class Confirmation(msgspec.Struct, frozen=True):
    """The code that was sent to the contact."""

    contact: ContactText
    code: Code
    keep: Keep = "body"


class Credentials(msgspec.Struct, frozen=True):
    """What a person signs in with."""

    contact: ContactText
    password: Annotated[str, msgspec.Meta(max_length=128)]
    keep: Keep = "body"


class Refresh(msgspec.Struct, frozen=True):
    """The refresh token of an app; pages send the cookie instead."""

    refresh_token: Annotated[str, msgspec.Meta(max_length=128)] | None = None


class Forgotten(msgspec.Struct, frozen=True):
    """Whose password was forgotten."""

    contact: ContactText


class NewPassword(msgspec.Struct, frozen=True):
    """The code that was sent, and the password from now on."""

    contact: ContactText
    code: Code
    password: Password


class Sent(msgspec.Struct, frozen=True):
    """A code is on its way, where there is something to prove."""

    good_for_s: int = int(CODE_LIFETIME.total_seconds())


class Tokens(msgspec.Struct, frozen=True):
    """A token for the next minutes, and for apps the one that gives the next; it is good once."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in_s: int
    refresh_token: str | None


def auth_routes(accounts: Accounts, *, secure_cookie: bool) -> Router:
    """Build `/v1/auth`. secure_cookie: whether the cookie may travel over TLS alone."""
    return Router(
        COOKIE_PATH,
        route_handlers=[
            *_sign_up_handlers(accounts, secure_cookie=secure_cookie),
            *_sign_in_handlers(accounts, secure_cookie=secure_cookie),
            *_reset_handlers(accounts),
        ],
        guards=[_take_json],
        tags=["people"],
        request_max_body_size=MAX_BODY_BYTES,
    )


def _sign_up_handlers(accounts: Accounts, *, secure_cookie: bool) -> list[HTTPRouteHandler]:
    @post("/sign-up", status_code=202, responses=responses(*_ALWAYS, OverloadedError))
    async def sign_up(data: JSONBody[NewPerson], request: AnyRequest) -> Sent:
        """Ask for an account: a code goes to the contact. Known contacts are answered alike."""
        await _limit_address(accounts, request)
        person = {"name": data.name, "locale": data.locale, "consent": data.consent}
        await accounts.sign_up(read_contact(data.contact), data.password, person)
        return Sent()

    @post("/confirm", status_code=200, responses=responses(*_ALWAYS, WrongCodeError))
    async def confirm(data: JSONBody[Confirmation], request: AnyRequest) -> Response[Tokens]:
        """Give the code back: the account is made, and its owner signed in."""
        await _limit_address(accounts, request)
        signed_in = await accounts.confirm(read_contact(data.contact), data.code)
        return _answer(signed_in, data.keep, secure=secure_cookie)

    return [sign_up, confirm]


def _sign_in_handlers(accounts: Accounts, *, secure_cookie: bool) -> list[HTTPRouteHandler]:
    @post("/sign-in", status_code=200, responses=responses(*_ALWAYS, UnauthenticatedError, OverloadedError))
    async def sign_in(data: JSONBody[Credentials], request: AnyRequest) -> Response[Tokens]:
        """Sign in with contact and password."""
        await _limit_address(accounts, request)
        signed_in = await accounts.sign_in(read_contact(data.contact), data.password)
        return _answer(signed_in, data.keep, secure=secure_cookie)

    @post("/refresh", status_code=200, responses=responses(*_ALWAYS, UnauthenticatedError))
    async def refresh(data: JSONBody[Refresh], request: AnyRequest) -> Response[Tokens]:
        """Use up a refresh token for new tokens; one used twice ends the whole sign-in."""
        token, keep = _refresh_token(data, request)
        return _answer(await accounts.sign_ins.go_on(token), keep, secure=secure_cookie)

    @post(
        "/sign-out",
        status_code=204,
        responses=responses(*_ALWAYS, UnauthenticatedError),
        response_cookies=[Cookie(COOKIE, path=COOKIE_PATH, value="", max_age=0)],
    )
    async def sign_out(data: JSONBody[Refresh], request: AnyRequest) -> None:
        """End the sign-in of a refresh token."""
        await accounts.sign_ins.end(_refresh_token(data, request)[0])

    return [sign_in, refresh, sign_out]


def _reset_handlers(accounts: Accounts) -> list[HTTPRouteHandler]:
    @post("/reset", status_code=202, responses=responses(*_ALWAYS))
    async def ask_reset(data: JSONBody[Forgotten], request: AnyRequest) -> Sent:
        """Ask for a new password: a code goes to the contact. Unknown contacts are answered alike."""
        await _limit_address(accounts, request)
        await accounts.ask_reset(read_contact(data.contact))
        return Sent()

    @post("/reset/confirm", status_code=204, responses=responses(*_ALWAYS, WrongCodeError, OverloadedError))
    async def reset(data: JSONBody[NewPassword], request: AnyRequest) -> None:
        """Set a new password with the code; every sign-in ends."""
        await _limit_address(accounts, request)
        await accounts.reset(read_contact(data.contact), data.code, data.password)

    return [ask_reset, reset]


def _take_json(connection: Connection, _: BaseRouteHandler) -> None:
    if connection.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaTypeError("Send application/json.")


async def _limit_address(accounts: Accounts, request: AnyRequest) -> None:
    await accounts.limits.by_address.take(address_subject(request.client.host if request.client else ""))


def _answer(signed_in: SignedIn, keep: Keep, *, secure: bool) -> Response[Tokens]:
    shown = signed_in.refresh_token if keep == "body" else None
    tokens = Tokens(signed_in.access_token, "Bearer", int(LIFETIME.total_seconds()), shown)
    cookies = [] if keep == "body" else [_cookie(signed_in.refresh_token, secure=secure)]
    return Response(tokens, status_code=200, cookies=cookies)


def _refresh_token(data: Refresh, request: AnyRequest) -> tuple[str, Keep]:
    """Return the token of the body, else of the cookie; UnauthenticatedError if there is neither."""
    if data.refresh_token is not None:
        return data.refresh_token, "body"
    token = request.cookies.get(COOKIE)
    if token is None:
        raise UnauthenticatedError
    return token, "cookie"


def _cookie(token: str, *, secure: bool) -> Cookie:
    return Cookie(
        COOKIE,
        value=token,
        path=COOKIE_PATH,
        max_age=int(REFRESH_LIFETIME.total_seconds()),
        httponly=True,
        secure=secure,
        samesite="strict",
    )
