"""The delay that a filter adds to a steady stream, beside that of Kafka's own client in one run.

Alerts are sent one by one at the survey's rate. librdkafka reads them as they are sent, and as
they come out of ``alertstream filter``, exactly once: an alert's delay is from one to the other.
The floor is what a transaction takes that does nothing else: Kafka's
``TransactionalMessageCopier``, in Java, copies messages of one partition, so many to each.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import threading
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence, Sized
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import fastavro

from alertstream.avro.schemas import Schemas
from alertstream.kafka.admin import make_topics
from alertstream.kafka.clients import admin_client
from alertstream.kafka.connection import Connection
from alertstream.kafka.messages import ORIGIN
from alertstream.kafka.topics import TopicLayout
from alertstream.local.broker.java import fetch_jars, find_java
from alertstream.local.simulate.files import SimulateOptions, simulate
from bench.contenders import SCHEMA_ID
from bench.contest import CUTOUT_SIZE
from bench.members import until_members

RATE = 250
"""Alerts a second: a visit of nearly 10,000 in 38 s."""
SECONDS = 20
VISITS = 5
FILTER = [sys.executable, "-m", "alertstream", "filter"]
COPIES = (1, 10)
SETTLE = 5.0
"""Seconds at the begin of a stream that do not count."""

Place = tuple[int, int]
"""A message's partition and offset."""


@dataclass(frozen=True)
class Case:
    """A filter that is measured.

    :param watched: the topic whose alerts count.
    :param rate: alerts a second.
    """

    name: str
    arguments: tuple[str, ...]
    watched: str = "Passed"
    rate: int = RATE


def cases(snrs: Sequence[float]) -> list[Case]:
    """Return what is measured, for alerts of these SNRs."""
    tenth = f"diaSource.snr > {statistics.quantiles(snrs, n=10)[-1]}"
    everything = f"diaSource.snr >= {min(snrs)}"
    output = ("--output", "Passed", "--cap", "0")
    return [
        Case("all pass, 20 a second", ("--where", everything, *output), rate=20),
        Case("all pass", ("--where", everything, *output)),
        Case("a tenth passes", ("--where", tenth, *output)),
        Case("100 filters, the first 20 of a visit", ("1-100",), "Filter050"),
    ]


async def measure(connection: Connection, folder: Path, only: str) -> dict[str, dict[str, float]]:
    """Print and return the delays, ms, by case, and how long Java's transactions take.

    :param folder: is to get the visits that are sent.
    :param only: measure only cases whose name has this in it.
    """
    visits = SimulateOptions(folder, VISITS, RATE * SECONDS // VISITS, cutout_size=CUTOUT_SIZE)
    files = await asyncio.to_thread(
        simulate, replace(visits, history=(0, 24)), Schemas().by_id(SCHEMA_ID)
    )
    snrs = list(chain.from_iterable(map(_snrs, files)))
    figures: dict[str, dict[str, float]] = {}
    print("\na transaction of Kafka's own client in Java, ms")
    for copies in COPIES if only in "Java" else ():
        took = await _transaction(connection, folder, copies)
        figures[f"Java, {copies} alerts a transaction"] = {"median": took}
        print(f"{f'with {copies} alerts':45} {took:8.1f}", flush=True)
    print(f"\ndelay that is added to {RATE} alerts a second, ms, {SECONDS} s each")
    print(f"{'':45} {'median':>8} {'99 %':>8} {'most':>8} {'alerts':>8} {'CPU, %':>8}")
    for number, case in enumerate(cases(snrs)):
        if only not in case.name:
            continue
        figures[case.name] = found = await _delays(connection, folder, case, f"steady-{number}")
        print(f"{case.name:45} " + " ".join(f"{each:8.0f}" for each in found.values()), flush=True)
    return figures


def _snrs(path: Path) -> list[float]:
    with path.open("rb") as file:
        found = (each["diaSource"]["snr"] for each in fastavro.reader(file))
        return [each for each in found if each is not None]


async def _delays(connection: Connection, folder: Path, case: Case, topic: str) -> dict[str, float]:
    await make_topics(connection, [topic, case.watched], TopicLayout())
    broker = connection.bootstrap
    command = [*FILTER, broker, topic, "--group", topic]
    with _watched(broker, topic) as sent, _watched(broker, case.watched) as seen:
        async with _running([*command, *case.arguments]) as process:
            async with admin_client(connection) as admin:
                await until_members(admin, topic, 1)
            before = _cpu(process.pid)
            seconds = await _send(broker, topic, folder, case.rate, case.rate * SECONDS)
            used = (_cpu(process.pid) - before) / seconds
            await _until_quiet(seen)
    first = min(moment for moment, _ in sent.values())
    late = [
        (moment - sent[origin][0]) * 1000
        for moment, origin in seen.values()
        if origin in sent and sent[origin][0] - first > SETTLE
    ]
    return {
        "median": statistics.median(late),
        "99 %": statistics.quantiles(late, n=100)[-1],
        "most": max(late),
        "alerts": len(late),
        "CPU, %": used * 100,
    }


async def _transaction(connection: Connection, folder: Path, copies: int) -> float:
    """Return the median of what Java takes from one transaction to the next, ms."""
    topic, copied, count = f"text-{copies}", f"copied-{copies}", 100 * copies
    await make_topics(connection, [topic, copied], TopicLayout(1))
    await _send(connection.bootstrap, topic, folder, 1000, count, text=1)
    jars = fetch_jars(Path(__file__).with_name("kafka-tools.lock.toml"), notice=print)
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    command = [
        *(find_java(None), quiet, "-cp", os.pathsep.join(map(str, jars))),
        *("org.apache.kafka.tools.TransactionalMessageCopier", "--input-topic", topic),
        *("--broker-list", connection.bootstrap, "--input-partition", 0),
        *("--output-topic", copied, "--transaction-size", copies, "--max-messages", count),
        *("--consumer-group", topic, "--transactional-id", topic, "--use-group-metadata"),
    ]
    with _watched(connection.bootstrap, copied) as seen:
        copier = await _start(*command)
        await copier.wait()
        await _until_quiet(seen)
    moments = [moment for _, (moment, _) in sorted(seen.items())][::copies]
    assert len(moments) == count / copies
    return statistics.median(after - at for at, after in pairwise(moments)) * 1000


async def _send(
    broker: str, topic: str, folder: Path, rate: int, count: int, text: int = 0
) -> float:
    """Send in another process; return how many seconds it took."""
    command = (sys.executable, "-m", "bench.contenders", "send_steadily")
    sending = await _start(*command, broker, topic, folder, rate, count, text, out=PIPE)
    return float(json.loads((await sending.communicate())[0])["seconds"])


@contextmanager
def _watched(broker: str, topic: str) -> Iterator[dict[Place, tuple[float, Place | None]]]:
    """Give what comes to a topic from now on, by its place: when, and its origin's place."""
    from confluent_kafka import OFFSET_END, Consumer, TopicPartition

    settings = {
        "bootstrap.servers": broker,
        "group.id": f"bench-{time.time_ns()}",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
    arrived: dict[Any, tuple[float, Place | None]] = {}
    consumer, stop = Consumer(settings), threading.Event()
    there = consumer.list_topics(topic).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_END) for number in there])

    def watch() -> None:
        while not stop.is_set():
            message = consumer.poll(0.1)
            if message is not None and not message.error():
                now = time.monotonic()
                origin = json.loads(dict(message.headers() or ()).get(ORIGIN) or b"null")
                place = origin and (origin["partition"], origin["offset"])
                arrived[message.partition(), message.offset()] = now, place

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield arrived
    finally:
        stop.set()
        thread.join()
        consumer.close()


async def _until_quiet(seen: Sized) -> None:
    """Wait until nothing has come for a while."""
    before = -1
    while before != (before := len(seen)):  # noqa: ASYNC110
        await asyncio.sleep(3)


@asynccontextmanager
async def _running(command: Sequence[str]) -> AsyncIterator[Process]:
    process = await _start(*command)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _start(*command: object, out: int = DEVNULL) -> Process:
    return await asyncio.create_subprocess_exec(*map(str, command), stdout=out)


def _cpu(process: int) -> float:
    """Return the seconds of a processor that a process has used."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
