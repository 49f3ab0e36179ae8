"""A log that several processes write to, and that all of them read in one order.

It is a topic's first partition: who appends to it learns what others have appended before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from alertstream.kafka._aiokafka.clients import Failures, KafkaConsumer, KafkaProducer
from alertstream.kafka.connection import (
    CONNECT_TIMEOUT,
    POLL_INTERVAL,
    TRANSACTION_TIMEOUT,
    Connection,
)
from alertstream.kafka.error_mapping import failed_delivery, mapped_errors
from alertstream.kafka.topics import MAX_MESSAGE
from alertstream.system.cancellation import SHUTDOWN_TIMEOUT


class Log:
    """Appends to a log, and reads it as far as that."""

    def __init__(self, connection: Connection, topic: str, failures: Failures) -> None:
        self.topic = topic
        self._connection = connection
        self._partition = TopicPartition(topic, 0)
        self._producer = KafkaProducer(
            failures, **connection.settings(), acks="all", max_request_size=MAX_MESSAGE
        )
        self._consumer = KafkaConsumer(
            failures,
            **connection.settings(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self.next = 0
        """The offset from which on it is still to be read."""

    async def start(self) -> None:
        """Connect; reading begins at the log's end."""
        await self._producer.start()
        await self._consumer.start()
        self._consumer.assign([self._partition])
        ends = await self._consumer.end_offsets([self._partition])
        self.seek(ends[self._partition])

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()
        await self._producer.stop()

    def seek(self, offset: int) -> None:
        """Read on from there, or from the oldest that Kafka has kept."""
        self._consumer.seek(self._partition, offset)
        self.next = offset

    async def append(self, value: bytes) -> list[tuple[int, bytes]]:
        """Append a value; return all that is new up to it, with itself, and the offset of each.

        :raises DeliveryError: it cannot be read again. It may have been written all the same.
        """
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT):
                written = await self._producer.send_and_wait(self.topic, value, partition=0)
                return await self._read_to(written.offset)
        except (TimeoutError, kafka_errors.KafkaError) as error:
            raise failed_delivery(self._connection, error, 1, "claims") from error

    async def _read_to(self, offset: int) -> list[tuple[int, bytes]]:
        begin, found = self.next, []
        try:
            while self.next <= offset:
                fetched = await self._consumer.getmany(timeout_ms=int(POLL_INTERVAL * 1000))
                for message in fetched.get(self._partition, ()):
                    found.append((message.offset, message.value or b""))
                    self.next = message.offset + 1
        except BaseException:
            self.seek(begin)
            raise
        return found


@asynccontextmanager
async def log(connection: Connection, topic: str) -> AsyncIterator[Log]:
    """Give the log that is in a topic.

    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    failures: Failures = {}
    async with mapped_errors(connection, failures):
        opened = Log(connection, topic, failures)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await opened.start()
            yield opened
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                    await opened.stop()
