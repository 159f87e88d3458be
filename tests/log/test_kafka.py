"""What only the log on Kafka promises: other producers, outages told, offsets with gaps, topics fit for production."""

import json
import logging
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.kafka.broker import can_run, temporary_broker
from pipeline.batch import decode
from pipeline.connectors import Chunk, LogPartition, LogSource
from pipeline.layout import Layout
from pipeline.log import ARROW, BATCH, JSON, EventLog, LogUnavailableError, NewMessage
from pipeline.log.kafka.settings import MAX_MESSAGE_BYTES, PRODUCER, read_place
from pipeline.log.kafka.topics import SETTINGS, shortfalls
from pipeline.log.open import open_log
from pipeline.partition import hash_ids, partition_of
from tests.log.conftest import SERVERS, STREAMS
from tests.log.kafka_stand_in import StandIn

APPENDER = Path(__file__).with_name("appender.py")
EVENT = {"event_time": 1_772_881_200_000, "seq": 1, "lat": 14.55, "lon": 121.03}


@pytest.fixture
def log(kafka_url: str) -> Iterator[EventLog]:
    """Open a log on Kafka."""
    opened = open_log(kafka_url)
    opened.create(STREAMS)
    yield opened
    opened.close()


def produce(url: str, *messages: tuple[bytes | None, bytes | None, list[tuple[str, bytes]]], **properties: str) -> None:
    """Produce (key, value, headers) to `positions` as any other program would, with the Java client's partitioner."""
    place = read_place(url)
    producer = Producer({"bootstrap.servers": place.servers, "partitioner": "murmur2_random", **properties})
    for key, value, headers in messages:
        producer.produce(f"{place.prefix}positions", value, key, headers=headers)
    assert producer.flush(10) == 0


# -- messages of other programs ----------------------------------------------------------------------------------------


def test_a_foreign_producer_with_javas_partitioner_puts_a_device_where_we_look_for_it(
    log: EventLog, kafka_url: str
) -> None:
    ids = [f"phone{i}".encode() for i in range(40)]
    produce(kafka_url, *((i, json.dumps([{"device_id": i.decode(), **EVENT}]).encode(), []) for i in ids))
    home = partition_of(hash_ids(ids), 4).tolist()
    for partition in range(4):
        found = decode(log.read("positions", partition, 0, 1 << 20))
        expected = [device_id for device_id, place in zip(ids, home, strict=True) if place == partition]
        assert sorted(found.device_ids[code] for code in found.device) == sorted(expected)
        assert not found.malformed


def test_content_types_are_told_by_the_header_and_json_needs_none(log: EventLog, kafka_url: str) -> None:
    text = json.dumps({"device_id": "anna", **EVENT}).encode()
    sink = pa.BufferOutputStream()
    table = pa.table({"device_id": ["anna"], **{name: [value] for name, value in EVENT.items()}})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    arrow = bytes(sink.getvalue())
    produce(
        kafka_url,
        (b"anna", text, []),
        (b"anna", text, [("trace", b"x"), ("Content-Type", b"application/JSON; charset=utf-8")]),
        (b"anna", arrow, [("content-type", ARROW.encode())]),
        (b"anna", arrow, []),
        (b"anna", None, []),
        (b"anna", text, [("content-type", b"text/\xff")]),
    )
    partition = int(partition_of(hash_ids([b"anna"]), 4)[0])
    messages = log.read("positions", partition, 0, 1 << 20)
    assert [m.content_type for m in messages] == [JSON, JSON, ARROW, JSON, JSON, "text/\\xff"]
    decoded = decode(messages)
    assert decoded.offset.tolist() == [0, 1, 2]
    assert decoded.rows["receive_time"].tolist() == [m.appended_at for m in messages[:3]]
    assert [(m.offset, m.reason) for m in decoded.malformed] == [(3, "malformed"), (4, "malformed"), (5, "malformed")]


def test_offsets_that_a_transaction_used_are_no_messages_and_the_end_is_reached(
    real_kafka_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log(real_kafka_url)
    log.create({"positions": 1, "rejected": 1})
    place = read_place(real_kafka_url)
    producer = Producer({"bootstrap.servers": place.servers, "transactional.id": place.prefix})
    producer.init_transactions()
    for end in (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        producer.produce(f"{place.prefix}positions", json.dumps({"device_id": "anna", **EVENT}).encode())
        producer.flush()
        end()
    _wait_for(lambda: log.bounds("positions", 0) == (0, 6))  # a broker writes the marker after it answered
    assert [m.offset for m in log.read("positions", 0, 0, 1 << 20)] == [0, 4]
    assert [m.offset for m in log.read("positions", 0, 1, 1 << 20)] == [4]
    assert log.read("positions", 0, 5, 1 << 20) == []
    parts = Layout.of(log, 4).parts
    source = LogSource(log, threading.Event(), parts, {part: log.bounds(*part)[1] for part in parts}, read_bytes=1)
    reader = source.build_part("log", "positions-00", None)
    chunks = [chunk for chunk in read_to_end(reader) if chunk.next > chunk.first]
    log.close()
    assert [(chunk.first, chunk.next, len(chunk.decoded.rows)) for chunk in chunks] == [(0, 1, 1), (4, 5, 1)]
    assert b'"next":6' in reader.snapshot()
    assert "trimmed" not in caplog.text


def read_to_end(reader: LogPartition) -> Iterator[Chunk]:
    with suppress(StopIteration):
        while True:
            yield from reader.next_batch()


# -- reading -----------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 60), max_size=6), max_size=4), st.data())
def test_reading_from_anywhere_gives_what_a_list_would(
    log: EventLog, appends: list[list[int]], data: st.DataObject
) -> None:
    start, held = log.bounds("positions", 2)[1], list[tuple[int, bytes]]()
    for sizes in appends:
        payloads = [bytes([len(held) % 256]) * size for size in sizes]
        held += zip(log.append([NewMessage("positions", 2, p) for p in payloads]), payloads, strict=True)
        at = data.draw(st.integers(0, len(held)))
        for _ in range(data.draw(st.integers(1, 3))):
            most = data.draw(st.integers(0, 150))
            found = [(m.offset, m.payload) for m in log.read("positions", 2, start + at, most)]
            expected = held[at : at + 1]
            while len(expected) < len(held) - at and sum(len(p) for _, p in held[at : at + len(expected) + 1]) <= most:
                expected.append(held[at + len(expected)])
            assert found == expected
            at += len(found)


def test_an_offset_behind_the_end_is_told_and_never_read_from_elsewhere(log: EventLog) -> None:
    log.append([NewMessage("positions", 0, b"a")])
    assert log.read("positions", 0, 1, 10) == []
    with pytest.raises(LogUnavailableError, match="ends at 1, but 2 was to be read"):
        log.read("positions", 0, 2, 10)


def test_a_message_of_30_mb_comes_back_whole(real_kafka_url: str) -> None:
    log = open_log(real_kafka_url)
    log.create(STREAMS)
    payload = b"".join(uuid.uuid4().bytes for _ in range(1 << 16)) * 30
    log.append([NewMessage("rejected", 0, payload), NewMessage("rejected", 0, b"next")])
    assert [m.payload == payload for m in log.read("rejected", 0, 0, 10)] == [True]
    assert [m.payload for m in log.read("rejected", 0, 1, 10)] == [b"next"]
    log.close()


def test_a_message_that_no_reader_takes_is_refused_with_its_call(log: EventLog) -> None:
    with pytest.raises(ValueError, match="at most 67108864 bytes"):
        log.append([NewMessage("positions", 0, b"a"), NewMessage("positions", 0, bytes(MAX_MESSAGE_BYTES + 1))])
    assert log.bounds("positions", 0) == (0, 0)


# -- outages -----------------------------------------------------------------------------------------------------------


def test_a_broker_that_is_away_is_told_and_all_goes_on_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRODUCER, "message.timeout.ms", 2_500)
    broker = StandIn()
    broker.create({"t.positions": 1, "t.rejected": 1})
    log = open_log(f"kafka://{broker.bootstrap}/t.")
    log.append([NewMessage("positions", 0, b"a")])
    broker.go_away()
    away = f"the log at {broker.bootstrap}: "
    for call in (
        lambda: log.append([NewMessage("positions", 0, b"b")]),
        lambda: log.read("positions", 0, 0, 10),
        lambda: log.bounds("positions", 0),
    ):
        with pytest.raises(LogUnavailableError, match=away):
            call()
    broker.come_back()
    assert log.append([NewMessage("positions", 0, b"c")]) == [1]
    assert [m.payload for m in log.read("positions", 0, 0, 10)] == [b"a", b"c"]
    log.close()
    broker.close()


def test_a_flow_whose_log_is_away_lets_no_time_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = StandIn()
    broker.create({"t.positions": 1, "t.rejected": 1})
    log = open_log(f"kafka://{broker.bootstrap}/t.")
    event = {"device_id": "anna", **EVENT, "receive_time": EVENT["event_time"]}
    log.append([NewMessage("positions", 0, json.dumps(event).encode(), JSON)])
    reader = LogSource(log, threading.Event(), Layout.of(log, 4).parts).build_part("log", "positions-00", None)
    (read,) = reader.next_batch()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    (idle,) = reader.next_batch()
    broker.go_away()
    monkeypatch.setattr(time, "time", lambda: 5e9)
    (waiting,) = reader.next_batch()
    assert read.clock == waiting.clock == EVENT["event_time"] - 60_000
    assert idle.clock > read.clock
    log.close()
    broker.close()


def test_nothing_acknowledged_is_lost_or_doubled_when_the_broker_is_killed_and_started_again(tmp_path: Path) -> None:
    if not SERVERS or not can_run():
        pytest.skip("needs a real broker: make kafka, and PARKPAL_TEST_KAFKA=host:port; and Java")
    with temporary_broker() as broker:
        url = f"kafka://{broker.bootstrap}/"
        log = open_log(url)
        log.create(STREAMS)
        root = str(APPENDER.parents[2])
        with subprocess.Popen(
            [sys.executable, str(APPENDER), url, "k", "0"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={"PYTHONPATH": root},
        ) as appender:
            assert appender.stdout is not None
            lines = [appender.stdout.readline() for _ in range(300)]
            broker.kill()
            broker.start()
            lines += [appender.stdout.readline() for _ in range(300)]
            appender.kill()
            lines += [line for line in appender.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        held = [
            f"{partition} {m.offset} {m.payload.decode().split('.')[0]}\n"
            for partition in range(4)
            for m in log.read("positions", partition, 0, 1 << 30)
        ]
        log.close()
    assert set(lines) <= set(held)
    assert len({line.split()[2] for line in held}) == len(held)


# -- topics ------------------------------------------------------------------------------------------------------------


def test_what_a_topic_lacks_for_production_is_listed() -> None:
    assert shortfalls(3, {**SETTINGS, "min.insync.replicas": "2"}) == []
    config = {
        "min.insync.replicas": "1",
        "message.timestamp.type": "CreateTime",
        "cleanup.policy": "compact",
        "max.message.bytes": "1048588",
    }
    found = shortfalls(1, config)
    assert [text.split()[0] for text in found] == ["replication", *config]


def test_a_single_broker_is_said_not_to_be_production_once(
    real_kafka_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    log = open_log(real_kafka_url)
    log.create(STREAMS)
    for _ in range(2):
        log.partitions("positions")
    log.close()
    (said,) = [text for text in map(logging.LogRecord.getMessage, caplog.records) if ".positions is not" in text]
    assert "replication factor 1, want 3" in said
    assert "min.insync.replicas 1, want 2" in said


def test_a_topic_made_by_somebody_else_with_fewer_partitions_is_refused(real_kafka_url: str) -> None:
    place = read_place(real_kafka_url)
    admin = AdminClient(place.client)
    (made,) = admin.create_topics([NewTopic(f"{place.prefix}positions", 2, 1)]).values()
    made.result()
    log = open_log(real_kafka_url)
    with pytest.raises(ValueError, match="'positions' has 2 partitions, for its life; asked for 4"):
        log.create(STREAMS)
    log.append([NewMessage("positions", 1, b"a")])
    with pytest.raises(LookupError, match="no partition 2"):
        log.append([NewMessage("positions", 2, b"a")])
    log.close()


def test_two_processes_may_create_a_log_at_once(real_kafka_url: str) -> None:
    logs = [open_log(real_kafka_url) for _ in range(2)]
    threads = [threading.Thread(target=log.create, args=(STREAMS,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [log.partitions("positions") for log in logs] == [4, 4]
    assert logs[0].append([NewMessage("positions", 3, b"a", BATCH)]) == [0]
    for log in logs:
        log.close()


def _wait_for(happened: Callable[[], bool]) -> None:
    """Wait up to 20 s."""
    until = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < until, "it did not happen within 20 s"
        time.sleep(0.05)
