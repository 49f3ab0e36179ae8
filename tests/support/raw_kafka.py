"""Topics as Kafka has them: raw messages, read and written without alertstream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError

from alertstream.avro.blocks import CONTAINER_MAGIC, open_container_message


def read(broker: str, topic: str) -> list[Any]:
    """All committed messages of a topic, by partition and offset."""

    count = len((describe(broker, topic) or {"partitions": ()})["partitions"])
    assigned = [TopicPartition(topic, partition) for partition in range(count)]

    async def fetch() -> list[Any]:
        async with AIOKafkaConsumer(
            bootstrap_servers=broker, isolation_level="read_committed"
        ) as consumer:
            consumer.assign(assigned)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(assigned)
            found: list[Any] = []
            for partition in assigned:
                while await consumer.position(partition) < ends[partition]:
                    for messages in (await consumer.getmany(timeout_ms=1000)).values():
                        found += messages
            return sorted(found, key=lambda message: (message.partition, message.offset))

    return asyncio.run(fetch()) if assigned else []


def values(messages: Iterable[Any]) -> list[bytes]:
    return [message.value for message in messages]


def bodies(broker: str, topic: str) -> list[bytes]:
    """The alerts of a topic as they are encoded, without what is around them, sorted."""
    return sorted(
        open_container_message(value)[1] if value.startswith(CONTAINER_MAGIC) else value[5:]
        for value in values(read(broker, topic))
    )


def ends(broker: str, topic: str) -> dict[int, int]:
    """Where each partition of a topic ends."""
    count = len((describe(broker, topic) or {"partitions": ()})["partitions"])

    async def ask() -> dict[int, int]:
        async with AIOKafkaConsumer(bootstrap_servers=broker) as consumer:
            partitions = [TopicPartition(topic, number) for number in range(count)]
            found = await consumer.end_offsets(partitions)
            return {partition.partition: end for partition, end in found.items()}

    return asyncio.run(ask())


def write(broker: str, topic: str, messages: Iterable[bytes | None], **more: Any) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=broker, max_request_size=10**8) as producer:
            for message in messages:
                await producer.send_and_wait(topic, message, **more)

    asyncio.run(send())


def make(broker: str, topic: str, partitions: int = 1, replication: int = 1, **config: str) -> None:
    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker)
        await admin.start()
        try:
            new = NewTopic(topic, partitions, replication, topic_configs=config)
            await admin.create_topics([new])
        finally:
            await admin.close()

    asyncio.run(create())


def delete(broker: str, topic: str) -> None:
    async def remove() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker)
        await admin.start()
        try:
            await admin.delete_topics([topic])
        finally:
            await admin.close()

    asyncio.run(remove())


def describe(broker: str, topic: str) -> dict[str, Any] | None:
    async def ask() -> dict[str, Any] | None:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker)
        await admin.start()
        try:
            found = await admin.describe_topics()
        finally:
            await admin.close()
        return next((each for each in found if each["topic"] == topic), None)

    return asyncio.run(ask())


def committed(broker: str, group: str) -> dict[int, int]:
    """A group's committed offsets, by partition."""

    async def ask() -> dict[int, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        return {partition.partition: each.offset for partition, each in offsets.items()}

    return asyncio.run(ask())


def members(broker: str, group: str) -> int:
    """How many members a group has whose partitions are assigned."""

    async def ask() -> int:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker)
        await admin.start()
        try:
            (response,) = await admin.describe_consumer_groups([group])
        except GroupCoordinatorNotAvailableError:
            return 0
        finally:
            await admin.close()
        _, _, state, _, _, there, *_ = response.groups[0]
        return len(there) if state == "Stable" else 0

    return asyncio.run(ask())
