"""What one client knows of the cluster: its brokers, the connections to them, and why they fail."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaConnectionError, KafkaError, OffsetOutOfRangeError, StaleMetadata
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.transaction import TxnOffsetCommitRequest
from aiokafka.util import create_task

from alertstream.kafka._aiokafka.connection import (
    CONNECTION_TIMEOUT,
    KafkaConnection,
    first_answer,
)
from alertstream.kafka._aiokafka.requests.offsets import (
    ConsumerGroupMetadata,
    FencedOffsetCommit,
    StableOffsetFetch,
)
from alertstream.kafka._aiokafka.requests.topics import (
    ClusterMetadataWithIds,
    FetchById,
    MetadataWithIds,
)

Failures = dict[tuple[str, int], BaseException]
"""By host and port: why the last attempt to connect has failed, the latest last."""

NEXT_SERVER_TIMEOUT = 1.0
"""Seconds without an answer from bootstrap servers after which another one is asked, too."""

RETRY_INTERVAL = 0.2
"""Seconds until brokers that do not answer are asked again."""

_FAILURES = (OSError, TimeoutError, KafkaError)

_silent: dict[tuple[str, int], float] = {}
"""By host and port that did not answer whichever client connected last: until when none tries."""


class _Connection(KafkaConnection):
    """A connection that asks for the topics' ids, too."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request; return what waits for its response."""
        if isinstance(request, MetadataRequest):
            request = MetadataWithIds(request)
        return super().send(request, expect_response)


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

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to any broker."""
        return any(connection.connected() for connection in self._conns.values())

    @property
    def silence(self) -> float:
        """Seconds for which no broker has answered, though one was asked."""
        there = self._conns.values()
        if not any(each._requests for each in there):
            return 0.0
        last: float = max(each._last_action for each in there)
        return time.monotonic() - last

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
        except asyncio.CancelledError:
            # Another one has answered first.
            _silent.setdefault((host, port), 0.0)
            raise

    async def _metadata_update(self, cluster: Any, topics: Any) -> bool:
        """Ask brokers which topics and brokers there are; return whether one has answered."""
        updated = await super()._metadata_update(cluster, topics)
        if not updated:
            # Where all ports refuse, that fails at once, and aiokafka asks again at once.
            await asyncio.sleep(RETRY_INTERVAL)
        return bool(updated)

    def nodes_to_ask(self) -> list[Any]:
        """Return the brokers' numbers in random order; those last that did not answer lately."""
        brokers = [*self.cluster.brokers()]
        random.shuffle(brokers)
        brokers.sort(key=lambda each: (each.host, each.port) in _silent)
        return [each.nodeId for each in brokers] or [None]

    def get_random_node(self) -> Any:
        """Return a broker to ask."""
        return self.nodes_to_ask()[0]

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
        except _FAILURES:
            # The broker may be another one by now.
            self.force_metadata_update()
            return None

    async def _connect(
        self, host: str, port: int, on_close: Callable[..., None] | None = None
    ) -> KafkaConnection:
        at = host, port
        connection = _Connection(
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
            if time.monotonic() < _silent.get(at, 0.0):
                raise TimeoutError
            await connection.connect()
        except _FAILURES as error:
            self._failures.pop(at, None)
            self._failures[at] = error
            if (now := time.monotonic()) >= _silent.get(at, 0.0):
                _silent[at] = now + CONNECTION_TIMEOUT * isinstance(error, TimeoutError)
            raise
        self._failures.pop(at, None)
        _silent.pop(at, None)
        return connection
