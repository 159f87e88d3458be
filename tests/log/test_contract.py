"""What every event log keeps, whatever stands behind it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.log import BATCH, JSON, EventLog, NewMessage
from pipeline.log.open import open_log

APPENDER = Path(__file__).with_name("appender.py")


def texts(log: EventLog, partition: int, offset: int = 0, max_bytes: int = 1 << 20) -> list[tuple[int, bytes]]:
    return [(m.offset, m.payload) for m in log.read("positions", partition, offset, max_bytes)]


def append(log: EventLog, *payloads: bytes, partition: int = 0) -> list[int]:
    return log.append([NewMessage("positions", partition, payload) for payload in payloads])


def start_appender(url: str, name: str, messages: int) -> subprocess.Popen[str]:
    """Start a process that appends `messages` numbered messages (0: without end) and prints each acknowledged group."""
    root = APPENDER.parents[2]
    return subprocess.Popen(
        [sys.executable, str(APPENDER), url, name, str(messages)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def test_messages_come_back_in_order_with_all_they_carry(log: EventLog) -> None:
    before = int(time.time() * 1_000)
    assert log.append([NewMessage("positions", 1, b"a"), NewMessage("positions", 1, b"", JSON)]) == [0, 1]
    first, second = log.read("positions", 1, 0, 100)
    assert (first.offset, first.payload, first.content_type) == (0, b"a", BATCH)
    assert (second.offset, second.payload, second.content_type) == (1, b"", JSON)
    assert before - 1_000 <= first.appended_at <= second.appended_at <= int(time.time() * 1_000) + 1_000


def test_offsets_are_given_in_the_order_of_the_messages_and_count_by_partition(log: EventLog) -> None:
    places = [("positions", 2), ("positions", 0), ("rejected", 0), ("positions", 2)]
    assert log.append([NewMessage(stream, partition, b"x") for stream, partition in places]) == [0, 0, 0, 1]
    assert log.append([NewMessage(stream, partition, b"x") for stream, partition in places]) == [2, 1, 1, 3]


def test_nothing_appended_is_nothing(log: EventLog) -> None:
    assert log.append([]) == []
    assert log.bounds("positions", 0) == (0, 0)
    assert log.read("positions", 0, 0, 100) == []


def test_reading_stops_at_max_bytes_but_gives_at_least_one(log: EventLog) -> None:
    append(log, b"aaaa", b"bbbb", b"cccc")
    assert [offset for offset, _ in texts(log, 0, 0, 8)] == [0, 1]
    assert [offset for offset, _ in texts(log, 0, 0, 7)] == [0]
    assert [offset for offset, _ in texts(log, 0, 1, 0)] == [1]
    assert texts(log, 0, 3) == []


def test_a_large_message_comes_back_whole(log: EventLog) -> None:
    payload = bytes(range(256)) * 3_500
    append(log, payload, b"next")
    assert texts(log, 0, 0, 10) == [(0, payload)]
    assert texts(log, 0, 1) == [(1, b"next")]


def test_create_again_changes_nothing_and_another_count_is_refused(log: EventLog) -> None:
    append(log, b"a")
    log.create({"positions": 4, "rejected": 1, "more": 2})
    assert texts(log, 0) == [(0, b"a")]
    assert (log.partitions("positions"), log.partitions("more")) == (4, 2)
    with pytest.raises(ValueError, match="'positions' has 4 partitions"):
        log.create({"positions": 8})


def test_what_does_not_exist_is_a_lookup_error_and_appends_nothing(log: EventLog) -> None:
    with pytest.raises(LookupError):
        log.partitions("moods")
    for stream, partition in (("moods", 0), ("positions", 4)):
        with pytest.raises(LookupError):
            log.read(stream, partition, 0, 1)
        with pytest.raises(LookupError):
            log.bounds(stream, partition)
        with pytest.raises(LookupError):
            log.append([NewMessage("positions", 0, b"a"), NewMessage(stream, partition, b"b")])
    assert log.bounds("positions", 0) == (0, 0)


def test_a_log_that_was_never_created_is_a_lookup_error(log_url: str) -> None:
    opened = open_log(log_url)
    with pytest.raises(LookupError, match="create it first"):
        opened.partitions("positions")
    opened.close()


def test_a_second_opener_reads_what_the_first_wrote_and_goes_on(log: EventLog, log_url: str) -> None:
    append(log, b"a")
    other = open_log(log_url)
    assert texts(other, 0) == [(0, b"a")]
    assert append(other, b"b") == [1]
    other.close()
    assert texts(log, 0) == [(0, b"a"), (1, b"b")]


@pytest.mark.usefixtures("_trims")
def test_trim_drops_old_messages_and_never_gives_their_offsets_again(log: EventLog) -> None:
    append(log, b"a", b"b")
    (_, newest) = log.read("positions", 0, 0, 100)
    while int(time.time() * 1_000) <= newest.appended_at:
        time.sleep(0.001)
    append(log, b"c", partition=1)
    assert log.stored_bytes("positions", 0) in (2, None)
    assert log.trim(newest.appended_at + 1) == 2
    assert log.bounds("positions", 0) == (2, 2)
    assert log.stored_bytes("positions", 0) in (0, None)
    assert texts(log, 0) == []
    assert append(log, b"d") == [2]
    assert texts(log, 0) == [(2, b"d")]
    assert texts(log, 1) == [(0, b"c")]


@pytest.mark.usefixtures("_trims")
def test_trim_keeps_what_is_not_below_the_offset_that_is_asked(log: EventLog) -> None:
    append(log, *(b"%d" % i for i in range(2_500)))
    append(log, b"a", b"b", partition=1)
    now = int(time.time() * 1_000) + 60_000
    assert log.trim(now, {("positions", 0): 2_100, ("positions", 1): 0}) == 2_100
    assert log.trim(now, {("positions", 0): 100, ("positions", 1): 0}) == 0
    assert log.bounds("positions", 0) == (2_100, 2_500)
    assert texts(log, 0, 2_000)[0] == (2_100, b"2100")
    assert texts(log, 1) == [(0, b"a"), (1, b"b")]


def test_threads_append_without_gap_or_double(log: EventLog) -> None:
    with ThreadPoolExecutor(4) as pool:
        groups = list(pool.map(lambda i: append(log, b"%d" % i, b"%d" % i), range(40)))
    assert sorted(offset for group in groups for offset in group) == list(range(80))
    assert all(second == first + 1 for first, second in groups)


def test_four_processes_append_while_a_reader_never_sees_a_hole(log: EventLog, log_url: str) -> None:
    appenders = [start_appender(log_url, name, 150) for name in "abcd"]
    seen: list[list[bytes]] = [[], [], [], []]
    while any(appender.poll() is None for appender in appenders) or missing(log, seen):
        for partition, payloads in enumerate(seen):
            for offset, payload in texts(log, partition, len(payloads)):
                assert offset == len(payloads)
                payloads.append(payload)
    acknowledged = [line for appender in appenders for line in finish(appender)]
    assert sorted(acknowledged) == sorted(
        f"{partition} {offset} {payload.decode().split('.')[0]}"
        for partition, payloads in enumerate(seen)
        for offset, payload in enumerate(payloads)
    )
    for name in "abcd":
        for payloads in seen:
            numbers = [int(p.split(b".")[0][1:]) for p in payloads if p.startswith(name.encode())]
            assert numbers == sorted(numbers)


def missing(log: EventLog, seen: Sequence[Sequence[bytes]]) -> bool:
    return any(log.bounds("positions", partition)[1] > len(payloads) for partition, payloads in enumerate(seen))


def finish(appender: subprocess.Popen[str]) -> list[str]:
    out, _ = appender.communicate(timeout=60)
    return out.splitlines()


def test_what_was_acknowledged_survives_a_kill_and_messages_are_whole(log: EventLog, log_url: str) -> None:
    acknowledged: list[str] = []
    for round_number in range(4):
        appender = start_appender(log_url, "abcd"[round_number], 0)
        assert appender.stdout is not None
        lines = [appender.stdout.readline() for _ in range(20)]
        time.sleep(0.02 * round_number)
        appender.send_signal(signal.SIGKILL)
        acknowledged += [line for line in lines + finish_killed(appender) if line.endswith("\n")]
    held = {
        f"{partition} {offset} {payload.decode().split('.')[0]}\n"
        for partition in range(4)
        for offset, payload in texts(log, partition, max_bytes=1 << 30)
    }
    assert set(acknowledged) <= held
    assert len(acknowledged) >= 80
    for partition in range(4):
        payloads = texts(log, partition, max_bytes=1 << 30)
        assert [offset for offset, _ in payloads] == list(range(log.bounds("positions", partition)[1]))
        assert all(payload == payload.split(b".")[0] + b"." * 3_000 for _, payload in payloads)
    assert append(log, b"next") == [log.bounds("positions", 0)[1] - 1]


def finish_killed(appender: subprocess.Popen[str]) -> list[str]:
    assert appender.stdout is not None
    with appender:  # communicate() would pass over what readline() has taken ahead
        return appender.stdout.read().splitlines(keepends=True)


def test_a_payload_is_rewritten_where_the_log_can_and_all_else_stays(log: EventLog) -> None:
    append(log, b"first", b"second", b"third", partition=1)
    before = log.read("positions", 1, 0, 100)
    can = log.rewrite("positions", 1, {1: b"2"})
    after = log.read("positions", 1, 0, 100)
    assert [held._replace(payload=b"") for held in after] == [held._replace(payload=b"") for held in before]
    assert [held.payload for held in after] == [b"first", b"2" if can else b"second", b"third"]
    assert log.rewrite("positions", 1, {}) == can
