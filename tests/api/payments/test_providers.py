"""One contract for both adapters, held against the simulator's documented limits."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from stripe import Charge

from api.payments.provider import Provider, ProviderDownError, ProviderRefusedError, RefundOrder
from api.payments.stripe import Stripe, _captured
from tests.api.payments.conftest import Simulator, build_provider, order, run_simulator

pytestmark = pytest.mark.anyio


async def test_a_checkout_is_open_until_somebody_pays_at_its_page(provider: Provider, simulator: Simulator) -> None:
    asked = order()
    opened = await provider.open_checkout(asked)
    assert (opened.status, opened.captures) == ("open", ())
    page = simulator.http.get(opened.url).text
    assert "PHP 150.00" in page
    paid = simulator.http.post(f"{opened.url}/pay", data={"rail": "card"})
    assert (paid.status_code, paid.headers["location"]) == (303, asked.success_url)
    read = await provider.read_checkout(opened.checkout_id)
    assert read.status == "paid"
    (captured,) = read.captures
    assert captured[1:5] == (asked.reference, 15_000, "PHP", "card")
    assert captured.fee > 0
    assert simulator.http.post(f"{opened.url}/pay", data={"rail": "card"}).status_code == 400, "it is paid once"


async def test_an_expired_checkout_takes_no_money_and_a_paid_one_is_not_expired(
    provider: Provider, simulator: Simulator
) -> None:
    opened = await provider.open_checkout(order())
    assert (await provider.expire_checkout(opened.checkout_id)).status == "expired"
    assert (await provider.expire_checkout(opened.checkout_id)).status == "expired", "asked twice, as once"
    url = f"{simulator.url}/checkout/{opened.checkout_id}"
    assert simulator.http.post(f"{url}/pay", data={"rail": "card"}).status_code == 400
    paid = await provider.open_checkout(order())
    simulator.pay(paid.checkout_id)
    assert (await provider.expire_checkout(paid.checkout_id)).status == "paid"


async def test_a_refund_may_be_partial_and_never_more_than_was_captured(
    provider: Provider, simulator: Simulator
) -> None:
    opened = await provider.open_checkout(order())
    capture_id = simulator.pay(opened.checkout_id)["payment_id"]
    part = RefundOrder(uuid4().hex, capture_id, 10_000, first=True)
    refunded = await provider.refund(part)
    assert (await provider.read_refund(refunded.refund_id)).status == "done"
    simulator.forget_keys()
    again = await provider.refund(part._replace(first=False))
    assert again.refund_id == refunded.refund_id, "asked again for the same reference, a day later"
    with pytest.raises(ProviderRefusedError, match="amount_too_large"):
        await provider.refund(RefundOrder(uuid4().hex, capture_id, 5_001, first=True))


async def test_a_refund_that_the_provider_cannot_make_fails_with_a_reason(
    provider: Provider, simulator: Simulator
) -> None:
    opened = await provider.open_checkout(order())
    capture_id = simulator.pay(opened.checkout_id)["payment_id"]
    simulator.faults(refuse_refund=1)
    refunded = await provider.refund(RefundOrder(uuid4().hex, capture_id, 15_000, first=True))
    read = await provider.read_refund(refunded.refund_id)
    assert (read.status, bool(read.reason)) == ("failed", True)


async def test_a_disputed_payment_is_not_refunded(provider: Provider, simulator: Simulator) -> None:
    opened = await provider.open_checkout(order())
    capture_id = simulator.pay(opened.checkout_id)["payment_id"]
    assert "open" not in {each.status for each in await provider.disputes(capture_id)}
    disputed = simulator.dispute(capture_id)
    assert [each.status for each in await provider.disputes(capture_id)] == ["open"]
    assert capture_id in [each async for each in provider.disputed_since(datetime.now(UTC) - timedelta(minutes=5))]
    with pytest.raises(ProviderRefusedError, match="charge_disputed"):
        await provider.refund(RefundOrder(uuid4().hex, capture_id, 15_000, first=True))
    simulator.decide(disputed, "won")
    assert [each.status for each in await provider.disputes(capture_id)] == ["won"]


async def test_an_amount_below_the_minimum_is_refused(provider: Provider) -> None:
    with pytest.raises(ProviderRefusedError, match="amount_too_small"):
        await provider.open_checkout(order(amount=100))


async def test_a_lost_answer_is_no_refusal(provider: Provider, simulator: Simulator) -> None:
    simulator.faults(lose_answer=1)
    with pytest.raises(ProviderDownError):
        await provider.open_checkout(order())
    simulator.faults()


async def test_a_wrong_key_is_no_refusal(simulator: Simulator) -> None:
    """It says nothing of what was asked: a refund must not become credit because a key was mistyped."""
    for name in ("paymongo", "stripe"):
        good = build_provider(name, simulator.url)
        wrong = type(good)(f"{simulator.url}/{name}", "sk_test_other", "x", livemode=False)
        with pytest.raises(ProviderDownError):
            await wrong.open_checkout(order())
        await good.close()
        await wrong.close()


async def test_all_captures_since_a_moment_are_found_by_reference(provider: Provider, simulator: Simulator) -> None:
    orders = [order() for _ in range(3)]
    for each in orders:
        simulator.pay((await provider.open_checkout(each)).checkout_id)
    since = datetime.now(UTC) - timedelta(minutes=5)
    found = [captured.reference async for captured in provider.captures_since(since)]
    assert found[:3] == [each.reference for each in reversed(orders)]


async def test_a_fee_that_stripe_took_in_dollars_is_told_in_pesos() -> None:
    """Where it settles in another currency, amount x exchange_rate is what arrives, and the fee is of that."""
    charge = {
        "id": "ch_1",
        "object": "charge",
        "amount": 15_000,
        "balance_transaction": {"id": "txn_1", "object": "balance_transaction", "exchange_rate": 0.0175, "fee": 8},
        "created": 1_700_000_000,
        "currency": "php",
        "payment_method_details": {"type": "card"},
    }
    captured = _captured(Charge.construct_from(charge, None), "")
    assert (captured.amount, captured.currency, captured.fee) == (15_000, "PHP", 457)


async def test_the_same_order_twice_is_one_checkout_at_stripe(simulator: Simulator) -> None:
    """Also where the time of expiry has moved on, which makes it another request with the same key."""
    stripe = build_provider("stripe", simulator.url)
    asked = order(closes_at=datetime.now(UTC) + timedelta(hours=1))
    first = await stripe.open_checkout(asked)
    assert (await stripe.open_checkout(asked)).checkout_id == first.checkout_id
    later = asked._replace(closes_at=asked.closes_at + timedelta(minutes=1))
    assert (await stripe.open_checkout(later)).checkout_id == first.checkout_id
    await stripe.close()


@pytest.mark.parametrize("left", [timedelta(minutes=1), timedelta(days=30)])
async def test_a_checkout_at_stripe_lives_as_long_as_stripe_allows(simulator: Simulator, left: timedelta) -> None:
    stripe = build_provider("stripe", simulator.url)
    assert (await stripe.open_checkout(order(closes_at=datetime.now(UTC) + left))).status == "open"
    await stripe.close()


async def test_a_qr_code_ends_before_the_place_is_let_go(simulator: Simulator) -> None:
    paymongo = build_provider("paymongo", simulator.url)
    opened = await paymongo.open_checkout(order(rails=("card", "qrph")))
    await paymongo.close()
    (kept,) = [each for each in simulator.money()["checkouts"] if each["checkout_id"] == opened.checkout_id]
    assert 0 < kept["expires"] - time.time() < 600


async def test_a_qr_payment_cannot_be_refunded(simulator: Simulator) -> None:
    paymongo = build_provider("paymongo", simulator.url)
    opened = await paymongo.open_checkout(order(rails=("qrph",)))
    capture_id = simulator.pay(opened.checkout_id, "qrph")["payment_id"]
    with pytest.raises(ProviderRefusedError, match="refund_not_allowed"):
        await paymongo.refund(RefundOrder(uuid4().hex, capture_id, 15_000, first=True))
    await paymongo.close()


async def test_books_outlive_the_process(tmp_path: Path) -> None:
    """A simulator that is stopped knows what it said when it starts again."""
    with run_simulator(tmp_path) as first:
        provider = build_provider("paymongo", first.url)
        opened = await provider.open_checkout(order())
        await provider.close()
    with run_simulator(tmp_path) as second:
        assert second.pay(opened.checkout_id)["amount"] == 15_000


@pytest.fixture(scope="module")
def stripe_mock() -> Iterator[str]:
    """Stripe's own mock, where Go has built it: it knows the shapes of requests and answers."""
    found = shutil.which("stripe-mock") or os.environ.get("PARKPAL_TEST_STRIPE_MOCK")
    if not found:
        pytest.skip("no stripe-mock: go install github.com/stripe/stripe-mock@latest")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([found, "-http-port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(100):
        try:
            httpx.get(url)
            break
        except httpx.HTTPError:
            time.sleep(0.05)
    yield url
    process.terminate()
    process.wait(10)


async def test_requests_and_answers_have_stripes_shapes(stripe_mock: str) -> None:
    """Nothing is kept there: only that every parameter is known, and every answer is read."""
    stripe = Stripe(stripe_mock, "sk_test_123", "whsec", livemode=False)
    opened = await stripe.open_checkout(order())
    await stripe.read_checkout(opened.checkout_id)
    await stripe.expire_checkout(opened.checkout_id)
    refunded = await stripe.refund(RefundOrder(uuid4().hex, "ch_1", 100, first=False))
    await stripe.read_refund(refunded.refund_id)
    await stripe.disputes("ch_1")
    found = [captured async for captured in stripe.captures_since(datetime.now(UTC) - timedelta(days=1))]
    assert all(captured.capture_id.startswith("ch_") for captured in found)
    assert all([each async for each in stripe.disputed_since(datetime.now(UTC) - timedelta(days=1))])
    await stripe.close()
