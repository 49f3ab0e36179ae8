"""A log that several processes write to, and that all of them read in one order.

It is a topic's first partition: who appends to it learns what others have appended before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from alertstream.kafka._aiokafka.clients import KafkaConsumer, KafkaProducer
from alertstream.kafka.clients import failed_delivery, open_client
from alertstream.kafka.connection import POLL_INTERVAL, TRANSACTION_TIMEOUT, Connection
from alertstream.kafka.topics import MAX_MESSAGE


@dataclass
class Log:
    """Appends to a log, and reads it up to what was appended.

    :param next: the offset from which on it is still to be read.
    """

    connection: Connection
    partition: TopicPartition
    producer: KafkaProducer
    consumer: KafkaConsumer
    next: int

    def seek(self, offset: int) -> None:
        """Read on from there, or from the oldest that Kafka has kept."""
        self.consumer.seek(self.partition, offset)
        self.next = offset

    async def append(self, value: bytes) -> list[tuple[int, bytes]]:
        """Append a value; return all that is new up to it, with itself, and the offset of each.

        :raises DeliveryError: it cannot be read again. It may have been written all the same.
        """
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT):
                written = await self.producer.send_and_wait(
                    self.partition.topic, value, partition=0
                )
                return await self._read_to(written.offset)
        except (TimeoutError, kafka_errors.KafkaError) as error:
            raise failed_delivery(self.connection, error, 1, "claims") from error

    async def _read_to(self, offset: int) -> list[tuple[int, bytes]]:
        begin, found = self.next, []
        try:
            while self.next <= offset:
                fetched = await self.consumer.getmany(timeout_ms=int(POLL_INTERVAL * 1000))
                for message in fetched.get(self.partition, ()):
                    found.append((message.offset, message.value or b""))
                    self.next = message.offset + 1
        except BaseException:
            self.seek(begin)
            raise
        return found


@asynccontextmanager
async def log(connection: Connection, topic: str) -> AsyncIterator[Log]:
    """Give the log that is in a topic; reading begins at its end.

    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    partition = TopicPartition(topic, 0)
    writing = open_client(connection, KafkaProducer, acks="all", max_request_size=MAX_MESSAGE)
    reading = open_client(
        connection, KafkaConsumer, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    async with writing as producer, reading as consumer:
        consumer.assign([partition])
        ends = await consumer.end_offsets([partition])
        consumer.seek(partition, ends[partition])
        yield Log(connection, partition, producer, consumer, ends[partition])
