"""Asks Kafka about topics and consumer groups, and creates missing topics.

All raise :class:`BrokerError` if Kafka cannot be reached within ``CONNECT_TIMEOUT``, or refuses.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.metadata import MetadataRequest

from alertstream.errors import TopicError, UsageError
from alertstream.kafka._aiokafka.acls import KINDS as KINDS
from alertstream.kafka._aiokafka.acls import OPERATIONS as OPERATIONS
from alertstream.kafka._aiokafka.acls import Acl as Acl
from alertstream.kafka._aiokafka.acls import converge
from alertstream.kafka._aiokafka.clients import KafkaAdminClient, KafkaConsumer
from alertstream.kafka._aiokafka.requests.topics import MetadataWithIds
from alertstream.kafka.clients import admin_client, mapped, open_client, with_failover
from alertstream.kafka.connection import CONNECT_TIMEOUT, POLL_INTERVAL, Connection
from alertstream.kafka.topics import (
    HEADER_ALLOWANCE,
    MAX_MESSAGE,
    STAND_IN_SUFFIX,
    Topic,
    TopicLayout,
    existing_topics,
    is_topic_name,
    topic_pattern,
)

T = TypeVar("T")

MAX_REPLICAS = 3
_WRITE = 1 << 4
"""The right to write, as Kafka numbers them (``AclOperation``)."""
Lags = dict[str, dict[str, int]]
"""Messages that a group has not committed yet, by group and topic."""


async def _answer(admin: KafkaAdminClient, ask: Callable[[], Awaitable[T]]) -> T:
    """Return Kafka's answer, from another broker if the one asked has just died."""

    async def insist() -> T:
        while True:
            try:
                return await ask()
            except kafka_errors.KafkaError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(POLL_INTERVAL)

    return await with_failover(admin, insist())


async def topics(connection: Connection) -> dict[str, int]:
    """Return how many partitions each topic has."""
    async with admin_client(connection) as admin:
        return await _partitions(admin)


async def _partitions(admin: KafkaAdminClient) -> dict[str, int]:
    # Ask for all topics: on many brokers, asking for a missing one creates it.
    described = await _answer(admin, admin.describe_topics)
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def is_same_cluster(one: Connection, other: Connection) -> bool:
    """Return whether two addresses are of one Kafka cluster."""
    ids = []
    for connection in (one, other):
        async with admin_client(connection) as admin:
            ids.append((await _answer(admin, admin.describe_cluster))["cluster_id"])
    return len({*ids}) == 1


async def require_topics(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """Return the partition counts of topics, named or by pattern.

    :raises TopicError: a named topic does not exist; a pattern need not match any.
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
        if missing := [name for name in names if name not in there]:
            await _make(connection, admin, missing, layout)
        key = "max.message.bytes"
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name, {key: ""}) for name in names]
        limits = {
            name: next((int(value) for _, value, *_ in entries), None)
            for response in await _answer(admin, lambda: admin.describe_configs(wanted))
            for _, _, _, name, entries in response.resources
        }
    return {
        name: Topic(name, there.get(name, layout.partitions), limits.get(name)) for name in names
    }


async def writable_topics(connection: Connection, wanted: str) -> set[str]:
    """Return the topics that the user may write to, and ``wanted`` if it can be made.

    Nothing is made, or written.
    """
    request = MetadataWithIds(MetadataRequest(None), rights=True)
    new = [NewTopic(wanted, 1, 1)]
    async with admin_client(connection) as admin:
        metadata = await _answer(admin, lambda: admin._send_request(request))
        tried = await _answer(admin, lambda: admin.create_topics(new, validate_only=True))
    rights = getattr(metadata, "rights", {}).items()
    found = {name for name, allowed in rights if allowed & _WRITE and not name.startswith("_")}
    can_be_made = [code for _, code, *_ in tried.topic_errors] == [kafka_errors.NoError.errno]
    return found | ({wanted} if can_be_made else set())


async def make_stand_ins(connection: Connection, partitions: Mapping[str, int]) -> None:
    """Make or extend the stand-ins of topics that have these numbers of partitions.

    :raises TopicError: one cannot be made.
    """
    async with admin_client(connection) as admin:
        there = await _partitions(admin)
        for topic, count in partitions.items():
            name = f"{topic}{STAND_IN_SUFFIX}"
            if name not in there:
                await _make(connection, admin, [name], TopicLayout(count))
            elif there[name] < count:
                more = {name: NewPartitions(count)}
                try:
                    await _answer(admin, partial(admin.create_partitions, more))
                except kafka_errors.InvalidPartitionsError:
                    pass  # Another member may have done so.
                except kafka_errors.TopicAuthorizationFailedError as error:
                    raise mapped(connection, type(error)(name), "Alter") from error


async def _make(
    connection: Connection, admin: KafkaAdminClient, names: Collection[str], layout: TopicLayout
) -> None:
    """Make topics, and return when the brokers know of what the controller has made."""
    for name in names:
        if not is_topic_name(name):
            what = f"the topic {name or repr(name)} cannot be made (not a name for one)"
            todo = "choose another: letters, digits, . _ and - only, 249 at most"
            raise TopicError(what, where=connection.bootstrap, todo=todo)
    brokers = (await _answer(admin, admin.describe_cluster))["brokers"]
    replication = layout.replication or min(MAX_REPLICAS, len(brokers))
    config = {"max.message.bytes": str(MAX_MESSAGE + HEADER_ALLOWANCE)}
    new = [NewTopic(name, layout.partitions, replication, topic_configs=config) for name in names]
    try:
        _check_made(connection, await _answer(admin, lambda: admin.create_topics(new)))
    except struct.error as error:
        raise UsageError(f"no topic has {layout.partitions} partitions") from error
    for _ in range(int(CONNECT_TIMEOUT / POLL_INTERVAL)):
        if set(names) <= (await _partitions(admin)).keys():
            return
        if connection.has_rights:
            # A list of all topics leaves out those that are hidden from the user.
            for each in await _answer(admin, partial(admin.describe_topics, [*names])):
                hidden = kafka_errors.TopicAuthorizationFailedError
                if each["error_code"] == hidden.errno:
                    raise mapped(connection, hidden(each["topic"]), "Write")
        await asyncio.sleep(POLL_INTERVAL)
    raise TopicError("new topics do not appear", where=connection.bootstrap, todo="try again")


def _check_made(connection: Connection, response: Any) -> None:
    for topic, code, message in response.topic_errors:
        error = kafka_errors.for_code(code)
        if error in (kafka_errors.NoError, kafka_errors.TopicAlreadyExistsError):
            continue
        if error is kafka_errors.TopicAuthorizationFailedError:
            raise mapped(connection, error(topic), "Create")
        raise TopicError(
            f"the topic {topic} cannot be made ({message or error.description})",
            where=connection.bootstrap,
            todo="choose another name, --partitions or --replication",
        )


async def set_acls(connection: Connection, acls: Collection[Acl]) -> None:
    """Replace all rights by these."""
    async with admin_client(connection) as admin:
        await _answer(admin, lambda: converge(admin, acls))


async def has_committed(connection: Connection, group: str, names: Iterable[str]) -> bool:
    """Return whether a group has committed offsets of any of the topics, names or patterns."""
    async with admin_client(connection) as admin:
        offsets = await _answer(admin, lambda: admin.list_consumer_group_offsets(group))
    pattern = topic_pattern(names)
    return any(pattern.match(each.topic) and at.offset >= 0 for each, at in offsets.items())


async def may_use_group(connection: Connection, group: str) -> bool:
    """Return whether the user has a right to a group, which need not exist.

    Any broker is asked, not the group's coordinator: looking for that creates Kafka's own topic for
    offsets if there is none yet.
    """
    async with admin_client(connection) as admin:
        node = admin._client.get_random_node()
        describe = partial(admin.describe_consumer_groups, [group], node)
        (response,) = await _answer(admin, describe)
    ((code, *_),) = response.groups
    return bool(code != kafka_errors.GroupAuthorizationFailedError.errno)


@dataclass(frozen=True)
class Groups:
    """Asks Kafka for the lag of all groups of some topics.

    The lag is the distance from a group's offset to the partition's end, transaction markers
    included; without an offset, it is the whole partition.

    :param elsewhere: another cluster, whose groups read these topics through stand-ins there.
    """

    admin: KafkaAdminClient
    consumer: KafkaConsumer
    elsewhere: KafkaAdminClient | None = None

    async def _partitions(self, topics: list[str] | None = None) -> list[TopicPartition]:
        return [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in await self.admin.describe_topics(topics)
            for partition in topic["partitions"]
        ]

    async def ends(self, names: Collection[str]) -> dict[tuple[str, int], int]:
        """Return the current ends of the partitions of topics, named or by pattern.

        :raises KafkaError: Kafka did not answer.
        """
        pattern = topic_pattern(names)
        there = [each for each in await self._partitions() if pattern.match(each.topic)]
        ends = await self.consumer.end_offsets(there)
        return {(each.topic, each.partition): end for each, end in ends.items()}

    async def lags(self, topics: Collection[str]) -> Lags:
        """Return each group's lag by topic, of those groups that have read any of the topics.

        Groups that the user has no right to see are left out.

        :raises KafkaError: Kafka did not answer.
        """
        try:
            offsets = await _offsets(self.admin, topics)
            if self.elsewhere is not None:
                there = await _offsets(self.elsewhere, topics, STAND_IN_SUFFIX)
                for group, of_group in there.items():
                    offsets[group] = offsets.get(group, {}) | of_group
            partitions = await self._partitions(sorted(topics)) if offsets else []
            begins = await self.consumer.beginning_offsets(partitions)
            ends = await self.consumer.end_offsets(partitions)
        except (OSError, RuntimeError) as error:
            # uvloop raises this on a connection that was just closed.
            raise kafka_errors.KafkaConnectionError(str(error)) from error
        lags: Lags = {}
        for group, of_group in offsets.items():
            read = {each.topic for each in of_group}
            mine = lags[group] = dict.fromkeys(sorted(read), 0)
            for each, end in ends.items():
                if each.topic in read:
                    mine[each.topic] += max(end - of_group.get(each, begins[each]), 0)
        return lags


async def _offsets(
    admin: KafkaAdminClient, topics: Collection[str], suffix: str = ""
) -> dict[str, dict[TopicPartition, int]]:
    """Return the offsets of groups in topics, which are kept in those with ``suffix``."""
    kept_for = {f"{topic}{suffix}": topic for topic in topics}
    offsets: dict[str, dict[TopicPartition, int]] = {}
    for group, *_ in await admin.list_consumer_groups():
        try:
            committed = await admin.list_consumer_group_offsets(group)
        except kafka_errors.GroupAuthorizationFailedError:
            continue
        of_group = {
            TopicPartition(kept_for[at.topic], at.partition): each.offset
            for at, each in committed.items()
            if at.topic in kept_for
        }
        if of_group:
            offsets[group] = of_group
    return offsets


@asynccontextmanager
async def groups(connection: Connection, to: Connection | None = None) -> AsyncIterator[Groups]:
    """Give a :class:`Groups`.

    :param to: another cluster, with groups that read from this one.
    """
    async with AsyncExitStack() as stack:
        elsewhere = await stack.enter_async_context(admin_client(to)) if to else None
        admin = await stack.enter_async_context(admin_client(connection))
        client = open_client(connection, KafkaConsumer, isolation_level="read_committed")
        yield Groups(admin, await stack.enter_async_context(client), elsewhere)
