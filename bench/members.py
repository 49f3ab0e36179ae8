"""What it costs that a consumer group has several members, each in its own process."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient

from alertstream.kafka import producer as kafka
from alertstream.kafka.admin import make_topics
from alertstream.kafka.clients import admin_client
from alertstream.kafka.connection import Connection
from alertstream.kafka.topics import Topic, TopicLayout
from bench.contenders import peak_memory

FILTERS = "1-100"
LOOK = 0.02
"""Interval at which a group's offsets are read, s."""
SPAN = 6.0
"""Time for which offsets are watched after an event, s."""


async def visit_seconds(
    connection: Connection, path: Path, alerts: int, topic: str, workers: int
) -> tuple[float, float]:
    """Send a visit of so many alerts to a group of so many workers that wait for it.

    :return: seconds from the burst's begin until all is judged and written, and the most memory
        that one of the workers had, MB.
    """
    broker, command = connection.bootstrap, [sys.executable, "-m", "bench.contenders"]
    async with admin_client(connection) as admin, _member(broker, topic, workers) as filtering:
        await until_members(admin, topic, workers)
        sending = await _start(*command, "send_ours", broker, topic, path, out=PIPE)
        sent = json.loads((await sending.communicate())[0])
        begin = time.perf_counter() - sent["seconds"]
        while sum((await _committed(admin, topic)).values()) < alerts:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
        seconds = time.perf_counter() - begin
        return seconds, max(peak_memory(each) or 0.0 for each in _workers(filtering.pid))


async def pauses(connection: Connection, topic: str) -> dict[str, float]:
    """Return the longest time without a commit of any partition, s, as a group changes.

    A message comes to each partition every 50 ms; one member reads them, a second one joins,
    leaves, joins again and is killed.
    """
    made = (await make_topics(connection, [topic], TopicLayout()))[topic]
    found: dict[str, float] = {}
    async with admin_client(connection) as admin, kafka.producer(connection) as producer:
        trickle = asyncio.create_task(_trickle(producer, made))
        async with _member(connection.bootstrap, topic):
            await until_members(admin, topic, 1)
            found["one member, nothing happens"] = await _longest(admin, topic)
            async with _member(connection.bootstrap, topic):
                found["a second one joins"] = await _longest(admin, topic)
                await until_members(admin, topic, 2)
                leaving = asyncio.create_task(_longest(admin, topic))
            found["it leaves"] = await leaving
        trickle.cancel()
    return found


async def _trickle(producer: kafka.Producer, topic: Topic) -> None:
    while True:
        for partition in range(topic.partitions):
            records = producer.records()
            records.append(int(time.time() * 1000), (b"no alert",))
            await producer.send(topic, partition, records)
        await asyncio.sleep(0.05)


async def _longest(admin: AIOKafkaAdminClient, group: str) -> float:
    moved: dict[int, tuple[int, float]] = {}
    longest, end = 0.0, time.perf_counter() + SPAN
    while (now := time.perf_counter()) < end:
        for partition, offset in (await _committed(admin, group)).items():
            known, since = moved.setdefault(partition, (offset, now))
            if known != offset:
                moved[partition] = offset, now
            longest = max(longest, now - since)
        await asyncio.sleep(LOOK)
    return longest


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[int, int]:
    found = await admin.list_consumer_group_offsets(group)
    return {each.partition: at.offset for each, at in found.items()}


async def until_members(admin: AIOKafkaAdminClient, group: str, count: int) -> None:
    """Wait until a group has so many members, with partitions."""
    async with asyncio.timeout(60):
        while True:
            with suppress(kafka_errors.GroupCoordinatorNotAvailableError):
                (answer,) = await admin.describe_consumer_groups([group])
                _, _, state, _, _, members, *_ = answer.groups[0]
                if state == "Stable" and len(members) == count:
                    return
            await asyncio.sleep(LOOK)


@asynccontextmanager
async def _member(broker: str, topic: str, workers: int = 1) -> AsyncIterator[Process]:
    """Run a filter whose group is named like the topic."""
    how = ("--workers", workers, "--group", topic)
    command = (sys.executable, "-m", "alertstream", "filter", broker, topic, FILTERS, *how)
    process = await _start(*command)
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def _start(*command: object, out: int = DEVNULL) -> Process:
    return await asyncio.create_subprocess_exec(*map(str, command), stdout=out)


def _workers(process: int) -> list[int]:
    """Return a process's children; itself, if it has none."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(each) for each in found] or [process]
