"""What the database itself refuses and remembers, whatever code asks."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from api.bookings.paid import Confirmed, Lost, confirm_paid, set_payment_status
from api.database import Pool
from api.tenancy import acting, at_desk
from tests.api.bookings.conftest import NOON, Ground

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def test_two_live_bookings_of_a_space_do_not_overlap(ground: Ground) -> None:
    ground.add_booking()
    ground.add_booking(NOON + timedelta(hours=2))
    with pytest.raises(psycopg.errors.ExclusionViolation):
        ground.add_booking(NOON + timedelta(hours=1))


def test_a_booking_that_is_over_makes_room(ground: Ground) -> None:
    booking_id = ground.add_booking()
    ground.run("UPDATE bookings SET status = 'EXPIRED', hold_expires_at = NULL WHERE booking_id = %s", booking_id)
    ground.add_booking()


def test_a_window_is_bounded_and_half_open(ground: Ground) -> None:
    noon = NOON.isoformat()
    for during in (f"[{noon},)", f"(,{noon})", f"[{noon},{noon}]", f"[{noon},{noon})", f"[{noon},infinity)"):
        with pytest.raises(psycopg.errors.CheckViolation):
            ground.add_booking(during=during)


def test_no_status_follows_another_but_by_the_table(ground: Ground) -> None:
    booking_id = ground.add_booking()
    with pytest.raises(psycopg.errors.RestrictViolation):
        ground.run("UPDATE bookings SET status = 'FULFILLED', hold_expires_at = NULL WHERE booking_id = %s", booking_id)


def test_a_space_holds_one_stay(ground: Ground) -> None:
    ground.add_booking(status="ACTIVE", hold_expires_at=None)
    with pytest.raises(psycopg.errors.UniqueViolation):
        ground.add_booking(NOON + timedelta(hours=2), status="ACTIVE", hold_expires_at=None)


def test_a_bucket_is_not_oversold(ground: Ground) -> None:
    lot_id = ground.add_place("lot", capacity=3)
    with pytest.raises(psycopg.errors.CheckViolation):
        ground.run("INSERT INTO lot_buckets (lot_id, starts_at, capacity, used) VALUES (%s, %s, 3, 4)", lot_id, NOON)


async def test_every_change_leaves_one_line_in_a_history_that_nobody_changes(ground: Ground, pool: Pool) -> None:
    booking_id = ground.add_booking()
    async with at_desk(pool) as connection:
        await confirm_paid(connection, booking_id)
        await set_payment_status(connection, booking_id, "paid")
    lines = ground.run("SELECT from_status, to_status, reason FROM booking_history ORDER BY entry_id")
    assert lines == [(None, "HELD", ""), ("HELD", "RESERVED", "paid")]
    with pytest.raises(psycopg.errors.RestrictViolation):
        ground.run("DELETE FROM booking_history")


async def test_money_confirms_a_hold_though_it_is_overdue(ground: Ground, pool: Pool) -> None:
    booking_id = ground.add_booking(hold_expires_at=datetime.now(UTC) - timedelta(seconds=1))
    async with at_desk(pool) as connection:
        assert await confirm_paid(connection, booking_id) == Confirmed(booking_id)
        assert await confirm_paid(connection, booking_id) == Lost("RESERVED")
        with pytest.raises(LookupError):
            await confirm_paid(connection, uuid4())


async def test_a_driver_sees_their_own_bookings_and_a_tenant_its_own(ground: Ground, pool: Pool) -> None:
    ground.add_booking()
    seen = []
    for person_id, tenant_id in [
        (ground.driver_id, None),
        (uuid4(), ground.tenant_id),
        (uuid4(), None),
        (uuid4(), uuid4()),
    ]:
        async with acting(pool, person_id, tenant_id) as connection:
            rows = await (await connection.execute("SELECT FROM bookings")).fetchall()
            lines = await (await connection.execute("SELECT FROM booking_history")).fetchall()
            seen.append((len(rows), len(lines)))
    assert seen == [(1, 1), (1, 1), (0, 0), (0, 0)]
