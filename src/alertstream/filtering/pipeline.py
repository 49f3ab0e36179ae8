"""The pipeline: read, decode, judge, claim, decide, write; if writing fails, read again.

Each message is decoded as far as any filter needs it, and judged by all filters. The members of the
group agree on what the filters' caps let through. What passes is copied to the filter's topic, what
cannot be decoded to ``TOPIC-undecodable``; only when all copies are written do the group's offsets
move, in the same transaction. If that fails, as when a broker is down, everything since the last
commit is discarded and read again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from hashlib import sha256

from alertstream.alert.fields import missing_in
from alertstream.alert.surveys import QUANTITIES, field_paths
from alertstream.avro.schemas import Schema, Schemas
from alertstream.errors import DeliveryError, Event, Notice, SecurityError
from alertstream.filtering.account import FilterAccount, FilterCounts
from alertstream.filtering.caps import VisitCaps
from alertstream.filtering.engine import FilterEngine
from alertstream.filtering.filter_offsets import FilterOffsets
from alertstream.filtering.filters import AlertFilter, MirrorFilter, union_of_fields
from alertstream.filtering.shared_caps import SharedCaps, shared_caps
from alertstream.filtering.writer import Destination, TransactionalWriter
from alertstream.kafka.admin import make_topics, require_topics
from alertstream.kafka.clients import ClientOf, consumer_client
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import Consumer, Progress, subscribe
from alertstream.kafka.messages import Message
from alertstream.kafka.producer import producer
from alertstream.kafka.subscription import Subscription
from alertstream.kafka.topics import TopicLayout, is_pattern
from alertstream.reading.decoder import AlertDecoder, LenientDecoder, ReportedOnce, decodable
from alertstream.reading.stand_ins import group_elsewhere
from alertstream.reading.thinning import Thinning
from alertstream.system.cancellation import stopped_within

FLUSH_INTERVAL = 5.0
"""Seconds that offsets may wait to be committed while alerts come and none passes."""
PACE_INTERVAL = 0.1
"""Seconds' worth of messages that come at once, if their rate is limited."""
NO_RIGHT_TO_WRITE = (
    "write to a Kafka of your own with --to HOST:PORT, or ask for Create and Write on it"
)

Report = Callable[[Sequence[FilterCounts]], Awaitable[None]]
"""Takes each filter's counts of visits that are over; it may be slow."""


@dataclass(frozen=True)
class FilterOptions:
    """Which filters to run, and how.

    :param cap: alerts of a visit that a filter lets through; 0 is no limit.
    :param exactly_once: write in transactions; else, what failed half way may be written twice.
    :param unique: let only one of the alerts with the same source id pass.
    :param without: top-level fields that are null in what is written.
    :param rate: messages per second that are read, at most; 0 is no limit.
    :param new_from_beginning: whether filters that are new to the group start at the oldest message
        that Kafka has, or else at the group's position.
    """

    filters: Sequence[AlertFilter]
    cap: int = 20
    exactly_once: bool = True
    unique: bool = False
    without: frozenset[str] = frozenset()
    rate: float = 0.0
    new_from_beginning: bool = False

    @property
    def topics(self) -> list[str]:
        """The output topics."""
        return [each.topic for each in self.filters]

    def caps(self) -> VisitCaps:
        """Return the filters' caps, without any claims yet."""
        return VisitCaps(self.topics, self.cap, unique=self.unique)

    @property
    def protocol(self) -> str:
        """A word that is the same for members with the same filters and cap."""
        named = [f"{each.topic} {each.declared_in}" for each in self.filters]
        named += ["--unique"] * self.unique
        return sha256(" ".join([str(self.cap), *named]).encode()).hexdigest()[:8]


class Pace:
    """Limits the messages per second.

    :param rate: how many; 0 is no limit.
    """

    def __init__(self, rate: float) -> None:
        self.max_messages = max(int(rate * PACE_INTERVAL), 1) if rate else None
        """How many are read at a time, at most; None is no limit."""
        self._rate = rate
        self._next = 0.0

    async def keep(self, messages: int, stop: asyncio.Event) -> None:
        """Return when the next ones may come, or when ``stop`` is set."""
        if self._rate and messages:
            now = time.monotonic()
            self._next = max(self._next, now - PACE_INTERVAL) + messages / self._rate
            await stopped_within(stop, self._next - now)


@dataclass(frozen=True)
class FilterPipeline:
    """Filters what a consumer reads."""

    consumer: Consumer
    decoder: AlertDecoder
    engine: FilterEngine
    caps: SharedCaps | None
    writer: TransactionalWriter
    account: FilterAccount
    stop: asyncio.Event
    notice: Notice
    report: Report | None
    pace: Pace

    async def run(self) -> list[FilterCounts]:
        """Filter until the stop or the subscription's end; return each filter's totals.

        :raises DeliveryError: copies are rejected for good, or still not acknowledged at the stop.
        :raises BrokerError: Kafka is out of reach, also some time after the stop.
        """
        while True:
            try:
                await self._filter_to_the_end()
                break
            except DeliveryError as error:
                if not error.retriable:
                    raise
                text = f"{error.what}; what was not committed is read again"
                self.notice(Event(text, cause=error.what, where=error.where))
                await self.writer.restart()
            except Exception:
                await self.writer.give_up()
                raise
        await self._report_visits(all_of_them=True)
        return self.account.totals()

    async def _filter_to_the_end(self) -> None:
        flushed = time.monotonic()
        batches = self.consumer.batches(
            self.stop,
            before_rebalance=self.writer.flush_quietly,
            max_messages=self.pace.max_messages,
        )
        async for batch in decodable(batches, self.decoder, self.stop):
            if batch and self.caps is not None:
                try:
                    await self.caps.restore(self.consumer)
                except TimeoutError:
                    break
                if self.consumer.is_outdated(self.consumer.group_metadata):
                    # What was read belongs to another member now, or comes again.
                    continue
            await self._filter(batch)
            if not batch or time.monotonic() - flushed > FLUSH_INTERVAL:
                await self.writer.flush()
                # All that was read is counted now.
                await self._report_visits()
                flushed = time.monotonic()
            await self.pace.keep(len(batch), self.stop)
        await self.writer.flush()

    async def _filter(self, batch: Sequence[Message]) -> None:
        metadata = self.consumer.group_metadata
        assert metadata is not None
        if batch:
            self.account.begin()
        for judged in self.engine.judge(map(self.decoder.decode, batch), self.writer.max_size):
            if self.caps is not None:
                await self.caps.claim(judged.claims, self.stop)
            await self.writer.write(self.engine.decide(judged), metadata)
            if self.stop.is_set():
                # Filters may take seconds for each alert.
                break

    async def _report_visits(self, *, all_of_them: bool = False) -> None:
        closed = self.account.close_visits(all_of_them=all_of_them)
        if closed and self.report is not None:
            await self.report(closed)


@asynccontextmanager
async def open_pipeline(
    connection: Connection,
    subscription: Subscription,
    options: FilterOptions,
    schemas: Schemas,
    *,
    to: Connection | None = None,
    stop: asyncio.Event,
    notice: Notice = lambda text: None,
    report: Report | None = None,
    progress: Progress = lambda came, left: None,
) -> AsyncIterator[FilterPipeline]:
    """Join the subscription's group, and give the pipeline of its member.

    Missing topics of filters are made, with as many partitions as the topic that is read.

    :param to: the cluster to write to, if not the one that is read: our topics, the group and its
        offsets are there, and nothing is written to the other.
    :raises TopicError: a topic to read does not exist, or one to write to cannot be made.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    assert subscription.group is not None
    found = await require_topics(connection, subscription.topics)
    layout = TopicLayout(max(found.values(), default=TopicLayout.partitions))
    own = to or connection
    names = [name for name in options.topics if not is_pattern(name)]
    try:
        topics = await make_topics(own, names, layout) if names else {}
    except SecurityError as error:
        todo = error.todo if to else NO_RIGHT_TO_WRITE
        raise SecurityError(error.what, where=error.where, todo=todo) from error
    # After a crash, a producer of the same name aborts the open transaction.
    name = (subscription.instance or subscription.group) if options.exactly_once else None
    account, caps = FilterAccount(options.topics), options.caps()
    offsets = FilterOffsets(
        options.topics, caps.keys, from_beginning=options.new_from_beginning, notice=notice
    )
    async with (
        producer(own, transactional_id=name) as producing,
        _client_of(connection, subscription, to) as client_of,
        subscribe(
            connection,
            replace(subscription, protocol=options.protocol, resumption=offsets),
            client_of=client_of,
            stop=stop,
            notice=notice,
            progress=progress,
        ) as consumer,
        shared_caps(own, subscription.group, caps, offsets, notice) as shared,
    ):
        destination = Destination(
            own, producing, consumer, layout, topics, options.exactly_once, stop, notice
        )
        writer = TransactionalWriter(
            destination, written=lambda each: account.add(each.counts(), each.undecodable)
        )
        thin = Thinning(options.without, schemas, notice)
        yield FilterPipeline(
            consumer,
            alert_decoder(options.filters, schemas, notice, unique=options.unique),
            FilterEngine(
                options.filters, caps, notice, limits=destination.limits, thin=thin, offsets=offsets
            ),
            shared,
            writer,
            account,
            stop,
            notice,
            report,
            Pace(options.rate),
        )


def _client_of(
    connection: Connection, subscription: Subscription, to: Connection | None
) -> AbstractAsyncContextManager[ClientOf]:
    """Give the function that opens the reading client."""
    if to is None:
        return nullcontext(consumer_client)
    return group_elsewhere(connection, subscription.topics, to)


def alert_decoder(
    filters: Sequence[AlertFilter], schemas: Schemas, notice: Notice, *, unique: bool = False
) -> AlertDecoder:
    """Return a decoder of the fields that filters need, which reports missing ones.

    A mirror decodes at most source ids, for ``unique``, and takes whatever comes.
    """
    always = ("visit", "source_id") if unique else ("visit",)
    if any(isinstance(each, MirrorFilter) and each.visit is None for each in filters):
        return LenientDecoder(schemas, field_paths(always) if unique else (), notice)
    fields = union_of_fields(filters)
    paths = None if fields is None else field_paths([*fields, *always])
    declared = sorted({*(fields or ())} - QUANTITIES)
    report = ReportedOnce(notice)

    def report_missing(schema: Schema) -> None:
        name, missing = schema["name"], missing_in(schema, declared)
        if missing:
            text = f"{name} has no {', '.join(missing)}: for its alerts, filters see None there"
            report(f"{name} {missing}", text)

    return AlertDecoder(schemas, paths, notice, report_missing)
