"""aiokafka's producer, consumer and admin client, by way of a network client of our own."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from inspect import signature
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

from alertstream.kafka._aiokafka.assignor import KafkaCoordinator
from alertstream.kafka._aiokafka.batches import KafkaSender
from alertstream.kafka._aiokafka.connection import first_answer
from alertstream.kafka._aiokafka.fetcher import KafkaFetcher
from alertstream.kafka._aiokafka.network import NEXT_SERVER_TIMEOUT
from alertstream.kafka._aiokafka.network import Failures as Failures
from alertstream.kafka._aiokafka.network import KafkaClient as KafkaClient
from alertstream.kafka._aiokafka.requests.offsets import ConsumerGroupMetadata
from alertstream.system.cancellation import LOST_TIMEOUT, SHUTDOWN_TIMEOUT

_CLIENT_SETTINGS = frozenset(signature(AIOKafkaClient).parameters)
MAX_SILENCE = 10.0
"""Seconds in which a broker answers, if there is nothing wrong with it."""
_OURS = {Fetcher: KafkaFetcher, GroupCoordinator: KafkaCoordinator}


def _client(failures: Failures, settings: dict[str, Any]) -> KafkaClient:
    own = {name: value for name, value in settings.items() if name in _CLIENT_SETTINGS}
    return KafkaClient(failures, **own)


class _Connected:
    _client: KafkaClient

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to any broker."""
        return self._client.is_connected

    def unready(self, connected: bool) -> str:
        """Return why it does not work; empty if it does.

        :param connected: whether there has been a connection lately.
        """
        if not connected:
            return "no connection to Kafka"
        silence = self._client.silence
        return f"Kafka has not answered for {silence:.0f} s" if silence > MAX_SILENCE else ""

    def grace(self) -> float:
        """Return how many seconds are left to what is under way when all is to end."""
        return SHUTDOWN_TIMEOUT if self.is_connected else LOST_TIMEOUT


class KafkaProducer(_Connected, AIOKafkaProducer):  # type: ignore[misc]
    """A producer that commits offsets in the name of a group's member (KIP-447)."""

    def __init__(self, failures: Failures, **settings: Any) -> None:
        super().__init__(**settings)
        self.client = self._client = self._sender.client = _client(failures, settings)
        self.client.cluster = self._metadata
        self._sender.__class__ = KafkaSender
        # How long is waited for a partition's leader is up to who sends.
        self._message_accumulator._batch_ttl = math.inf

    async def commit_offsets(
        self, offsets: Mapping[TopicPartition, tuple[int, str]], metadata: ConsumerGroupMetadata
    ) -> None:
        """Commit offsets in the transaction, if ``metadata`` is still that of a member.

        :raises ProducerFenced: it is not.
        """
        self.client.group_metadata = metadata
        await self.send_offsets_to_transaction(metadata.kept(offsets), metadata.group_id)

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction has begun and not ended."""
        manager = self._txn_manager
        return manager.transactional_id is not None and bool(manager.is_in_transaction())


class KafkaConsumer(_Connected, AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer that says who it is in its group."""

    kept_suffix = ""  # is added to a topic's name for the one whose offsets the group keeps

    def __init__(self, failures: Failures, **settings: Any) -> None:
        super().__init__(**settings)
        self._client = _client(failures, settings)

    def __setattr__(self, name: str, value: Any) -> None:
        # aiokafka makes its own, which have not done anything yet.
        if type(value) in _OURS:
            value.__class__ = _OURS[type(value)]
        super().__setattr__(name, value)

    async def partition_counts(self) -> dict[str, int]:
        """Return how many partitions each topic has; it may be asked before the start.

        :raises KafkaConnectionError: no broker answers.
        """
        await self._client.bootstrap()
        try:
            cluster = await self._client.fetch_all_metadata()
        except KafkaError as error:
            raise KafkaConnectionError(str(error)) from error
        topics = cluster.topics(exclude_internal_topics=False)
        return {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}

    def all_partitions(self) -> set[TopicPartition]:
        """Return those of all topics that are read, whosever they are now."""
        topics = {topic: self.partitions_for_topic(topic) or () for topic in self.subscription()}
        there = {TopicPartition(topic, each) for topic in topics for each in topics[topic]}
        return there.union(self.assignment())

    @property
    def topic_ids(self) -> Mapping[str, bytes]:
        """The ids of the topics that are read; without those that Kafka does not tell."""
        return self._client.topic_ids

    def replaced_topics(self) -> set[str]:
        """Return the topics that were deleted and recreated since they are read."""
        there, read = self._client.cluster.topic_ids, self.topic_ids
        topics = {each.topic for each in self.assignment()} & there.keys() & read.keys()
        return {each for each in topics if there[each] != read[each]}

    def accept_topics(self) -> set[str]:
        """Read topics as they are now; return those that were replaced."""
        replaced, there = self.replaced_topics(), self._client.cluster.topic_ids
        topics = {each.topic for each in self.assignment()} & there.keys()
        self._client.topic_ids = {**self.topic_ids, **{each: there[each] for each in topics}}
        return replaced

    async def refresh_topics(self) -> None:
        """Learn which topics there are now."""
        await self._client.force_metadata_update()

    def pop_out_of_range(self) -> Mapping[TopicPartition, int]:
        """Return, once, the offsets from which nothing could be fetched, since nothing is there.

        Reading goes on at the earliest that there are.
        """
        found, self._client.out_of_range = self._client.out_of_range, {}
        return found

    @property
    def assignment_key(self) -> object:
        """Another object whenever partitions have been assigned."""
        subscription = self._subscription.subscription
        return None if subscription is None else subscription.assignment

    @property
    def is_settled(self) -> bool:
        """Whether partitions are assigned, be it none, and no rebalance is under way."""
        state = self._subscription
        return self.assignment_key is not None and not state.reassignment_in_progress

    def unready(self, connected: bool) -> str:
        """Return why nothing can be read; empty if it can."""
        moving = "" if self.is_settled else "partitions are being assigned"
        return super().unready(connected) or moving

    def ends(self) -> dict[TopicPartition, int]:
        """Return where partitions ended when they were fetched last, as far as they were."""
        return {at: state.lso for at, state in self._states() if state.lso is not None}

    def _states(self) -> list[tuple[TopicPartition, Any]]:
        assignment = self._subscription.subscription and self._subscription.subscription.assignment
        return [(at, assignment.state_value(at)) for at in assignment.tps] if assignment else []

    def positions_before(
        self, end_of: Callable[[TopicPartition], float]
    ) -> list[tuple[TopicPartition, int]]:
        """Return where reading each partition goes on: behind records that are not messages, too.

        It is at most at the partition's end. Partitions whose position is not known are left out.
        """
        known = [(at, state.position) for at, state in self._states() if state.has_valid_position]
        return [(at, int(min(position, end_of(at)))) for at, position in known]

    def group_metadata(self, assignment: int) -> ConsumerGroupMetadata | None:
        """Return who the consumer is in its group; None without a group."""
        if self._group_id is None:
            return None
        return ConsumerGroupMetadata(
            self._group_id,
            self._coordinator.generation,
            self._coordinator.member_id,
            self._group_instance_id,
            assignment,
            self.topic_ids,
        )

    async def committed_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return the group's offsets of partitions, of others than its own, too."""
        found: dict[TopicPartition, OffsetAndMetadata]
        found = await self._coordinator.fetch_committed_offsets(sorted(partitions))
        return found

    async def stop(self) -> None:
        """Leave the group, and disconnect."""
        if self._coordinator is not None:
            # A static member does not leave by itself; this one will not come back.
            self._coordinator._group_instance_id = None
        await super().stop()


class KafkaAdminClient(_Connected, AIOKafkaAdminClient):  # type: ignore[misc]
    """An admin client that needs no particular broker, and is stopped like the others."""

    def __init__(self, failures: Failures, **settings: Any) -> None:
        super().__init__(**settings)
        self._client = _client(failures, settings)

    async def _send_to_controller(self, request: Any) -> Any:
        """Have a broker pass a request on to the controller; the next one, too, if it is silent.

        Each waits for a controller that is gone (``controller.socket.timeout.ms``, half a minute),
        though it knows of the next; and answers nothing else on that connection.
        """

        async def ask(node: Any) -> Any:
            response = await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
            # A controller may be another one by now; and without KRaft, brokers pass nothing on.
            for error in (for_code(code) for _, code, *_ in response.topic_errors):
                if error.retriable:
                    self._client.force_metadata_update()
                    raise error
            return response

        nodes, controller = self._client.nodes_to_ask(), self._client.cluster.controller
        nodes.sort(key=lambda node: controller is None or node != controller.nodeId)
        return await first_answer([partial(ask, node) for node in nodes], NEXT_SERVER_TIMEOUT)

    async def stop(self) -> None:
        """Disconnect."""
        await self.close()
