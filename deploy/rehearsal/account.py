"""What should arrive in a rehearsal, and what did, counted without alertstream's commands."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaConsumer

from alertstream.avro.container.file import ContainerFile
from alertstream.avro.wire import pack
from alertstream.kafka.connection import Connection
from alertstream.kafka.messages import ORIGIN

STREAM = "alerts"
COUNTED = r"(alerts|Filter\d+)$"
"""Topics that are read."""
SCHEMA_ID = 1000
"""Of the simulated alerts: LSST's schema 10.0."""


def digest(message: bytes) -> str:
    """Return a message's digest."""
    return sha256(message).hexdigest()


def alerts_in(path: Path) -> Counter[str]:
    """Return the digests of a file's alerts, as messages."""
    with ContainerFile(path) as container:
        return Counter(digest(pack(SCHEMA_ID, body)) for body in container)


@dataclass(frozen=True)
class Arrival:
    """A message; two are equal if one is a copy of the other, whatever their offsets."""

    partition: int
    key: bytes | None
    value: str
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int
    offset: int = field(compare=False)

    @classmethod
    def of(cls, message: Any) -> Self:
        """Convert a message of aiokafka's."""
        return cls(
            message.partition,
            message.key,
            digest(message.value),
            tuple(message.headers),
            message.timestamp,
            message.offset,
        )

    @property
    def origin(self) -> tuple[int, int]:
        """Partition and offset of the original of a filtered alert."""
        origin = json.loads(dict(self.headers)[ORIGIN])
        return origin["partition"], origin["offset"]


@dataclass
class Arrivals:
    """All committed messages of a cluster: the stream and the filtered streams."""

    connection: Connection
    messages: dict[str, list[Arrival]] = field(default_factory=lambda: defaultdict(list))

    def count(self) -> int:
        """Return how many there are."""
        return sum(map(len, self.messages.values()))

    @asynccontextmanager
    async def counting(self) -> AsyncIterator[None]:
        """Read as long as the context lasts, and then to the end."""
        enough = asyncio.Event()
        async with AIOKafkaConsumer(
            **self.connection.settings(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            metadata_max_age_ms=2000,
        ) as consumer:
            consumer.subscribe(pattern=COUNTED)
            reading = asyncio.create_task(self._read(consumer, enough))
            try:
                yield
            except BaseException:
                reading.cancel()
                raise
            enough.set()
            await reading

    async def _read(self, consumer: AIOKafkaConsumer, enough: asyncio.Event) -> None:
        while not enough.is_set():
            await self._take(consumer)
        ends = await consumer.end_offsets(consumer.assignment())
        for partition, end in ends.items():
            while await consumer.position(partition) < end:
                await self._take(consumer)

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        for messages in (await consumer.getmany(timeout_ms=200)).values():
            for message in messages:
                self.messages[message.topic].append(Arrival.of(message))


@dataclass(frozen=True)
class Row:
    """A line of the account: how much is expected in one place, and how much is there."""

    what: str
    expected: int
    once: int
    too_many: int = 0

    @property
    def right(self) -> bool:
        """Whether nothing is missing or too many."""
        return self.once == self.expected and not self.too_many

    @classmethod
    def compare(cls, what: str, expected: Counter[Any], found: Counter[Any]) -> Self:
        """Return the line for things that can be told apart."""
        surplus = (found - expected).total()
        return cls(what, expected.total(), (expected & found).total(), surplus)


@dataclass
class Account:
    """Everything that was counted.

    :param sent: digests of all alerts that were to be sent.
    :param passed: how many of them each filter lets pass, as a dry run says.
    :param saved: files of the consumers, by the topic that each reads.
    :param acknowledged: alerts that the sender says have arrived.
    :param seen: alerts that the monitor says have arrived.
    """

    sent: Counter[str]
    passed: Mapping[str, int]
    saved: Mapping[str, Path]
    central: Arrivals
    partner: Arrivals
    acknowledged: int = 0
    seen: int = 0

    def everywhere(self) -> bool:
        """Return whether as much has arrived as is expected, right or wrong."""
        expected = self.sent.total() + sum(self.passed.values())
        return (
            min(self.central.count(), self.partner.count()) >= expected
            and self.seen >= self.sent.total()
            and all(self._saved(each).total() >= self.passed[each] for each in self.saved)
        )

    def _saved(self, topic: str) -> Counter[str]:
        path = self.saved[topic]
        return alerts_in(path) if path.exists() else Counter()

    def rows(self) -> Iterator[Row]:
        """Yield the lines of the account."""
        stream = self.central.messages[STREAM]
        yield Row("sent and acknowledged", self.sent.total(), self.acknowledged)
        yield Row.compare("on the hubs", self.sent, Counter(each.value for each in stream))
        yield Row("seen by the monitor", self.sent.total(), self.seen)
        yield self._filtered()
        for topic in self.saved:
            passed = Counter(each.value for each in self.central.messages[topic])
            yield Row.compare(f"saved from {topic}", passed, self._saved(topic))
        yield self._mirrored("at the partner", [STREAM])
        yield self._mirrored(f"at the partner, {len(self.passed)} filters", self.passed)
        yield self._ordered()

    def _filtered(self) -> Row:
        """Count filtered alerts that equal their originals, byte for byte."""
        alerts = {(each.partition, each.offset): each for each in self.central.messages[STREAM]}
        once = too_many = 0
        for topic, expected in self.passed.items():
            copies = self.central.messages[topic]
            whole = {each.origin for each in copies if alerts[each.origin].value == each.value}
            right = min(len(whole), expected)
            once += right
            too_many += len(copies) - right
        what = f"on the hubs, {len(self.passed)} filters"
        return Row(what, sum(self.passed.values()), once, too_many)

    def _mirrored(self, what: str, topics: Iterable[str]) -> Row:
        """Count copies with the same partition, key, bytes, headers and timestamp."""
        central, partner = (
            Counter((topic, each) for topic in topics for each in side.messages[topic])
            for side in (self.central, self.partner)
        )
        return Row.compare(what, central, partner)

    def _ordered(self) -> Row:
        wanted = {name: _in_order(each) for name, each in self.central.messages.items()}
        same = sum(_in_order(self.partner.messages[name]) == wanted[name] for name in wanted)
        return Row("topics in order at the partner", 1 + len(self.passed), same)


def _in_order(messages: Iterable[Arrival]) -> list[Arrival]:
    return sorted(messages, key=lambda each: (each.partition, each.offset))
