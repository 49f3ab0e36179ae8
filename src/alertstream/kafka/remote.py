"""A consumer of a cluster that may only be read, in a group that is kept on another cluster.

On that other cluster, each topic that is read has a stand-in: an empty topic with as many
partitions. The group's members subscribe to the stand-ins, so that assignment, generation and
offsets work as in any group, while messages come from the same partitions of the topic itself.
Nothing is written to the cluster that is read, not even an offset.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from alertstream.kafka._aiokafka.clients import Failures, KafkaConsumer
from alertstream.kafka._aiokafka.requests.offsets import ConsumerGroupMetadata
from alertstream.kafka.clients import GROUP, READING, mapped_errors, open_client
from alertstream.kafka.connection import Connection
from alertstream.kafka.topics import STAND_IN_SUFFIX


class RemoteConsumer(KafkaConsumer):
    """Reads one cluster as a member of a group on another.

    :param member: the group's member, on that other cluster.
    :param partitions: the current number of each topic that is read; other topics are left alone.
    """

    kept_suffix = STAND_IN_SUFFIX

    def __init__(
        self,
        failures: Failures,
        *,
        member: KafkaConsumer,
        partitions: Mapping[str, int],
        **settings: Any,
    ) -> None:
        super().__init__(failures, **settings)
        self._member = member
        self._partitions = partitions
        self._assigned: frozenset[TopicPartition] | None = None
        self._failed: BaseException | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to any broker of each cluster."""
        return super().is_connected and self._member.is_connected

    @property
    def assignment_key(self) -> object:
        """Another object whenever partitions have been assigned."""
        return self._member.assignment_key

    def _kept_at(self, partition: TopicPartition) -> TopicPartition:
        return TopicPartition(f"{partition.topic}{self.kept_suffix}", partition.partition)

    @contextmanager
    def _asking_member(self) -> Iterator[None]:
        """Remember what is raised in the context as an error of the group's cluster."""
        try:
            yield
        except BaseException as error:
            self._failed = error
            raise

    def is_of_group(self, error: BaseException | None) -> bool:
        """Return whether an error, or one of its causes, is of the group's cluster."""
        while error is not None and error is not self._failed:
            error = error.__cause__ or error.__context__
        return error is not None

    async def start(self) -> None:
        """Connect to both clusters, and join the group."""
        await super().start()
        with self._asking_member():
            await self._member.start()

    async def stop(self) -> None:
        """Leave the group, and disconnect."""
        await self._member.stop()
        await super().stop()

    def subscribe(
        self, *topics: Any, listener: ConsumerRebalanceListener | None = None, **more: Any
    ) -> None:
        """Join the group for topics of its own cluster, or for those that match a pattern."""
        assert listener is not None
        self._member.subscribe(*topics, listener=_Listener(self._member, listener), **more)

    def subscription(self) -> frozenset[str]:
        """Return the topics that the group reads."""
        return frozenset(map(_read_as, self._member.subscription()))

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Return the numbers of a topic's partitions that the group knows."""
        return set(self._member.partitions_for_topic(f"{topic}{self.kept_suffix}") or ())

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions to read, as the group's are assigned now."""
        kept = self._member.assignment()
        assigned = (TopicPartition(_read_as(each.topic), each.partition) for each in kept)
        return frozenset(
            each for each in assigned if each.partition < self._partitions.get(each.topic, 0)
        )

    @property
    def is_settled(self) -> bool:
        """Whether the group's partitions are assigned, and no rebalance is under way."""
        return self._member.is_settled

    def pause(self, *partitions: TopicPartition) -> None:
        """Read what is assigned now, and of these partitions nothing until they are resumed."""
        if (assigned := self.assignment()) != self._assigned:
            self.assign(sorted(assigned))
            self._assigned = assigned
        super().pause(*partitions)

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int = 0, **more: Any) -> Any:
        """Return messages by partition; if the group is rebalancing, after that."""
        fetched = await super().getmany(*partitions, timeout_ms=timeout_ms, **more)
        # The member itself has nothing to read, but has to poll to stay in the group.
        with self._asking_member():
            await self._member.getmany(timeout_ms=0)
        return fetched

    def group_metadata(self, assignment: int) -> ConsumerGroupMetadata | None:
        """Return the consumer's identity in its group, which knows topics by other names."""
        metadata = self._member.group_metadata(assignment)
        if metadata is None:
            return None
        return replace(metadata, topic_ids=self.topic_ids, kept_suffix=self.kept_suffix)

    async def committed_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return the group's offsets of partitions, of others than its own, too."""
        with self._asking_member():
            kept = await self._member.committed_offsets([*map(self._kept_at, partitions)])
        return {each: kept[at] for each in partitions if (at := self._kept_at(each)) in kept}

    async def commit(self, kept: Mapping[TopicPartition, Any]) -> None:
        """Remember offsets for the group, in the form in which it keeps them."""
        with self._asking_member():
            await self._member.commit(kept)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells when partitions are revoked; the member itself reads nothing of what is assigned."""

    def __init__(self, member: KafkaConsumer, listener: ConsumerRebalanceListener) -> None:
        self._member = member
        self._listener = listener

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._listener.on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._member.pause(*assigned)


def _read_as(topic: str) -> str:
    return topic.removesuffix(STAND_IN_SUFFIX)


@asynccontextmanager
async def remote_client(
    connection: Connection,
    group: Mapping[str, Any],
    *,
    group_on: Connection,
    partitions: Mapping[str, int],
) -> AsyncIterator[KafkaConsumer]:
    """Give a client that reads one cluster as a member of a group on another; it is to be started.

    :param group: aiokafka's settings of the group.
    :param partitions: the current number of each topic that is read.
    """
    reading = {**READING, **GROUP, "partitions": partitions}
    async with (
        open_client(group_on, KafkaConsumer, start=False, **GROUP, **group) as member,
        open_client(connection, RemoteConsumer, start=False, member=member, **reading) as client,
    ):
        try:
            yield client
        except (TimeoutError, KafkaError) as error:
            if client.is_of_group(error):
                async with mapped_errors(group_on, {}, "Read"):
                    raise
            raise
