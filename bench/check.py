"""Checks that all contenders have written the same: every alert, as often as it was sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import google_crc32c

from alertstream.avro.container.file import ContainerFile
from alertstream.avro.wire import HEADER_SIZE
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.subscription import Subscription


def bodies(path: Path) -> Counter[int]:
    """Return how often each alert is in a file, by the checksum of its bytes."""
    with ContainerFile(path) as container:
        return Counter(google_crc32c.value(body) for body in container)


async def contents(connection: Connection, topic: str) -> Counter[int]:
    """Return how often each alert is in a topic, by the checksum of its bytes."""
    found: Counter[int] = Counter()
    subscription = Subscription((topic,), exit_on_eof=True)
    async with subscribe(connection, subscription) as stream:
        async for batch in stream.batches(asyncio.Event()):
            found.update(google_crc32c.value(message.value[HEADER_SIZE:]) for message in batch)
    return found


async def check_sent(connection: Connection, path: Path, runs: int) -> None:
    """Compare what the senders wrote in all runs; ProducerPerformance makes its own messages."""
    alerts = bodies(path)
    wanted = Counter({alert: count * runs for alert, count in alerts.items()})
    for topic in ("send-ours", "send-raw", "send-original"):
        if await contents(connection, topic) != wanted:
            raise SystemExit(f"{topic} does not have every alert {runs} times")
    if (await contents(connection, "send-java")).total() != wanted.total():
        raise SystemExit("send-java has another number of messages")


async def check_filtered(connection: Connection, path: Path, ours: int, original: int) -> None:
    """Compare what the filters let pass: 20 alerts of the visit in each run, and no others.

    Which 20 differs: those that come first, of four partitions.
    """
    alerts = bodies(path)
    for topic, runs in (
        ("Filter001", ours),
        ("Filter100", ours // 2),
        ("bench-original", original),
    ):
        found = await contents(connection, topic)
        if found.total() != 20 * runs or not found.keys() <= alerts.keys():
            raise SystemExit(f"{topic} has {found.total()} alerts, not 20 of each of {runs} runs")
