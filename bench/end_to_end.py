"""A visit from its first alert to the last one at a subscriber, with 100 filters in between."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alertstream.filtering.filters import choose_filters
from alertstream.kafka.admin import make_topics
from alertstream.kafka.clients import admin_client
from alertstream.kafka.connection import POLL_INTERVAL, Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.messages import ORIGIN
from alertstream.kafka.subscription import Subscription
from alertstream.kafka.topics import TopicLayout

FILTERS = "1-100"
WATCHED = "Filter050"


async def measure(connection: Connection, path: Path, rounds: int) -> dict[str, Any]:
    """Print and return the seconds of a visit, and how much later filtered alerts arrive.

    ``alertstream send``, ``filter 1-100`` and ``print`` run as users run them. Of each alert that
    passes, the delay is from when a subscriber of the whole topic has it to when one of the
    filter's topic has it. A first round, in which Kafka makes the files of 400 partitions, does
    not count.
    """
    await _one(connection, path, "warm-up")
    results = [await _one(connection, path, f"night-{number}") for number in range(rounds)]
    figures: dict[str, Any] = {name: [result[name] for result in results] for name in results[0]}
    print(f"\nend to end: send, filter {FILTERS} and print at once, medians of {rounds} rounds")
    for name, values in figures.items():
        spread = f"{min(values):.2f} – {max(values):.2f}"
        print(f"{name:50} {statistics.median(values):8.2f} {spread:>15}")
    return figures


async def _one(connection: Connection, path: Path, topic: str) -> dict[str, float]:
    outputs = [each.topic for each in choose_filters([FILTERS])]
    await make_topics(connection, [topic, *outputs], TopicLayout())
    broker, stop = connection.bootstrap, asyncio.Event()
    arrived, filtered = Arrivals(), Arrivals()
    async with asyncio.TaskGroup() as subscribers:
        for name, arrivals in ((topic, arrived), (WATCHED, filtered)):
            subscribers.create_task(_collect(connection, name, arrivals, stop))
        as_json = ("--format", "json")
        filtering = await _start("filter", broker, topic, FILTERS, "--group", topic, *as_json)
        printing = await _start("print", broker, WATCHED, "--from", "latest", *as_json)
        # Both must have joined their groups, at the topics' ends, before the burst.
        await asyncio.sleep(4)
        how = ("--data", path, "--interval", 0, "--limit", 0, *as_json)
        sent = json.loads(await _output(await _start("send", broker, topic, *how)))
        await _until(lambda: len(arrived) == sent["alerts"])
        while await _committed(connection, topic) < sent["alerts"]:  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL)
        filtering.terminate()
        lines = [json.loads(line) for line in (await _output(filtering)).splitlines()]
        total = next(e for e in lines if e["filter"] == WATCHED and e.get("final"))
        assert total["seen"] == sent["alerts"]
        await _until(lambda: len(filtered) == total["passed"])
        printing.terminate()
        assert len((await _output(printing)).splitlines()) == total["passed"] > 0
        stop.set()
    # A copy's origin names the alert in the source topic.
    late = [moment - arrived[place][0] for place, (moment, _) in filtered.items()]
    first = min(sent for _, sent in arrived.values())
    return {
        "send, s": sent["seconds"],
        "first sent to all at a subscriber, s": max(t for t, _ in arrived.values()) - first,
        "first sent to last filtered alert, s": max(t for t, _ in filtered.values()) - first,
        "delay by 100 filters, median, s": statistics.median(late),
        "delay by 100 filters, most, s": max(late),
    }


class Arrivals(dict[str, tuple[float, float]]):
    """By the place in the source topic: when it arrived, and when it was sent, s since 1970."""


async def _collect(
    connection: Connection, topic: str, arrivals: Arrivals, stop: asyncio.Event
) -> None:
    subscription = Subscription((topic,), start="latest")
    async with subscribe(connection, subscription) as stream:
        async for batch in stream.batches(stop):
            now = time.time()
            for message in batch:
                origin = dict(message.headers).get(ORIGIN)
                place = (
                    json.loads(origin)
                    if origin
                    else {"partition": message.partition, "offset": message.offset}
                )
                key = f"{place['partition']}@{place['offset']}"
                arrivals[key] = (now, message.timestamp / 1000)


async def _committed(connection: Connection, group: str) -> int:
    async with admin_client(connection) as admin:
        offsets = await admin.list_consumer_group_offsets(group)
    return sum(each.offset for each in offsets.values())


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _output(process: asyncio.subprocess.Process) -> bytes:
    return (await process.communicate())[0]


async def _start(*arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "alertstream"),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=2**24,
    )
