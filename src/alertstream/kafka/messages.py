"""What is read and written: messages, copies of them, offsets, and who moves a group's offsets."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from alertstream.kafka._aiokafka.fetcher import Unreadable as Unreadable
from alertstream.kafka._aiokafka.requests.offsets import (
    ConsumerGroupMetadata as ConsumerGroupMetadata,
)

ORIGIN = "alertstream.origin"
"""Header of a copied message: topic, partition, offset and timestamp (ms) of the original."""
REASON = "alertstream.reason"
"""Header of a dead-lettered message: why it cannot be decoded."""
CUT = "alertstream.cut"
"""Header of a dead-lettered message that was too large for its topic, and lost its end, key and
headers: how many bytes it had."""

MATCH = "alertstream.match"
"""Header of a copied message: what it matched in the filters that passed it, a JSON list of objects
of text and numbers."""

PRODUCER_TIMESTAMP = "producer_timestamp"
"""Header that says when a message was sent: ms since 1970, as text. Rubin's stream has it."""

MAX_ADDED = 1024
"""Bytes that a copy adds to message and reason: a topic's name has at most 249."""
MAX_AHEAD = 59 * 60_000
"""Milliseconds that a copy's timestamp may be ahead of the clock: Kafka 4 takes an hour."""
MAX_MATCH = 4096
"""Bytes of the header that says what an alert matched; beyond it, the latest matches stay."""
MAX_FRAME = 10
"""Bytes that a header takes besides its name and content."""

Offsets = dict[TopicPartition, tuple[int, str]]
"""The next offset to read in each partition, and the text kept with it (the commit's metadata)."""
BeginningOffsets = dict[TopicPartition, int]
"""The oldest offset that Kafka has in each partition."""


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
    def size(self) -> int:
        """Bytes of its value, key and headers."""
        size = len(self.value or b"") + len(self.key or b"")
        if self.headers:
            size += sum(len(name.encode()) + len(each or b"") for name, each in self.headers)
        return size

    @property
    def producer_timestamp(self) -> float:
        """When it was sent, as its header says: ms since 1970; NaN without a valid one."""
        for name, content in self.headers:
            if name == PRODUCER_TIMESTAMP and content:
                return _milliseconds(content)
        return math.nan

    @property
    def matches(self) -> list[dict[str, Any]]:
        """What it matched in the filters that passed it; what is not valid is left out."""
        content = next((content for name, content in self.headers if name == MATCH), None) or b""
        if not content:
            return []
        try:
            found = json.loads(content) if len(content) <= MAX_MATCH else None
        except (ValueError, RecursionError):
            return []
        return [*filter(_is_match, found)] if isinstance(found, list) else []

    def with_matches(self, content: bytes) -> Message:
        """Return it with the header of what it matched; empty content is none."""
        others = (each for each in self.headers if each[0] != MATCH)
        return self._replace(headers=(*others, *([(MATCH, content)] if content else [])))

    @property
    def place(self) -> dict[str, Any]:
        """Where it is in Kafka, for an event."""
        return {"topic": self.topic, "partition": self.partition, "offset": self.offset}

    @property
    def position(self) -> str:
        """Where it is in Kafka."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


def encode_matches(matches: Sequence[dict[str, Any]]) -> bytes:
    """Return the header of what an alert matched: the latest matches for which there is room.

    :raises ValueError: one is not a dict of text, finite numbers, true, false or null.
    """
    kept: list[str] = []
    room = MAX_MATCH - len("[]")
    for each in reversed(matches):
        if not _is_match(each):
            raise ValueError("not a dict of text and numbers")
        try:
            text = _COMPACT.encode(each)
        except (AttributeError, TypeError) as error:
            raise ValueError(str(error)) from error
        room -= len(text.encode()) + len(",")
        if room < 0:
            break
        kept.append(text)
    return f"[{','.join(reversed(kept))}]".encode() if kept else b""


def _is_match(value: object) -> bool:
    return isinstance(value, dict) and not any(
        isinstance(each, dict | list | tuple) for each in value.values()
    )


# Numbers of numpy's become Python's.
_COMPACT = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=methodcaller("item")
)
_VALUE = attrgetter("value")


def _milliseconds(content: bytes) -> float:
    """Return a time that is ms since 1970, as text or as 8 bytes, or else ISO 8601 (UTC)."""
    text = content.decode("latin-1")
    try:
        return float(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return float(int.from_bytes(content)) if len(content) == 8 else math.nan
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000


class Copy(NamedTuple):
    """A message on its way to another topic: the same bytes, key and timestamp.

    :param reason: why a dead-lettered message cannot be decoded; None for any other copy.
    """

    topic: str
    message: Message
    reason: str | None = None

    @property
    def timestamp(self) -> int:
        """The message's; or now, if the message's is too far in the future for topics."""
        now = int(time.time() * 1000)
        return self.message.timestamp if self.message.timestamp < now + MAX_AHEAD else now

    @property
    def max_size(self) -> int:
        """Bytes of it in a batch, at most."""
        added = MAX_ADDED + 4 * len(self.reason or "")
        return self.message.size + added + MAX_FRAME * len(self.message.headers)

    def cut(self, size: int) -> Copy | None:
        """Return as much of it as fits into so many bytes; None if nothing does."""
        message = self.message
        had = ((CUT, str(message.size).encode()),)
        copy = self._replace(message=message._replace(key=None, value=b"", headers=had))
        room = size - copy.max_size
        value = (message.value or b"")[: max(room, 0)]
        return copy._replace(message=copy.message._replace(value=value)) if room >= 0 else None

    def headers(self) -> list[tuple[str, bytes | None]]:
        """Return the message's own headers, where it came from, and why it was dead-lettered."""
        message = self.message
        headers = [each for each in message.headers if each[0] != REASON or not self.reason]
        if not any(name == ORIGIN for name, _ in headers):
            names = ("topic", "partition", "offset", "timestamp")
            origin = {name: getattr(message, name) for name in names}
            headers.append((ORIGIN, json.dumps(origin).encode()))
        if self.reason:
            headers.append((REASON, self.reason.encode()))
        return headers


@dataclass
class Positions:
    """How far partitions are read, and how far what was read is done.

    As with Kafka's own client, a group's offsets move to where reading continues. That may be
    beyond the last message: transactions end with records that are not messages, and aborted ones
    have no others. Otherwise, the group would seem to lag for ever.

    :param read: where each partition continues after the last message that was handed out.
    :param messages: how many were handed out, by topic; ``bytes`` are those of their values.
    :param last_commit: when offsets last moved, or reading began: s since 1970.
    """

    read: dict[TopicPartition, int] = field(default_factory=dict)
    messages: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    last_commit: float = field(default_factory=time.time)
    _reached: dict[TopicPartition, int] = field(default_factory=dict)
    _done: Offsets = field(default_factory=dict)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Take note that a partition is read from there on."""
        self.read[partition] = self._reached[partition] = offset
        self.messages[partition.topic] += 0

    def given_out(self, topic: str, messages: Sequence[Message]) -> None:
        """Count messages."""
        self.messages[topic] += len(messages)
        self.bytes[topic] += sum(len(value) for value in map(_VALUE, messages) if value)

    def reached(self, positions: Iterable[tuple[TopicPartition, int]]) -> None:
        """Take note of where reading continues, with every earlier message handed out."""
        self._reached.update(positions)

    def done(self, offsets: Offsets) -> None:
        """Take note of what the group's offsets are now."""
        self._done |= offsets

    def moved(self, offsets: Offsets) -> None:
        """Take note that the group's offsets have been moved."""
        self.done(offsets)
        self.last_commit = time.time()

    def lags(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return how many offsets of each partition are not done, given the partitions' ends.

        Without a group, what has been read is done.
        """
        read: Offsets = {each: (self.read.get(each, end), "") for each, end in ends.items()}
        done = self.beyond(read) | {each: self._done[each] for each in ends if each in self._done}
        return {each: max(end - done[each][0], 0) for each, end in ends.items()}

    def beyond(self, offsets: Offsets) -> Offsets:
        """Return offsets, moved to where reading continues if they cover all that was read."""
        return {
            partition: (max(at, self._reached.get(partition, at)), text)
            if at == self.read.get(partition)
            else (at, text)
            for partition, (at, text) in offsets.items()
        }

    def to_move(self, partitions: Collection[TopicPartition]) -> Offsets:
        """Return the offsets that can move without a message."""
        done = {each: self._done[each] for each in partitions if each in self._done}
        return {at: moved for at, moved in self.beyond(done).items() if moved != done[at]}


def next_offsets(batch: Iterable[Message], text: str = "") -> Offsets:
    """Return where each partition continues after the messages of ``batch``.

    :param text: stored with each of the offsets.
    """
    return {TopicPartition(each.topic, each.partition): (each.offset + 1, text) for each in batch}
