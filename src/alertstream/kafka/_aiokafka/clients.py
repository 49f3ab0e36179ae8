"""aiokafka's clients with connections of our own, which tell why they fail."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from inspect import signature
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError, KafkaError, OffsetOutOfRangeError, StaleMetadata
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.transaction import TxnOffsetCommitRequest
from aiokafka.structs import OffsetAndMetadata
from aiokafka.util import create_task

from alertstream.kafka._aiokafka.assignor import KafkaCoordinator
from alertstream.kafka._aiokafka.batches import KafkaSender
from alertstream.kafka._aiokafka.connection import KafkaConnection, first_answer
from alertstream.kafka._aiokafka.fetcher import KafkaFetcher
from alertstream.kafka._aiokafka.offset_requests import (
    ConsumerGroupMetadata,
    FencedOffsetCommit,
    StableOffsetFetch,
)
from alertstream.kafka._aiokafka.topic_ids import ClusterMetadataWithIds, FetchById

Failures = dict[tuple[str, int], BaseException]
"""By host and port: why the last attempt to connect has failed, the latest last."""

CONNECTION_TIMEOUT = 4.0
"""Seconds for one attempt to connect to a broker, which may be up and yet not answer."""
NEXT_SERVER_TIMEOUT = 1.0
"""Seconds without an answer from bootstrap servers after which another one is asked, too."""

_CLIENT_SETTINGS = frozenset(signature(AIOKafkaClient).parameters)
_OURS = {Fetcher: KafkaFetcher, GroupCoordinator: KafkaCoordinator}
_FAILURES = (OSError, TimeoutError, KafkaError)


class KafkaClient(AIOKafkaClient):  # type: ignore[misc]
    """The connections of a producer, a consumer or an admin client.

    :param failures: keeps why connections fail, which aiokafka only logs.
    """

    def __init__(self, failures: Failures, **settings: Any) -> None:
        super().__init__(**settings)
        self.group_metadata: ConsumerGroupMetadata | None = None
        """In whose name a transaction's offsets are committed."""
        self.topic_ids: dict[str, bytes] = {}
        """Of the topics that are read: of another one of the same name, nothing is fetched."""
        self.out_of_range: dict[TopicPartition, int] = {}
        """Offsets from which nothing could be fetched: aiokafka goes on at the earliest ones."""
        self._failures = failures
        self.cluster: Any = ClusterMetadataWithIds(metadata_max_age_ms=self._metadata_max_age_ms)
        self._connecting: defaultdict[Any, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._silent_until: defaultdict[Any, float] = defaultdict(float)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to any broker."""
        return any(connection.connected() for connection in self._conns.values())

    async def bootstrap(self) -> None:
        """Learn from one of the bootstrap servers which brokers there are.

        :raises KafkaConnectionError: none of them answers.
        """
        if self._sync_task is not None:
            return
        asking = [partial(self._ask, host, port) for host, port, _ in self.hosts]
        try:
            self.cluster.update_metadata(await first_answer(asking, NEXT_SERVER_TIMEOUT))
        except _FAILURES as error:
            raise KafkaConnectionError(f"Unable to bootstrap from {self.hosts}") from error
        self._sync_task: Any = create_task(self._md_synchronizer())

    async def _ask(self, host: str, port: int) -> Any:
        """Return what one of the bootstrap servers knows."""
        try:
            connection = await self._connect(host, port)
            try:
                return await connection.send(MetadataRequest([]))
            finally:
                connection.close()
        except _FAILURES as error:
            self._failures[host, port] = error
            raise

    def get_random_node(self) -> Any:
        """Return a broker to ask, if possible one that could be reached when it was last tried."""
        brokers = self.cluster.brokers()
        reached = [each for each in brokers if (each.host, each.port) not in self._failures]
        return random.choice([each.nodeId for each in reached or brokers] or [None])

    async def send(
        self, node_id: Any, request: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT
    ) -> Any:
        """Send a request to a broker; those about a group's offsets as KIP-447 has them."""
        # An admin client asks for offsets on another connection, and need not wait for stable ones.
        if isinstance(request, OffsetFetchRequest) and group is ConnectionGroup.COORDINATION:
            request = StableOffsetFetch(request)
        elif isinstance(request, TxnOffsetCommitRequest):
            assert self.group_metadata is not None
            request = FencedOffsetCommit(request, self.group_metadata)
        elif isinstance(request, FetchRequest):
            return await self._fetch(node_id, request, group)
        return await super().send(node_id, request, group=group)

    async def _fetch(self, node_id: Any, request: FetchRequest, group: ConnectionGroup) -> Any:
        topics = [topic for topic, _ in request.topics]
        for topic in topics:
            if topic in self.cluster.topic_ids:
                self.topic_ids.setdefault(topic, self.cluster.topic_ids[topic])
        ids = self.topic_ids
        if all(topic in ids for topic in topics):
            by_id = FetchById(request, {topic: ids[topic] for topic in topics})
            response = by_id.named(await super().send(node_id, by_id, group=group))
        else:
            response = await super().send(node_id, request, group=group)
        asked = {(topic, number): at for topic, each in request.topics for number, at, _ in each}
        for topic, partitions in response.topics:
            for number, code, *_ in partitions:
                if code == OffsetOutOfRangeError.errno:
                    at = TopicPartition(topic, number)
                    self.out_of_range[at] = asked[topic, number]
        # The fetcher looks again at what came.
        request.response = response
        return response

    async def _get_conn(
        self,
        node_id: Any,
        *,
        group: ConnectionGroup = ConnectionGroup.DEFAULT,
        no_hint: bool = False,
    ) -> KafkaConnection | None:
        """Return the connection to a broker, or None if there is none."""
        key = node_id, group
        connection: KafkaConnection | None = self._conns.get(key)
        if connection is not None and connection.connected():
            return connection
        if time.monotonic() < self._silent_until[key]:
            return None
        try:
            # Who connects to one broker does not wait for another one, which may not answer.
            async with self._connecting[key]:
                # Another task may have connected while this one waited for its turn.
                connection = self._conns.pop(key, None)
                if connection is None or not connection.connected():
                    broker = self.cluster.broker_metadata(node_id)
                    if broker is None:
                        raise StaleMetadata(f"broker {node_id} is not in the metadata")
                    closed = self._on_connection_closed
                    connection = await self._connect(broker.host, broker.port, closed)
                self._conns[key] = connection
                return connection
        except _FAILURES as error:
            if isinstance(error, TimeoutError):
                self._silent_until[key] = time.monotonic() + CONNECTION_TIMEOUT
            # The broker may be another one by now.
            self.force_metadata_update()
            return None

    async def _connect(
        self, host: str, port: int, on_close: Callable[..., None] | None = None
    ) -> KafkaConnection:
        connection = KafkaConnection(
            host,
            port,
            client_id=self._client_id,
            request_timeout_ms=self._request_timeout_ms,
            ssl_context=self._ssl_context,
            security_protocol=self._security_protocol,
            max_idle_ms=self._connections_max_idle_ms,
            on_close=on_close,
            sasl_mechanism=self._sasl_mechanism,
            sasl_plain_username=self._sasl_plain_username,
            sasl_plain_password=self._sasl_plain_password,
        )
        try:
            async with asyncio.timeout(CONNECTION_TIMEOUT):
                await connection.connect()
        except _FAILURES as error:
            self._failures.pop((host, port), None)
            self._failures[host, port] = error
            raise
        self._failures.pop((host, port), None)
        return connection


def _client(failures: Failures, settings: dict[str, Any]) -> KafkaClient:
    own = {name: value for name, value in settings.items() if name in _CLIENT_SETTINGS}
    return KafkaClient(failures, **own)


class _Connected:
    _client: KafkaClient

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to any broker."""
        return self._client.is_connected


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
        self,
        offsets: Mapping[TopicPartition, tuple[int, str]],
        metadata: ConsumerGroupMetadata,
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

    @property
    def topic_ids(self) -> Mapping[str, bytes]:
        """The ids of the topics that are read; without those that Kafka does not tell."""
        return self._client.topic_ids

    def replaced_topics(self) -> set[str]:
        """Return the topics that were deleted and made anew since they are read."""
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

    def take_out_of_range(self) -> Mapping[TopicPartition, int]:
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
    """An admin client, which is stopped like the others."""

    def __init__(self, failures: Failures, **settings: Any) -> None:
        super().__init__(**settings)
        self._client = _client(failures, settings)

    async def stop(self) -> None:
        """Disconnect."""
        await self.close()
