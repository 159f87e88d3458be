"""The topics of a log: made as production wants them, and said where the broker has them otherwise."""

import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, NewTopic, ResourceType, TopicMetadata

from pipeline.log.kafka.settings import MAX_MESSAGE_BYTES

REPLICAS: Final = 3
IN_SYNC: Final = 2
DAY_MS: Final = 86_400_000
SETTINGS: Final = {
    "message.timestamp.type": "LogAppendTime",
    "cleanup.policy": "delete",
    "retention.ms": str(7 * DAY_MS),
    "segment.ms": str(DAY_MS),  # only whole segments are dropped: retention is exact to a day
    "max.message.bytes": str(MAX_MESSAGE_BYTES + 2**20),
}

_ANSWER_S: Final = 10.0
_SEEN_S: Final = 10.0


def create_topics(admin: AdminClient, partitions: Mapping[str, int]) -> None:
    """Create topics, given with their number of partitions, and wait until they can be used; one that exists stays."""
    brokers = len(admin.list_topics(timeout=_ANSWER_S).brokers)
    replicas = min(REPLICAS, brokers)
    settings = {**SETTINGS, "min.insync.replicas": str(min(IN_SYNC, max(1, replicas - 1)))}
    new = [NewTopic(topic, count, replicas, config=settings) for topic, count in partitions.items()]
    for made in admin.create_topics(new, operation_timeout=_ANSWER_S, request_timeout=_ANSWER_S).values():
        try:
            made.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was quicker
                raise
    deadline = time.monotonic() + _SEEN_S
    while not all(_is_led(admin, topic) for topic in partitions) and time.monotonic() < deadline:
        time.sleep(0.02)


def _is_led(admin: AdminClient, topic: str) -> bool:
    """Tell whether every partition has a broker that takes messages."""
    found = admin.list_topics(timeout=_ANSWER_S).topics.get(topic)
    return found is not None and all(partition.leader >= 0 for partition in found.partitions.values())


def shortfalls(replicas: int, config: Mapping[str, str]) -> list[str]:
    """List what a topic lacks for production, empty where it lacks nothing."""
    in_sync, largest = int(config["min.insync.replicas"]), int(config["max.message.bytes"])
    stamp, cleanup = config["message.timestamp.type"], config["cleanup.policy"]
    found = {
        f"replication factor {replicas}, want {REPLICAS}: a lost disk loses messages": replicas < REPLICAS,
        f"min.insync.replicas {in_sync}, want {IN_SYNC}: one broker alone may acknowledge": in_sync < IN_SYNC,
        f"message.timestamp.type {stamp}, want LogAppendTime: producers set the log's clock": stamp != "LogAppendTime",
        f"cleanup.policy {cleanup}, want delete: messages with a key may vanish": cleanup != "delete",
        f"max.message.bytes {largest}, want {MAX_MESSAGE_BYTES}: large messages are refused": largest
        < MAX_MESSAGE_BYTES,
    }
    return [text for text, holds in found.items() if holds]


def find_shortfalls(admin: AdminClient, cluster: ClusterMetadata, topic: TopicMetadata) -> list[str]:
    """List what a topic lacks for production, or that its settings cannot be seen."""
    if cluster.controller_id not in cluster.brokers:  # who answers is asked through it
        return ["its settings cannot be checked (the cluster has no controller)"]
    resource = ConfigResource(ResourceType.TOPIC, topic.topic)
    try:
        settings = admin.describe_configs([resource], request_timeout=_ANSWER_S)[resource].result()
    except KafkaException as error:
        return [f"its settings cannot be checked ({error.args[0].str()})"]
    replicas = min(len(partition.replicas) for partition in topic.partitions.values())
    return shortfalls(replicas, {name: entry.value for name, entry in settings.items()})
