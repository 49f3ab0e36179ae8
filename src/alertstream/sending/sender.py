"""Bursts to a topic: each record's bytes as they are, after a header of five bytes.

A visit's files are read one after the other; a task for each partition takes messages from them and
hands them to the producer in batches. The visit is done when each is acknowledged or has failed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import field_paths, survey_of
from alertstream.avro.blocks import WHOLE, Shard
from alertstream.avro.container import ContainerFile
from alertstream.avro.decoder import Decoder
from alertstream.errors import AlertStreamError, DataError, UndecodableError
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
from alertstream.sending.encoders import Encoder
from alertstream.sending.schedule import Burst, Clock, VisitFiles
from alertstream.system.cancellation import SHUTDOWN_TIMEOUT

MAX_FRAME = 72
"""Bytes of a message in a batch that are not its own."""

_Stamped = tuple[int, tuple[bytes, ...]]
"""A message in parts, and when it was handed over: ms since 1970."""
_COUNTS = ("planned", "acknowledged", "failed", "late", "bytes", "seconds")


@dataclass(slots=True)
class VisitSent:
    """What became of one visit's alerts: ``planned == acknowledged + failed``.

    ``late`` are those acknowledged after the interval was over; ``bytes`` are those of the
    acknowledged messages; ``error`` says why some failed, or that the file is damaged.
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

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> VisitSent:
        """Return the account that :meth:`as_json` gave, without its error."""
        return cls(**{name: told[name] for name in ("visit", "file", *_COUNTS)})

    @property
    def rate(self) -> float:
        """Acknowledged alerts a second."""
        return self.acknowledged / self.seconds if self.seconds else 0.0

    def add(self, other: VisitSent) -> None:
        """Add the numbers of another visit's account."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.error = self.error or other.error

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
        }


Progress = Callable[[VisitSent, float], None]
"""Called as a visit is sent, with the share of its files that is read."""


@dataclass(frozen=True)
class SendOptions:
    """What to send where.

    :param interval: seconds from a burst's start after which an acknowledgement is late; 0: never.
    :param limit: alerts of a visit at most; 0 sends all.
    :param shard: of each file, if others send the rest of it.
    """

    topic: Topic
    interval: float = 0.0
    limit: int = 10_000
    shard: Shard = WHOLE


async def send(
    producer: Producer,
    options: SendOptions,
    encoders: Mapping[Path, Encoder],
    bursts: AsyncIterator[Burst],
    *,
    clock: Clock,
    stop: asyncio.Event,
    progress: Progress = lambda visit, share: None,
    report: Callable[[VisitSent], None] = lambda visit: None,
) -> VisitSent:
    """Send visits when they are due, and return their sum.

    A damaged file ends its visit, not the stream: what comes before the damage is sent.

    :param report: called when a visit is done.
    """
    total = VisitSent()
    async for visit, start in bursts:
        await producer.recreate_after_rejection()
        sent = VisitSent(visit.path.stem, str(visit.path))
        begin = time.monotonic()
        deadline = start + (options.interval or math.inf)
        delivery = _Delivery(producer, options.topic, sent, clock, deadline)
        messages = _messages(visit, options, encoders, sent, stop, progress)
        feeds = [
            asyncio.create_task(delivery.feed(messages, partition))
            for partition in range(options.topic.partitions)
        ]
        await delivery.finished(feeds, stop)
        messages.close()
        sent.seconds = time.monotonic() - begin
        progress(sent, 1.0)
        report(sent)
        total.add(sent)
    return total


def _messages(
    visit: VisitFiles,
    options: SendOptions,
    encoders: Mapping[Path, Encoder],
    sent: VisitSent,
    stop: asyncio.Event,
    progress: Progress,
) -> Generator[tuple[bytes, ...], None, None]:
    """Yield a visit's messages, in parts, until ``stop``; a damaged file ends them."""
    left = options.limit or None
    number, of = options.shard
    try:
        for done, path in enumerate(visit.files):
            # Files of one block each must not all be in the first shard.
            shard = Shard((number - done) % of, of)
            with ContainerFile(path) as container:
                for body in container.records(left, shard):
                    if stop.is_set():
                        return
                    if sent.planned == 0:
                        sent.visit = _visit_of(container, body) or sent.visit
                    sent.planned += 1
                    yield encoders[path](body)
                    progress(sent, (done + container.share_read) / len(visit.files))
                left = None if left is None else max(left - container.records_read, 0)
    except DataError as error:
        sent.error = error


def _visit_of(container: ContainerFile, body: bytes) -> str | None:
    if container.holds_messages:
        return None
    try:
        fields = Decoder(container.schema, field_paths(["visit"])).decode(body)
        visit = Alert(fields, survey_of(container.schema)).visit
    except UndecodableError:
        return None
    return None if visit is None else str(visit)


@dataclass
class _Delivery:
    """Hands one visit's batches to the producer, and counts what becomes of them.

    ``gave_up`` is why nothing more is handed over.
    """

    producer: Producer
    topic: Topic
    sent: VisitSent
    clock: Clock
    deadline: float
    last_answer: float = field(default_factory=time.monotonic)
    in_flight: set[asyncio.Future[Any]] = field(default_factory=set)
    first_cause: BaseException | None = None
    gave_up: BaseException | None = None

    async def feed(self, messages: Iterator[tuple[bytes, ...]], partition: int) -> None:
        """Send messages to one partition, a batch after the other, as fast as it takes them."""
        batch: list[_Stamped] = []
        room = self.topic.batch_size
        for message in messages:
            size = MAX_FRAME + sum(map(len, message))
            if batch and size > room:
                await self._send(batch, partition)
                batch, room = [], self.topic.batch_size
            batch.append((int(self.clock.now() * 1000), message))
            room -= size
        if batch:
            await self._send(batch, partition)

    async def _send(self, batch: Sequence[_Stamped], partition: int) -> None:
        """Send a batch; where the topic's limit is not known, it may have to be one by one."""
        records = self.producer.records()
        for timestamp, message in batch:
            sent_at = ((PRODUCER_TIMESTAMP, b"%d" % timestamp),)
            records.append(timestamp, message, headers=sent_at)
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
        """Return when all is handed over and answered, or there has been no answer for too long."""
        while waiting := {*self.in_flight, *(feed for feed in feeds if not feed.done())}:
            await asyncio.wait(waiting, timeout=1.0)
            limit = SHUTDOWN_TIMEOUT if stop.is_set() else DELIVERY_TIMEOUT
            if time.monotonic() - self.last_answer > limit:
                for each in waiting:
                    each.cancel()
        for feed in feeds:
            feed.result()

    async def _hand_over(self, records: Records, partition: int) -> asyncio.Future[Any] | None:
        """Return what is done when they are answered, if they could be handed over."""
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
            self.in_flight.add(future)
            future.add_done_callback(lambda done: self._answered(done, records))
            return future
        return None

    def _answered(self, future: asyncio.Future[Any], records: Records) -> None:
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
            self.sent.late += records.count if self.clock.now() > self.deadline else 0

    def _failed(self, error: BaseException, records: Records) -> None:
        self.sent.failed += records.count
        self.first_cause = self.first_cause or error
        self.sent.error = self.producer.failed(self.first_cause, self.sent.failed)
