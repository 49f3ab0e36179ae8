"""One visit's messages on their way in batches, and the account of what becomes of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from alertstream.errors import AlertStreamError
from alertstream.kafka.messages import PRODUCER_TIMESTAMP
from alertstream.kafka.producer import (
    DELIVERY_TIMEOUT,
    TOO_LARGE,
    KafkaError,
    Producer,
    Records,
    TooLargeError,
)
from alertstream.kafka.topics import Topic
from alertstream.reading.histogram import Histogram
from alertstream.reading.recording import RecordedMessage
from alertstream.system.cancellation import SHUTDOWN_TIMEOUT

MAX_FRAME = 72
"""Bytes that a message takes in a batch besides its own."""
_COUNTS = ("planned", "acknowledged", "failed", "late", "bytes", "seconds")


@dataclass(slots=True)
class VisitSent:
    """What became of one visit's alerts: ``planned == acknowledged + failed``.

    ``late`` are those acknowledged after the interval was over; ``bytes`` are those of the
    acknowledged messages; ``error`` says why some failed, or that the file is damaged;
    ``interrupted`` is whether the user stopped it before all was planned; ``latencies`` are from
    when an alert was due to its acknowledgement.
    """

    visit: str = ""
    file: str = ""
    planned: int = 0
    acknowledged: int = 0
    failed: int = 0
    late: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: AlertStreamError | None = None
    interrupted: bool = False
    latencies: Histogram = field(default_factory=Histogram)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> VisitSent:
        """Return the account that :meth:`as_report` gave, without its error."""
        names = told.keys() & {"visit", "file", *_COUNTS, "interrupted"}
        latencies = Histogram(*told["latencies"])
        return cls(**{name: told[name] for name in names}, latencies=latencies)

    def as_report(self) -> dict[str, Any]:
        """Return the account as a worker reports it."""
        return self.as_json() | {"latencies": [self.latencies.counts, self.latencies.sum]}

    @property
    def rate(self) -> float:
        """Acknowledged alerts a second."""
        return self.acknowledged / self.seconds if self.seconds else 0.0

    def add(self, other: VisitSent) -> None:
        """Add the numbers of another visit's account."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latencies += other.latencies
        self.error = self.error or other.error
        self.interrupted |= other.interrupted

    def as_line(self) -> str:
        """Return the account as a line for people."""
        counts = ((self.failed, "failed"), (self.late, "late"))
        extra = "".join(f", {count} {name}" for count, name in counts if count)
        return (
            f"{self.acknowledged} of {self.planned} alerts acknowledged{extra}, "
            f"{self.bytes / 1e6:,.1f} MB in {self.seconds:.2f} s ({self.rate:.0f}/s)"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the account as ``send --format json`` writes it."""
        return {
            "visit": self.visit,
            "file": self.file,
            "alerts": self.acknowledged,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 6),
            "alerts_per_second": round(self.rate, 1),
            "planned": self.planned,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "late": self.late,
        } | ({"interrupted": True} if self.interrupted else {})


@dataclass
class SendAccount:
    """What became of all visits.

    :param done: the sum of those that are done; ``last`` is the latest of them.
    :param durations: how long each of them took.
    """

    done: VisitSent = field(default_factory=VisitSent)
    under_way: list[VisitSent] = field(default_factory=list)
    last: VisitSent | None = None
    durations: Histogram = field(default_factory=Histogram)

    def end(self, visit: VisitSent) -> None:
        """Take note that a visit is done."""
        self.under_way = [each for each in self.under_way if each is not visit]
        self.done.add(visit)
        self.last = visit
        self.durations.add(visit.seconds)

    def total(self) -> VisitSent:
        """Return the sum of all, including visits in progress."""
        total = VisitSent()
        for each in (self.done, *self.under_way):
            total.add(each)
        return total


class Outgoing(NamedTuple):
    """A message in parts; ``recorded`` is the original, in a replay."""

    parts: tuple[bytes, ...]
    recorded: RecordedMessage | None = None

    @property
    def size(self) -> int:
        """Bytes of it in a batch, at most."""
        size = MAX_FRAME + sum(map(len, self.parts))
        if self.recorded:
            _, _, key, headers = self.recorded
            size += len(key or b"")
            size += sum(MAX_FRAME + len(name) * 4 + len(each or b"") for name, each in headers)
        return size


_NO_HEADERS: tuple[tuple[str, bytes | None], ...] = ()
_Stamped = tuple[int, Outgoing]
"""A message, and when it was handed over: ms since 1970."""


@dataclass
class Delivery:
    """Hands one visit's batches to the producer, and counts what becomes of them.

    ``due`` is when the current messages should be sent; an acknowledgement more than ``interval``
    seconds later is late; ``gave_up`` is why nothing more is handed over, ``waits`` whether nothing
    is due yet.
    """

    producer: Producer
    topic: Topic
    sent: VisitSent
    now: Callable[[], float]
    due: float
    interval: float
    last_answer: float = field(default_factory=time.monotonic)
    in_flight: set[asyncio.Future[Any]] = field(default_factory=set)
    first_cause: BaseException | None = None
    gave_up: BaseException | None = None
    waits: bool = False

    async def feed(
        self, messages: Iterable[Outgoing], partition_of: Callable[[Outgoing], int]
    ) -> None:
        """Send messages in batches, as fast as their partitions take them."""
        batches: dict[int, tuple[list[_Stamped], int]] = {}
        for message in messages:
            partition = partition_of(message)
            size = message.size
            batch, room = batches.get(partition) or ([], self.topic.batch_size())
            if batch and size > room:
                await self._send(batch, partition)
                batch, room = [], self.topic.batch_size()
            batch.append((int(self.now() * 1000), message))
            batches[partition] = batch, room - size
        for partition, (batch, _) in batches.items():
            await self._send(batch, partition)

    async def _send(self, batch: Sequence[_Stamped], partition: int) -> None:
        """Send a batch; if the topic's limit is unknown, maybe message by message."""
        records = self.producer.records()
        for timestamp, message in batch:
            key, headers = None, _NO_HEADERS
            if message.recorded:
                key, headers = message.recorded.key, message.recorded.headers
            if not headers or all(name != PRODUCER_TIMESTAMP for name, _ in headers):
                headers = (*headers, (PRODUCER_TIMESTAMP, b"%d" % timestamp))
            records.append(timestamp, message.parts, key, headers)
        sent = await self._hand_over(records, partition)
        if sent is not None and self._may_be_split(records):
            try:
                await asyncio.wait((sent,))
            except asyncio.CancelledError:
                self.gave_up = TimeoutError("no answer")
            if not sent.cancelled() and isinstance(sent.exception(), TOO_LARGE):
                for each in batch:
                    await self._send((each,), partition)

    def _may_be_split(self, records: Records) -> bool:
        return records.count > 1 and self.topic.largest_batch is None

    async def finished(self, feeds: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> None:
        """Return when all is handed over and answered, or answers have stopped coming."""
        while waiting := {*self.in_flight, *(feed for feed in feeds if not feed.done())}:
            await asyncio.wait(waiting, timeout=1.0)
            if self.waits and not self.in_flight:
                self.last_answer = time.monotonic()
            limit = SHUTDOWN_TIMEOUT if stop.is_set() else DELIVERY_TIMEOUT
            if time.monotonic() - self.last_answer > limit:
                for each in waiting:
                    each.cancel()
        for feed in feeds:
            feed.result()

    async def _hand_over(self, records: Records, partition: int) -> asyncio.Future[Any] | None:
        """Return a future of their acknowledgement, if they could be handed over."""
        if self.gave_up:
            self._failed(self.gave_up, records)
            return None
        try:
            future = await self.producer.send(self.topic, partition, records)
        except TooLargeError as error:
            self._failed(error, records)
        except (KafkaError, asyncio.CancelledError) as error:
            self.gave_up = error if isinstance(error, KafkaError) else TimeoutError("no answer")
            self._failed(self.gave_up, records)
        else:
            due = self.due
            self.in_flight.add(future)
            future.add_done_callback(lambda done: self._answered(done, records, due))
            return future
        return None

    def _answered(self, future: asyncio.Future[Any], records: Records, due: float) -> None:
        self.in_flight.discard(future)
        self.last_answer = time.monotonic()
        if future.cancelled():
            self._failed(TimeoutError("no answer"), records)
        elif error := future.exception():
            if not (isinstance(error, TOO_LARGE) and self._may_be_split(records)):
                self._failed(error, records)
        else:
            self.sent.acknowledged += records.count
            self.sent.bytes += records.value_bytes
            took = self.now() - due
            self.sent.latencies.add(took, records.count)
            self.sent.late += records.count if took > self.interval else 0

    def _failed(self, error: BaseException, records: Records) -> None:
        self.sent.failed += records.count
        self.first_cause = self.first_cause or error
        self.sent.error = self.producer.failed(self.first_cause, self.sent.failed)
