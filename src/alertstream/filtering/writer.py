"""The writer: copies are written and offsets moved together, while reading continues.

What comes during a transaction goes into the next ones, so under load, transactions are larger
instead of more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from alertstream.errors import BrokerError, DeliveryError, Event, Notice, SecurityError, TopicError
from alertstream.filtering.account import Decided
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import Consumer
from alertstream.kafka.messages import ConsumerGroupMetadata, Copy, Offsets
from alertstream.kafka.producer import RETRY_INTERVAL, Producer, TopicLimitError
from alertstream.kafka.topics import Topic, TopicLayout
from alertstream.reading.histogram import Histogram, TopicLatencies
from alertstream.system.cancellation import SHUTDOWN_TIMEOUT, unless_stopped

MAX_TRANSACTION = 64 * 1024 * 1024
"""Bytes of copies in one transaction: readers see none before all are written."""
MIN_TRANSACTION = 1024 * 1024
"""Bytes of copies that one transaction may have even if the connection to Kafka is slow."""
MAX_HELD = 64 * 1024 * 1024
"""Bytes of messages whose copies wait for an earlier transaction."""
MAX_REJECTIONS = 10
"""Consecutive rejections of what can be retried, after which it is an error."""


@dataclass
class Destination:
    """The filters' topics, and the offsets of the group that reads what is filtered.

    :param layout: how topics that do not exist are made, when they are needed.
    :param topics: topics that exist, by name.
    :param exactly_once: whether offsets move in a transaction, or after copies are written.
    :param stop: once it is set, Kafka has ``SHUTDOWN_TIMEOUT`` for what is left.
    :param limits: bytes of the largest batch that each topic takes, as far as it is known.
    """

    connection: Connection
    producer: Producer
    consumer: Consumer
    layout: TopicLayout
    topics: dict[str, Topic]
    exactly_once: bool
    stop: asyncio.Event
    notice: Notice = lambda text: None
    limits: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._add(self.topics)

    def _add(self, topics: Mapping[str, Topic]) -> None:
        """Remember topics, and guess the limits of those that do not tell theirs."""
        for name, topic in topics.items():
            if topic.largest_batch is not None:
                self.limits[name] = topic.largest_batch
            self.topics[name] = replace(topic, largest_batch=self.limits.get(name))

    async def write(
        self, copies: Sequence[Copy], offsets: Offsets, metadata: ConsumerGroupMetadata
    ) -> None:
        """Write copies and move the group's offsets.

        :param metadata: the member that has read the messages: it must still have its partitions.
        :raises DeliveryError: that is not done, or not known to be.
        """
        if self.consumer.is_outdated(metadata):
            where = self.connection.bootstrap
            raise DeliveryError("partitions were reassigned", where=where, retriable=True)
        missing = sorted({copy.topic for copy in copies} - self.topics.keys())
        try:
            if missing:
                self._add(await make_topics(self.connection, missing, self.layout))
        except BrokerError as error:
            # While brokers come and go, even an error about rights may be spurious.
            refused = isinstance(error, SecurityError | TopicError)
            raise DeliveryError(
                error.what, where=error.where, todo=error.todo, retriable=True, refused=refused
            ) from error
        copies = [fit for copy in copies if (fit := self._fit(copy)) is not None]
        try:
            if self.exactly_once:
                moved = self.consumer.positions.beyond(offsets)
                await self.producer.send_and_commit(copies, self.topics, moved, metadata)
                self.consumer.positions.moved(moved)
            else:
                await self.producer.send_copies(copies, self.topics)
                await self.consumer.commit(offsets)
        except TopicLimitError as error:
            # The limit was unknown, or has changed.
            self.limits[error.topic] = error.size // 2
            raise

    def _fit(self, copy: Copy) -> Copy | None:
        """Return a copy, or as much of a dead-lettered one as its topic takes."""
        limit = self.topics[copy.topic].largest_batch
        if copy.reason is None or limit is None or copy.max_size <= limit:
            return copy
        cut = copy.cut(limit)
        if cut is None:
            where = copy.message.position
            text = f"not even the beginning fits into {copy.topic}, it is skipped · {where}"
            self.notice(Event(text, **copy.message.place))
        return cut

    def grace(self) -> float:
        """Return how many seconds work in progress gets after the stop."""
        return self.producer.grace()

    async def restart(self) -> None:
        """Abort the transaction, and go back to the group's offsets.

        :raises BrokerError: Kafka is out of reach, also ``SHUTDOWN_TIMEOUT`` after the stop.
        """
        try:
            await asyncio.sleep(RETRY_INTERVAL)
            await unless_stopped(self.stop, self.producer.restart_when_possible(), self.grace)
            await self.consumer.rewind()
        except TimeoutError:
            text = "Kafka cannot be reached: what was not written will be read again"
            raise BrokerError(text, where=self.connection.bootstrap) from None
        # Look topics up again: one that has been deleted is recreated.
        self.topics.clear()


class TransactionalWriter:
    """Writes decisions in their order, as many in a transaction as there are.

    :param written: called with each decision once it is written.
    """

    def __init__(self, destination: Destination, written: Callable[[Decided], None]) -> None:
        self.max_size = MAX_TRANSACTION
        """Bytes of copies in a transaction; reduced after one has timed out."""
        self.transactions = Histogram()
        """How long they took."""
        self.latencies = TopicLatencies()
        self._destination = destination
        self._written = written
        self._pending: deque[tuple[Decided, ConsumerGroupMetadata]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._failure: DeliveryError | None = None
        self._rejections = 0

    async def write(self, decided: Decided, metadata: ConsumerGroupMetadata) -> None:
        """Take a decision, and return when there is room for another one.

        :param metadata: the member that has read its messages.
        :raises DeliveryError: something taken before is not written; its offsets stay.
        """
        self._pending.append((decided, metadata))
        if self._writing is not None and self._writing.done():
            await self._finish()
        if self._writing is None and self._copies_wait():
            self._writing = asyncio.create_task(self._write_pending(everything=False))
        if sum(each.held_bytes for each, _ in self._pending) > MAX_HELD:
            await self._finish()
        # Others have their turn, such as heartbeats to the group.
        await asyncio.sleep(0)

    async def flush(self) -> None:
        """Write all that was taken, including the offsets of decisions without copies.

        :raises DeliveryError: something is not written; its offsets stay.
        """
        await self._finish()
        self._writing = asyncio.create_task(self._write_pending(everything=True))
        await self._finish()

    async def flush_quietly(self) -> None:
        """Write what can be written; what fails is raised by the next call of the others."""
        await self._write_pending(everything=True)

    async def restart(self) -> None:
        """Discard what is not written: it will be read again.

        :raises BrokerError: Kafka is out of reach, also ``SHUTDOWN_TIMEOUT`` after the stop.
        """
        await self._destination.restart()
        self._pending.clear()
        self._failure = None

    async def give_up(self) -> None:
        """Wait for the transaction in progress to end."""
        if self._writing is not None:
            await asyncio.wait((self._writing,), timeout=SHUTDOWN_TIMEOUT)
            self._writing.cancel()

    def _copies_wait(self) -> bool:
        return any(decided.copies for decided, _ in self._pending)

    async def _finish(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            try:
                await unless_stopped(self._destination.stop, writing, self._destination.grace)
            except TimeoutError:
                text = "no answer in time: what was not written will be read again"
                self._failure = DeliveryError(text, where=self._destination.connection.bootstrap)
        if self._failure is not None:
            raise self._failure

    async def _write_pending(self, *, everything: bool) -> None:
        async with self._turn:
            while self._failure is None and self._pending and (everything or self._copies_wait()):
                decisions, metadata = self._next_transaction()
                copies = [copy for each in decisions for copy in each.copies]
                offsets = {at: next_ for each in decisions for at, next_ in each.offsets.items()}
                begin = time.monotonic()
                try:
                    await self._destination.write(copies, offsets, metadata)
                except DeliveryError as error:
                    if error.refused:
                        self._rejections += 1
                        error.retriable &= self._rejections < MAX_REJECTIONS
                    else:
                        self.max_size = max(self.max_size // 2, MIN_TRANSACTION)
                    self._failure = error
                    return
                self._rejections = 0
                self.transactions.add(time.monotonic() - begin)
                self.latencies.add(copy.message for copy in copies)
                self.max_size = min(2 * self.max_size, MAX_TRANSACTION)
                for each in decisions:
                    self._pending.popleft()
                    self._written(each)

    def _next_transaction(self) -> tuple[list[Decided], ConsumerGroupMetadata]:
        """Return decisions of one assignment, within ``max_size``, but at least one."""
        metadata, size = self._pending[0][1], 0
        decisions: list[Decided] = []
        for decided, read_as in self._pending:
            size += decided.copied_bytes
            if read_as != metadata or (decisions and size > self.max_size):
                break
            decisions.append(decided)
        return decisions, metadata
