"""Messages as a client sees them that has nothing in common with alertstream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

LIMIT = 20.0
"""Seconds in which the broker must answer."""


def secured(user: str, password: str, ca_file: Path) -> dict[str, str]:
    """How a user connects."""
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
        "ssl.ca.location": str(ca_file),
    }


def committed(address: str, *topics: str, **settings: Any) -> list[Message]:
    """All committed messages of topics, those that there are."""
    more = {"enable.partition.eof": True, "isolation.level": "read_committed"}
    own = {"bootstrap.servers": address, "group.id": "none", "enable.auto.commit": False}
    consumer = Consumer(own | more | settings)
    try:
        there = consumer.list_topics(timeout=LIMIT).topics
        partitions = [
            TopicPartition(topic, number, OFFSET_BEGINNING)
            for topic in topics
            if topic in there
            for number in there[topic].partitions
        ]
        consumer.assign(partitions)
        found: list[Message] = []
        ended = 0
        while ended < len(partitions):
            message = consumer.poll(LIMIT)
            assert message is not None, f"{address} does not answer"
            ended += message.error() is not None
            found += [message] if message.error() is None else []
        return found
    finally:
        consumer.close()
