"""What does not fit where ``alertstream filter`` writes it is set aside, and stops nothing."""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from tests.support import raw_kafka
from tests.support.commands import Finished, finish, run, start
from tests.support.filters import own_filter, totals
from tests.support.samples import body_of, sample_alert

from alertstream.avro.wire import pack
from alertstream.filtering.writer import Destination
from alertstream.kafka._aiokafka.batches import Batch, Records
from alertstream.kafka.connection import Connection
from alertstream.kafka.messages import Copy, Message, Positions
from alertstream.kafka.producer import TopicLimitError, producer
from alertstream.kafka.topics import Topic, TopicLayout

LIMIT = 200_000
SMALL = {"max.message.bytes": str(LIMIT)}


def filter_twice(kafka: str, topic: str) -> Finished:
    """Filter what is there and then what is new, of which there is nothing."""
    how = ("--exit-on-eof", "--group", f"group-{topic}", "--format", "json")
    ends = [run("filter", kafka, topic, "1", *how) for _ in range(2)]
    assert [ended.status for ended in ends] == [3, 0], [ended.err for ended in ends]
    return ends[0]


def dead_letters(kafka: str, topic: str) -> list[tuple[bytes, dict[str, bytes]]]:
    found = raw_kafka.read(kafka, f"{topic}-undecodable")
    return [(message.value, dict(message.headers)) for message in found]


@pytest.mark.hostile("2a: garbage 100 bytes below the topic's limit")
def test_copy_that_does_not_fit_is_cut(kafka: str, topic: str) -> None:
    garbage = os.urandom(LIMIT - 161)
    for name in (topic, f"{topic}-undecodable"):
        raw_kafka.make(kafka, name, **SMALL)
    raw_kafka.write(kafka, topic, [garbage, b"small"], key=b"a key")
    filter_twice(kafka, topic)
    (value, headers), (small, _) = dead_letters(kafka, topic)
    assert garbage.startswith(value) and len(value) > LIMIT - 2000
    assert headers["alertstream.cut"] == str(len(garbage) + 5).encode()
    assert json.loads(headers["alertstream.origin"])["offset"] == 0
    assert small == b"small"


@pytest.mark.hostile("2a: a topic for undecodable messages that takes nothing")
def test_not_even_the_beginning_fits(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic)
    raw_kafka.make(kafka, f"{topic}-undecodable", **{"max.message.bytes": "100"})
    raw_kafka.write(kafka, topic, [b"garbage"])
    assert f"not even the beginning fits into {topic}-undecodable" in filter_twice(kafka, topic).err
    assert dead_letters(kafka, topic) == []


@pytest.mark.hostile("2b: 12 MiB of zeros compressed with zstd")
def test_copy_that_is_larger_without_compression(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic)
    asyncio.run(compressed(kafka, topic, bytes(12 << 20)))
    filter_twice(kafka, topic)
    ((value, headers),) = dead_letters(kafka, topic)
    assert len(value) > 10_000_000
    assert headers["alertstream.cut"] == str(12 << 20).encode()


async def compressed(kafka: str, topic: str, value: bytes) -> None:
    settings: dict[str, Any] = {"compression_type": "zstd", "max_request_size": 10**9}
    async with AIOKafkaProducer(bootstrap_servers=kafka, **settings) as writing:
        await writing.send_and_wait(topic, value)


@pytest.mark.hostile("2c: header names that are not UTF-8")
def test_header_name_that_is_not_utf8(kafka: str, topic: str) -> None:
    records = Records()
    for value, name in ((b"one", "x"), (b"two", "é"), (b"three", "y")):
        records.append(int(time.time() * 1000), (value,), None, [(name, b"1")])
    records._parts = [part.replace("é".encode(), b"\xff\xfe") for part in records._parts]

    class Joined(Batch):
        def _build(self) -> Any:
            return b"".join(super()._build())

    async def write() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka) as writing:
            batch = Joined(records, transactional=False)
            await (await writing.send_batch(batch, topic, partition=0))

    raw_kafka.make(kafka, topic)
    asyncio.run(write())
    filter_twice(kafka, topic)
    assert [value for value, _ in dead_letters(kafka, topic)] == [b"one", b"two", b"three"]
    shown = run("print", kafka, topic, "--exit-on-eof", "--format", "json")
    assert (shown.status, len(shown.lines)) == (3, 3)


@pytest.mark.hostile("2d: batches of messages with 60 KB of headers each")
def test_headers_count(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic)
    headers = [("name", bytes(60_000))]

    async def write() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka) as writing:
            for number in range(300):
                await writing.send(topic, b"%d" % number, headers=headers)

    asyncio.run(write())
    filter_twice(kafka, topic)
    found = dead_letters(kafka, topic)
    assert [int(value) for value, _ in found] == [*range(300)]
    assert all(len(headers["name"]) == 60_000 for _, headers in found)


@pytest.mark.hostile("2e: 300 MB of zeros, 24 KB on disk")
def test_message_that_becomes_large(kafka: str, topic: str, tmp_path: Path) -> None:
    raw_kafka.make(kafka, topic)
    asyncio.run(compressed(kafka, topic, bytes(300_000_000)))
    raw_kafka.write(kafka, topic, [b"after it"])
    for command in (("print",), ("monitor",), ("filter", "1")):
        name, *more = command
        running, peak = start(name, kafka, topic, *more, "--exit-on-eof", out=tmp_path / name), 0
        while running.poll() is None:
            peak = max(peak, peak_memory(running.pid))
            time.sleep(0.01)
        assert finish(running).status == 3
        assert peak < 200
    (_, headers), (after, _) = dead_letters(kafka, topic)
    assert b"larger than 32 MiB" in headers["alertstream.reason"]
    assert after == b"after it"


def peak_memory(pid: int) -> int:
    """The most memory that a process has had, MB; 0 where the system does not report it."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
    return 0


@pytest.mark.hostile("2g: an alert that is larger than the filter's topic takes")
def test_alert_that_the_filters_topic_does_not_take(kafka: str, topic: str, tmp_path: Path) -> None:
    output = f"All{topic.split('-')[-1]}"
    raw_kafka.make(kafka, topic)
    raw_kafka.make(kafka, output, **SMALL)
    big = sample_alert("10.0") | {"cutoutScience": bytes(LIMIT)}
    alerts = [pack(1000, body_of(each, "10.0")) for each in (sample_alert("10.0"), big)]
    raw_kafka.write(kafka, topic, [*alerts, alerts[0]])
    path = own_filter(tmp_path, output, "return True")
    how = ("--exit-on-eof", "--group", f"group-{topic}", "--format", "json")
    filtered = run("filter", kafka, topic, "--filters", path, *how)
    assert filtered.status == 3, filtered.err
    assert f"an alert is larger than {output} takes" in filtered.err
    total = totals(filtered)[output]
    assert (total["seen"], total["passed"], total["rejected"], total["failed"]) == (3, 2, 0, 1)
    assert len(raw_kafka.read(kafka, output)) == 2
    ((value, headers),) = dead_letters(kafka, topic)
    assert value == alerts[1]
    assert headers["alertstream.reason"].decode() == f"larger than {output} takes"


@pytest.mark.hostile("2h: a topic whose limit one has no right to know")
def test_limit_that_is_not_known_is_learned(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic, **SMALL)
    messages = [Message("source", 0, n, 1000, None, bytes(size)) for n, size in SIZES]
    copies = [Copy(topic, message, "no reason") for message in messages]

    async def write() -> None:
        connection = Connection(kafka)
        async with producer(connection) as writing:
            topics = {topic: Topic(topic, 1)}
            to = Destination(
                connection, writing, Anyone(), TopicLayout(), topics, False, asyncio.Event()
            )
            for _ in range(10):
                try:
                    return await to.write(copies, {}, None)  # type: ignore[arg-type]
                except TopicLimitError as error:
                    assert error.retriable and error.refused
                    await writing.restart()
                    to._add({topic: Topic(topic, 1)})
        raise AssertionError("not learned")

    asyncio.run(write())
    found = {json.loads(dict(m.headers)["alertstream.origin"])["offset"]: m.value
             for m in raw_kafka.read(kafka, topic)}  # fmt: skip
    assert [len(found[n]) == size for n, size in SIZES] == [True, True, False, True]


SIZES = [(0, 1000), (1, 90_000), (2, 400_000), (3, 90_000)]


class Anyone:
    """Stands for a consumer whose offsets do not matter."""

    positions = Positions()

    def is_outdated(self, _: object) -> bool:
        return False

    async def commit(self, _: object) -> None:
        pass
