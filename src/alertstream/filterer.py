"""A topic to filters to topics: read once, decoded once, judged by all filters, passed on as it is.

A batch goes this way: each message is decoded as far as any filter needs it, each filter judges
it, what passes is copied to the filter's topic, what cannot be decoded to ``TOPIC-undecodable``;
and only when all copies are written does the group's offset move, in the same transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from alertstream.codec import MessageDecoder
from alertstream.connection import Connection
from alertstream.errors import UndecodableError
from alertstream.filters import AlertFilter, VisitCap, error_line, union_of_fields
from alertstream.kafka import (
    Copy,
    Message,
    Offsets,
    Producer,
    Stream,
    Topic,
    TopicLayout,
    make_topics,
    next_offsets,
)
from alertstream.schemas import Schemas
from alertstream.stats import FilterCounts
from alertstream.survey import Alert, field_paths
from alertstream.visits import Clock

VISIT_IS_OVER = 5.0
"""Seconds without an alert of a visit after which its counts are reported."""
SETTLE_AFTER = 5.0
"""Seconds that offsets may wait to be committed while nothing passes but alerts come."""
MOST_WAITING = 4000
"""Copies that wait for the transaction before theirs; each is a reference to what was read."""
DELIVERIES = ("exactly-once", "at-least-once")


@dataclass(frozen=True)
class FilterOptions:
    """Which filters to run on which topic.

    :param cap: alerts of a visit that a filter lets through; 0 is no limit.
    :param delivery: ``exactly-once``, in transactions, or ``at-least-once``.
    """

    topic: str
    filters: Sequence[AlertFilter]
    cap: int = 20
    delivery: str = "exactly-once"

    @property
    def undecodable_topic(self) -> str:
        """Where messages go that cannot be decoded."""
        return f"{self.topic}-undecodable"


def undecodable_notice(message: Message, cause: str) -> str:
    """Return the line that reports the first message of its kind."""
    place = f"{message.topic}[{message.partition}]@{message.offset}"
    return f"undecodable message: {cause} · {place} · more of the kind are counted only"


@dataclass
class _VisitCounts:
    """One visit's counts: ``passed`` and ``capped`` by filter."""

    seen: int
    passed: list[int]
    capped: list[int]
    last_alert: float = 0.0


@dataclass
class Sieve:
    """Judges messages by all filters at once, and keeps the account.

    :param notice: called with a line for the user when something goes wrong for the first time.
    """

    options: FilterOptions
    schemas: Schemas
    clock: Clock
    notice: Callable[[str], None] = lambda text: None
    totals: list[FilterCounts] = field(init=False)
    undecodable: int = 0

    def __post_init__(self) -> None:
        filters = self.options.filters
        self._topics = [each.topic for each in filters]
        self._caps = [VisitCap(self.options.cap) for _ in filters]
        self.totals = [FilterCounts(topic, None) for topic in self._topics]
        fields = union_of_fields(filters)
        paths = None if fields is None else field_paths([*fields, "visit"])
        self._decoder = MessageDecoder(self.schemas, paths)
        self._visits: dict[int | None, _VisitCounts] = {}
        self._reported: set[str] = set()

    def judge(self, batch: Sequence[Message]) -> Iterator[Copy]:
        """Yield the copies to write: each message for each filter that it passes."""
        now = self.clock.now()
        for message in batch:
            try:
                alert = Alert(self._decoder.decode(message.value))
            except UndecodableError as error:
                self.undecodable += 1
                self._tell_once(error.what, undecodable_notice(message, error.what))
                yield Copy(self.options.undecodable_topic, message, error.what)
                continue
            visit = alert.visit
            counts = self._visits.get(visit)
            if counts is None:
                blank = [0] * len(self._topics)
                counts = self._visits[visit] = _VisitCounts(0, blank, list(blank))
            counts.seen += 1
            counts.last_alert = now
            for index in self._passed_by(alert):
                if self._caps[index].admits(visit):
                    counts.passed[index] += 1
                    yield Copy(self._topics[index], message)
                else:
                    counts.capped[index] += 1

    def _passed_by(self, alert: Alert) -> Iterator[int]:
        for index, each in enumerate(self.options.filters):
            try:
                if each.passes(alert):
                    yield index
            except Exception as error:
                self.totals[index].failed += 1
                cause = error_line(error)
                text = f"{each.topic} fails on an alert, which it rejects thereby: {cause}"
                self._tell_once(f"{each.topic} {cause}", text)

    def _tell_once(self, cause: str, text: str) -> None:
        if cause not in self._reported:
            self._reported.add(cause)
            self.notice(text)

    def close_visits(self, *, all_of_them: bool = False) -> Iterator[FilterCounts]:
        """Yield each filter's counts of the visits that are over, and add them to the totals.

        A visit is over when no alert of it has come for ``VISIT_IS_OVER``; should one come later
        after all, it is counted in another report on the same visit.
        """
        latest = self.clock.now() - VISIT_IS_OVER
        over = [
            visit
            for visit, counts in self._visits.items()
            if all_of_them or counts.last_alert < latest
        ]
        for visit in over:
            counts = self._visits.pop(visit)
            for index, total in enumerate(self.totals):
                passed, capped = counts.passed[index], counts.capped[index]
                total.seen += counts.seen
                total.passed += passed
                total.capped += capped
                yield FilterCounts(total.filter, visit, counts.seen, passed, capped)

    @property
    def seen(self) -> int:
        """Alerts judged so far, in visits closed or not."""
        open_visits = sum(counts.seen for counts in self._visits.values())
        return self.totals[0].seen + open_visits + self.undecodable

    @property
    def passed(self) -> int:
        """Copies of alerts that were let through so far, by all filters."""
        open_visits = sum(sum(counts.passed) for counts in self._visits.values())
        return sum(total.passed for total in self.totals) + open_visits

    def final_totals(self) -> list[FilterCounts]:
        """Return each filter's counts of all visits that are closed; undecodable are seen too."""
        return [
            replace(total, seen=total.seen + self.undecodable, undecodable=self.undecodable)
            for total in self.totals
        ]


@dataclass
class Outlet:
    """Writes copies and moves the group's offsets, both or neither, while reading goes on.

    What comes while a transaction is under way goes into the next one, so that the more there is
    to write, the fewer transactions it takes.

    :param topics: the output topics by name; those that are missing are made when needed.
    """

    connection: Connection
    producer: Producer
    stream: Stream
    layout: TopicLayout
    exactly_once: bool
    topics: dict[str, Topic]
    _copies: list[Copy] = field(default_factory=list)
    _offsets: Offsets = field(default_factory=dict)
    _writing: asyncio.Task[None] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.stream.before_rebalance = self.settle

    async def take(self, copies: Sequence[Copy], batch: Sequence[Message]) -> None:
        """Take the copies that ``batch`` gives, and return when there is room for more.

        :raises DeliveryError: copies taken before are not acknowledged; their offsets stay.
        """
        self._offsets |= next_offsets(batch)
        self._copies += copies
        if self._writing is not None and self._writing.done():
            await self._finish()
        if self._copies and self._writing is None:
            self._writing = asyncio.create_task(self._write())
        if len(self._copies) > MOST_WAITING:
            await self._finish()

    async def settle(self) -> None:
        """Write all that was taken, and the offsets of batches that gave no copies.

        Should the latter be lost, those batches are read again, and again nothing passes.

        :raises DeliveryError: copies are not acknowledged; their offsets stay.
        """
        await self._finish()
        await self._write()

    async def _finish(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    async def _write(self) -> None:
        async with self._turn:
            while self._copies:
                copies, self._copies = self._copies, []
                offsets, self._offsets = self._offsets, {}
                await self._write_together(copies, offsets)
            offsets, self._offsets = self._offsets, {}
            await self.stream.commit(offsets)

    async def _write_together(self, copies: Sequence[Copy], offsets: Offsets) -> None:
        missing = sorted({copy.topic for copy in copies} - self.topics.keys())
        if missing:
            self.topics |= await make_topics(self.connection, missing, self.layout)
        if self.exactly_once:
            async with self.producer.transaction(offsets, self.stream.subscription.group):
                await self.producer.send_copies(copies, self.topics)
        else:
            await self.producer.send_copies(copies, self.topics)
            await self.stream.commit(offsets)


async def filter_stream(
    stream: Stream,
    outlet: Outlet,
    sieve: Sieve,
    *,
    stop: asyncio.Event,
    report: Callable[[FilterCounts], None] = lambda counts: None,
) -> list[FilterCounts]:
    """Filter until ``stop`` or the stream's end; return each filter's counts of all visits.

    :param report: called for each filter when a visit is over.
    :raises DeliveryError: copies are not acknowledged.
    """
    settled = sieve.clock.now()
    async for batch in stream.batches(stop):
        await outlet.take(list(sieve.judge(batch)), batch)
        if not batch or sieve.clock.now() - settled > SETTLE_AFTER:
            await outlet.settle()
            settled = sieve.clock.now()
        for counts in sieve.close_visits():
            report(counts)
    await outlet.settle()
    for counts in sieve.close_visits(all_of_them=True):
        report(counts)
    return sieve.final_totals()
