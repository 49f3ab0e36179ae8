"""A program with an aiokafka of its own uses both in one process."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tests.support.untouched import attributes, changed

from alertstream.kafka import producer as kafka
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.messages import Copy, next_offsets
from alertstream.kafka.subscription import Subscription
from alertstream.kafka.topics import TopicLayout


async def copy_with_aiokafka(broker: str, source: str, target: str, group: str) -> int:
    """Copy a topic in one transaction, as a program with a plain aiokafka does it."""
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=broker,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(bootstrap_servers=broker, transactional_id=group)
    async with consumer, producer:
        found = await consumer.getmany(timeout_ms=10_000)
        async with producer.transaction():
            for messages in found.values():
                for message in messages:
                    await producer.send_and_wait(target, message.value, partition=0)
            offsets = {at: messages[-1].offset + 1 for at, messages in found.items()}
            await producer.send_offsets_to_transaction(offsets, group)
    return await committed_offset(broker, TopicPartition(source, 0), group)


async def committed_offset(broker: str, partition: TopicPartition, group: str) -> int:
    """A group's offset: a plain client sees it some time after its transaction has ended."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        for _ in range(100):
            if offsets := await admin.list_consumer_group_offsets(group):
                return int(offsets[partition].offset)
            await asyncio.sleep(0.1)
        return -1
    finally:
        await admin.close()


async def copy_with_ours(connection: Connection, source: str, target: str, group: str) -> int:
    """Copy a topic in one transaction, as a filter does it."""
    subscription = Subscription((source,), group, exit_on_eof=True)
    topics = await make_topics(connection, [target], TopicLayout(1))
    count = 0
    async with (
        kafka.producer(connection, transactional_id=group) as producer,
        subscribe(connection, subscription) as consumer,
    ):
        async for batch in consumer.batches(asyncio.Event()):
            if batch and consumer.group_metadata:
                copies = [Copy(target, message) for message in batch]
                offsets = next_offsets(batch)
                await producer.send_and_commit(copies, topics, offsets, consumer.group_metadata)
                count += len(batch)
        committed = await consumer.committed()
    assert committed == {TopicPartition(source, 0): (count, "")}
    return count


def test_plain_transactions_work_beside_ours(kafka: str) -> None:
    connection = Connection(kafka)
    source, theirs, own = (f"{name}-{time.time_ns()}" for name in ("source", "theirs", "own"))

    async def main() -> list[int]:
        await make_topics(connection, [source, theirs], TopicLayout(1))
        async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
            for number in range(10):
                await producer.send_and_wait(source, b"%d" % number, partition=0)
        return await asyncio.gather(
            copy_with_aiokafka(kafka, source, theirs, f"{theirs}-group"),
            copy_with_ours(connection, source, own, f"{own}-group"),
        )

    before = attributes("aiokafka")
    assert asyncio.run(main()) == [10, 10]
    assert changed(before, attributes("aiokafka")) == []
