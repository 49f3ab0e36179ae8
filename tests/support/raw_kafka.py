"""Raw messages, topics and groups, without alertstream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from alertstream.avro.container.blocks import CONTAINER_MAGIC
from alertstream.reading.envelope import opened

T = TypeVar("T")


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
    """The encoded alerts of a topic, without header or container, sorted."""
    return sorted(
        opened(value)[1] if value.startswith(CONTAINER_MAGIC) else value[5:]
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
    async def create(admin: AIOKafkaAdminClient) -> None:
        await admin.create_topics([NewTopic(topic, partitions, replication, topic_configs=config)])

    _administer(broker, create)


def delete(broker: str, topic: str) -> None:
    _administer(broker, lambda admin: admin.delete_topics([topic]))


def add_partitions(broker: str, topic: str, count: int) -> None:
    """Have a topic with ``count`` partitions."""
    wanted = {topic: NewPartitions(count)}
    _administer(broker, lambda admin: admin.create_partitions(wanted))


def delete_before(broker: str, topic: str, offset: int) -> None:
    """Delete the messages of partition 0 before an offset, as retention does."""
    records = {TopicPartition(topic, 0): RecordsToDelete(before_offset=offset)}
    _administer(broker, lambda admin: admin.delete_records(records))


def commit(broker: str, group: str, topic: str, offset: int) -> None:
    """Move a group's offset in partition 0."""

    async def move() -> None:
        # By default it also commits, at its end, where it has read to.
        how = {"group_id": group, "enable_auto_commit": False}
        async with AIOKafkaConsumer(bootstrap_servers=broker, **how) as consumer:
            consumer.assign([TopicPartition(topic, 0)])
            await consumer.commit({TopicPartition(topic, 0): offset})

    asyncio.run(move())


def forget(broker: str, group: str) -> None:
    """Delete a group without members and its offsets, as Kafka does after a week."""

    async def delete_group(admin: AIOKafkaAdminClient) -> None:
        await admin._send_request(DeleteGroupsRequest([group]), await admin.find_coordinator(group))

    _administer(broker, delete_group)


def describe(broker: str, topic: str) -> dict[str, Any] | None:
    found = _administer(broker, lambda admin: admin.describe_topics())
    return next((each for each in found if each["topic"] == topic), None)


def committed(broker: str, group: str) -> dict[int, int]:
    """A group's committed offsets, by partition."""
    try:
        offsets = _administer(broker, lambda admin: admin.list_consumer_group_offsets(group))
    except GroupCoordinatorNotAvailableError:
        # Kafka keeps no offsets before its first group.
        return {}
    return {partition.partition: each.offset for partition, each in offsets.items()}


def members(broker: str, group: str) -> int:
    """The number of members of a group whose partitions are assigned."""
    try:
        state, found = _administer(broker, lambda admin: _members(admin, group))
    except GroupCoordinatorNotAvailableError:
        return 0
    return len(found) if state == "Stable" else 0


def dismiss(broker: str, group: str) -> None:
    """Remove killed members from a group, which Kafka itself does after ten seconds."""

    async def leave(admin: AIOKafkaAdminClient) -> None:
        coordinator = await admin.find_coordinator(group)
        for member in (await _members(admin, group))[1]:
            await admin._send_request(LeaveGroupRequest(group, member), coordinator)

    _administer(broker, leave)


async def _members(admin: AIOKafkaAdminClient, group: str) -> tuple[str, list[str]]:
    """A group's state, and the ids of its members."""
    (response,) = await admin.describe_consumer_groups([group])
    _, _, state, _, _, found, *_ = response.groups[0]
    return state, [member for member, *_ in found]


def _administer(broker: str, work: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
    async def connected() -> T:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker)
        await admin.start()
        try:
            return await work(admin)
        finally:
            await admin.close()

    return asyncio.run(connected())
