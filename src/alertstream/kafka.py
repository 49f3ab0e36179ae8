"""The one owner of aiokafka: topics, producers, and streams of messages."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias, TypeVar

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient

from alertstream.connection import Connection, failed_delivery, mapped, mapped_errors
from alertstream.errors import DeliveryError, TopicError, UsageError
from alertstream.produce import use_lean_connections
from alertstream.records import CODECS, OVERHEAD, Batch, Records
from alertstream.stopping import STOP_LIMIT, unless
from alertstream.transactions import Membership, use_fenced_offsets

T = TypeVar("T")

LARGEST_MESSAGE = 10 * 1024 * 1024
"""Bytes of the largest message that the topics made here take."""
ROOM_FOR_HEADERS = 64 * 1024
"""Bytes that come on top of a message, such as the headers that a filter adds."""
CONNECT_LIMIT = 8.0
"""Seconds in which Kafka must answer at first."""
JOIN_LIMIT = 60.0
"""Seconds to become a member of a consumer group; one that vanished is waited for."""
DELIVERY_LIMIT = 120.0
"""Seconds without any acknowledgement after which messages count as not delivered."""
IN_FLIGHT = 32 * 1024 * 1024
"""Bytes of messages that wait for their acknowledgement."""
BATCH_SIZE = 256 * 1024
"""Bytes that go to a partition in one piece, if alerts are smaller than that."""
PARTITION_FETCH = 1024 * 1024
"""Bytes that are read from a partition in one piece; a larger message still comes whole."""
FETCH = 32 * 1024 * 1024
"""Bytes that are read from a broker in one piece, and so the memory that waits to be worked on."""
POLL = 0.2
"""Seconds between looks whether to stop, while nothing comes."""
LOST_AFTER = 2.0
"""Seconds without any connection to a broker after which the user is told."""
RETRY = 1.0
"""Seconds from one attempt to reach Kafka to the next."""
TRANSACTION_LIMIT = 20.0
"""Seconds after which Kafka aborts a transaction whose producer is gone: until then, nothing that
comes behind it can be read."""
MOST_REPLICAS = 3

COMPRESSIONS = tuple(CODECS)

ORIGIN = "alertstream.origin"
"""Header of a message that was copied: topic, partition, offset, timestamp in ms of the first."""
REASON = "alertstream.reason"
"""Header of an undecodable message that was set aside: why."""

use_lean_connections()
use_fenced_offsets()

KafkaError = kafka_errors.KafkaError
TooLargeError = kafka_errors.MessageSizeTooLargeError
Message: TypeAlias = ConsumerRecord
"""A message as read: topic, partition, offset, timestamp (ms), key, value, headers."""
Offsets = dict[TopicPartition, tuple[int, str]]
"""Where each partition goes on, with what is to be kept with that (the commit's metadata)."""
Notice = Callable[[str], None]
"""Takes a line for the user."""


@dataclass(frozen=True)
class TopicLayout:
    """How a topic is made: None for ``replication`` is three, or as many as there are brokers."""

    partitions: int = 4
    replication: int | None = None


@dataclass(frozen=True)
class Topic:
    """A topic to write to.

    :param largest_batch: bytes of a batch that it takes (``max.message.bytes``); None is unknown,
        as without the right to ask for it.
    """

    name: str
    partitions: int
    largest_batch: int | None = None

    @property
    def batch_size(self) -> int:
        """Bytes of records to collect for a batch, if they are smaller than that."""
        return min(BATCH_SIZE, (self.largest_batch or BATCH_SIZE) - OVERHEAD)


@asynccontextmanager
async def _admin(connection: Connection) -> AsyncIterator[AIOKafkaAdminClient]:
    limit = int(CONNECT_LIMIT * 1000)
    with mapped_errors(connection):
        admin = AIOKafkaAdminClient(**connection.settings(), request_timeout_ms=limit)
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                await admin.start()
            yield admin
        finally:
            await admin.close()


async def _answer(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what Kafka answers; a broker that has just died is not the only one to ask."""
    async with asyncio.timeout(CONNECT_LIMIT):
        while True:
            try:
                return await ask()
            except KafkaError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(POLL)


async def topics(connection: Connection) -> dict[str, int]:
    """Return how many partitions each topic has.

    :raises BrokerError: Kafka cannot be reached within ``CONNECT_LIMIT``, or refuses.
    """
    async with _admin(connection) as admin:
        return await _partitions(admin)


async def _partitions(admin: AIOKafkaAdminClient) -> dict[str, int]:
    # All topics are asked for: to ask for one that is missing makes it, on many brokers.
    described = await _answer(admin.describe_topics)
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def require_topics(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """Return how many partitions each of the topics has.

    :raises TopicError: one of them is not there.
    """
    there = await topics(connection)
    for name in names:
        if name not in there:
            known = sorted(topic for topic in there if not topic.startswith("_"))
            hidden = ", or no right to see it" if connection.username else ""
            raise TopicError(
                f"there is no topic {name}{hidden}",
                where=connection.bootstrap,
                todo=f"topics there: {', '.join(known[:10])}" if known else "send to it first",
            )
    return {name: there[name] for name in names}


async def make_topics(
    connection: Connection, names: Sequence[str], layout: TopicLayout
) -> dict[str, Topic]:
    """Make those of the topics that are missing; return all of them by name.

    :raises TopicError: one cannot be made.
    """
    async with _admin(connection) as admin:
        there = await _partitions(admin)
        missing = [name for name in names if name not in there]
        if missing:
            brokers = (await _answer(admin.describe_cluster))["brokers"]
            replication = layout.replication or min(MOST_REPLICAS, len(brokers))
            config = {"max.message.bytes": str(LARGEST_MESSAGE + ROOM_FOR_HEADERS)}
            new = [
                NewTopic(name, layout.partitions, replication, topic_configs=config)
                for name in missing
            ]
            try:
                _check_made(connection, await _answer(lambda: admin.create_topics(new)))
            except struct.error as error:
                raise UsageError(f"no topic has {layout.partitions} partitions") from error
            await _until_there(connection, admin, missing)
        limits = await _largest_batches(admin, names)
    return {
        name: Topic(name, there.get(name, layout.partitions), limits.get(name)) for name in names
    }


async def _until_there(
    connection: Connection, admin: AIOKafkaAdminClient, names: Iterable[str]
) -> None:
    """Return when the brokers know of topics that the controller has made."""
    for _ in range(int(CONNECT_LIMIT / POLL)):
        if set(names) <= (await _partitions(admin)).keys():
            return
        await asyncio.sleep(POLL)
    raise TopicError("new topics do not appear", where=connection.bootstrap, todo="try again")


async def _largest_batches(
    admin: AIOKafkaAdminClient, names: Iterable[str]
) -> dict[str, int | None]:
    wanted = [
        ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": ""}) for name in names
    ]
    limits: dict[str, int | None] = {}
    for response in await _answer(lambda: admin.describe_configs(wanted)):
        for _, _, _, name, entries in response.resources:
            limits[name] = next((int(value) for _, value, *_ in entries), None)
    return limits


def _check_made(connection: Connection, response: Any) -> None:
    for topic, code, message in response.topic_errors:
        error = kafka_errors.for_code(code)
        if error in (kafka_errors.NoError, kafka_errors.TopicAlreadyExistsError):
            continue
        if error is kafka_errors.TopicAuthorizationFailedError:
            raise mapped(connection, error(topic))
        raise TopicError(
            f"the topic {topic} cannot be made ({message or error.description})",
            where=connection.bootstrap,
            todo="choose another name, --partitions or --replication",
        )


class Copy(NamedTuple):
    """A message on its way to another topic: the same bytes, key and timestamp."""

    topic: str
    message: Message
    reason: str | None = None

    def append_to(self, records: Records) -> None:
        """Add it to the records of a batch."""
        value = self.message.value
        # A message without both value and key cannot be written again, but an empty one can.
        parts = (value,) if value is not None else () if self.message.key is None else None
        records.append(self.message.timestamp, parts, self.message.key, self._headers())

    def _headers(self) -> list[tuple[str, bytes]]:
        """Return those it had, where it came from, and why it was set aside."""
        message = self.message
        headers = [each for each in message.headers if each[0] != REASON]
        if not any(name == ORIGIN for name, _ in headers):
            names = ("topic", "partition", "offset", "timestamp")
            origin = {name: getattr(message, name) for name in names}
            headers.append((ORIGIN, json.dumps(origin).encode()))
        if self.reason:
            headers.append((REASON, self.reason.encode()))
        return headers


class _Window:
    """Bounds the bytes that wait for their acknowledgement to ``IN_FLIGHT``."""

    def __init__(self) -> None:
        self._taken = 0
        self._room = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Take ``size`` bytes, as soon as there is room for them; there always is for one."""
        while self._taken and self._taken + size > IN_FLIGHT:
            self._room.clear()
            await self._room.wait()
        self._taken += size

    def leave(self, size: int) -> None:
        """Give ``size`` bytes back."""
        self._taken -= size
        self._room.set()


class Producer:
    """Writes messages: each acknowledged by all replicas, and written once (idempotent).

    No more than ``IN_FLIGHT`` bytes wait for their acknowledgement: it bounds the memory, and a
    request to a broker, which refuses one of more than 100 MB.
    """

    def __init__(
        self, connection: Connection, compression: str, settings: Mapping[str, Any]
    ) -> None:
        self._connection = connection
        self._compression = compression
        self._settings = settings
        self._client = AIOKafkaProducer(**settings)
        self._window = _Window()
        self._broken = False

    @property
    def client(self) -> AIOKafkaClient:
        """What holds the connections."""
        return self._client.client

    async def start(self) -> None:
        """Connect."""
        async with asyncio.timeout(CONNECT_LIMIT):
            await self._client.start()

    async def stop(self) -> None:
        """Wait for what is in flight, as long as ``STOP_LIMIT``, and disconnect."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_LIMIT):
                await self._client.stop()

    async def end(self) -> None:
        """Stop for good: a transaction that is under way is aborted, or readers wait for it."""
        transactional = self._settings["transactional_id"] is not None
        if transactional and self._client._txn_manager.is_in_transaction():
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(STOP_LIMIT):
                    await self._client.abort_transaction()
        await self.stop()

    async def restart(self) -> None:
        """Start anew, as another producer; a transaction that was under way is aborted."""
        await self.stop()
        self._client = AIOKafkaProducer(**self._settings)
        self._window = _Window()
        await self.start()
        self._broken = False

    async def mend(self) -> None:
        """Start anew if Kafka has refused a message, while none is in flight.

        An idempotent producer's messages are numbered: behind one that was refused there is a gap,
        and Kafka takes nothing more of that producer.
        """
        if self._broken:
            await self.restart()

    async def restart_when_possible(self) -> None:
        """Start anew as soon as Kafka can be reached, however long that takes."""
        while True:
            try:
                return await self.restart()
            except (KafkaError, TimeoutError):
                await asyncio.sleep(RETRY)

    def records(self) -> Records:
        """Return records to fill, for a batch."""
        return Records(self._compression)

    async def send(self, topic: Topic, partition: int, records: Records) -> asyncio.Future[Any]:
        """Hand over a batch as soon as there is room for it; return its acknowledgement.

        :raises TooLargeError: the topic does not take so large a batch.
        :raises KafkaError: the brokers have not taken anything for as long as a request may last.
        """
        batch = Batch(records, transactional=self._settings["transactional_id"] is not None)
        size = batch.size()
        if topic.largest_batch and size > topic.largest_batch and self._compression == "none":
            raise TooLargeError
        window = self._window
        await window.enter(size)
        try:
            # A topic that the client knows by chance is forgotten with the next one it asks for.
            self.client._topics.add(topic.name)
            future: asyncio.Future[Any] = await self._client.send_batch(
                batch, topic.name, partition=partition
            )
        except BaseException:
            window.leave(size)
            raise
        future.add_done_callback(lambda done: self._answered(done, window, size))
        return future

    def _answered(self, done: asyncio.Future[Any], window: _Window, size: int) -> None:
        window.leave(size)
        if not done.cancelled() and done.exception() and window is self._window:
            self._broken = True

    async def send_copies(self, copies: Iterable[Copy], topics: Mapping[str, Topic]) -> None:
        """Write copies, and return when all are acknowledged.

        A copy goes to the partition that it comes from, as far as its topic has as many. What goes
        to many topics alike is encoded once.

        :param topics: the copies' topics, by name.
        :raises DeliveryError: one is not acknowledged.
        """
        by_partition: dict[tuple[str, int], list[Copy]] = {}
        for copy in copies:
            partition = copy.message.partition % topics[copy.topic].partitions
            by_partition.setdefault((copy.topic, partition), []).append(copy)
        encoded: dict[tuple[tuple[int, str | None], ...], Records] = {}
        sent = [
            asyncio.create_task(self._send_to_partition(topics[name], partition, group, encoded))
            for (name, partition), group in by_partition.items()
        ]
        try:
            await asyncio.gather(*sent)
        finally:
            # None of them may go on behind one that has failed, into what comes next.
            for each in sent:
                each.cancel()
            await asyncio.gather(*sent, return_exceptions=True)

    async def _send_to_partition(
        self,
        topic: Topic,
        partition: int,
        copies: Sequence[Copy],
        encoded: dict[tuple[tuple[int, str | None], ...], Records],
    ) -> None:
        futures: list[asyncio.Future[Any]] = []
        for batch in _batches(copies, topic.batch_size):
            contents = tuple((id(copy.message), copy.reason) for copy in batch)
            if contents not in encoded:
                encoded[contents] = self.records()
                for copy in batch:
                    copy.append_to(encoded[contents])
            try:
                futures.append(await self.send(topic, partition, encoded[contents]))
            except KafkaError as error:
                raise self.failed(error, len(batch)) from error
        results = await asyncio.gather(*futures, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise self.failed(errors[0], len(copies))

    def failed(self, error: BaseException, count: int) -> DeliveryError:
        """Return the error that says why ``count`` messages were not acknowledged."""
        return failed_delivery(self._connection, error, count)

    async def send_and_commit(
        self,
        copies: Sequence[Copy],
        topics: Mapping[str, Topic],
        offsets: Offsets,
        membership: Membership,
    ) -> None:
        """Write copies and move the group's offsets in one transaction: all of it or nothing.

        Where it fails, the producer must be started anew, which aborts what was begun.

        :param membership: who moves them: nothing is written if the group does not know it so any
            more, because another member has the partitions.
        :raises DeliveryError: nothing of it is written.
        """
        try:
            # Of a topic that is deleted meanwhile, aiokafka would wait for ever.
            async with asyncio.timeout(TRANSACTION_LIMIT):
                await self._client.begin_transaction()
                await self.send_copies(copies, topics)
                await self._client.send_offsets_to_transaction(offsets, membership)
                await self._client.commit_transaction()
        except (TimeoutError, KafkaError, kafka_errors.IllegalOperation, AssertionError) as error:
            # The latter two are aiokafka's for one that was fenced a moment ago.
            raise self.failed(error, len(copies)) from error


@asynccontextmanager
async def _watched(client: Callable[[], AIOKafkaClient], notice: Notice) -> AsyncIterator[None]:
    """Say so when there is no connection to any broker any more, and when there is one again."""
    watching = asyncio.create_task(_watch(client, notice))
    try:
        yield
    finally:
        watching.cancel()


async def _watch(client: Callable[[], AIOKafkaClient], notice: Notice) -> None:
    lost_since: float | None = None
    told = False
    while True:
        await asyncio.sleep(POLL)
        now = time.monotonic()
        if any(connection.connected() for connection in client()._conns.values()):
            if told:
                notice("Kafka is there again")
            lost_since, told = None, False
        elif lost_since is None:
            lost_since = now
        elif not told and now - lost_since > LOST_AFTER:
            notice("no connection to Kafka: trying until it is there again")
            told = True


def _batches(copies: Sequence[Copy], size: int) -> Iterator[list[Copy]]:
    """Yield the copies in order, in batches of about ``size`` bytes."""
    batch: list[Copy] = []
    room = size
    for copy in copies:
        length = len(copy.message.value or b"") + ROOM_FOR_HEADERS // 64
        if batch and length > room:
            yield batch
            batch, room = [], size
        batch.append(copy)
        room -= length
    if batch:
        yield batch


@asynccontextmanager
async def producer(
    connection: Connection,
    *,
    compression: str = "none",
    transactional_id: str | None = None,
    notice: Notice = lambda text: None,
) -> AsyncIterator[Producer]:
    """Give a producer.

    :param compression: a name of :data:`alertstream.records.CODECS`.
    :param transactional_id: makes it write in transactions only.
    :param notice: told when there is no connection to Kafka any more, and when there is again.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    settings = connection.settings() | {
        "acks": "all",
        "enable_idempotence": True,
        "transactional_id": transactional_id,
        "transaction_timeout_ms": int(TRANSACTION_LIMIT * 1000),
    }
    with mapped_errors(connection):
        client = Producer(connection, compression, settings)
        try:
            await client.start()
            async with _watched(lambda: client.client, notice):
                yield client
        finally:
            await client.end()


@dataclass(frozen=True)
class Subscription:
    """What to read, and from where on.

    :param group: consumer group that remembers what was read; None remembers nothing.
    :param start: where to start without a remembered offset: ``earliest``, ``latest`` or a time.
    :param exit_on_eof: end where the partitions ended when reading began.
    :param instance: name under which the group knows its member again when it comes back after a
        crash, so that its partitions do not wait for it to be missed (KIP-345).
    """

    topics: tuple[str, ...]
    group: str | None = None
    start: str | datetime = "earliest"
    exit_on_eof: bool = False
    instance: str | None = None


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
        self._starts: dict[TopicPartition, int] = {}
        self._assigned_anew = subscription.group is None
        self._assignments = 0
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
        while not stop.is_set() and not await self._at_end():
            assignment = self._assignments
            try:
                # It waits for the end of a rebalance itself, longer than it is told to.
                work = self._consumer.getmany(timeout_ms=int(POLL * 1000))
                fetched = await unless(stop, work, grace=POLL)
                if self._assigned_anew:
                    # What was fetched before is another member's now, or comes again.
                    fetched = {}
                    await self._accept_assignment()
            except TimeoutError:
                return
            self.membership = self._membership(assignment)
            for partition, messages in fetched.items():
                self._starts.setdefault(partition, messages[0].offset)
            yield [each for messages in fetched.values() for each in self._wanted(messages)]

    async def _accept_assignment(self) -> None:
        """Do what is to be done before messages of new partitions come; until then, none do.

        Not where aiokafka tells of them: until that returns, it sends no heartbeats.

        :raises TimeoutError: Kafka has not told within ``STOP_LIMIT`` after the stop.
        """
        while self._assigned_anew:
            self._assigned_anew = False
            with suppress(kafka_errors.IllegalStateError):
                await self._keep_start()
            if self.after_rebalance is not None:
                await self.after_rebalance()
        self._consumer.resume(*self._consumer.assignment())

    async def _keep_start(self) -> None:
        """Go to the start of partitions without an offset, and have the group remember that one.

        Or else a rebalance before the first commit would begin them elsewhere.

        :raises IllegalStateError: they are another member's meanwhile.
        """
        start = self.subscription.start
        if start == "earliest":
            return
        new = sorted(self._consumer.assignment() - (await self.committed()).keys())
        if isinstance(start, datetime):
            await _seek_to_time(self._consumer, new, start)
        positions = {each: await self._consumer.position(each) for each in new}
        await self.commit({each: (offset, "") for each, offset in positions.items()})

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

        :raises TimeoutError: Kafka has not told within ``STOP_LIMIT`` after the stop.
        """
        committed = await self.committed()
        for partition in self._consumer.assignment():
            start = committed.get(partition, (self._starts.get(partition), ""))[0]
            if start is not None:
                self._consumer.seek(partition, start)

    async def committed(self) -> Offsets:
        """Return the group's offsets of all partitions, and what was kept with each.

        :raises TimeoutError: Kafka has not told within ``STOP_LIMIT`` after the stop.
        """
        if self.subscription.group is None:
            return {}
        # The topic may have got more partitions meanwhile.
        partitions = {*self._partitions, *self._consumer.assignment()}
        work = self._consumer._coordinator.fetch_committed_offsets(sorted(partitions))
        found = await unless(self._stop, work)
        return {partition: (at.offset, at.metadata or "") for partition, at in found.items()}

    def _wanted(self, messages: list[Message]) -> list[Message]:
        if self._ends is None:
            return messages
        end = self._ends.get(TopicPartition(messages[-1].topic, messages[-1].partition), 0)
        if messages[-1].offset < end:
            return messages
        return [message for message in messages if message.offset < end]

    async def _at_end(self) -> bool:
        if self._ends is None:
            return False
        try:
            for partition in self._consumer.assignment():
                work = self._consumer.position(partition)
                if await unless(self._stop, work, grace=0) < self._ends.get(partition, 0):
                    return False
        except (kafka_errors.IllegalStateError, TimeoutError):
            # The group is being rebalanced, that partition is another member's now; or the stop.
            return False
        return True

    async def commit(self, offsets: Offsets) -> None:
        """Remember for the group that everything before ``offsets`` is done.

        A batch that lost its partitions to another member meanwhile will be read again by that one.

        :raises TimeoutError: Kafka has not answered within ``STOP_LIMIT`` after the stop.
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
            self.stream._starts.clear()
            self.stream._assigned_anew = True
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
    partitions = [
        TopicPartition(topic, partition)
        for topic, count in (await require_topics(connection, subscription.topics)).items()
        for partition in range(count)
    ]
    stop = stop or asyncio.Event()
    with mapped_errors(connection):
        consumer = AIOKafkaConsumer(
            **connection.settings(),
            group_id=subscription.group,
            group_instance_id=subscription.instance,
            enable_auto_commit=False,
            auto_offset_reset="latest" if subscription.start == "latest" else "earliest",
            isolation_level="read_committed",
            fetch_max_bytes=FETCH,
            max_partition_fetch_bytes=PARTITION_FETCH,
            # To check them takes as long as all the rest of reading; librdkafka does not, either.
            check_crcs=False,
        )
        rebalance = _Rebalance()
        if subscription.group is None:
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
            async with _watched(lambda: consumer._client, notice):
                yield stream
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_LIMIT):
                    await stream.end()


async def _seek_to_time(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], start: datetime
) -> None:
    milliseconds = int(start.timestamp() * 1000)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
    # To seek to the end by name would leave what has been fetched from elsewhere meanwhile.
    ends = await consumer.end_offsets(partitions)
    for partition, at in found.items():
        consumer.seek(partition, ends[partition] if at is None else at.offset)


async def has_committed(connection: Connection, subscription: Subscription) -> bool:
    """Return whether the subscription's group remembers where to go on with one of its topics.

    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    group = subscription.group
    if group is None:
        return False
    async with _admin(connection) as admin:
        offsets = await _answer(lambda: admin.list_consumer_group_offsets(group))
    return any(each.topic in subscription.topics and at.offset >= 0 for each, at in offsets.items())
