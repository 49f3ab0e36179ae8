"""A log that several processes write to, and that all of them read in one order.

It is a topic's first partition: a process that appends learns what others have appended before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from alertstream.errors import DeliveryError
from alertstream.kafka._aiokafka.clients import KafkaConsumer, KafkaProducer
from alertstream.kafka.clients import GROUP, failed_delivery, open_client
from alertstream.kafka.connection import POLL_INTERVAL, TRANSACTION_TIMEOUT, Connection
from alertstream.kafka.topics import MAX_MESSAGE


class LogReplacedError(DeliveryError):
    """A log was replaced or has lost its end: it must be read again from its beginning."""


@dataclass
class Log:
    """Appends to a log, and reads it up to what was appended.

    :param next: the next offset to read.
    :param is_empty: whether it was empty at first.
    """

    connection: Connection
    partition: TopicPartition
    producer: KafkaProducer
    consumer: KafkaConsumer
    next: int
    is_empty: bool

    @property
    def id(self) -> str:
        """Its topic's id, which a recreated topic does not have; empty if Kafka does not tell."""
        return self.consumer.topic_ids.get(self.partition.topic, b"").hex()

    def seek(self, offset: int) -> None:
        """Read on from there, or from the oldest that Kafka has kept."""
        self.consumer.seek(self.partition, offset)
        self.next = offset

    async def append(self, value: bytes) -> list[tuple[int, bytes]]:
        """Append a value; return what is new up to and including it, with the offset of each.

        :raises LogReplacedError: it was deleted and recreated, or has lost its end, and is at its
            beginning now.
        :raises DeliveryError: it cannot be read back. It may have been written nevertheless.
        """
        topic, right = self.partition.topic, "Write"
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT):
                if not self.consumer.partitions_for_topic(topic):
                    raise DeliveryError(f"{topic} was deleted: it is recreated", retriable=True)
                written = await self.producer.send_and_wait(topic, value, partition=0)
                right = "Read"
                found = await self._read_to(written.offset)
                if found is not None:
                    return found
                await self.refresh()
        except (TimeoutError, kafka_errors.KafkaError) as error:
            raise failed_delivery(self.connection, error, 1, "claims", right) from error
        self.consumer.accept_topics()
        self.seek(0)
        text = f"{topic} was deleted and recreated, or has lost its end: caps count what is there"
        raise LogReplacedError(text, retriable=True)

    async def refresh(self) -> None:
        """Learn whether it is there, and which one."""
        await self.consumer.refresh_topics()

    async def _read_to(self, offset: int) -> list[tuple[int, bytes]] | None:
        """Return what is new up to an offset; None if that is in another log, or has been cut."""
        begin, found = self.next, []
        if offset < begin:
            return None
        try:
            while self.next <= offset:
                fetched = await self.consumer.getmany(timeout_ms=int(POLL_INTERVAL * 1000))
                if self.consumer.replaced_topics() or await self._has_lost_its_end():
                    return None
                for message in fetched.get(self.partition, ()):
                    found.append((message.offset, message.value or b""))
                    self.next = message.offset + 1
        except BaseException:
            self.seek(begin)
            raise
        return found

    async def _has_lost_its_end(self) -> bool:
        missing = self.consumer.pop_out_of_range().get(self.partition, 0)
        # An offset out of range may also be before the oldest that Kafka has kept.
        return (
            missing > 0
            and missing > (await self.consumer.end_offsets([self.partition]))[self.partition]
        )


@asynccontextmanager
async def log(connection: Connection, topic: str) -> AsyncIterator[Log]:
    """Give the log that is in a topic; reading begins at its end.

    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    partition = TopicPartition(topic, 0)
    writing = open_client(connection, KafkaProducer, acks="all", max_request_size=MAX_MESSAGE)
    reading = open_client(connection, KafkaConsumer, auto_offset_reset="earliest", **GROUP)
    async with writing as producer, reading as consumer:
        consumer.assign([partition])
        begins = await consumer.beginning_offsets([partition])
        ends = await consumer.end_offsets([partition])
        consumer.accept_topics()
        consumer.seek(partition, ends[partition])
        is_empty = begins == ends
        yield Log(connection, partition, producer, consumer, ends[partition], is_empty)
