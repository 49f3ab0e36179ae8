"""What is read and written: messages, copies of them, offsets, and who moves a group's offsets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from aiokafka import TopicPartition

from alertstream.kafka._aiokafka.offset_requests import (
    ConsumerGroupMetadata as ConsumerGroupMetadata,
)

ORIGIN = "alertstream.origin"
"""Header of a copied message: topic, partition, offset and timestamp (ms) of the original."""
REASON = "alertstream.reason"
"""Header of a dead-lettered message: why it cannot be decoded."""

Offsets = dict[TopicPartition, tuple[int, str]]
"""The next offset to read in each partition, and the text kept with it (the commit's metadata)."""


class Message(NamedTuple):
    """A message as it was read; ``timestamp`` is in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def position(self) -> str:
        """Where it is in Kafka."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Copy(NamedTuple):
    """A message on its way to another topic: the same bytes, key and timestamp.

    :param reason: why a dead-lettered message cannot be decoded; None for any other copy.
    """

    topic: str
    message: Message
    reason: str | None = None

    def headers(self) -> list[tuple[str, bytes | None]]:
        """Return the message's own headers, where it came from, and why it was dead-lettered."""
        message = self.message
        headers = [each for each in message.headers if each[0] != REASON]
        if not any(name == ORIGIN for name, _ in headers):
            names = ("topic", "partition", "offset", "timestamp")
            origin = {name: getattr(message, name) for name in names}
            headers.append((ORIGIN, json.dumps(origin).encode()))
        if self.reason:
            headers.append((REASON, self.reason.encode()))
        return headers


def next_offsets(batch: Iterable[Message], text: str = "") -> Offsets:
    """Return where each partition goes on after the messages of ``batch``.

    :param text: is kept with each of the offsets.
    """
    return {TopicPartition(each.topic, each.partition): (each.offset + 1, text) for each in batch}
