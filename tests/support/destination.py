"""Where a filter's output goes in a test without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from alertstream.errors import DeliveryError
from alertstream.filtering.writer import Destination
from alertstream.kafka.connection import Connection
from alertstream.kafka.messages import ConsumerGroupMetadata, Copy, Offsets
from alertstream.system.cancellation import SHUTDOWN_TIMEOUT


class Recorded(Destination):
    """Records what is written; a test says when, and what fails."""

    def __init__(self) -> None:
        self.connection = Connection("host:9092")
        self.stop = asyncio.Event()
        self.transactions: list[tuple[list[int], Offsets, ConsumerGroupMetadata]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.failures: list[DeliveryError] = []
        self.restarts = 0

    def grace(self) -> float:
        return SHUTDOWN_TIMEOUT

    async def write(
        self, copies: Sequence[Copy], offsets: Offsets, metadata: ConsumerGroupMetadata
    ) -> None:
        await self.go_on.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.transactions.append(([copy.message.offset for copy in copies], offsets, metadata))

    async def restart(self) -> None:
        self.restarts += 1
