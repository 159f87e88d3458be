"""Signing up, signing in, staying signed in, and what strangers cannot learn or do."""

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt
import psycopg
import pytest

from api.errors import UnauthenticatedError
from api.people.access import AccessTokens, Caller
from tests.api.people.conftest import PASSWORD, Town, bearer

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

ANA = "ana@example.ph"


def problem(answer: object) -> str:
    return str(answer.json()["type"]).rpartition(":")[2]  # type: ignore[attr-defined]  # a response


@pytest.mark.parametrize("contact", ["Ana@Example.ph", "0917 123 4567", "+63 917 123 4567"])
async def test_a_code_makes_the_account_and_signs_in(town: Town, contact: str) -> None:
    stored = "+639171234567" if contact[0] != "A" else ANA
    await town.client.post("/v1/auth/sign-up", json={"contact": contact, "password": PASSWORD, "name": "Ana"})
    assert (await town.sign_in(contact)).status_code == 401, "no account before the code"
    body = {"contact": contact, "code": await town.code(stored)}
    tokens = (await town.client.post("/v1/auth/confirm", json=body)).json()
    me = (await town.client.get("/v1/me", headers=bearer(tokens))).json()
    assert stored in (me["email"], me["phone"])
    assert (await town.sign_in(contact)).status_code == 200
    again = await town.client.post("/v1/auth/confirm", json=body)
    assert (again.status_code, problem(again)) == (422, "wrong-code"), "a code is good once"


async def test_letters_speak_the_persons_language(town: Town) -> None:
    person = {"contact": ANA, "password": PASSWORD, "name": "Ana", "locale": "fil"}
    await town.client.post("/v1/auth/sign-up", json=person)
    assert "Ang iyong code ay" in await town.letter(ANA)


async def test_known_and_unknown_contacts_are_answered_alike(town: Town) -> None:
    """Only the owner of the contact learns the truth, by letter."""
    await town.sign_up(ANA)
    person = {"password": PASSWORD, "name": "Eve"}
    for path, body in (("sign-up", person), ("reset", {})):
        known = await town.client.post(f"/v1/auth/{path}", json=body | {"contact": ANA})
        unknown = await town.client.post(f"/v1/auth/{path}", json=body | {"contact": f"{path}@example.ph"})
        assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
        assert known.status_code == 202
    assert "There is one already" in "".join(p.read_text() for p in town.letters.glob("*.txt"))
    wrong, nobody = await town.sign_in(ANA, "wrong password"), await town.sign_in("nobody@example.ph")
    bodies = [answer.json() | {"instance": ""} for answer in (wrong, nobody)]
    assert wrong.status_code == nobody.status_code == 401
    assert bodies[0] == bodies[1]


async def test_a_code_takes_five_tries(town: Town) -> None:
    await town.client.post("/v1/auth/sign-up", json={"contact": ANA, "password": PASSWORD, "name": "Ana"})
    code = await town.code(ANA)
    wrong = f"{(int(code) + 1) % 10**8:08}"
    for _ in range(5):
        answer = await town.client.post("/v1/auth/confirm", json={"contact": ANA, "code": wrong})
        assert problem(answer) == "wrong-code"
    answer = await town.client.post("/v1/auth/confirm", json={"contact": ANA, "code": code})
    assert problem(answer) == "wrong-code"


async def test_of_two_who_give_the_same_code_at_once_one_gets_the_account(town: Town) -> None:
    await town.client.post("/v1/auth/sign-up", json={"contact": ANA, "password": PASSWORD, "name": "Ana"})
    body = {"contact": ANA, "code": await town.code(ANA)}
    answers = await asyncio.gather(*(town.client.post("/v1/auth/confirm", json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422]


async def test_an_expired_code_is_wrong(town: Town) -> None:
    await town.client.post("/v1/auth/sign-up", json={"contact": ANA, "password": PASSWORD, "name": "Ana"})
    code = await town.code(ANA)
    with psycopg.connect(town.service.database_url) as connection:
        connection.execute("UPDATE codes SET expires_at = now() - interval '1 second'")
    assert problem(await town.client.post("/v1/auth/confirm", json={"contact": ANA, "code": code})) == "wrong-code"


async def test_a_refresh_token_is_good_once_and_a_second_use_ends_the_family(town: Town) -> None:
    first = await town.sign_up(ANA)
    other = (await town.sign_in(ANA)).json()
    second = (await town.client.post("/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})).json()
    assert (await town.client.get("/v1/me", headers=bearer(second))).status_code == 200
    stolen = await town.client.post("/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    assert stolen.status_code == 401
    after = await town.client.post("/v1/auth/refresh", json={"refresh_token": second["refresh_token"]})
    assert after.status_code == 401, "thief and owner are both out"
    assert (await town.client.post("/v1/auth/refresh", json={"refresh_token": other["refresh_token"]})).is_success


async def test_of_rivals_with_one_refresh_token_one_gets_on(town: Town) -> None:
    token = {"refresh_token": (await town.sign_up(ANA))["refresh_token"]}
    answers = await asyncio.gather(*(town.client.post("/v1/auth/refresh", json=token) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7


async def test_signing_out_ends_the_sign_in(town: Town) -> None:
    token = {"refresh_token": (await town.sign_up(ANA))["refresh_token"]}
    assert (await town.client.post("/v1/auth/sign-out", json=token)).status_code == 204
    assert (await town.client.post("/v1/auth/refresh", json=token)).status_code == 401


async def test_a_pages_refresh_token_is_in_a_cookie_that_no_script_reads(town: Town) -> None:
    await town.sign_up(ANA)
    answer = await town.sign_in(ANA, keep="cookie")
    cookie = answer.headers["set-cookie"].lower()
    assert answer.json()["refresh_token"] is None
    for attribute in ("httponly", "samesite=strict", "secure", "path=/v1/auth"):
        assert attribute in cookie
    token = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    again = await town.client.post("/v1/auth/refresh", json={}, headers={"Cookie": f"parkpal_refresh={token}"})
    assert again.status_code == 200
    assert again.json()["refresh_token"] is None
    assert "parkpal_refresh=" in again.headers["set-cookie"]


@pytest.mark.parametrize("form", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_a_form_of_another_site_signs_nobody_in_or_out(town: Town, form: str) -> None:
    await town.sign_up(ANA)
    body = json.dumps({"contact": ANA, "password": PASSWORD, "keep": "cookie"})
    for path in ("sign-in", "sign-out", "refresh"):
        answer = await town.client.post(f"/v1/auth/{path}", content=body, headers={"content-type": form})
        assert (answer.status_code, answer.headers.get("set-cookie")) == (415, None)


async def test_a_reset_sets_the_password_and_ends_every_sign_in(town: Town) -> None:
    tokens = await town.sign_up(ANA)
    await town.client.post("/v1/auth/reset", json={"contact": ANA})
    body = {"contact": ANA, "code": await town.code(ANA, 2), "password": "another password"}
    assert (await town.client.post("/v1/auth/reset/confirm", json=body)).status_code == 204
    assert (await town.sign_in(ANA)).status_code == 401
    assert (await town.sign_in(ANA, "another password")).status_code == 200
    old = await town.client.post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert old.status_code == 401


async def test_guessing_passwords_is_limited_by_contact(town: Town) -> None:
    await town.sign_up(ANA)
    answers = [await town.sign_in(ANA, f"guess number {n}") for n in range(14)]
    assert [answer.status_code for answer in answers][-1] == 429
    assert int(answers[-1].headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("contact", "says"),
    [("nobody", "neither"), ("a@b", "e-mail"), ("+63 1", "telephone number"), ("a b@example.ph", "e-mail")],
)
async def test_a_wrong_contact_is_named(town: Town, contact: str, says: str) -> None:
    answer = await town.client.post("/v1/auth/reset", json={"contact": contact})
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["field"] == "contact"
    assert says in error["reason"]


async def test_neither_passwords_nor_codes_nor_tokens_stand_in_the_database(town: Town) -> None:
    tokens = await town.sign_up(ANA)
    await town.client.post("/v1/auth/reset", json={"contact": ANA})
    code = await town.code(ANA, 2)
    with psycopg.connect(town.service.database_url, autocommit=True) as connection:
        for _ in range(500):  # a code stands there until it is sent
            if connection.execute("SELECT FROM outbox").fetchone() is not None:
                await asyncio.sleep(0.01)
        text = ""
        for table in ("people", "codes", "refresh_tokens"):
            text += str(connection.execute(f"SELECT {table}::text FROM {table}".encode()).fetchall())
    assert "$argon2id$" in text
    for secret in (PASSWORD, code, tokens["refresh_token"], tokens["access_token"]):
        assert secret not in text


def test_only_our_own_tokens_are_taken() -> None:
    tokens, caller = AccessTokens(bytes(32)), Caller(uuid4(), uuid4(), {})
    good = tokens.sign(caller)
    assert tokens.check(good) == caller
    header, claims, signature = good.split(".")
    others = AccessTokens(b"x" * 32).sign(caller)
    forged = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": "x"}).encode()).decode().rstrip("=")
    bad = [others, f"{forged}.{claims}.", f"{header}.{claims}.{signature[:-4]}AAAA", "", "a.b.c", f"{header}.{claims}"]
    for token in bad:
        with pytest.raises(UnauthenticatedError):
            tokens.check(token)


@pytest.mark.parametrize("change", [{"aud": "other"}, {"iss": "other"}, {"exp": 1}, {"sub": "me"}, {"sid": None}])
def test_a_token_of_ours_for_something_else_is_refused(change: dict[str, object]) -> None:
    tokens = AccessTokens(bytes(32))
    good = tokens.sign(Caller(uuid4(), uuid4(), {}))
    claims = jwt.decode(good, options={"verify_signature": False}) | change
    signed = jwt.encode(claims, tokens._private, "EdDSA", headers=jwt.get_unverified_header(good))
    with pytest.raises(UnauthenticatedError):
        tokens.check(signed)


def test_a_token_lasts_a_quarter_of_an_hour() -> None:
    good = AccessTokens(bytes(32)).sign(Caller(uuid4(), uuid4(), {}))
    claims = jwt.decode(good, options={"verify_signature": False})
    lifetime = datetime.fromtimestamp(claims["exp"], UTC) - datetime.fromtimestamp(claims["iat"], UTC)
    assert lifetime == timedelta(minutes=15)
