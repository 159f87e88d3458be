"""Rows become durable in groups, and a log that is slow or gone never makes memory grow."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from api.app import ApiConfig
from api.errors import BodyTooSlowError, OverloadedError, UnavailableError
from api.ingest import body, grouping
from api.ingest.body import MAX_BODY_BYTES, Budget, inflate, read_body
from api.ingest.grouping import Accepted, Grouper, Refused, Submission, WriterUnavailableError
from api.metrics import Metrics
from geo.fix import FIX
from parkpal.ingest_log import LogWriter
from pipeline.batch import decode
from pipeline.lake.lake import Lake
from pipeline.log import POSITIONS, REJECTED, EventLog
from tests.api.conftest import serve

pytestmark = pytest.mark.anyio


class Gate:
    """A writer whose appends wait until the gate is opened, or fail while it is broken."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.broken = False
        self.groups: list[int] = []

    def append(self, accepted: Sequence[Accepted], refused: Sequence[Refused]) -> None:
        self.open.wait()
        if self.broken:
            raise WriterUnavailableError("gone")
        self.groups.append(sum(len(part.rows) for part in accepted) + len(refused))

    def check(self) -> None:
        if self.broken:
            raise WriterUnavailableError("gone")

    def close(self) -> None:
        self.open.set()


def submission(rows: int) -> Submission:
    return Submission([Accepted(b"d", np.zeros(rows, FIX))], [])


@asynccontextmanager
async def grouper(gate: Gate) -> AsyncIterator[Grouper]:
    grouper = Grouper(gate, Metrics())
    running = asyncio.create_task(grouper.run())
    yield grouper
    gate.open.set()
    grouper.close()
    await running


async def test_what_comes_during_an_append_becomes_the_next_group() -> None:
    gate = Gate()
    async with grouper(gate) as group:
        first = asyncio.create_task(group.append(submission(1)))
        await asyncio.sleep(2 * grouping.LINGER_S)
        others = [asyncio.create_task(group.append(submission(2))) for _ in range(5)]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, *others)
    assert gate.groups == [1, 10]


async def test_nobody_is_answered_before_its_rows_are_durable() -> None:
    gate = Gate()
    async with grouper(gate) as group:
        task = asyncio.create_task(group.append(submission(1)))
        await asyncio.sleep(3 * grouping.LINGER_S)
        assert not task.done()
        gate.open.set()
        await task
    assert gate.groups == [1]


async def test_what_waits_too_long_is_withdrawn_and_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MAX_WAIT_S", 0.05)
    gate = Gate()
    async with grouper(gate) as group:
        taken = asyncio.create_task(group.append(submission(1)))
        await asyncio.sleep(2 * grouping.LINGER_S)
        with pytest.raises(OverloadedError):
            await group.append(submission(7))
        gate.open.set()
        await taken
    assert gate.groups == [1]


async def test_a_failed_append_fails_its_group_and_not_the_next() -> None:
    gate = Gate()
    gate.open.set()
    gate.broken = True
    async with grouper(gate) as group:
        with pytest.raises(UnavailableError):
            await group.append(submission(1))
        gate.broken = False
        await group.append(submission(2))
    assert gate.groups == [2]


async def test_closing_writes_what_waits() -> None:
    gate = Gate()
    async with grouper(gate) as group:
        task = asyncio.create_task(group.append(submission(3)))
        await asyncio.sleep(0)
    await task
    assert gate.groups == [3]


async def test_work_beyond_the_budget_is_turned_away() -> None:
    """Memory is bounded by the budget: what does not fit is refused at once, and fits again when others end."""
    budget = Budget(100_000)
    with budget.hold() as held:
        held.set(90_000)
        with pytest.raises(OverloadedError):
            held.set(120_000)
        with pytest.raises(OverloadedError):
            budget.claim(20_000)
    assert budget.used == 0


@pytest.mark.postgres
async def test_phones_get_503_with_retry_after_while_the_log_is_blocked(
    config: ApiConfig, event_log: EventLog, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is in the append that hangs, and is answered when it ends; the others are turned away, unwritten."""
    monkeypatch.setattr(grouping, "MAX_WAIT_S", 0.1)
    gate = Gate()
    async with serve(config, event_log, lake, gate) as service:
        phone = await service.register()
        batch = {"sent_at": 1, "events": [{"event_time": 1, "seq": 0, "lat": 1, "lon": 1}]}
        first = asyncio.create_task(service.client.post("/v1/events", headers=phone, json=batch))
        await asyncio.sleep(3 * grouping.LINGER_S)
        others = [service.client.post("/v1/events", headers=phone, json=batch) for _ in range(9)]
        refused = await asyncio.gather(*others)
        gate.open.set()
        assert (await first).status_code == 202
    assert [answer.status_code for answer in refused] == [503] * 9
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert gate.groups == [1]


async def test_a_body_is_read_up_to_the_limit_and_its_bytes_are_counted() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield bytes(1000)

    budget = Budget(100_000)
    with budget.hold() as held:
        assert len(await read_body(chunks(), held)) == 4000
        assert budget.used > 4000
    assert budget.used == 0


async def test_a_body_that_does_not_end_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drips() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    monkeypatch.setattr(body, "BODY_TIMEOUT_S", 0.05)
    with Budget(100_000).hold() as held, pytest.raises(BodyTooSlowError):
        await read_body(drips(), held)


def test_inflating_stops_at_the_limit() -> None:
    """Of 200 MB of zeroes no more than a byte over the limit is ever made."""
    import tracemalloc  # noqa: PLC0415  # for this test alone
    import zlib  # noqa: PLC0415

    bomb = zlib.compress(bytes(200 << 20), 9, wbits=31)
    tracemalloc.start()
    with pytest.raises(Exception, match="inflated"):
        inflate(bomb, "gzip")
    assert tracemalloc.get_traced_memory()[1] < 4 * MAX_BODY_BYTES
    tracemalloc.stop()


def test_a_group_is_one_append_with_a_message_for_each_partition(event_log: EventLog) -> None:
    """Requests of one device share a place in the device table; a message is cut once it is long."""
    ids = [b"%032x" % n for n in range(40)]
    rows = np.zeros(1000, FIX)
    rows["seq"] = np.arange(1000)
    accepted = [Accepted(device_id, rows) for device_id in ids for _ in range(3)]
    writer = LogWriter(event_log)
    writer.append(accepted, [Refused(1, "malformed", "d", ids[0], b"{}", 2)] * 501)
    messages = [event_log.read(POSITIONS, p, 0, 1 << 30) for p in range(8)]
    decoded = decode([message for partition in messages for message in partition])
    assert len(decoded.rows) + len(decoded.malformed) == 120_000
    assert sorted(set(decoded.device_ids)) == ids
    assert max(len(partition) for partition in messages) > 1
    assert len(event_log.read(REJECTED, 0, 0, 1 << 30)) == 2
    writer.append([], [])
