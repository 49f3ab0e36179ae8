"""Files to bursts to a topic: each record's bytes as they are, behind a header of five bytes.

One visit: its container files are opened one after the other, a task for each partition takes
records from them and hands them to the producer, and the visit is done when every one of them is
acknowledged or has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import field_paths
from alertstream.avro.blocks import WHOLE, Shard
from alertstream.avro.container import ContainerFile
from alertstream.avro.decoder import Decoder
from alertstream.errors import AlertStreamError, DataError, UndecodableError
from alertstream.kafka._aiokafka.batches import Records
from alertstream.kafka.producer import DELIVERY_TIMEOUT, KafkaError, Producer, TooLargeError
from alertstream.kafka.topics import Topic
from alertstream.sending.encoders import Encoder
from alertstream.sending.schedule import Burst, Clock, VisitFiles
from alertstream.system.cancellation import SHUTDOWN_TIMEOUT


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


@dataclass
class VisitSent:
    """What became of one visit's alerts: ``planned == acknowledged + failed``.

    ``late`` are those acknowledged after the interval was over; ``bytes`` are those of the
    acknowledged messages; ``error`` says why some failed, or that the file is damaged.
    """

    visit: str
    file: str
    planned: int = 0
    acknowledged: int = 0
    failed: int = 0
    late: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: AlertStreamError | None = None

    @property
    def rate(self) -> float:
        """Acknowledged alerts a second."""
        return self.acknowledged / self.seconds if self.seconds else 0.0

    def add(self, other: VisitSent) -> None:
        """Count what became of another visit's alerts, too."""
        for name in ("planned", "acknowledged", "failed", "late", "bytes", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.error = self.error or other.error


Progress = Callable[[VisitSent, float], None]
"""Called as a visit is sent, with the share of its file that is read."""


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

    :param bursts: the visits, each when it is due.
    :param report: called when a visit is done.
    """
    total = VisitSent(visit="", file="")
    async for visit, start in bursts:
        deadline = start + (options.interval or float("inf"))
        sent = await _Burst(producer, options, encoders, clock, deadline, stop).send(
            visit, progress
        )
        report(sent)
        total.add(sent)
    return total


def visit_line(visit: VisitSent) -> str:
    """Return what became of one visit, or of all, in a line."""
    extra = "".join(
        f", {count} {name}"
        for name, count in (("failed", visit.failed), ("late", visit.late))
        if count
    )
    return (
        f"{visit.acknowledged} of {visit.planned} alerts acknowledged{extra}, "
        f"{visit.bytes / 1e6:,.1f} MB in {visit.seconds:.2f} s ({visit.rate:.0f}/s)"
    )


@dataclass
class _Burst:
    """Sends one visit."""

    producer: Producer
    options: SendOptions
    encoders: Mapping[Path, Encoder]
    clock: Clock
    deadline: float
    stop: asyncio.Event
    in_flight: set[asyncio.Future[Any]] = field(default_factory=set)
    last_answer: float = 0.0
    first_cause: BaseException | None = None
    gave_up: BaseException | None = None

    async def send(self, files: VisitFiles, progress: Progress) -> VisitSent:
        await self.producer.recreate_after_rejection()
        begin = self.last_answer = self.clock.now()
        visit = VisitSent(visit=files.path.stem, file=str(files.path))
        messages = self._messages(files, visit, progress)
        feeds = [
            asyncio.create_task(self._feed(messages, partition, visit))
            for partition in range(self.options.topic.partitions)
        ]
        await self._end_of(feeds)
        messages.close()
        visit.seconds = self.clock.now() - begin
        progress(visit, 1.0)
        return visit

    def _messages(
        self, visit_files: VisitFiles, visit: VisitSent, progress: Progress
    ) -> Generator[tuple[bytes, ...], None, None]:
        """Yield the messages to send; a damaged file ends them."""
        left = self.options.limit or None
        number, of = self.options.shard
        try:
            for done, path in enumerate(visit_files.files):
                # Files of one block each must not all be in the first shard.
                shard = Shard((number - done) % of, of)
                with ContainerFile(path) as container:
                    for body in container.records(left, shard):
                        if self.stop.is_set():
                            return
                        if visit.planned == 0:
                            visit.visit = _visit_of(container, body) or visit.visit
                        visit.planned += 1
                        yield self.encoders[path](body)
                        share = done + container.share_read
                        progress(visit, share / len(visit_files.files))
                    left = None if left is None else max(left - container.records_read, 0)
        except DataError as error:
            visit.error = error

    async def _feed(
        self, messages: Iterator[tuple[bytes, ...]], partition: int, visit: VisitSent
    ) -> None:
        """Send messages to one partition, a batch after the other, as fast as it takes them."""
        records = self.producer.records()
        batch_size = self.options.topic.batch_size
        for message in messages:
            if records.count and records.size + sum(map(len, message)) > batch_size:
                await self._hand_over(records, partition, visit)
                records = self.producer.records()
            records.append(int(self.clock.now() * 1000), message)
        if records.count:
            await self._hand_over(records, partition, visit)

    async def _hand_over(self, records: Records, partition: int, visit: VisitSent) -> None:
        if self.gave_up:
            self._fail(visit, self.gave_up, records.count)
            return
        try:
            future = await self.producer.send(self.options.topic, partition, records)
        except TooLargeError as error:
            self._fail(visit, error, records.count)
        except KafkaError as error:
            self.gave_up = error
            self._fail(visit, error, records.count)
        except asyncio.CancelledError:
            self.gave_up = TimeoutError("no answer")
            self._fail(visit, self.gave_up, records.count)
        else:
            self.in_flight.add(future)
            future.add_done_callback(self._tally(visit, records))

    def _fail(self, visit: VisitSent, error: BaseException, count: int) -> None:
        visit.failed += count
        self.first_cause = self.first_cause or error
        visit.error = self.producer.failed(self.first_cause, visit.failed)

    async def _end_of(self, feeds: Sequence[asyncio.Task[None]]) -> None:
        """Return when all is handed over and answered, or there has been no answer for too long."""
        while waiting := {*self.in_flight, *(feed for feed in feeds if not feed.done())}:
            await asyncio.wait(waiting, timeout=1.0)
            limit = SHUTDOWN_TIMEOUT if self.stop.is_set() else DELIVERY_TIMEOUT
            if self.clock.now() - self.last_answer > limit:
                for each in waiting:
                    each.cancel()
        for feed in feeds:
            feed.result()

    def _tally(self, visit: VisitSent, records: Records) -> Callable[[asyncio.Future[Any]], None]:
        def answered(future: asyncio.Future[Any]) -> None:
            self.in_flight.discard(future)
            self.last_answer = self.clock.now()
            if future.cancelled():
                self._fail(visit, TimeoutError("no answer"), records.count)
            elif error := future.exception():
                self._fail(visit, error, records.count)
            else:
                visit.acknowledged += records.count
                visit.bytes += records.value_bytes
                visit.late += records.count if self.last_answer > self.deadline else 0

        return answered


def _visit_of(container: ContainerFile, body: bytes) -> str | None:
    """Return the visit that a file's first alert names."""
    if container.holds_messages:
        return None
    try:
        visit = Alert(Decoder(container.schema, field_paths(["visit"])).decode(body)).visit
    except UndecodableError:
        return None
    return None if visit is None else str(visit)
