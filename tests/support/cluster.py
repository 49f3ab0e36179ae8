"""A real Kafka cluster of three nodes, for fault injection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from tests.support.raw_kafka import committed, ends, make, read

from alertstream.local.broker.cluster import BrokerOptions, LocalBroker, local_broker

NODES = (1, 2, 3)


@dataclass
class Cluster:
    """Nodes that can be killed and started again, from a test that has no event loop."""

    broker: LocalBroker
    loop: asyncio.AbstractEventLoop

    @property
    def address(self) -> str:
        return self.broker.bootstrap

    def kill(self, *numbers: int) -> None:
        self._do(*(self.broker.kill(number) for number in numbers))

    def start(self, *numbers: int) -> None:
        self._do(*(self.broker.start(number) for number in numbers))

    def down(self) -> set[int]:
        return set(NODES) - self.broker.pids.keys()

    def heal(self) -> None:
        self.start(*self.down())

    def coordinator(self, group: str) -> int:
        """The node that leads a consumer group."""
        return asyncio.run(_coordinator(self.address, group))

    def leader(self, topic: str, partition: int = 0) -> int:
        """The node that leads a partition."""
        return asyncio.run(_leader(self.address, topic, partition))

    def make(self, topic: str, replication: int = len(NODES)) -> None:
        """Make a topic with a replica on each node, most of which must be in sync."""
        needed = str((replication + 1) // 2)
        make(self.address, topic, 4, replication, **{"min.insync.replicas": needed})

    def behind(self, group: str, topic: str) -> int:
        """How many messages of a topic the group has not committed yet; 1 if Kafka cannot say."""
        try:
            done = committed(self.address, group)
            return sum(ends(self.address, topic).values()) - sum(done.values())
        except KafkaError:
            return 1

    def read(self, topic: str) -> list[Any]:
        """All committed messages of a topic."""
        return read(self.address, topic)

    def _do(self, *work: Coroutine[Any, Any, None]) -> None:
        async def together() -> None:
            await asyncio.gather(*work)

        asyncio.run_coroutine_threadsafe(together(), self.loop).result(120)


async def _coordinator(address: str, group: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        return int(await admin.find_coordinator(group))
    finally:
        await admin.close()


async def _leader(address: str, topic: str, partition: int) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return next(
        int(each["leader"]) for each in described["partitions"] if each["partition"] == partition
    )


@contextmanager
def running_cluster(nodes: int = len(NODES), data_dir: Path | None = None) -> Iterator[Cluster]:
    """Run a cluster."""
    loop, made = asyncio.new_event_loop(), threading.Event()
    ended = asyncio.Event()
    brokers: list[LocalBroker] = []

    async def serve() -> None:
        async with local_broker(BrokerOptions(port=0, nodes=nodes, data_dir=data_dir)) as broker:
            brokers.append(broker)
            made.set()
            await ended.wait()

    def work() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            made.set()

    thread = threading.Thread(target=work, name="cluster")
    thread.start()
    made.wait()
    try:
        assert brokers, "the cluster has not started"
        yield Cluster(brokers[0], loop)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(60)
        loop.close()
