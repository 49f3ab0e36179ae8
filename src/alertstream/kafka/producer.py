"""The producer: writes messages in batches, each acknowledged, in transactions or not."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from alertstream.errors import DeliveryError, Notice
from alertstream.kafka._aiokafka.batches import OVERHEAD, Batch
from alertstream.kafka._aiokafka.batches import TOO_LARGE as TOO_LARGE
from alertstream.kafka._aiokafka.batches import Records as Records
from alertstream.kafka._aiokafka.clients import Failures, KafkaProducer
from alertstream.kafka.clients import (
    connection_reports,
    failed_delivery,
    mapped_errors,
    stop_client,
    with_failover,
)
from alertstream.kafka.connection import TRANSACTION_TIMEOUT, Connection
from alertstream.kafka.messages import ConsumerGroupMetadata, Copy, Offsets
from alertstream.kafka.topics import Topic

DELIVERY_TIMEOUT = 120.0
"""Seconds without any acknowledgement after which messages count as not delivered."""
MAX_COPIES = 1000 * 1024
"""Bytes of copies in a batch, if the topic takes as many; a partition has one in flight."""
MAX_IN_FLIGHT = 32 * 1024 * 1024
"""Bytes of messages that wait for their acknowledgement."""
RETRY_INTERVAL = 1.0
"""Seconds from one attempt to reach Kafka to the next."""

KafkaError = kafka_errors.KafkaError
TooLargeError = kafka_errors.MessageSizeTooLargeError


class TopicLimitError(DeliveryError):
    """A topic does not take a batch of ``size`` bytes."""

    topic: str
    size: int


class _Window:
    """Bounds the bytes that wait for their acknowledgement to ``MAX_IN_FLIGHT``."""

    def __init__(self) -> None:
        self._taken = 0
        self._room = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Take ``size`` bytes as soon as there is room, as there always is for one batch."""
        while self._taken and self._taken + size > MAX_IN_FLIGHT:
            self._room.clear()
            await self._room.wait()
        self._taken += size

    def leave(self, size: int) -> None:
        """Give ``size`` bytes back."""
        self._taken -= size
        self._room.set()


class Producer:
    """Writes messages: each acknowledged by all replicas, and written once (idempotent).

    No more than ``MAX_IN_FLIGHT`` bytes wait for their acknowledgement: it bounds the memory, and a
    request to a broker, which refuses one of more than 100 MB.
    """

    def __init__(
        self,
        connection: Connection,
        compression: str,
        transactional_id: str | None,
        failures: Failures,
    ) -> None:
        self._connection = connection
        self._compression = compression
        self._transactional_id = transactional_id
        self._new_client = partial(
            KafkaProducer,
            failures,
            **connection.settings(),
            acks="all",
            enable_idempotence=True,
            transactional_id=transactional_id,
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT * 1000),
            # Right after a transaction's end, Kafka refuses what comes next for a moment.
            retry_backoff_ms=100 if transactional_id is None else 20,
        )
        self._client = self._new_client()
        self._window = _Window()
        self.is_broken = False
        """Whether Kafka has rejected a batch, and will reject all others until a restart."""
        self.connected = True

    def unready(self) -> str:
        """Return why nothing is written; empty if all is well."""
        return self._client.unready(self.connected)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to any broker."""
        return self._client.is_connected

    def grace(self) -> float:
        """Return how many seconds work in progress gets at a stop."""
        return self._client.grace()

    async def start(self) -> None:
        """Connect."""
        await with_failover(self._client, self._client.start())

    async def end(self) -> None:
        """Stop for good, and abort an open transaction, for which readers would wait."""
        if self._client.is_in_transaction:
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(self.grace()):
                    await self._client.abort_transaction()
        await stop_client(self._client)

    async def restart(self) -> None:
        """Start again as a new producer; an open transaction is aborted."""
        await stop_client(self._client)
        self._client = self._new_client()
        self._window = _Window()
        await self.start()
        self.is_broken = False

    async def restart_when_possible(self) -> None:
        """Start again as soon as Kafka can be reached, however long that takes."""
        while True:
            try:
                return await self.restart()
            except (KafkaError, TimeoutError):
                await asyncio.sleep(RETRY_INTERVAL)

    def records(self) -> Records:
        """Return records to fill, for a batch."""
        return Records(self._compression)

    async def send(self, topic: Topic, partition: int, records: Records) -> asyncio.Future[Any]:
        """Hand over a batch as soon as there is room for it; return its acknowledgement.

        :raises TooLargeError: the topic does not take so large a batch.
        :raises KafkaError: Kafka refuses.
        """
        batch = Batch(records, transactional=self._transactional_id is not None)
        size = batch.size()
        limit = topic.largest_batch or math.inf
        if size > limit and OVERHEAD + records.encoded[2] > limit:
            raise TooLargeError
        window = self._window
        await window.enter(size)
        try:
            # The client forgets topics that were not added explicitly.
            self._client.client._topics.add(topic.name)
            future = await self._accepted(batch, topic, partition)
        except BaseException:
            window.leave(size)
            raise
        future.add_done_callback(lambda done: self._answered(done, window, size))
        return future

    async def _accepted(self, batch: Batch, topic: Topic, partition: int) -> asyncio.Future[Any]:
        """Return a batch's acknowledgement once its turn has come, however long that takes."""
        while True:
            with suppress(kafka_errors.KafkaTimeoutError):
                future: asyncio.Future[Any] = await self._client.send_batch(
                    batch, topic.name, partition=partition
                )
                return future

    def _answered(self, done: asyncio.Future[Any], window: _Window, size: int) -> None:
        window.leave(size)
        if not done.cancelled() and (error := done.exception()) and window is self._window:
            self.is_broken |= not isinstance(error, TOO_LARGE)

    async def send_copies(self, copies: Iterable[Copy], topics: Mapping[str, Topic]) -> None:
        """Write copies, and return when all are acknowledged.

        A copy goes to the partition that it comes from, modulo its topic's number. Identical copies
        for many topics are encoded once.

        :param topics: the copies' topics, by name.
        :raises DeliveryError: one is not acknowledged within ``TRANSACTION_TIMEOUT``.
        """
        by_partition: dict[tuple[str, int], list[Copy]] = {}
        for copy in copies:
            partition = copy.message.partition % topics[copy.topic].partitions
            by_partition.setdefault((copy.topic, partition), []).append(copy)
        self._client._sender.add_partitions(TopicPartition(*each) for each in by_partition)
        encoded: dict[tuple[tuple[int, str | None], ...], Records] = {}
        sent = [
            asyncio.create_task(self._send_to_partition(topics[name], partition, group, encoded))
            for (name, partition), group in by_partition.items()
        ]
        try:
            # For a topic that is deleted meanwhile, aiokafka would wait for ever.
            async with asyncio.timeout(TRANSACTION_TIMEOUT):
                await asyncio.gather(*sent)
        except TimeoutError as error:
            raise self.failed(error, sum(map(len, by_partition.values()))) from error
        finally:
            # After a failure, none may run on into the next transaction.
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
        sizes: list[int] = []
        for batch in _batches(copies, topic.batch_size(MAX_COPIES)):
            contents = tuple((id(copy.message), copy.reason) for copy in batch)
            if contents not in encoded:
                encoded[contents] = self._encode(batch)
            sizes.append(encoded[contents].size)
            try:
                futures.append(await self.send(topic, partition, encoded[contents]))
            except KafkaError as error:
                raise self.failed(error, len(batch)) from error
        results = await asyncio.gather(*futures, return_exceptions=True)
        for result, size in zip(results, sizes, strict=True):
            if isinstance(result, BaseException):
                failure = self.failed(result, len(copies))
                if isinstance(result, TOO_LARGE):
                    failure = TopicLimitError(**vars(failure))
                    failure.topic, failure.size = topic.name, size
                raise failure

    def _encode(self, copies: Iterable[Copy]) -> Records:
        records = self.records()
        for copy in copies:
            message = copy.message
            # Kafka accepts an empty value, but not the lack of both value and key.
            nothing = None if message.key is not None else ()
            value = nothing if message.value is None else (message.value,)
            records.append(copy.timestamp, value, message.key, copy.headers())
        return records

    def failed(self, error: BaseException, count: int) -> DeliveryError:
        """Return the error that says why ``count`` messages were not acknowledged."""
        return failed_delivery(self._connection, error, count)

    async def send_and_commit(
        self,
        copies: Sequence[Copy],
        topics: Mapping[str, Topic],
        offsets: Offsets,
        metadata: ConsumerGroupMetadata,
    ) -> None:
        """Write copies and move the group's offsets in one transaction: all of it or nothing.

        After a failure, the producer must be restarted, which aborts the transaction.

        :param metadata: the group's member that moves them: nothing is written if its partitions
            have gone to another one.
        :raises DeliveryError: nothing of it is written.
        """
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT):
                await self._client.begin_transaction()
                async with _in_the_meantime(self._client.commit_offsets(offsets, metadata)):
                    await self.send_copies(copies, topics)
                await self._client.commit_transaction()
        except (TimeoutError, KafkaError, kafka_errors.IllegalOperation, AssertionError) as error:
            # The latter two are what aiokafka raises just after fencing.
            raise self.failed(error, len(copies)) from error


@asynccontextmanager
async def _in_the_meantime(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run work beside the context, and wait for it at the end; if the context fails, cancel it."""
    task = asyncio.create_task(work)
    try:
        yield
        await task
    finally:
        task.cancel()
        await asyncio.wait((task,))


def _batches(copies: Sequence[Copy], size: int) -> Iterator[list[Copy]]:
    """Yield the copies in order, in batches of about ``size`` bytes."""
    batch: list[Copy] = []
    room = size
    for copy in copies:
        if batch and copy.max_size > room:
            yield batch
            batch, room = [], size
        batch.append(copy)
        room -= copy.max_size
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

    :param compression: a name of :data:`alertstream.kafka._aiokafka.batches.CODECS`.
    :param transactional_id: makes it write in transactions only.
    :param notice: called with a line when the connection to Kafka is lost, and when it is restored.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    failures: Failures = {}
    async with mapped_errors(connection, failures, "Write"):
        made = Producer(connection, compression, transactional_id, failures)
        try:
            await made.start()
            told = partial(setattr, made, "connected")
            async with connection_reports(lambda: made.is_connected, notice, told):
                yield made
        finally:
            await made.end()
