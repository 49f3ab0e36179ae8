"""Topics: what is there, and making what is missing."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from aiokafka import errors as kafka_errors
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from alertstream.errors import TopicError, UsageError
from alertstream.kafka._aiokafka.clients import KafkaAdminClient
from alertstream.kafka.connection import CONNECT_TIMEOUT, POLL_INTERVAL, Connection
from alertstream.kafka.error_mapping import admin_client, mapped
from alertstream.kafka.topics import (
    HEADER_ALLOWANCE,
    MAX_MESSAGE,
    Topic,
    TopicLayout,
    existing_topics,
    topic_pattern,
)

T = TypeVar("T")

MAX_REPLICAS = 3


async def _answer(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what Kafka answers; a broker that has just died is not the only one to ask."""
    async with asyncio.timeout(CONNECT_TIMEOUT):
        while True:
            try:
                return await ask()
            except kafka_errors.KafkaError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(POLL_INTERVAL)


async def topics(connection: Connection) -> dict[str, int]:
    """Return how many partitions each topic has.

    :raises BrokerError: Kafka cannot be reached within ``CONNECT_TIMEOUT``, or refuses.
    """
    async with admin_client(connection) as admin:
        return await _partitions(admin)


async def _partitions(admin: KafkaAdminClient) -> dict[str, int]:
    # All topics are asked for: to ask for one that is missing makes it, on many brokers.
    described = await _answer(admin.describe_topics)
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def require_topics(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """Return how many partitions each of the topics has, and of those that match a pattern.

    :raises TopicError: one of them does not exist; of a pattern, none has to.
    """
    return existing_topics(await topics(connection), names, connection)


async def make_topics(
    connection: Connection, names: Sequence[str], layout: TopicLayout
) -> dict[str, Topic]:
    """Make those of the topics that are missing; return all of them by name.

    :raises TopicError: one cannot be made.
    """
    async with admin_client(connection) as admin:
        there = await _partitions(admin)
        missing = [name for name in names if name not in there]
        if missing:
            brokers = (await _answer(admin.describe_cluster))["brokers"]
            replication = layout.replication or min(MAX_REPLICAS, len(brokers))
            config = {"max.message.bytes": str(MAX_MESSAGE + HEADER_ALLOWANCE)}
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
    connection: Connection, admin: KafkaAdminClient, names: Iterable[str]
) -> None:
    """Return when the brokers know of topics that the controller has made."""
    for _ in range(int(CONNECT_TIMEOUT / POLL_INTERVAL)):
        if set(names) <= (await _partitions(admin)).keys():
            return
        await asyncio.sleep(POLL_INTERVAL)
    raise TopicError("new topics do not appear", where=connection.bootstrap, todo="try again")


async def _largest_batches(admin: KafkaAdminClient, names: Iterable[str]) -> dict[str, int | None]:
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


async def has_committed(connection: Connection, group: str, names: Iterable[str]) -> bool:
    """Return whether a group remembers where to go on with one of the topics, names or patterns.

    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    async with admin_client(connection) as admin:
        offsets = await _answer(lambda: admin.list_consumer_group_offsets(group))
    pattern = topic_pattern(names)
    return any(pattern.match(each.topic) and at.offset >= 0 for each, at in offsets.items())
