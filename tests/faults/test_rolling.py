"""A rolling update: three filters replaced one after the other while alerts come."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tests.support import raw_kafka
from tests.support.commands import finish, start, until
from tests.support.samples import official_schema, sample_alert, schema_id

from alertstream.avro.wire import pack

pytestmark = pytest.mark.slow
MEMBERS, PARTITIONS, PER_SECOND = 3, 12, 250
MAX_PAUSE = 5.0
"""Seconds that may pass without progress, on a machine that does other things, too."""


def message() -> bytes:
    body = BytesIO()
    schema = fastavro.parse_schema(official_schema("10.0"))
    fastavro.schemaless_writer(body, schema, sample_alert("10.0"))
    return pack(schema_id("10.0"), body.getvalue())


class Stream:
    """Alerts sent, and what passes, with the time of each."""

    def __init__(self, kafka: str, topic: str) -> None:
        self.kafka, self.topic, self.value = kafka, topic, message()
        self.sent: dict[bytes, float] = {}
        self.came: list[tuple[bytes, float]] = []
        self.stop = asyncio.Event()

    async def send(self) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.kafka) as producer:
            begun = time.monotonic()
            while not self.stop.is_set():
                while len(self.sent) < (time.monotonic() - begun) * PER_SECOND:
                    number = len(self.sent)
                    key = str(number).encode()
                    self.sent[key] = time.monotonic()
                    where = {"key": key, "partition": number % PARTITIONS}
                    await producer.send(self.topic, self.value, **where)
                await asyncio.sleep(0.01)
            await producer.flush()

    async def receive(self) -> None:
        reading = {"auto_offset_reset": "earliest", "isolation_level": "read_committed"}
        async with AIOKafkaConsumer(
            f"{self.topic}-passed", bootstrap_servers=self.kafka, **reading
        ) as consumer:
            while not self.stop.is_set() or len(self.came) < len(self.sent):
                for messages in (await consumer.getmany(timeout_ms=100)).values():
                    self.came += [(each.key, time.monotonic()) for each in messages]

    @property
    def lost(self) -> int:
        return len(self.sent.keys() - {key for key, _ in self.came})

    @property
    def doubled(self) -> int:
        return len(self.came) - len({key for key, _ in self.came})

    @property
    def pause(self) -> float:
        """The longest time in which nothing came."""
        times = [at for _, at in self.came]
        return max(after - before for before, after in pairwise(times))

    @property
    def longest(self) -> float:
        """The longest time from an alert's being sent to its coming."""
        return max(at - self.sent[key] for key, at in self.came)


@pytest.mark.parametrize("how", ["a new one first", "in place"])
def test_three_filters_are_replaced_while_alerts_come(
    kafka: str, topic: str, tmp_path: Path, how: str, record_property: Callable[[str, Any], None]
) -> None:
    raw_kafka.make(kafka, topic, PARTITIONS)
    raw_kafka.make(kafka, f"{topic}-passed", PARTITIONS)
    which = ("--where", "snr > -1 or not snr > -1", "--output", f"{topic}-passed", "--cap", 10**9)

    def member(number: int) -> subprocess.Popen[str]:
        # As in a container of its own, or on another machine: known by another name.
        place = tmp_path / str(number)
        place.mkdir(exist_ok=True)
        return start("filter", kafka, topic, *which, "--group", topic, XDG_RUNTIME_DIR=str(place))

    def has_members(count: int) -> Callable[[], bool]:
        return lambda: raw_kafka.members(kafka, topic) == count

    async def replaced(old: subprocess.Popen[str], number: int) -> subprocess.Popen[str]:
        if how == "in place":
            old.terminate()
            ended = await asyncio.to_thread(finish, old)
            new = member(number)
        else:
            new = member(number + MEMBERS)
            await asyncio.to_thread(until, has_members(MEMBERS + 1), "it has joined")
            old.terminate()
            ended = await asyncio.to_thread(finish, old)
        assert ended.status == 0, ended.err
        await asyncio.to_thread(until, has_members(MEMBERS), "all are there")
        await asyncio.sleep(3)
        return new

    async def roll() -> Stream:
        stream = Stream(kafka, topic)
        members = [member(number) for number in range(MEMBERS)]
        await asyncio.to_thread(until, has_members(MEMBERS), "all have joined")
        working = asyncio.gather(stream.send(), stream.receive())
        await asyncio.to_thread(until, lambda: stream.came, "alerts pass")
        await asyncio.sleep(3)
        for number in range(MEMBERS):
            members[number] = await replaced(members[number], number)
        stream.stop.set()
        await asyncio.wait_for(working, 60)
        for each in members:
            each.terminate()
        for each in members:
            assert (await asyncio.to_thread(finish, each)).status == 0
        return stream

    stream = asyncio.run(roll())
    fault = (
        f"filters replaced, {how}: {stream.pause:.1f} s without progress, "
        f"{stream.longest:.1f} s until the latest alert passed"
    )
    record_property(
        "account", (fault, len(stream.sent), len(stream.came), stream.lost, stream.doubled)
    )
    assert (stream.lost, stream.doubled) == (0, 0)
    assert stream.pause < MAX_PAUSE, fault
