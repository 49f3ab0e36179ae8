"""A topic to filters to topics: read once, decoded once, judged by all filters, passed on as it is.

A batch goes this way: each message is decoded as far as any filter needs it, each filter judges
it, the members of the group agree on what the filters' caps let through, what passes is copied to
the filter's topic, what cannot be decoded to ``TOPIC-undecodable``; and only when all copies are
written does the group's offset move, in the same transaction. Where that fails for a while, as
when a broker is down, everything since the last commit is forgotten, and read again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from alertstream.errors import BrokerError, DeliveryError, SecurityError, TopicError
from alertstream.filtering.account import FilterCounts
from alertstream.filtering.caps import SharedCaps, begin_of_claims, shared_caps
from alertstream.filtering.engine import JUDGED_TOGETHER, Judgement, Sieve
from alertstream.kafka.admin import make_topics, require_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import Consumer, Progress, subscribe
from alertstream.kafka.messages import ConsumerGroupMetadata, Copy, Offsets
from alertstream.kafka.producer import RETRY_INTERVAL, Producer, producer
from alertstream.kafka.subscription import Subscription
from alertstream.kafka.topics import Topic, TopicLayout
from alertstream.reading.decoder import decodable
from alertstream.system.cancellation import SHUTDOWN_TIMEOUT, unless

SETTLE_AFTER = 5.0
"""Seconds that offsets may wait to be committed while nothing passes but alerts come."""
MOST_WAITING = 64 * 1024 * 1024
"""Bytes of messages whose copies wait for the transaction before theirs."""
LEAST_TOGETHER = 1024 * 1024
"""Bytes of copies that go into one transaction even if the way to Kafka is slow."""
MOST_REFUSALS = 10
"""Times in a row that Kafka may refuse what can be tried again, before it is given up."""


Report = Callable[[Sequence[FilterCounts]], Awaitable[None]]


@dataclass
class Outlet:
    """Writes copies and moves the group's offsets, both or neither, while reading goes on.

    What comes while a transaction is under way goes into the next ones, so that the more there is
    to write, the fewer transactions it takes.

    :param topics: the output topics by name; those that are missing are made when needed.
    :param stop: once it is set, Kafka has ``SHUTDOWN_TIMEOUT`` to take what is left.
    :param written: called with each judgement when it is written.
    """

    connection: Connection
    producer: Producer
    consumer: Consumer
    layout: TopicLayout
    exactly_once: bool
    topics: dict[str, Topic]
    stop: asyncio.Event
    written: Callable[[Judgement], None]
    _waiting: deque[tuple[ConsumerGroupMetadata, Judgement]] = field(default_factory=deque)
    _writing: asyncio.Task[None] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _failure: DeliveryError | None = None
    _refusals: int = 0
    room: int = JUDGED_TOGETHER
    """Bytes of copies that a transaction may have: less where they have taken too long before."""

    async def take(self, judgement: Judgement) -> None:
        """Take what follows from the stream's last batch, and return when there is room for more.

        :raises DeliveryError: something that was taken before is not written; its offsets stay.
        """
        assert self.consumer.group_metadata is not None
        self._waiting.append((self.consumer.group_metadata, judgement))
        if self._writing is not None and self._writing.done():
            await self._finish()
        if self._writing is None and self._copies_wait():
            self._writing = asyncio.create_task(self._write(everything=False))
        if sum(each.held for _, each in self._waiting) > MOST_WAITING:
            await self._finish()
        # Others have their turn, as telling the group that we live.
        await asyncio.sleep(0)

    async def settle(self) -> None:
        """Write all that was taken, and the offsets of judgements without copies.

        :raises DeliveryError: something is not written; its offsets stay.
        """
        await self._finish()
        self._writing = asyncio.create_task(self._write(everything=True))
        await self._finish()

    async def settle_quietly(self) -> None:
        """Write what can be written before another member has the partitions.

        What fails is told to who takes or settles next.
        """
        await self._write(everything=True)

    def _copies_wait(self) -> bool:
        return any(judgement.copies for _, judgement in self._waiting)

    async def _finish(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            try:
                await unless(self.stop, writing)
            except TimeoutError:
                text = "no answer in time: what was not written will be read again"
                self._failure = DeliveryError(text, where=self.connection.bootstrap)
        if self._failure is not None:
            raise self._failure

    async def _write(self, *, everything: bool) -> None:
        async with self._turn:
            while self._failure is None and self._waiting and (everything or self._copies_wait()):
                metadata, judgements = self._next()
                try:
                    await self._write_together(metadata, judgements)
                except DeliveryError as error:
                    self._fail(error)
                else:
                    self._refusals = 0
                    self.room = min(2 * self.room, JUDGED_TOGETHER)
                    for each in judgements:
                        self._waiting.popleft()
                        self.written(each)

    def _fail(self, error: DeliveryError) -> None:
        self._refusals += error.refused
        if not error.refused:
            self.room = max(self.room // 2, LEAST_TOGETHER)
        if self._refusals >= MOST_REFUSALS:
            error.retriable = False
        self._failure = error

    def _next(self) -> tuple[ConsumerGroupMetadata, list[Judgement]]:
        """Return the judgements to write next: made as one member, and not too many bytes."""
        metadata, size = self._waiting[0][0], 0
        judgements: list[Judgement] = []
        for made_as, judgement in self._waiting:
            size += judgement.bytes
            if made_as != metadata or (judgements and size > self.room):
                break
            judgements.append(judgement)
        return metadata, judgements

    async def _write_together(
        self, metadata: ConsumerGroupMetadata, judgements: Sequence[Judgement]
    ) -> None:
        if self.consumer.is_outdated(metadata):
            text = "partitions were assigned anew"
            raise DeliveryError(text, where=self.connection.bootstrap, retriable=True)
        copies: list[Copy] = []
        offsets: Offsets = {}
        for judgement in judgements:
            copies += judgement.copies
            offsets |= judgement.offsets
        missing = sorted({copy.topic for copy in copies} - self.topics.keys())
        if missing:
            await self._make(missing)
        if self.exactly_once:
            await self.producer.send_and_commit(copies, self.topics, offsets, metadata)
        else:
            await self.producer.send_copies(copies, self.topics)
            await self.consumer.commit(offsets)

    async def _make(self, missing: Sequence[str]) -> None:
        try:
            self.topics |= await make_topics(self.connection, missing, self.layout)
        except BrokerError as error:
            # Even that it is a matter of rights may be a guess, while brokers come and go.
            refused = isinstance(error, SecurityError | TopicError)
            raise DeliveryError(
                error.what, where=error.where, todo=error.todo, retriable=True, refused=refused
            ) from error

    async def start_again(self) -> None:
        """Forget what is not written, and go back to where it is read again.

        :raises BrokerError: Kafka is out of reach, also ``SHUTDOWN_TIMEOUT`` after the stop.
        """
        try:
            await asyncio.sleep(RETRY_INTERVAL)
            await unless(self.stop, self.producer.restart_when_possible())
            await self.consumer.rewind()
        except TimeoutError:
            text = "Kafka cannot be reached: what was not written will be read again"
            raise BrokerError(text, where=self.connection.bootstrap) from None
        self._waiting.clear()
        self._failure = None
        # One that has been deleted meanwhile is made again.
        self.topics.clear()

    async def give_up(self) -> None:
        """Let what is being written come to its end; what waits will be read again."""
        if self._writing is not None:
            await asyncio.wait((self._writing,), timeout=SHUTDOWN_TIMEOUT)
            self._writing.cancel()


async def filter_topics(
    connection: Connection,
    subscription: Subscription,
    sieve: Sieve,
    *,
    exactly_once: bool = True,
    stop: asyncio.Event,
    report: Report | None = None,
    progress: Progress = lambda came, left: None,
) -> list[FilterCounts]:
    """Filter as a member of a group until ``stop`` or the end; return each filter's counts.

    The filters' topics are made, if they are not there, with as many partitions as what is read.

    :param report: called with each filter's counts when visits are over; it may take its time.
    :param progress: called when messages have come.
    :raises TopicError: a topic to read is not there, or one to write to cannot be made.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    :raises DeliveryError: copies are refused for good, or not acknowledged until the stop.
    """
    assert subscription.group is not None
    there = await require_topics(connection, subscription.topics)
    layout = TopicLayout(max(there.values(), default=TopicLayout.partitions))
    made = await make_topics(connection, sieve.topics, layout)
    # Who has its name again aborts what it had begun.
    transactional_id = (subscription.instance or subscription.group) if exactly_once else None
    async with (
        producer(connection, transactional_id=transactional_id) as writing,
        subscribe(
            connection, subscription, stop=stop, notice=sieve.notice, progress=progress
        ) as consumer,
        shared_caps(connection, subscription.group, sieve.caps) as caps,
    ):
        outlet = Outlet(
            connection, writing, consumer, layout, exactly_once, made, stop, sieve.count
        )
        return await filter_stream(consumer, outlet, sieve, caps, stop=stop, report=report)


async def filter_stream(
    consumer: Consumer,
    outlet: Outlet,
    sieve: Sieve,
    caps: SharedCaps | None,
    *,
    stop: asyncio.Event,
    report: Report | None = None,
) -> list[FilterCounts]:
    """Filter until ``stop`` or the stream's end; return each filter's counts of all visits.

    :param caps: the sieve's caps, as all members of the group have them; None without any.
    :param report: called with each filter's counts when visits are over; it may take its time.
    :raises DeliveryError: copies are refused for good, or not acknowledged until the stop.
    """
    while True:
        try:
            await _filter_to_the_end(consumer, outlet, sieve, caps, stop, report)
        except DeliveryError as error:
            if not error.retriable:
                raise
            sieve.notice(f"{error.what}: read again from what is committed")
            await outlet.start_again()
            sieve.judged_together = outlet.room
        except Exception:
            await outlet.give_up()
            raise
        else:
            break
    closed = sieve.account.close_visits(all_of_them=True)
    if closed and report is not None:
        await report(closed)
    return sieve.account.totals()


async def _restore_caps(consumer: Consumer, caps: SharedCaps) -> None:
    """Let the group's claims count, and keep from where on with each partition that is new.

    Only then may anything be claimed: who joins later looks for it there.

    :raises TimeoutError: Kafka has not told within ``SHUTDOWN_TIMEOUT`` after the stop.
    """
    kept = {each: begin_of_claims(text) for each, (_, text) in (await consumer.committed()).items()}
    begins = {each: begin for each, begin in kept.items() if begin is not None}
    if begins:
        caps.restore(min(begins.values()))
    await consumer.keep(caps.caps.written(), consumer.assignment() - begins.keys())
    caps.restored_as = consumer.group_metadata


async def _filter_to_the_end(
    consumer: Consumer,
    outlet: Outlet,
    sieve: Sieve,
    caps: SharedCaps | None,
    stop: asyncio.Event,
    report: Report | None,
) -> None:
    settled = sieve.clock.now()
    batches = consumer.batches(stop, before_rebalance=outlet.settle_quietly)
    async for batch in decodable(batches, sieve.decoder, stop):
        if caps is not None and batch and caps.restored_as != consumer.group_metadata:
            try:
                await _restore_caps(consumer, caps)
            except TimeoutError:
                break
            if consumer.is_outdated(consumer.group_metadata):
                # What was read is another member's now, or comes again.
                continue
        for judgement in sieve.judge(map(sieve.decoder.decode, batch)):
            if caps is not None:
                await caps.claim(judgement.claims, stop)
            await outlet.take(sieve.decide(judgement))
        if not batch or sieve.clock.now() - settled > SETTLE_AFTER:
            await outlet.settle()
            settled = sieve.clock.now()
            # All that was judged is counted now.
            closed = sieve.account.close_visits()
            if closed and report is not None:
                await report(closed)
    await outlet.settle()
