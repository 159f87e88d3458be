"""What a person reads, changes, takes along and has forgotten; and that nobody reads another's."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner

from api.contacts import parse_contact
from api.database import build_pool
from api.people.tenants import grant_platform_role
from api.tenancy import acting
from parkpal.commands.grant import grant
from tests.api.people.conftest import PASSWORD, Town

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

ANA, BEN = "ana@example.ph", "ben@example.ph"
CAR = {"plate": "ABC1234", "kind": "car", "height_cm": 150}


async def test_a_person_changes_name_language_and_consent(town: Town) -> None:
    ana = await town.headers(ANA, consent={"marketing": True})
    me = (await town.client.patch("/v1/me", headers=ana, json={"name": "Ana Cruz"})).json()
    assert (me["name"], me["locale"], me["consent"]) == ("Ana Cruz", "en", {"marketing": True})
    me = (await town.client.put("/v1/me/consent", headers=ana, json={"marketing": False, "research": True})).json()
    assert me["consent"] == {"marketing": False, "research": True}


async def test_a_new_contact_is_proved_by_a_code(town: Town) -> None:
    ana = await town.headers(ANA)
    phone = "+639171234567"
    await town.client.post("/v1/me/contacts", headers=ana, json={"contact": phone, "password": PASSWORD})
    body = {"contact": phone, "code": await town.code(phone)}
    assert (await town.client.post("/v1/me/contacts/confirm", headers=ana, json=body)).status_code == 204
    me = (await town.client.get("/v1/me", headers=ana)).json()
    assert (me["email"], me["phone"]) == (ANA, phone)
    assert (await town.sign_in(phone)).status_code == 200


async def test_a_code_for_a_contact_is_worth_nothing_to_another_person(town: Town) -> None:
    ana, ben = await town.headers(ANA), await town.headers(BEN)
    phone = "+639171234567"
    await town.client.post("/v1/me/contacts", headers=ana, json={"contact": phone, "password": PASSWORD})
    body = {"contact": phone, "code": await town.code(phone)}
    answer = await town.client.post("/v1/me/contacts/confirm", headers=ben, json=body)
    assert answer.json()["type"].endswith("wrong-code")


async def test_a_token_alone_adds_no_contact_and_writes_to_nobody(town: Town) -> None:
    """A contact resets the password: who has a stolen token must not get the account, nor letters to strangers."""
    ana = await town.headers(ANA)
    answer = await town.client.post("/v1/me/contacts", headers=ana, json={"contact": BEN, "password": "stolen token"})
    assert answer.status_code == 401
    for number in range(20):
        body = {"contact": f"stranger{number}@example.ph", "password": PASSWORD}
        answer = await town.client.post("/v1/me/contacts", headers=ana, json=body)
    assert answer.status_code == 429


async def test_a_text_with_a_nul_character_is_the_senders_mistake(town: Town) -> None:
    ana = await town.headers(ANA)
    person = {"contact": BEN, "password": PASSWORD, "name": "B\0en"}
    for answer in (
        await town.client.patch("/v1/me", headers=ana, json={"name": "An\0a"}),
        await town.client.post("/v1/auth/sign-up", json=person),
    ):
        assert (answer.status_code, "NUL" in answer.json()["detail"]) == (400, True), answer.text


async def test_giving_roles_does_not_tell_by_the_thousand_who_has_an_account(town: Town) -> None:
    ana, ben = await town.headers(ANA), await town.headers(BEN)
    members = f"/v1/operators/{await operator(town, ana)}/members"
    for number in range(20):
        grant = {"contact": f"nobody{number}@example.ph", "role": "attendant"}
        answer = await town.client.put(members, headers=ben, json=grant)
    assert answer.status_code == 429


async def test_a_contact_of_another_account_is_refused(town: Town) -> None:
    ana = await town.headers(ANA)
    await town.headers(BEN)
    await town.client.post("/v1/me/contacts", headers=ana, json={"contact": BEN, "password": PASSWORD})
    body = {"contact": BEN, "code": await town.code(BEN, 2)}
    answer = await town.client.post("/v1/me/contacts/confirm", headers=ana, json=body)
    assert answer.json()["type"].endswith("contact-taken")


async def test_a_new_password_needs_the_old_one(town: Town) -> None:
    ana = await town.headers(ANA)
    wrong = {"old_password": "wrong", "new_password": "another password"}
    assert (await town.client.post("/v1/me/password", headers=ana, json=wrong)).status_code == 401
    right = wrong | {"old_password": PASSWORD}
    assert (await town.client.post("/v1/me/password", headers=ana, json=right)).status_code == 204
    assert (await town.sign_in(ANA, "another password")).status_code == 200


async def test_vehicles_are_added_once_and_deleted(town: Town) -> None:
    ana = await town.headers(ANA)
    car = (await town.client.post("/v1/vehicles", headers=ana, json=CAR)).json()
    assert (await town.client.post("/v1/vehicles", headers=ana, json=CAR)).json()["type"].endswith("vehicle-exists")
    assert (await town.client.get("/v1/vehicles", headers=ana)).json() == [car]
    assert (await town.client.delete(f"/v1/vehicles/{car['vehicle_id']}", headers=ana)).status_code == 204
    assert (await town.client.delete(f"/v1/vehicles/{car['vehicle_id']}", headers=ana)).status_code == 404


async def test_nobody_reaches_what_is_anothers(town: Town) -> None:
    ana, ben = await town.headers(ANA), await town.headers(BEN)
    car = (await town.client.post("/v1/vehicles", headers=ana, json=CAR)).json()
    assert (await town.client.get("/v1/vehicles", headers=ben)).json() == []
    assert (await town.client.delete(f"/v1/vehicles/{car['vehicle_id']}", headers=ben)).status_code == 404
    assert ANA not in (await town.client.get("/v1/me/export", headers=ben)).text


async def test_the_database_itself_hides_other_people(town: Town) -> None:
    """Row-level security holds where a query forgets its condition."""
    await town.sign_up(ANA)
    ben = (await town.client.get("/v1/me", headers=await town.headers(BEN))).json()["person_id"]
    async with build_pool(town.service.database_url, max_size=1) as pool, acting(pool, UUID(ben)) as connection:
        rows = await (await connection.execute("SELECT email FROM people")).fetchall()
        assert [row.email for row in rows] == [BEN]
        for table in ("codes", "outbox"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with connection.transaction():
                    await connection.execute(f"SELECT * FROM {table}".encode())


async def test_an_erased_person_is_gone_and_the_row_tells_nothing(town: Town) -> None:
    ana = await town.headers(ANA)
    device = await town.service.register()
    token = device["Authorization"].removeprefix("Bearer ")
    linked = await town.client.post("/v1/me/devices", headers=ana, json={"device_token": token})
    assert linked.status_code == 204
    export = (await town.client.get("/v1/me/export", headers=ana)).json()
    assert [len(export[part]) for part in ("devices", "sign_ins")] == [1, 1]
    assert (await town.client.post("/v1/me/erase", headers=ana, json={"password": "wrong"})).status_code == 401
    assert (await town.client.post("/v1/me/erase", headers=ana, json={"password": PASSWORD})).status_code == 204
    assert (await town.client.get("/v1/me", headers=ana)).status_code == 401
    assert (await town.sign_in(ANA)).status_code == 401
    with psycopg.connect(town.service.database_url) as connection:
        text = str(connection.execute("SELECT people::text FROM people").fetchall())
        requested = connection.execute("SELECT device_id FROM erasure_requests WHERE done_at IS NULL").fetchall()
    assert ANA not in text
    assert [row[0] for row in requested] == [export["devices"][0]["device_id"]]
    pushed = await town.client.post("/v1/events", headers=device, json={"sent_at": 1, "events": []})
    assert pushed.json()["type"].endswith("consent-missing"), "the device stops being heard at once"
    assert (await town.sign_up(ANA))["access_token"], "the contact is free again"


async def test_a_device_is_one_accounts(town: Town) -> None:
    ana, ben = await town.headers(ANA), await town.headers(BEN)
    token = (await town.service.register())["Authorization"].removeprefix("Bearer ")
    body = {"device_token": token}
    assert (await town.client.post("/v1/me/devices", headers=ana, json=body)).status_code == 204
    assert (await town.client.post("/v1/me/devices", headers=ana, json=body)).status_code == 204
    assert (await town.client.post("/v1/me/devices", headers=ben, json=body)).json()["type"].endswith("device-linked")
    forged = {"device_token": token[:-4] + "AAAA"}
    assert (await town.client.post("/v1/me/devices", headers=ana, json=forged)).status_code == 400


async def operator(town: Town, admin: dict[str, str]) -> str:
    """Make ANA the platform's admin and an operator whose admin is BEN."""
    assert grant_platform_role(town.service.database_url, parse_contact(ANA), "platform_admin")
    body = {"name": "Mall", "admin_contact": BEN}
    answer = await town.client.post("/v1/operators", headers=admin, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["operator_id"])


async def test_admins_give_and_take_roles_and_each_change_is_kept(town: Town) -> None:
    ana, ben, eve = await town.headers(ANA), await town.headers(BEN), await town.headers("eve@example.ph")
    members = f"/v1/operators/{await operator(town, ana)}/members"
    grant = {"contact": "eve@example.ph", "role": "attendant"}
    assert (await town.client.put(members, headers=eve, json=grant)).status_code == 404, "not even that it exists"
    assert (await town.client.put(members, headers=ben, json=grant)).status_code == 204
    assert (await town.client.put(members, headers=eve, json=grant)).json()["type"].endswith("role-missing")
    listed: list[dict[str, Any]] = (await town.client.get(members, headers=ben)).json()
    assert {(member["contact"], member["role"]) for member in listed} == {
        (BEN, "operator_admin"),
        ("eve@example.ph", "attendant"),
    }
    eves = next(member["person_id"] for member in listed if member["role"] == "attendant")
    assert (await town.client.delete(f"{members}/{eves}/attendant", headers=ben)).status_code == 204
    assert (await town.client.put(members, headers=eve, json=grant)).status_code == 404
    with psycopg.connect(town.service.database_url) as connection:
        actions = [row[0] for row in connection.execute("SELECT action FROM audit_entries ORDER BY entry_id")]
        with pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute("DELETE FROM audit_entries")
    assert actions == ["member.granted", "tenant.added", "member.granted", "member.granted", "member.revoked"]


async def test_only_the_platforms_admins_make_operators(town: Town) -> None:
    ana = await town.headers(ANA)
    body = {"name": "Mall", "admin_contact": ANA}
    assert (await town.client.post("/v1/operators", headers=ana, json=body)).status_code == 403


async def test_a_role_that_a_tenant_of_this_kind_does_not_have_is_refused(town: Town) -> None:
    ana, ben = await town.headers(ANA), await town.headers(BEN)
    members = f"/v1/operators/{await operator(town, ana)}/members"
    answer = await town.client.put(members, headers=ben, json={"contact": ANA, "role": "host"})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:parkpal:problem:invalid-request")


async def test_the_admin_of_one_operator_is_nobody_at_another(town: Town) -> None:
    ana, ben = await town.headers(ANA), await town.headers(BEN)
    await operator(town, ana)
    body = {"name": "Other", "admin_contact": ANA}
    other = (await town.client.post("/v1/operators", headers=ana, json=body)).json()["operator_id"]
    assert (await town.client.get(f"/v1/operators/{other}/members", headers=ben)).status_code == 404


async def test_the_command_line_makes_the_platforms_first_admin(town: Town) -> None:
    environ = {"PARKPAL_DATABASE_URL": town.service.database_url}
    assert CliRunner().invoke(grant, [ANA, "platform_admin"], env=environ).exit_code == 1, "nobody yet"
    ana = await town.headers(ANA)
    assert CliRunner().invoke(grant, [ANA, "platform_admin"], env=environ).exit_code == 0
    me = (await town.client.get("/v1/me", headers=ana)).json()
    assert [member["role"] for member in me["memberships"]] == ["platform_admin"]
