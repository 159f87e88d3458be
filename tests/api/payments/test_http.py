"""Money over HTTP: webhooks, checkouts, the wallet, payouts, refunds that people decide."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import uvicorn

from api.app import ApiConfig
from api.contacts import parse_contact
from api.database import build_pool
from api.payments import reconciliation
from api.payments.money import BookingMoney, MoneyRules
from api.payments.parts import PaymentsConfig
from api.payments.signatures import sign
from api.people.tenants import grant_platform_role
from api.tenancy import at_desk
from parkpal.settings import EXAMPLE_SECRET
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.bookings.conftest import NOON, Ground
from tests.api.conftest import serve
from tests.api.payments.conftest import Simulator, build_provider
from tests.api.people.conftest import PASSWORD, Town
from tests.crash.money_audit import audit, totals

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

ANA, BEN, ADMIN, OTHER = "ana@example.ph", "ben@example.ph", "admin@example.ph", "other@example.ph"
WEBHOOKS = "/v1/payments/webhooks"
BANK = {"bank_code": "BPI", "account_number": "0123456789", "account_name": "=Ben", "password": PASSWORD}


@dataclass
class Market:
    """A service with payments, and the ground under it."""

    town: Town
    ground: Ground
    simulator: Simulator

    async def driver(self, contact: str = ANA) -> dict[str, str]:
        """Sign a driver up, to whom the ground's bookings belong from now on."""
        headers = await self.town.headers(contact)
        self.ground.driver_id = UUID((await self.town.client.get("/v1/me", headers=headers)).json()["person_id"])
        return headers

    async def post(self, path: str, headers: dict[str, str], body: object = None, key: str = "") -> Any:
        """Post with a key."""
        return await self.town.client.post(path, headers=headers | {"Idempotency-Key": key or uuid4().hex}, json=body)

    async def pay(self, booking_id: UUID, headers: dict[str, str], rail: str = "card") -> None:
        """Open a checkout, pay, and let the webhook find its way."""
        answer = await self.post(f"/v1/bookings/{booking_id}/checkout", headers, {"provider": "paymongo"})
        assert answer.status_code == 200, answer.text
        checkout_id = answer.json()["checkout_url"].rpartition("/")[2]
        self.simulator.pay(checkout_id, rail)
        await self.announce(checkout_id)
        for _ in range(500):
            if self.ground.status(booking_id) == "RESERVED":
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the payment did not reserve the booking")

    async def announce(self, checkout_id: str, *, secret: str = "", age_s: int = 0, **more: Any) -> int:
        """Send the webhook that PayMongo would; return the status of the answer."""
        resource = {"id": checkout_id, "type": "checkout_session", "attributes": {}}
        attributes = {"type": "checkout_session.payment.paid", "livemode": False, "data": resource} | more
        body = json.dumps({"data": {"id": f"evt_{uuid4().hex}", "type": "event", "attributes": attributes}}).encode()
        at = str(int(time.time()) - age_s)
        digest = sign(secret or f"{EXAMPLE_SECRET}_paymongo_webhook", at, body)
        headers = {"Paymongo-Signature": f"t={at},te={digest},li="}
        return (await self.town.client.post(f"{WEBHOOKS}/paymongo", content=body, headers=headers)).status_code


@pytest.fixture
async def market(
    config: ApiConfig,
    event_log: EventLog,
    lake: Lake,
    tmp_path: Path,
    simulator: Simulator,
    ground: Ground,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Market]:
    """A service that does not wait."""
    monkeypatch.setattr("api.outbox.relay.POLL_S", 0.01)
    monkeypatch.setattr(reconciliation, "POLL_S", 0.02)
    monkeypatch.setattr(reconciliation, "SELDOM", 2)
    ground.run("UPDATE money_jobs SET due_at = now() + interval '1 day'")
    payments = PaymentsConfig(
        providers=tuple(build_provider(name, simulator.url) for name in ("paymongo", "stripe")),
        refund_limit_minor=10_000,
    )
    config = replace(config, payments=payments, codes_per_minute=5, tries_per_minute=50, registrations_per_minute=1_000)
    async with serve(config, event_log, lake) as service:
        yield Market(Town(service, tmp_path / "outbox"), ground, simulator)


async def test_a_webhook_is_a_hint_and_the_provider_is_asked(market: Market) -> None:
    headers = await market.driver()
    booking_id = market.ground.add_booking(total_minor=15_000)
    answer = await market.post(f"/v1/bookings/{booking_id}/checkout", headers, {})
    checkout_id = answer.json()["checkout_url"].rpartition("/")[2]
    assert await market.announce(checkout_id) == 204
    await asyncio.sleep(0.3)
    assert market.ground.status(booking_id) == "HELD", "announced, but nobody has paid"
    market.simulator.pay(checkout_id)
    assert await market.announce(checkout_id, age_s=3_600) == 204, "an old signature is a hint too"
    for _ in range(500):
        if market.ground.status(booking_id) == "RESERVED":
            break
        await asyncio.sleep(0.02)
    receipt = (await market.town.client.get(f"/v1/bookings/{booking_id}/receipt", headers=headers)).json()
    assert (receipt["total_minor"], receipt["status"]) == (15_000, "RESERVED")
    assert "not an official invoice" in receipt["note"]
    export = (await market.town.client.get("/v1/me/export", headers=headers)).json()
    assert [(each["way"], each["amount_minor"]) for each in export["payments"]] == [("card", 15_000)]


async def test_a_webhook_that_nobody_we_know_signed_is_refused(market: Market) -> None:
    assert await market.announce("cs_1", secret="forged") == 401  # noqa: S106  # nobody's
    assert await market.announce("cs_1", livemode=True) == 400
    answer = await market.town.client.post(f"{WEBHOOKS}/nobody", content=b"{}")
    assert answer.status_code == 401
    assert market.ground.run("SELECT count(*) FROM webhook_events") == [(0,)]


async def test_real_webhooks_of_the_simulator_arrive(market: Market) -> None:
    """The simulator, another process, posts to a served port; repeated, forged and late ones change nothing."""
    app = market.town.client._transport.app  # type: ignore[attr-defined]
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="off", ws="none")
    server, listening = uvicorn.Server(config), config.bind_socket()
    serving = asyncio.create_task(server.serve([listening]))
    market.simulator.webhooks_to(f"http://127.0.0.1:{listening.getsockname()[1]}")
    market.simulator.faults(repeat=0.5, forge=0.3, delay=0.5, delay_s=0.3)
    headers = await market.driver()
    bookings = [market.ground.add_booking(day, total_minor=15_000) for day in _days(5)]
    for number, booking_id in enumerate(bookings):
        body = {"provider": ("paymongo", "stripe")[number % 2]}
        answer = await market.post(f"/v1/bookings/{booking_id}/checkout", headers, body)
        await asyncio.to_thread(market.simulator.pay, answer.json()["checkout_url"].rpartition("/")[2])
    for _ in range(300):
        await asyncio.to_thread(
            market.ground.run, "UPDATE payments SET look_at = now()"
        )  # what was forged is found by asking
        if all(market.ground.status(each) == "RESERVED" for each in bookings):
            break
        await asyncio.sleep(0.05)
    server.should_exit = True
    await serving
    assert totals(market.ground.url)["held"] == 75_000
    assert audit(market.ground.url, market.simulator.url, complete=True) == []
    assert market.ground.run("SELECT count(*) > 0 FROM webhook_events") == [(True,)]


def _days(count: int) -> list[datetime]:
    return [NOON + timedelta(days=n) for n in range(count)]


async def test_a_repeated_request_is_one_checkout_with_one_answer(market: Market) -> None:
    headers = await market.driver()
    booking_id = market.ground.add_booking(total_minor=15_000)
    path = f"/v1/bookings/{booking_id}/checkout"
    answers = [await market.post(path, headers, {"provider": "stripe"}, "once") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    other = await market.post(path, headers, {"provider": "paymongo"}, "once")
    assert (other.status_code, other.json()["type"]) == (422, "urn:parkpal:problem:key-reused")


async def test_another_drivers_booking_is_not_there(market: Market) -> None:
    await market.driver()
    booking_id = market.ground.add_booking(total_minor=15_000)
    eve = await market.town.headers("eve@example.ph")
    assert (await market.post(f"/v1/bookings/{booking_id}/checkout", eve, {})).status_code == 404
    assert (await market.town.client.get(f"/v1/bookings/{booking_id}/receipt", headers=eve)).status_code == 404


async def test_credit_is_seen_and_paid_to_a_bank_on_request(market: Market) -> None:
    headers, admin = await market.driver(), await platform(market, ADMIN, "platform_admin")
    booking_id = market.ground.add_booking(total_minor=15_000)
    await market.pay(booking_id, headers, "qrph")
    body = {"booking_id": str(booking_id), "amount_minor": 10_000, "reason": "gate was shut"}
    assert (await market.post("/v1/payments/refunds", admin, body)).json()["status"] == "done"
    wallet = (await market.town.client.get("/v1/wallet", headers=headers)).json()
    assert wallet["balances"] == [{"currency": "PHP", "balance_minor": 10_000, "payable_minor": 10_000}]
    asked = BANK | {"amount_minor": 10_000, "currency": "PHP", "account_name": "Ana"}
    assert (await market.post("/v1/wallet/paybacks", headers, asked | {"password": "wrong"})).status_code == 401
    payout = (await market.post("/v1/wallet/paybacks", headers, asked)).json()
    assert (await market.post("/v1/wallet/paybacks", headers, asked)).json()["type"].endswith("cannot-pay")
    assert totals(market.ground.url)["refund due"] == 10_000
    for step in ("payouts/{}/approve", "payouts/files/instapay", "payouts/{}/settle"):
        answer = await market.post(f"/v1/payments/{step.format(payout['payout_id'])}", admin, {})
        assert answer.status_code == 200, answer.text
    assert totals(market.ground.url)["refunded"] == 10_000
    assert audit(market.ground.url, market.simulator.url) == []


async def platform(market: Market, contact: str, role: str) -> dict[str, str]:
    """Sign up somebody of the platform."""
    headers = await market.town.headers(contact)
    assert grant_platform_role(market.ground.url, parse_contact(contact), role)
    return headers


async def test_a_refund_above_the_limit_needs_a_second_person(market: Market) -> None:
    headers = await market.driver()
    first, second = await platform(market, ADMIN, "platform_admin"), await platform(market, OTHER, "platform_admin")
    booking_id = market.ground.add_booking(total_minor=15_000)
    await market.pay(booking_id, headers)
    body = {"booking_id": str(booking_id), "amount_minor": 15_000, "reason": "flooded"}
    assert (await market.post("/v1/payments/refunds", headers, body)).status_code == 403
    asked = (await market.post("/v1/payments/refunds", first, body)).json()
    assert asked["status"] == "waiting"
    approve = f"/v1/payments/refunds/{asked['request_id']}/approve"
    assert (await market.post(approve, first)).json()["type"].endswith("second-person-needed")
    assert (await market.post(approve, second)).json()["status"] == "done"
    assert (await market.post(approve, second)).status_code == 404
    for _ in range(500):
        if totals(market.ground.url).get("refunded"):
            break
        await asyncio.to_thread(market.ground.run, "UPDATE refunds SET due_at = now() WHERE status IN ('due', 'sent')")
        await asyncio.sleep(0.02)
    actions = [row[0] for row in market.ground.run("SELECT action FROM audit_entries ORDER BY entry_id")]
    assert actions[-2:] == ["refund.asked", "refund.done"]
    more = await market.post("/v1/payments/refunds", first, body | {"amount_minor": 1})
    assert more.json()["type"].endswith("cannot-refund")


async def test_the_limit_of_refunds_holds_however_they_are_divided(market: Market) -> None:
    headers, admin = await market.driver(), await platform(market, ADMIN, "platform_admin")
    booking_id = market.ground.add_booking(total_minor=15_000)
    await market.pay(booking_id, headers)
    body = {"booking_id": str(booking_id), "amount_minor": 6_000, "reason": "gate was shut"}
    asked = [(await market.post("/v1/payments/refunds", admin, body)).json()["status"] for _ in range(2)]
    assert asked == ["done", "waiting"], "6,000 and 6,000 are more than the limit of 10,000"


async def test_a_dispute_whose_end_the_provider_does_not_tell_is_settled_by_the_platform(market: Market) -> None:
    headers, admin = await market.driver(), await platform(market, ADMIN, "platform_admin")
    booking_id = market.ground.add_booking(total_minor=15_000)
    await market.pay(booking_id, headers)
    ((ref,),) = market.ground.run("SELECT provider_ref FROM captures")
    market.simulator.dispute(ref)
    await asyncio.to_thread(market.ground.run, "UPDATE money_jobs SET due_at = now() WHERE job = 'reconcile:paymongo'")
    path, opened = "/v1/payments/disputes", []
    for _ in range(500):
        opened = (await market.town.client.get(path, headers=admin)).json()
        if opened:
            break
        await asyncio.sleep(0.02)
    (dispute,) = opened
    assert (dispute["provider"], dispute["provider_ref"], dispute["amount_minor"]) == (
        "paymongo",
        f"dispute-{ref}",
        15_000,
    )
    settle = f"{path}/{dispute['dispute_id']}/settle"
    assert (await market.post(settle, headers, {"status": "lost"})).status_code == 403
    assert (await market.post(settle, admin, {"status": "lost"})).status_code == 204
    assert (await market.post(settle, admin, {"status": "won"})).status_code == 409
    assert totals(market.ground.url)["refunded"] == 15_000
    assert (await market.town.client.get(path, headers=admin)).json() == []


async def host(market: Market) -> dict[str, str]:
    """Make BEN the host of the ground's space."""
    headers = await market.town.headers(BEN)
    market.ground.run(
        "INSERT INTO memberships (tenant_id, person_id, role, tenant_kind) "
        "SELECT %s, person_id, 'host', 'host' FROM people WHERE email = %s",
        market.ground.tenant_id,
        BEN,
    )
    return headers


async def test_a_host_is_paid_once_what_is_due(market: Market) -> None:
    ben, ana, admin = await host(market), await market.driver(), await platform(market, ADMIN, "platform_admin")
    booking_id = market.ground.add_booking(total_minor=15_000)
    await market.pay(booking_id, ana)
    await earn(market, booking_id)
    earnings = (await market.town.client.get("/v1/hosts/me/payouts", headers=ben)).json()
    assert earnings["waiting"] == [{"currency": "PHP", "waiting_minor": 14_250, "due_minor": 0}], "due after a day"
    assert (await market.town.client.put("/v1/hosts/me/bank-account", headers=ben, json=BANK)).status_code == 204
    await asyncio.to_thread(market.ground.run, "UPDATE host_earnings SET due_at = now()")
    payout = await draft(market, ben)
    assert (payout["status"], payout["gross_minor"], payout["account_ending"]) == ("draft", 14_250, "6789")
    assert [line["price_minor"] for line in payout["statement"]] == [15_000]
    path = f"/v1/payments/payouts/{payout['payout_id']}"
    assert (await market.post(f"{path}/approve", ben)).status_code == 403
    assert (await market.post(f"{path}/approve", admin)).status_code == 200
    file = await market.post("/v1/payments/payouts/files/instapay", admin, None, "monday")
    again = await market.post("/v1/payments/payouts/files/instapay", admin, None, "monday")
    assert again.text == file.text, "an answer that was lost is given again"
    assert file.text.splitlines()[1] == f"{payout['reference']},BPI,0123456789,'=Ben,142.50,PHP", "no formula"
    assert (await market.post("/v1/payments/payouts/files/instapay", admin)).text.count("\n") == 1, "sent once"
    failed = await market.post(f"{path}/settle", admin, {"failure": "account closed"})
    assert failed.json()["status"] == "failed"
    assert audit(market.ground.url, market.simulator.url) == []
    again = await draft(market, ben)
    assert again["gross_minor"] == 14_250, "what failed is in the next"
    for step in ("approve", "settle"):
        path = f"/v1/payments/payouts/{again['payout_id']}"
        assert (await market.post(f"{path}/{step}", admin, {})).status_code == (200 if step == "approve" else 409)
    await market.post("/v1/payments/payouts/files/instapay", admin)
    assert (await market.post(f"{path}/settle", admin, {})).json()["status"] == "paid"
    rows = market.ground.run("SELECT account, sum(amount_minor)::int FROM ledger_postings GROUP BY account")
    assert {"host_payable": 0, "paid_out": 14_250}.items() <= dict(rows).items()
    assert audit(market.ground.url, market.simulator.url) == []


async def earn(market: Market, booking_id: UUID) -> None:
    """Let the stay of a booking end."""
    async with build_pool(market.ground.url, max_size=1) as pool, at_desk(pool) as connection:
        await BookingMoney(MoneyRules({}, {})).earned(connection, booking_id, 15_000, "stay")
    market.ground.run("UPDATE bookings SET status = 'ACTIVE' WHERE booking_id = %s", booking_id)
    market.ground.run("UPDATE bookings SET status = 'FULFILLED' WHERE booking_id = %s", booking_id)


async def draft(market: Market, ben: dict[str, str]) -> dict[str, Any]:
    """Let the daily job draft; return the newest payout as the host sees it."""
    await asyncio.to_thread(market.ground.run, "UPDATE money_jobs SET due_at = now() WHERE job = 'draft_payouts'")
    for _ in range(500):
        payouts = (await market.town.client.get("/v1/hosts/me/payouts", headers=ben)).json()["payouts"]
        if payouts and payouts[0]["status"] == "draft":
            newest: dict[str, Any] = payouts[0]
            return newest
        await asyncio.sleep(0.02)
    raise AssertionError("no payout was drafted")


async def test_nothing_that_was_approved_is_sent_while_another_bank_account_rests(market: Market) -> None:
    ben, ana, admin = await host(market), await market.driver(), await platform(market, ADMIN, "platform_admin")
    booking_id = market.ground.add_booking(total_minor=15_000)
    await market.pay(booking_id, ana)
    await earn(market, booking_id)
    await market.town.client.put("/v1/hosts/me/bank-account", headers=ben, json=BANK)
    await asyncio.to_thread(market.ground.run, "UPDATE host_earnings SET due_at = now()")
    payout = await draft(market, ben)
    await market.post(f"/v1/payments/payouts/{payout['payout_id']}/approve", admin)
    await market.town.client.put("/v1/hosts/me/bank-account", headers=ben, json=BANK)
    assert (await market.post("/v1/payments/payouts/files/instapay", admin)).text.count("\n") == 1
    await asyncio.to_thread(market.ground.run, "UPDATE bank_accounts SET usable_at = now()")
    assert payout["reference"] in (await market.post("/v1/payments/payouts/files/instapay", admin)).text


async def test_another_bank_account_rests_and_its_owners_are_told(market: Market) -> None:
    ben = await host(market)
    path = "/v1/hosts/me/bank-account"
    assert (await market.town.client.put(path, headers=ben, json=BANK | {"password": "wrong"})).status_code == 401
    assert (await market.town.client.put(path, headers=ben, json=BANK)).status_code == 204
    other = BANK | {"account_number": "9876543210"}
    assert (await market.town.client.put(path, headers=ben, json=other)).status_code == 204
    shown = (await market.town.client.get(path, headers=ben)).json()
    assert shown["account_ending"] == "3210"
    with psycopg.connect(market.ground.url) as connection:
        (hours,) = connection.execute(
            "SELECT round(extract(epoch FROM usable_at - now()) / 3600) FROM bank_accounts"
        ).fetchone() or (0,)
    assert hours == 72
    assert "3210" in await market.town.letter(BEN, 3)


async def test_nobody_sees_anothers_earnings(market: Market) -> None:
    await host(market)
    ana = await market.driver()
    assert (await market.town.client.get("/v1/hosts/me/payouts", headers=ana)).status_code == 404
    for part in ("payouts", "bank-account"):
        answer = await market.town.client.get(f"/v1/operators/{market.ground.tenant_id}/{part}", headers=ana)
        assert answer.status_code == 404
    assert (await market.town.client.get("/v1/payments/payouts", headers=ana)).status_code == 403
