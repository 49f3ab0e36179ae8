"""Bursts to a topic: each record's bytes as they are, after a header of five bytes.

A visit's files are read one after the other; a task for each partition takes messages from them and
hands them to the producer in batches. The visit is done when each is acknowledged or has failed.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random

from alertstream.avro.container.blocks import WHOLE, Shard
from alertstream.avro.container.file import ContainerFile
from alertstream.errors import DataError
from alertstream.kafka.messages import PRODUCER_TIMESTAMP
from alertstream.kafka.producer import Producer
from alertstream.kafka.topics import Topic
from alertstream.reading.recording import RecordedMessage
from alertstream.sending.delivery import Delivery, Outgoing, SendAccount, VisitSent
from alertstream.sending.visits.encoders import Encoder
from alertstream.sending.visits.moving import Mover
from alertstream.sending.visits.recordings import visit_reader
from alertstream.sending.visits.schedule import (
    Arrival,
    Burst,
    Clock,
    Recorded,
    detector_arrivals,
    detectors_of,
    recorded_arrivals,
)

Progress = Callable[[VisitSent, float], None]
"""Called as a visit is sent, with the share of its files that is read."""


@dataclass(frozen=True)
class SendOptions:
    """What to send where.

    :param interval: seconds after an alert is due from which its acknowledgement is late; 0: never.
    :param limit: alerts of a visit at most; 0 sends all.
    :param shard: which part of each file to send, if others send the rest.
    :param seed: of the random arrivals from detectors; None: all at once, as a burst.
    :param speed: of a replay, with keys, headers and partitions as recorded; None is no replay.
    :param movers: by file, what moves its alerts' times: so that the shutter closes when the visit
        starts, or, in a replay, as long before the message as it did.
    """

    topic: Topic
    interval: float = 0.0
    limit: int = 10_000
    shard: Shard = WHOLE
    seed: int | None = None
    speed: float | None = None
    movers: Mapping[Path, Mover] = field(default_factory=dict)


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
    account: SendAccount | None = None,
) -> VisitSent:
    """Send visits when they are due, and return their sum.

    A damaged file ends its visit, not the stream: what comes before the damage is sent.

    :param report: called when a visit is done.
    :param account: updated as visits are sent.
    """
    account = account or SendAccount()

    async def send_visit(burst: Burst) -> None:
        sending = _Visit(producer, options, encoders, burst, clock, stop, progress)
        account.under_way.append(sending.sent)
        sent = await sending.send()
        progress(sent, 1.0)
        report(sent)
        account.end(sent)

    visits_overlap = options.seed is not None or options.speed is not None
    under_way: set[asyncio.Task[None]] = set()
    try:
        async for burst in bursts:
            if producer.is_broken:
                await asyncio.gather(*under_way)
            under_way = {each for each in under_way if not each.done()}
            if producer.is_broken and not under_way:
                await producer.restart()
            under_way.add(asyncio.create_task(send_visit(burst)))
            if not visits_overlap:
                await asyncio.gather(*under_way)
        await asyncio.gather(*under_way)
    finally:
        for each in under_way:
            each.cancel()
    return account.done


@dataclass
class _Visit:
    """Sends the messages of one visit, each when it is due."""

    producer: Producer
    options: SendOptions
    encoders: Mapping[Path, Encoder]
    burst: Burst
    clock: Clock
    stop: asyncio.Event
    progress: Progress

    def __post_init__(self) -> None:
        options, (visit, self._start) = self.options, self.burst
        self._rng = Random(f"{options.seed}/".encode() + os.fsencode(visit.path.name))
        if options.seed is not None:
            # Each file is a detector's; they finish in any order.
            visit = replace(visit, files=tuple(self._rng.sample(visit.files, len(visit.files))))
        self._visit = visit
        self.sent = VisitSent(visit.path.stem, str(visit.path))
        late_after = options.interval or math.inf
        self._delivery = Delivery(
            self.producer, options.topic, self.sent, self.clock.now, self._start, late_after
        )

    async def send(self) -> VisitSent:
        """Return the account when each message is acknowledged, or has failed."""
        begin = time.monotonic()
        messages = self._messages()
        arrivals = self._arrivals()
        if arrivals is None:
            feeds = [
                asyncio.create_task(self._delivery.feed(messages, partial(_always, partition)))
                for partition in range(self.options.topic.partitions)
            ]
        else:
            feeds = [asyncio.create_task(self._send_as_due(messages, arrivals))]
        await self._delivery.finished(feeds, self.stop)
        messages.close()
        self.sent.seconds = time.monotonic() - begin
        return self.sent

    async def _send_as_due(self, messages: Iterator[Outgoing], arrivals: Iterable[Arrival]) -> None:
        delivery = self._delivery
        for due, count in arrivals:
            delivery.waits = True
            await self.clock.wait_until(due, self.stop)
            delivery.waits = False
            delivery.due = due
            await delivery.feed(islice(messages, count), self._partition)
        # The rest: nothing, unless a file has changed meanwhile.
        await delivery.feed(messages, self._partition)

    def _partition(self, message: Outgoing) -> int:
        """Return the partition of a message that is not bound to one: without a key, any."""
        partitions = self.options.topic.partitions
        if message.recorded:
            return message.recorded.partition % partitions
        return self._rng.randrange(partitions)

    def _records(self) -> Sequence[Recorded] | None:
        number, of = self.options.shard
        records = self._visit.records
        return records and records[: self.options.limit or None][number::of]

    def _arrivals(self) -> list[Arrival] | None:
        """Return how many messages are due when; None: all at once."""
        options, visit, records = self.options, self._visit, self._records()
        if options.speed is not None:
            return recorded_arrivals(records or (), self._start, options.speed)
        if options.seed is None:
            return None
        if len(visit.files) == 1:
            (path,) = visit.files
            count = len(records) if records else self._count(path, options.limit or None)
            counts = detectors_of(count)
        else:
            counts, left = [], options.limit or None
            for path in visit.files:
                counts.append(self._count(path, left))
                left = None if left is None else max(left - counts[-1], 0)
        return detector_arrivals(counts, self._start, options.interval, self._rng)

    def _count(self, path: Path, limit: int | None) -> int:
        with ContainerFile(path) as container:
            return container.count(limit, self.options.shard)

    def _messages(self) -> Generator[Outgoing, None, None]:
        """Yield the messages until ``stop``; a damaged file ends them."""
        options, sent = self.options, self.sent
        try:
            for path, body, recorded, share in self._bodies():
                if self.stop.is_set():
                    sent.interrupted = True
                    return
                sent.planned += 1
                if mover := options.movers.get(path):
                    body = self._moved(mover, body, recorded)
                message = self._as_recorded(recorded) if options.speed is not None else None
                yield Outgoing(self.encoders[path](body), message)
                self.progress(sent, share)
        except DataError as error:
            sent.error = error

    def _moved(self, mover: Mover, body: bytes, recorded: Recorded | None) -> bytes:
        speed, records = self.options.speed, self._records()
        if speed is None or not recorded or not records:
            return mover.to(body, self._start)
        due = self._start + (recorded.time - records[0].time) / speed
        return mover.by(body, due - recorded.time)

    def _as_recorded(self, recorded: Recorded | None) -> RecordedMessage | None:
        """Return the recorded message; if times are moved, without the header that has one."""
        message = recorded.message if recorded else None
        if message is None or not self.options.movers:
            return message
        headers = tuple(each for each in message.headers if each[0] != PRODUCER_TIMESTAMP)
        return message._replace(headers=headers)

    def _bodies(self) -> Iterator[tuple[Path, bytes, Recorded | None, float]]:
        """Yield the records of the visit's files, each with the share that has been read."""
        left, records = self.options.limit or None, self._records()
        number, of = self.options.shard
        files = self._visit.files
        for done, path in enumerate(files):
            with ContainerFile(path) as container:
                if records is not None:
                    for place, each in enumerate(records, 1):
                        body = container.record_at(each.start)
                        self._name_visit(container, body)
                        yield path, body, each, place / len(records)
                    continue
                # Rotate, so that files of one block do not all go to the first shard.
                for body in container.records(left, Shard((number - done) % of, of)):
                    self._name_visit(container, body)
                    yield path, body, None, (done + container.share_read) / len(files)
                left = None if left is None else max(left - container.records_read, 0)

    def _name_visit(self, container: ContainerFile, body: bytes) -> None:
        if self.sent.planned == 0:
            self.sent.visit = visit_reader(container)(body) or self.sent.visit


def _always(partition: int, message: Outgoing) -> int:
    return partition
