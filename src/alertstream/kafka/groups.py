"""Consumer groups: which ones read topics, and their lag."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from alertstream.kafka._aiokafka.clients import KafkaAdminClient, KafkaConsumer
from alertstream.kafka.connection import Connection
from alertstream.kafka.error_mapping import admin_client, open_client

Lags = dict[str, dict[str, int]]
"""Messages that a group has not committed yet, by group and topic."""


class Groups:
    """Asks Kafka for the lag of all groups of some topics.

    The lag is what lies between a group's offset and the partition's end, markers of transactions
    with it; in a partition of which the group remembers nothing, it is everything.
    """

    def __init__(self, admin: KafkaAdminClient, consumer: KafkaConsumer) -> None:
        self._admin = admin
        self._consumer = consumer

    async def lags(self, topics: Collection[str]) -> Lags:
        """Return each group's lag by topic, of those groups that have read any of the topics.

        Groups that one has no right to see are left out.

        :raises KafkaError: Kafka did not answer.
        """
        try:
            offsets = await self._offsets(topics)
            described = await self._admin.describe_topics(sorted(topics)) if offsets else ()
            partitions = [
                TopicPartition(topic["topic"], partition["partition"])
                for topic in described
                for partition in topic["partitions"]
            ]
            begins = await self._consumer.beginning_offsets(partitions)
            ends = await self._consumer.end_offsets(partitions)
        except (OSError, RuntimeError) as error:
            # uvloop's, of a connection that has been closed a moment ago.
            raise kafka_errors.KafkaConnectionError(str(error)) from error
        lags: Lags = {}
        for group, of_group in offsets.items():
            read = {each.topic for each in of_group}
            mine = lags[group] = dict.fromkeys(sorted(read), 0)
            for each, end in ends.items():
                if each.topic in read:
                    mine[each.topic] += max(end - of_group.get(each, begins[each]), 0)
        return lags

    async def _offsets(self, topics: Collection[str]) -> dict[str, dict[TopicPartition, int]]:
        offsets: dict[str, dict[TopicPartition, int]] = {}
        for group, *_ in await self._admin.list_consumer_groups():
            try:
                committed = await self._admin.list_consumer_group_offsets(group)
            except kafka_errors.GroupAuthorizationFailedError:
                continue
            of_group = {at: each.offset for at, each in committed.items() if at.topic in topics}
            if of_group:
                offsets[group] = of_group
        return offsets


@asynccontextmanager
async def groups(connection: Connection) -> AsyncIterator[Groups]:
    """Give what tells of consumer groups.

    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    async with (
        admin_client(connection) as admin,
        open_client(connection, KafkaConsumer, isolation_level="read_committed") as consumer,
    ):
        yield Groups(admin, consumer)
