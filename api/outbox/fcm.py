"""Push by Firebase Cloud Messaging, HTTP v1: signed in as a service account, one message a call.

The account's key signs a claim (RFC 7523) for which Google's token endpoint gives an access token; it is kept for as
long as it is good. A token that FCM calls UNREGISTERED is dead: `RecipientGoneError` has it removed. Everything else
that is no 200 may pass, and is tried again.
"""

import threading
import time
from typing import Any, Final, NamedTuple

import httpx
import jwt
import msgspec

from api.outbox.relay import Letter, RecipientGoneError

FCM_URL: Final = "https://fcm.googleapis.com"
SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
TIMEOUT_S: Final = 10.0
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_CLAIM_S: Final = 3600
_SPARE_S: Final = 60
"""An access token is not used any more for so long before it ends."""


class Account(msgspec.Struct, frozen=True):
    """A service account, as Google's JSON file says it."""

    project_id: str
    client_email: str
    private_key: str
    private_key_id: str
    token_uri: str


class _Access(NamedTuple):
    token: str
    until_s: float


def read_account(text: str) -> Account:
    """Read the JSON of a service account; ValueError."""
    return msgspec.json.decode(text, type=Account)


class FcmSender:
    """Sends letters to installs of the app, from any thread."""

    def __init__(self, account: Account, url: str = FCM_URL) -> None:
        self._account = account
        self._url = f"{url}/v1/projects/{account.project_id}/messages:send"
        self._http = httpx.Client(timeout=TIMEOUT_S)
        self._access = _Access("", 0)
        self._lock = threading.Lock()

    def send(self, letter: Letter) -> None:
        """Send; RecipientGoneError if the install is gone, OSError if it could not be told now."""
        try:
            message = {
                "token": letter.recipient,
                "notification": {"title": letter.subject, "body": letter.text.strip()},
            }
            headers = {"Authorization": f"Bearer {self._token()}"}
            answer = self._http.post(self._url, json={"message": message}, headers=headers)
        except httpx.HTTPError as error:
            raise OSError(f"FCM: {type(error).__name__}") from None
        if answer.status_code == httpx.codes.OK:
            return
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self._access = _Access("", 0)
        if answer.status_code == httpx.codes.NOT_FOUND and _error_code(answer) == "UNREGISTERED":
            raise RecipientGoneError
        raise OSError(f"FCM answered {answer.status_code}")

    def _token(self) -> str:
        with self._lock:
            if time.time() > self._access.until_s - _SPARE_S:
                self._access = self._sign_in()
            return self._access.token

    def _sign_in(self) -> _Access:
        now, account = int(time.time()), self._account
        times = {"iat": now, "exp": now + _CLAIM_S}
        claims = {"iss": account.client_email, "scope": SCOPE, "aud": account.token_uri, **times}
        claim = jwt.encode(claims, account.private_key, "RS256", headers={"kid": account.private_key_id})
        answer = self._http.post(account.token_uri, data={"grant_type": _GRANT, "assertion": claim})
        if answer.status_code != httpx.codes.OK:
            raise OSError(f"The token endpoint answered {answer.status_code}")
        found: dict[str, Any] = answer.json()
        return _Access(str(found["access_token"]), now + float(found["expires_in"]))


def _error_code(answer: httpx.Response) -> str:
    """Return FCM's own code of an error, empty if it says none."""
    try:
        details = answer.json()["error"]["details"]
        return next((str(one["errorCode"]) for one in details if "errorCode" in one), "")
    except (ValueError, KeyError, TypeError):
        return ""
