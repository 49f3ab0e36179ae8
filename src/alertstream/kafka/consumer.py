"""Streams of messages: topics read in batches, by members of a group or by oneself."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors

from alertstream.errors import TopicError, UsageError
from alertstream.kafka._aiokafka.group_transactions import Membership
from alertstream.kafka.admin import POLL, is_pattern, require_topics, topic_pattern
from alertstream.kafka.connection import Connection, mapped_errors
from alertstream.kafka.producer import Message, Notice, Offsets, watched
from alertstream.system.cancellation import SHUTDOWN_TIMEOUT, unless

JOIN_LIMIT = 60.0
"""Seconds to become a member of a consumer group; one that vanished is waited for."""
PARTITION_FETCH = 1024 * 1024
"""Bytes that are read from a partition in one piece; a larger message still comes whole."""
FETCH = 32 * 1024 * 1024
"""Bytes that are read from a broker in one piece, and so the memory that waits to be worked on."""
MISSED_AFTER = 15.0
"""Seconds after which a group has missed a member that died, and given its partitions to others."""
HEARTBEAT = 500
"""Milliseconds after which a member asks whether its group has changed: a new one waits as long."""
APPEARS_WITHIN = 5_000
"""Milliseconds after which a new topic is noticed that matches a pattern."""


@dataclass(frozen=True)
class Subscription:
    """What to read, from where on, and how far.

    :param topics: names, or patterns as of files: ``alerts-*``. What matches one is read as soon as
        it is there, from its beginning if it has appeared meanwhile.
    :param group: consumer group that remembers what was read; None remembers nothing.
    :param start: where to start without a remembered offset: ``earliest``, ``latest``, a time, or
        an offset; a negative one counts from the partition's end.
    :param until: where to end: before an offset of each partition, or before what came at a time.
    :param exit_on_eof: end where the partitions ended when reading began.
    :param instance: name under which the group knows its member again when it comes back after a
        crash, so that its partitions do not wait for it to be missed (KIP-345).
    :raises UsageError: there is no such start, or end.
    """

    topics: tuple[str, ...]
    group: str | None = None
    start: str | int | datetime = "earliest"
    until: int | datetime | None = None
    exit_on_eof: bool = False
    instance: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.start, str) and self.start not in ("earliest", "latest"):
            raise UsageError(f"{self.start} is no place to start from", todo="earliest or latest")
        if isinstance(self.until, int) and self.until < 0:
            raise UsageError(f"{self.until} is no offset to end at", todo="give one from 0 on")


class Stream:
    """Messages of topics, in batches; only committed ones of those written in transactions."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        subscription: Subscription,
        partitions: Sequence[TopicPartition],
        stop: asyncio.Event,
    ) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._ends: dict[TopicPartition, int] | None = None
        self._end_times: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._starts: dict[TopicPartition, int] = {}
        self._accepted: object = None
        self._assignments = 0
        self._idle_since = 0.0
        self._stop = stop
        self.subscription = subscription
        self.membership: Membership | None = None
        """Who we were in the group when the last batch came; None without a group."""
        self.working = asyncio.Lock()
        """Held by who works on a batch that is to be committed: no rebalance comes between."""
        self.before_rebalance: Callable[[], Awaitable[None]] | None = None
        """Called, if set, when partitions are about to go to another member of the group."""
        self.after_rebalance: Callable[[], Awaitable[None]] | None = None
        """Called, if set, when partitions have been assigned, before messages of them come."""
        self.progress: Callable[[int, int | None], None] | None = None
        """Called, if set, when messages have come, with how many, and how many are left."""

    async def start(self) -> None:
        """Connect, and go to where reading starts."""
        await self._consumer.start()
        if self.subscription.exit_on_eof:
            self._ends = await self._consumer.end_offsets(self._partitions)
        await self._accept_assignment()

    async def end(self) -> None:
        """Leave the group, and disconnect."""
        if self._consumer._coordinator is not None:
            # One that comes back does not leave; this one has ended, and is not to be waited for.
            self._consumer._coordinator._group_instance_id = None
        await self._consumer.stop()

    async def batches(self, stop: asyncio.Event) -> AsyncIterator[list[Message]]:
        """Yield messages as they come, in order within a partition, until ``stop`` or the end.

        A batch is empty when nothing has come for ``POLL``. When Kafka is gone, it is waited for.
        """
        while not stop.is_set():
            assignment = self._assignments
            try:
                if await self._at_end():
                    return
                # It waits for the end of a rebalance itself, longer than it is told to.
                work = self._consumer.getmany(timeout_ms=int(POLL * 1000))
                fetched = await unless(stop, work, grace=POLL)
                if self._assignment() is not self._accepted:
                    # What was fetched before is another member's now, or comes again.
                    fetched = {}
                    await self._accept_assignment()
            except TimeoutError:
                return
            self.membership = self._membership(assignment)
            for partition, messages in fetched.items():
                self._starts.setdefault(partition, messages[0].offset)
                self._positions[partition] = messages[-1].offset + 1
            batch = [each for messages in fetched.values() for each in self._wanted(messages)]
            yield batch
            if self.progress is not None:
                self.progress(len(batch), self._left())

    def _assignment(self) -> object:
        """Return what is another object whenever partitions have been assigned."""
        subscription = self._consumer._subscription.subscription
        return None if subscription is None else subscription.assignment

    async def _accept_assignment(self) -> None:
        """Do what is to be done before messages of new partitions come; until then, none do.

        Not where aiokafka tells of them: until that returns, it sends no heartbeats.

        :raises TimeoutError: Kafka has not told within ``SHUTDOWN_TIMEOUT`` after the stop.
        """
        while (assignment := self._assignment()) is not self._accepted:
            self._accepted = assignment
            self._starts.clear()
            # They may be another member's meanwhile.
            with suppress(kafka_errors.IllegalStateError):
                await self._go_to_start()
            if self.after_rebalance is not None:
                await self.after_rebalance()
        self._consumer.resume(*self._consumer.assignment())

    async def _go_to_start(self) -> None:
        """Go on where we were, without a group; in new partitions go to their start.

        The group is to remember that, or else a rebalance before the first commit would begin them
        elsewhere.

        :raises IllegalStateError: a partition is another member's meanwhile.
        """
        assigned = self._consumer.assignment()
        if self.subscription.group is not None:
            new = assigned - (await self.committed()).keys()
        else:
            new = assigned - self._positions.keys()
            for each in assigned - new:
                self._consumer.seek(each, self._positions[each])
        start = self.subscription.start
        if not new or (start == "earliest" and self.subscription.group is not None):
            return
        appeared = new if start == "earliest" else new.difference(self._partitions)
        starts = await self._consumer.beginning_offsets(appeared) if appeared else {}
        starts |= await _starts(self._consumer, sorted(new - appeared), start)
        for each, offset in starts.items():
            self._consumer.seek(each, offset)
        self._positions |= starts
        await self.commit({each: (offset, "") for each, offset in starts.items()})

    def _membership(self, assignment: int) -> Membership | None:
        if self.subscription.group is None:
            return None
        coordinator = self._consumer._coordinator
        return Membership(
            self.subscription.group,
            coordinator.generation,
            coordinator.member_id,
            self.subscription.instance,
            assignment,
        )

    def is_outdated(self, membership: Membership) -> bool:
        """Return whether partitions have been assigned anew since, and are read again."""
        return membership.assignment != self._assignments

    async def rewind(self) -> None:
        """Go back to where the group's offsets are, to read again what was not done.

        :raises TimeoutError: Kafka has not told within ``SHUTDOWN_TIMEOUT`` after the stop.
        """
        committed = await self.committed()
        for partition in self._consumer.assignment():
            start = committed.get(partition, (self._starts.get(partition), ""))[0]
            if start is not None:
                self._consumer.seek(partition, start)

    async def committed(self) -> Offsets:
        """Return the group's offsets of all partitions, and what was kept with each.

        :raises TimeoutError: Kafka has not told within ``SHUTDOWN_TIMEOUT`` after the stop.
        """
        if self.subscription.group is None:
            return {}
        partitions = {
            TopicPartition(topic, number)
            for topic in self._consumer.subscription()
            for number in self._consumer.partitions_for_topic(topic) or ()
        }
        partitions |= self._consumer.assignment()
        work = self._consumer._coordinator.fetch_committed_offsets(sorted(partitions))
        found = await unless(self._stop, work)
        return {partition: (at.offset, at.metadata or "") for partition, at in found.items()}

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that are read."""
        return set(self._consumer.assignment())

    async def keep(self, text: str, partitions: Collection[TopicPartition]) -> None:
        """Keep ``text`` with the group's offsets of partitions of which it has none yet.

        They stay where reading has begun: nothing that has been read counts as done. Nothing is
        kept if partitions have been assigned anew since the last batch.

        :raises TimeoutError: Kafka has not told within ``SHUTDOWN_TIMEOUT`` after the stop.
        """
        at: Offsets = {}
        # They may be another member's meanwhile.
        with suppress(kafka_errors.IllegalStateError):
            for each in partitions:
                if each in self._starts:
                    at[each] = (self._starts[each], text)
                else:
                    at[each] = (await unless(self._stop, self._consumer.position(each)), text)
            if self.membership is not None and not self.is_outdated(self.membership):
                await self.commit(at)

    def _end(self, partition: TopicPartition) -> float:
        """Return the offset before which reading a partition ends."""
        until = self.subscription.until
        end = until if isinstance(until, int) else self._end_times.get(partition, math.inf)
        return end if self._ends is None else min(end, self._ends.get(partition, 0))

    def _left(self) -> int | None:
        """Return how many offsets there are up to the end; None if there is no end, as yet."""
        ends = {each: self._end(each) for each in self._consumer.assignment()}
        left = [end - self._positions.get(each, 0) for each, end in ends.items()]
        return int(sum(max(each, 0) for each in left)) if all(map(math.isfinite, left)) else None

    def _wanted(self, messages: list[Message]) -> list[Message]:
        end = self._end(TopicPartition(messages[-1].topic, messages[-1].partition))
        if messages[-1].offset < end:
            return messages
        return [message for message in messages if message.offset < end]

    async def _at_end(self) -> bool:
        """Return whether all partitions are read as far as they are to be.

        :raises TimeoutError: the stop came meanwhile.
        """
        until = self.subscription.until
        if isinstance(until, datetime) and until.timestamp() <= time.time():
            await self._end_at(until)
        if self._ends is None and until is None:
            return False
        assignment = self._consumer.assignment()
        if not assignment:
            # A member that died unnoticed may have been given ours.
            self._idle_since = self._idle_since or time.monotonic()
            idle = time.monotonic() - self._idle_since
            return self._ends is not None and (not self._partitions or idle > MISSED_AFTER)
        self._idle_since = 0.0
        try:
            for partition in assignment:
                work = self._consumer.position(partition)
                if await unless(self._stop, work, grace=0) < self._end(partition):
                    return False
        except kafka_errors.IllegalStateError:
            # The group is being rebalanced, that partition is another member's now.
            return False
        return True

    async def _end_at(self, until: datetime) -> None:
        """Find the offsets of what came at a time that is over, or of the ends."""
        missing = sorted(self._consumer.assignment() - self._end_times.keys())
        if missing:
            work = _starts(self._consumer, missing, until)
            self._end_times |= await unless(self._stop, work, grace=0)

    async def commit(self, offsets: Offsets) -> None:
        """Remember for the group that everything before ``offsets`` is done.

        A batch that lost its partitions to another member meanwhile will be read again by that one.

        :raises TimeoutError: Kafka has not answered within ``SHUTDOWN_TIMEOUT`` after the stop.
        """
        if self.subscription.group is not None and offsets:
            with suppress(kafka_errors.CommitFailedError, kafka_errors.IllegalStateError):
                await unless(self._stop, self._consumer.commit(offsets))


def next_offsets(batch: Iterable[Message]) -> Offsets:
    """Return where each partition goes on behind the messages of ``batch``."""
    return {TopicPartition(each.topic, each.partition): (each.offset + 1, "") for each in batch}


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]
    """Lets a batch that is being worked on be finished before its partitions go elsewhere."""

    def __init__(self) -> None:
        self.stream: Stream | None = None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        if self.stream is not None:
            async with self.stream.working:
                if self.stream.before_rebalance is not None:
                    await self.stream.before_rebalance()
                self.stream._assignments += 1

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        if self.stream is not None:
            self.stream._consumer.pause(*assigned)


@asynccontextmanager
async def subscribe(
    connection: Connection,
    subscription: Subscription,
    *,
    stop: asyncio.Event | None = None,
    notice: Notice = lambda text: None,
) -> AsyncIterator[Stream]:
    """Give the stream of a subscription's messages.

    :param stop: ends the wait for the group's coordinator, should it be set before reading begins.
    :param notice: told when there is no connection to Kafka any more, and when there is again.
    :raises TopicError: a topic is not there.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    patterns = [name for name in subscription.topics if is_pattern(name)]
    there = await require_topics(connection, subscription.topics)
    if not there:
        matches = f"no topic matches {', '.join(patterns)}"
        if subscription.exit_on_eof:
            raise TopicError(matches, where=connection.bootstrap, todo="check the name")
        notice(f"{matches}: waiting for one")
    partitions = [
        TopicPartition(topic, partition)
        for topic, count in there.items()
        for partition in range(count)
    ]
    stop = stop or asyncio.Event()
    with mapped_errors(connection):
        consumer = AIOKafkaConsumer(
            **connection.settings(),
            group_id=subscription.group,
            group_instance_id=subscription.instance,
            heartbeat_interval_ms=HEARTBEAT,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_bytes=FETCH,
            max_partition_fetch_bytes=PARTITION_FETCH,
            metadata_max_age_ms=APPEARS_WITHIN if patterns else 300_000,
            # To check them takes as long as all the rest of reading; librdkafka does not, either.
            check_crcs=False,
        )
        rebalance = _Rebalance()
        if patterns:
            pattern = topic_pattern(subscription.topics)
            consumer.subscribe(pattern=pattern, listener=rebalance)
        elif subscription.group is None:
            consumer.assign(partitions)
        else:
            consumer.subscribe(subscription.topics, listener=rebalance)
        stream = rebalance.stream = Stream(consumer, subscription, partitions, stop)
        try:
            async with asyncio.timeout(JOIN_LIMIT):
                try:
                    await unless(stop, stream.start(), grace=0)
                except TimeoutError:
                    if not stop.is_set():
                        raise
            async with watched(lambda: consumer._client, notice):
                yield stream
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                    await stream.end()


async def _starts(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], start: str | int | datetime
) -> dict[TopicPartition, int]:
    """Return the offset in each partition that ``latest``, a time or an offset means."""
    if not partitions:
        return {}
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    if isinstance(start, datetime):
        times = dict.fromkeys(partitions, max(int(start.timestamp() * 1000), 0))
        found = await consumer.offsets_for_times(times)
        return {each: found[each].offset if found[each] else ends[each] for each in partitions}
    if isinstance(start, int):
        begins = await consumer.beginning_offsets(partitions)
        wanted = {each: start if start >= 0 else ends[each] + start for each in partitions}
        return {each: min(max(wanted[each], begins[each]), ends[each]) for each in partitions}
    return ends
