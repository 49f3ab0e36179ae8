"""Topics read in batches, by a member of a consumer group or without a group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from operator import attrgetter

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka import errors as kafka_errors

from alertstream.errors import Event, Notice, TopicError, info
from alertstream.kafka._aiokafka.clients import KafkaConsumer
from alertstream.kafka._aiokafka.requests.offsets import id_and_text
from alertstream.kafka.clients import ClientOf, connection_reports, consumer_client, with_failover
from alertstream.kafka.connection import POLL_INTERVAL, Connection
from alertstream.kafka.messages import ConsumerGroupMetadata, Message, Offsets, Positions
from alertstream.kafka.subscription import EndOffsets, Subscription, start_offsets
from alertstream.kafka.topics import existing_topics, is_pattern, topic_pattern
from alertstream.system.cancellation import unless_stopped

JOIN_TIMEOUT = 60.0
"""Seconds to join a consumer group, which may have to wait for a member that vanished."""

_fields = attrgetter(*Message._fields)
Hook = Callable[[], Awaitable[None]]
Progress = Callable[[int, int | None], None]
"""Takes how many messages have come, and how many are left; None if there is no end."""


async def _do_nothing() -> None:
    """Do nothing before or after a rebalance."""


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads messages in batches; of those written in transactions, committed ones only.

    Whatever asks Kafka raises a :class:`TimeoutError` if it has not answered within
    ``SHUTDOWN_TIMEOUT`` after the stop.
    """

    def __init__(
        self,
        consumer: KafkaConsumer,
        subscription: Subscription,
        partitions: Sequence[TopicPartition],
        stop: asyncio.Event,
        notice: Notice,
        progress: Progress,
    ) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._ends = EndOffsets(consumer, subscription, partitions)
        self._starts: dict[TopicPartition, int] = {}
        self._accepted: object = None
        self._replaced: set[str] = set()
        self._assignments = 0
        self._stop = stop
        self._notice = notice
        self._progress = progress
        self._before_rebalance: Hook = _do_nothing
        self._after_rebalance: Hook = _do_nothing
        self.subscription = subscription
        self.group_metadata: ConsumerGroupMetadata | None = None
        """Who we were in the group when the last batch came; None without a group."""
        self.positions = Positions()
        self.rebalances = 0
        self.connected = True
        self.rebalance_lock = asyncio.Lock()
        """Held by who works on a batch that is to be committed: a rebalance waits for it."""

    async def start(self) -> None:
        """Connect, and go to where reading starts."""
        await self._consumer.start()
        await self._ends.begin(self._partitions)
        await self._accept_assignment()

    async def batches(
        self,
        stop: asyncio.Event,
        *,
        before_rebalance: Hook = _do_nothing,
        after_rebalance: Hook = _do_nothing,
        max_messages: int | None = None,
    ) -> AsyncGenerator[list[Message], None]:
        """Yield messages as they come, in order within a partition, until ``stop`` or the end.

        A batch is empty when nothing has come for ``POLL_INTERVAL``; a lost connection is waited
        for.

        :param before_rebalance: called when partitions are about to go to another member.
        :param after_rebalance: called when partitions have been assigned, before messages come.
        :param max_messages: in a batch; None is no limit.
        """
        wait = {"timeout_ms": int(POLL_INTERVAL * 1000), "max_records": max_messages}
        self._before_rebalance, self._after_rebalance = before_rebalance, after_rebalance
        while not stop.is_set():
            assignment = self._assignments
            try:
                if self._ends.exist and await unless_stopped(stop, self._ends.reached(), grace=0):
                    return
                # It waits for the end of a rebalance itself, longer than it is told to.
                work = self._consumer.getmany(**wait)
                fetched = await unless_stopped(stop, work, grace=POLL_INTERVAL)
                if not self._is_accepted:
                    # What was fetched before is another member's now, or comes again.
                    fetched = {}
                    if self._consumer.assignment_key is self._accepted:
                        await self.on_partitions_revoked(())
                    await self._accept_assignment()
                with suppress(kafka_errors.KafkaTimeoutError):
                    await self._report_missing()
            except TimeoutError:
                return
            self.group_metadata = self._consumer.group_metadata(assignment)
            batch = self._taken(fetched)
            self.positions.reached(self._consumer.positions_before(self._ends.of))
            if not batch:
                await self.commit(self.positions.to_move(self.assignment()))
            yield batch
            self._progress(len(batch), self._ends.left(self.assignment(), self.positions.read))

    def _taken(self, fetched: dict[TopicPartition, list[ConsumerRecord]]) -> list[Message]:
        batch: list[Message] = []
        for partition, records in fetched.items():
            self._starts.setdefault(partition, records[0].offset)
            self.positions.read[partition] = records[-1].offset + 1
            end = self._ends.of(partition)
            messages = [Message(*_fields(each)) for each in records if each.offset < end]
            self.positions.given_out(partition.topic, messages)
            batch += messages
        return batch

    @property
    def _is_accepted(self) -> bool:
        """Whether assignment and topics are still those that were accepted."""
        assignment = self._consumer.assignment_key
        return assignment is self._accepted and not self._consumer.replaced_topics()

    async def _accept_assignment(self) -> None:
        """Prepare new partitions, of which no messages come until then.

        This is not done in aiokafka's callback, since no heartbeats are sent until that returns.
        """
        while not self._is_accepted:
            self._accepted = self._consumer.assignment_key
            self.rebalances += 1
            self._starts.clear()
            try:
                await self._seek_to_start()
            except kafka_errors.IllegalStateError:
                # They are another member's meanwhile.
                pass
            except kafka_errors.KafkaTimeoutError:
                self._accepted = None
                continue
            await self._after_rebalance()
        self._consumer.resume(*self._consumer.assignment())

    async def _seek_to_start(self) -> None:
        """Seek to where each partition continues or, if it is new, starts.

        The start is committed for the group, or a rebalance before the first commit would start
        elsewhere. A topic that was deleted and recreated starts at its beginning.

        :raises IllegalStateError: a partition is another member's meanwhile.
        """
        assigned = self._consumer.assignment()
        self._consumer.pause(*assigned)
        self._replaced |= self._consumer.accept_topics()
        committed, read = await self.committed(), self.positions.read
        known = {each: at for each, (at, _) in committed.items()}
        if self.subscription.group is None:
            known = {each: read[each] for each in read if each.topic not in self._replaced}
        self.positions.done(committed)
        new = assigned - known.keys()
        anew = {each for each in new if each.topic in self._replaced}
        appeared = new.difference(self._partitions) | anew
        starts = await start_offsets(self._consumer, sorted(appeared), "earliest")
        there = sorted(new - appeared)
        starts |= await start_offsets(self._consumer, there, self.subscription.start)
        offsets: Offsets = {each: ((starts | known)[each], "") for each in assigned}
        if self.subscription.resumption is not None:
            offsets |= {each: committed[each] for each in assigned & committed.keys()}
            begins = await self._consumer.beginning_offsets(assigned) if assigned else {}
            offsets = self.subscription.resumption.resume(offsets, begins)
            starts |= {each: at for each, (at, _) in (offsets.items() - committed.items())}
        for each in assigned:
            self._seek(each, offsets[each][0])
        await self.commit({each: offsets[each] for each in starts})
        if anew:
            await self._ends.begin(anew)
            topics = ", ".join(sorted({each.topic for each in anew}))
            self._notice(f"{topics} was deleted and recreated: it is read from its beginning")
        self._replaced.clear()

    async def _report_missing(self) -> None:
        """Report partitions from which messages are gone, so that reading continued elsewhere."""
        for partition, at in self._consumer.pop_out_of_range().items():
            begins = await self._consumer.beginning_offsets([partition])
            where = f"{partition.topic}[{partition.partition}]"
            if (deleted := begins[partition] - at) > 0:
                text = f"{where}: {deleted} offsets were deleted before they were read"
            else:
                await self._ends.begin([partition])
                if self.subscription.resumption is not None:
                    self.subscription.resumption.read_from_beginning(partition)
                text = f"{where} ends before {at}, where it was read: it is read from its beginning"
            self._notice(Event(text, **partition._asdict(), offset=at))

    def is_outdated(self, metadata: ConsumerGroupMetadata | None) -> bool:
        """Return whether partitions have been reassigned since, and so are read again."""
        return metadata is not None and metadata.assignment != self._assignments

    async def rewind(self) -> None:
        """Go back to the group's offsets, to read again what was not finished."""
        committed = await self.committed()
        for partition in self._consumer.assignment():
            start = committed.get(partition, (self._starts.get(partition), ""))[0]
            if start is not None:
                self._seek(partition, start)
        self.positions.done(committed)

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        self._consumer.seek(partition, offset)
        self.positions.seek(partition, offset)

    async def committed(self) -> Offsets:
        """Return the group's offsets of all partitions, and the text kept with each.

        Those of a topic that was deleted and recreated are not offsets of this one, which is read
        from its beginning.
        """
        if self.subscription.group is None:
            return {}
        partitions = self._consumer.all_partitions()
        found = await unless_stopped(self._stop, self._consumer.committed_offsets(partitions))
        offsets: Offsets = {}
        for partition, at in found.items():
            id_, text = id_and_text(at.metadata or "")
            if id_ in (None, self._consumer.topic_ids.get(partition.topic, id_)):
                offsets[partition] = (at.offset, text)
            else:
                self._replaced.add(partition.topic)
        return offsets

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that are read."""
        return set(self._consumer.assignment())

    async def keep(
        self, text: Callable[[TopicPartition, int], str], partitions: Collection[TopicPartition]
    ) -> None:
        """Store a text with the group's offsets of partitions that have none yet.

        The offsets stay where reading began: nothing that has been read counts as done. Nothing
        is stored if partitions have been reassigned since the last batch.
        """
        at: Offsets = {}
        # They may be another member's meanwhile.
        with suppress(kafka_errors.IllegalStateError):
            for each in partitions:
                if each in self._starts:
                    offset = self._starts[each]
                else:
                    offset = await unless_stopped(self._stop, self._consumer.position(each))
                at[each] = (offset, text(each, offset))
            if self.group_metadata is not None and not self.is_outdated(self.group_metadata):
                await self.commit(at)

    async def commit(self, offsets: Offsets) -> None:
        """Remember for the group that everything before ``offsets`` is done.

        A batch that lost its partitions to another member meanwhile will be read again by that one.
        """
        if self.subscription.group is not None and offsets:
            metadata = self._consumer.group_metadata(self._assignments)
            assert metadata is not None
            moved = self.positions.beyond(offsets)
            with suppress(kafka_errors.CommitFailedError, kafka_errors.IllegalStateError):
                await unless_stopped(self._stop, self._consumer.commit(metadata.kept(moved)))
                self.positions.moved(moved)

    def lags(self) -> dict[TopicPartition, int]:
        """Return each partition's number of messages that are not done, as of its last fetch."""
        return self.positions.lags(self._consumer.ends())

    def unready(self) -> str:
        """Return why nothing can be read; empty if all is well, even without a partition."""
        return self._consumer.unready(self.connected)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Wait until the current batch is finished before its partitions go elsewhere."""
        async with self.rebalance_lock:
            await self._before_rebalance()
            self._assignments += 1

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Fetch nothing of new partitions until they are accepted."""
        self._consumer.pause(*assigned)


@asynccontextmanager
async def subscribe(
    connection: Connection,
    subscription: Subscription,
    *,
    client_of: ClientOf = consumer_client,
    stop: asyncio.Event | None = None,
    notice: Notice = lambda text: None,
    progress: Progress = lambda came, left: None,
) -> AsyncGenerator[Consumer, None]:
    """Give a consumer of a subscription's messages.

    :param client_of: opens the client that reads, given the connection and the group's settings.
    :param stop: also ends the wait for the group's coordinator.
    :param notice: called with a line for the user, also when the connection to Kafka is lost.
    :raises TopicError: a topic does not exist.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    stop = stop or asyncio.Event()
    names = subscription.topics
    async with client_of(connection, subscription.member_settings()) as client:
        counts = await with_failover(client, client.partition_counts())
        found = existing_topics(counts, names, connection)
        if not found:
            matches = f"no topic matches {', '.join(names)}"
            if subscription.exit_on_eof:
                raise TopicError(matches, where=connection.bootstrap, todo="check the name")
            notice(info(f"{matches}: waiting for one"))
        partitions = [TopicPartition(topic, n) for topic in found for n in range(found[topic])]
        consumer = Consumer(client, subscription, partitions, stop, notice, progress)
        kept = [f"{name}{client.kept_suffix}" for name in names]
        if any(map(is_pattern, names)):
            client.subscribe(pattern=topic_pattern(kept), listener=consumer)
        else:
            client.subscribe(kept, listener=consumer)
        async with asyncio.timeout(JOIN_TIMEOUT):
            try:
                await unless_stopped(stop, consumer.start(), grace=0)
            except TimeoutError:
                if not stop.is_set():
                    raise
        told = partial(setattr, consumer, "connected")
        async with connection_reports(lambda: client.is_connected, notice, told):
            yield consumer
