"""One contender of the benchmark, in its own process: prints its measurements as JSON.

The clock runs from the first message to the last acknowledgement or offset; connecting and joining
a group come before it, for all of them alike.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any

import fastavro
from aiokafka import AIOKafkaConsumer, TopicPartition

from alertstream.alert.fields import fields_without
from alertstream.avro.container.file import ContainerFile
from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack
from alertstream.cli.event_loop import run
from alertstream.filtering.expression import WhereFilter
from alertstream.filtering.filters import FLUX_CUT, SNR_CUT, AlertFilter, template_filter
from alertstream.filtering.pipeline import FilterOptions, open_pipeline
from alertstream.kafka import producer as kafka
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.subscription import Subscription
from alertstream.kafka.topics import TopicLayout
from alertstream.monitoring.watch import Watch, watch_stream
from alertstream.printing.printer import Printer, PrintOptions
from alertstream.sending.sender import SendOptions, send
from alertstream.sending.visits.encoders import message_encoders
from alertstream.sending.visits.schedule import Cadence, Clock, bursts, files_of, visits_in

SCHEMA_ID = 1000
DELIVERY = "exactly-once"

Seconds = float


async def send_ours(
    stop: asyncio.Event, broker: str, topic: str, path: str, times: str = "1", codec: str = "none"
) -> Seconds:
    """``alertstream send`` of one file, ``times`` times, as fast as possible."""
    connection, visits, clock = Connection(broker), visits_in([Path(path)]), Clock()
    made = (await make_topics(connection, [topic], TopicLayout()))[topic]
    async with kafka.producer(connection, compression=codec) as producer:
        options, how = (
            SendOptions(made, limit=0),
            await message_encoders(files_of(visits), Schemas()),
        )
        due = bursts(visits, Cadence(0, repeat=int(times)), clock, stop)
        total = await send(producer, options, how, due, clock=clock, stop=stop)
    assert total.failed == 0
    return total.seconds


def send_original(broker: str, topic: str, path: str) -> Seconds:
    """Decode each alert, encode it again, hand it to librdkafka with its default settings."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker, "message.max.bytes": 10_000_000})
    begin = time.perf_counter()
    with Path(path).open("rb") as file:
        reader = fastavro.reader(file)
        for alert in reader:
            body = io.BytesIO()
            fastavro.schemaless_writer(body, reader.writer_schema, alert)
            _produce(producer, topic, pack(SCHEMA_ID, body.getvalue()))
    producer.flush()
    return time.perf_counter() - begin


def send_librdkafka(broker: str, topic: str, path: str) -> Seconds:
    """Hand messages from memory to librdkafka, acknowledged by all replicas."""
    from confluent_kafka import Producer

    with ContainerFile(Path(path)) as container:
        messages = [pack(SCHEMA_ID, body) for body in container]
    settings = {
        "bootstrap.servers": broker,
        "acks": "all",
        "enable.idempotence": True,
        "message.max.bytes": 10_000_000,
    }
    producer = Producer(settings)
    begin = time.perf_counter()
    for message in messages:
        _produce(producer, topic, message)
    producer.flush()
    return time.perf_counter() - begin


def _produce(producer: Any, topic: str, message: bytes) -> None:
    while True:
        try:
            producer.produce(topic, message)
        except BufferError:
            producer.poll(0.01)
        else:
            producer.poll(0)
            return


async def send_steadily(
    stop: asyncio.Event, broker: str, topic: str, path: str, rate: str, count: str, text: str = "0"
) -> Seconds:
    """So many of a folder's alerts, or as many characters, a second: each a batch of its own."""
    connection = Connection(broker)
    made = (await make_topics(connection, [topic], TopicLayout()))[topic]
    with ExitStack() as opened:
        files = sorted(Path(path).glob("*.avro"))  # noqa: ASYNC240
        bodies = chain.from_iterable(opened.enter_context(ContainerFile(each)) for each in files)
        async with kafka.producer(connection) as producer:
            begin = time.perf_counter()
            for number, body in enumerate(islice(bodies, int(count))):
                message = b"x" * len(body) if int(text) else pack(SCHEMA_ID, body)
                await asyncio.sleep(begin + number / int(rate) - time.perf_counter())
                records = producer.records()
                records.append(int(time.time() * 1000), (message,))
                await producer.send(made, number % made.partitions, records)
            return time.perf_counter() - begin


async def filter_ours(
    stop: asyncio.Event, broker: str, topic: str, names: str, delivery: str = DELIVERY
) -> Seconds:
    """``alertstream filter`` from a topic's start to its end."""
    options = FilterOptions(_filters(names), exactly_once=delivery == DELIVERY)
    subscription = Subscription((topic,), f"bench-{time.time_ns()}", exit_on_eof=True)
    async with open_pipeline(
        Connection(broker), subscription, options, Schemas(), stop=stop
    ) as pipeline:
        begin = time.perf_counter()
        await pipeline.run()
        return time.perf_counter() - begin


async def filter_all(
    stop: asyncio.Event, broker: str, topic: str, output: str, without: str = ""
) -> Seconds:
    """``alertstream filter`` that lets all pass, ``--without`` some fields."""
    every = [WhereFilter("snr > 5 or not snr > 5", output)]
    names = frozenset(fields_without(without.split(), Schemas()))
    subscription = Subscription((topic,), f"bench-{time.time_ns()}", exit_on_eof=True)
    options = FilterOptions(every, cap=0, without=names)
    async with open_pipeline(
        Connection(broker), subscription, options, Schemas(), stop=stop
    ) as pipeline:
        begin = time.perf_counter()
        (counts,) = await pipeline.run()
        seconds = time.perf_counter() - begin
    assert counts.passed == counts.seen > 0
    return seconds


def _filters(names: str) -> list[AlertFilter]:
    """Return the template's filters of any range, such as ``1-250``."""
    first, _, last = names.partition("-")
    return [template_filter(number)() for number in range(int(first), int(last or first) + 1)]


def filter_original(broker: str, topic: str) -> Seconds:
    """Decode each alert whole, judge it by one filter, write what passes with librdkafka."""
    from confluent_kafka import Consumer, Producer

    schema = Schemas().by_id(SCHEMA_ID)
    consumer = Consumer(_reading(broker))
    producer = Producer({"bootstrap.servers": broker, "message.max.bytes": 10_000_000})
    passed: dict[int, int] = {}
    first, rest = _consumed(consumer, topic)
    begin = time.perf_counter()
    for message in _chain(first, rest):
        alert = fastavro.schemaless_reader(io.BytesIO(message.value()[5:]), schema)
        source = alert["diaSource"]
        snr, flux, visit = source["snr"], source["psfFlux"], source["visit"]
        if snr is not None and snr > SNR_CUT and flux is not None and flux > FLUX_CUT:
            passed[visit] = passed.get(visit, 0) + 1
            if passed[visit] <= 20:
                _produce(producer, "bench-original", message.value())
    producer.flush()
    seconds = time.perf_counter() - begin
    consumer.close()
    return seconds


def read_librdkafka(broker: str, topic: str) -> Seconds:
    """Read raw bytes with librdkafka."""
    from confluent_kafka import Consumer

    consumer = Consumer(_reading(broker))
    first, rest = _consumed(consumer, topic)
    begin = time.perf_counter()
    assert sum(len(message.value()) for message in _chain(first, rest)) > 0
    seconds = time.perf_counter() - begin
    consumer.close()
    return seconds


def read_many(broker: str, topic: str, count: str) -> Seconds:
    """Read raw bytes with librdkafka as ``count`` subscribers, each of which gets everything."""
    from confluent_kafka import Consumer

    consumers = [Consumer(_reading(broker, number)) for number in range(int(count))]
    started = [_consumed(each, topic) for each in consumers]
    begin = time.perf_counter()
    with ThreadPoolExecutor(len(started)) as threads:
        sizes = [*threads.map(lambda each: sum(len(m.value()) for m in _chain(*each)), started)]
    assert len({*sizes}) == 1
    seconds = time.perf_counter() - begin
    for each in consumers:
        each.close()
    return seconds


def _reading(broker: str, number: int = 0) -> dict[str, Any]:
    return {
        "bootstrap.servers": broker,
        "group.id": f"bench-{time.time_ns()}-{number}",
        # What fifty of them have memory for.
        "queued.max.messages.kbytes": 16 * 1024,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
    }


def _consumed(consumer: Any, topic: str) -> tuple[Any, Any]:
    """Wait for the first message; return it, and the others up to the topic's end."""
    partitions = len(consumer.list_topics(topic).topics[topic].partitions)
    consumer.subscribe([topic])

    def messages() -> Any:
        ended = 0
        while ended < partitions:
            message = consumer.poll(5)
            if message is None:
                continue
            if message.error():
                ended += 1
            else:
                yield message

    stream = messages()
    return next(stream), stream


def _chain(first: Any, rest: Any) -> Any:
    yield first
    yield from rest


async def read_aiokafka(stop: asyncio.Event, broker: str, topic: str) -> Seconds:
    """Read raw bytes with aiokafka, with its default settings."""
    async with AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest") as consumer:
        return await _read_to_end(consumer, topic)


async def read_ours(stop: asyncio.Event, broker: str, topic: str) -> Seconds:
    """Read raw bytes through our stream, without looking at them."""
    subscription = Subscription((topic,), exit_on_eof=True)
    async with subscribe(Connection(broker), subscription) as stream:
        begin = time.perf_counter()
        async for _ in stream.batches(stop):
            pass
        return time.perf_counter() - begin


async def print_ours(stop: asyncio.Event, broker: str, topic: str) -> Seconds:
    """``alertstream print --format json`` of every alert, images left out."""

    async def drop(lines: list[str], stop: asyncio.Event) -> None:
        pass

    subscription = Subscription((topic,), exit_on_eof=True)
    async with subscribe(Connection(broker), subscription) as stream:
        begin = time.perf_counter()
        printer = Printer(Schemas(), PrintOptions(format="json"), drop)
        await printer.run(stream, stop)
        return time.perf_counter() - begin


async def monitor_ours(stop: asyncio.Event, broker: str, topic: str) -> Seconds:
    """``alertstream monitor`` from a topic's start to its end."""
    subscription = Subscription((topic,), exit_on_eof=True)
    async with subscribe(Connection(broker), subscription) as stream:
        begin = time.perf_counter()
        await watch_stream(stream, Schemas(), Watch((topic,)), stop=stop)
        return time.perf_counter() - begin


async def _read_to_end(consumer: AIOKafkaConsumer, topic: str) -> Seconds:
    consumer.subscribe([topic])
    await consumer.getmany(timeout_ms=0)
    numbers = consumer.partitions_for_topic(topic) or ()
    partitions = [TopicPartition(topic, number) for number in numbers]
    consumer.unsubscribe()
    consumer.assign(partitions)
    ends = await consumer.end_offsets(partitions)
    begin = time.perf_counter()
    for partition in partitions:
        while await consumer.position(partition) < ends[partition]:
            await consumer.getmany(timeout_ms=1000)
    return time.perf_counter() - begin


CONTENDERS: dict[str, Callable[..., Any]] = {
    name: value
    for name, value in list(globals().items())
    if name.startswith(("send_", "filter_", "read_", "print_", "monitor_")) and callable(value)
    if not name.endswith("_stream")
}


def main() -> None:
    """Run the contender that the first argument names."""
    name, *arguments = sys.argv[1:]
    contender = CONTENDERS[name]
    begin = time.process_time()
    if asyncio.iscoroutinefunction(contender):
        coroutine: Callable[..., Awaitable[Seconds]] = contender
        seconds = run(lambda stop: coroutine(stop, *arguments))
    else:
        seconds = contender(*arguments)
    told = {"seconds": seconds, "cpu": time.process_time() - begin, "megabytes": peak_memory()}
    json.dump(told, sys.stdout)


def peak_memory(process: int | str = "self") -> float | None:
    """Return the peak memory of a process, MB; None where the system does not report it.

    ``wait4`` counts the memory of the parent process, too.
    """
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
