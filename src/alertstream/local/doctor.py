"""Looks, one thing after the other, at what it takes to read a stream, and says what to mend.

The order is that in which things depend on each other: behind what fails, it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

from alertstream.alert.surveys import field_paths
from alertstream.avro.registry import RegistrySchemas
from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import schema_id_of
from alertstream.errors import AlertStreamError, RegistryError
from alertstream.kafka.admin import has_committed, topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.messages import Message
from alertstream.kafka.subscription import Subscription
from alertstream.local.broker.java import MIN_VERSION, find_java
from alertstream.reading.decoder import AlertDecoder, Undecodable
from alertstream.sending.schedule import Clock

ANSWER_LIMIT = 10.0
"""Seconds in which hosts, registry and topic must answer."""
LOOKED_AT = 20
"""Offsets before each partition's end that are looked at: some are markers of transactions."""
SKEW = 1.0
"""Seconds that the newest message may be ahead of this machine's clock."""


@dataclass(frozen=True)
class Finding:
    """What was found out about one thing.

    :param good: None where there was nothing to look at.
    :param todo: what to do if it is not good.
    """

    name: str
    good: bool | None
    what: str
    todo: str | None = None


@dataclass(frozen=True)
class Patient:
    """What is looked at: a broker, and what is read there, as far as it is named."""

    connection: Connection
    topic: str | None
    group: str | None
    schemas: Schemas


async def examine(patient: Patient, clock: Clock) -> AsyncIterator[Finding]:
    """Yield what is found, in the order of the work of a subscriber."""
    yield _local_kafka()
    connection = patient.connection
    reached = [await _host(*address) for address in connection.addresses()]
    for found in reached:
        yield found
    if not any(found.good for found in reached):
        return
    try:
        there = await topics(connection)
    except AlertStreamError as error:
        yield _failed("Kafka", error)
        return
    yield Finding("Kafka", True, f"{_how(connection)}: {len(there)} topics")
    async for found in _registry(patient.schemas):
        yield found
        if found.good is False:
            return
    if patient.topic is None:
        yield Finding("topic", None, "none is named")
        return
    yield _topic(patient.topic, there)
    if patient.topic in there:
        async for found in _reading(patient, patient.topic, clock):
            yield found


def _failed(name: str, error: AlertStreamError) -> Finding:
    return Finding(name, False, error.what, error.todo)


def _local_kafka() -> Finding:
    """A Java for ``alertstream broker``; to read a stream, none is needed."""
    try:
        java = find_java(None)
    except AlertStreamError:
        todo = "pip install 'alertstream[broker]'"
        return Finding("Java", None, "none for alertstream broker", todo)
    return Finding("Java", True, f"{MIN_VERSION} or later, for alertstream broker: {java}")


async def _host(host: str, port: int) -> Finding:
    name = f"{host}:{port}"
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        todo = "check the address, and that no firewall is between; locally: alertstream broker"
        return Finding("host", False, f"{name} cannot be reached ({reason})", todo)
    writer.close()
    return Finding("host", True, f"{name} answers")


def _how(connection: Connection) -> str:
    encrypted = "with TLS" if connection.security_protocol.endswith("SSL") else "without TLS"
    if connection.security_protocol.startswith("SASL"):
        return f"{encrypted}, as {connection.username} by {connection.sasl_mechanism}"
    return encrypted


async def _registry(schemas: Schemas) -> AsyncIterator[Finding]:
    if not isinstance(schemas, RegistrySchemas):
        yield Finding("registry", None, f"none: {len(schemas.ids())} schemas are in folders")
        return
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            subjects = await schemas.registry.subjects()
    except RegistryError as error:
        yield _failed("registry", error)
    except TimeoutError:
        yield Finding("registry", False, f"{schemas.registry.url} does not answer", "try again")
    else:
        yield Finding("registry", True, f"{schemas.registry.url} has {len(subjects)} subjects")


def _topic(topic: str, there: dict[str, int]) -> Finding:
    if topic in there:
        return Finding("topic", True, f"{topic} has {there[topic]} partitions")
    near = get_close_matches(topic, there, n=1)
    known = sorted(name for name in there if not name.startswith("_"))[:10]
    todo = f"did you mean {near[0]}?" if near else f"topics there: {', '.join(known) or 'none'}"
    return Finding("topic", False, f"there is no topic {topic}, or no right to see it", todo)


async def _reading(patient: Patient, topic: str, clock: Clock) -> AsyncIterator[Finding]:
    if patient.group is not None:
        yield await _group(patient.connection, patient.group, topic)
    last = Subscription((topic,), start=-LOOKED_AT, exit_on_eof=True)
    messages: list[Message] = []
    try:
        async with (
            asyncio.timeout(ANSWER_LIMIT),
            subscribe(patient.connection, last) as stream,
        ):
            async for batch in stream.batches(asyncio.Event()):
                messages += batch
    except AlertStreamError as error:
        yield _failed("messages", error)
        return
    except TimeoutError:
        yield Finding("messages", False, "the brokers do not give any", "see that all are up")
        return
    if not messages:
        yield Finding("messages", None, "there are none")
        return
    newest = max(messages, key=lambda message: message.timestamp)
    at = datetime.fromtimestamp(newest.timestamp / 1000, UTC)
    yield Finding("messages", True, f"the newest is of {at:%Y-%m-%d %H:%M:%S} UTC")
    yield _clock(newest, clock)
    yield await _decoding(patient.schemas, messages)


async def _group(connection: Connection, group: str, topic: str) -> Finding:
    try:
        known = await has_committed(connection, group, [topic])
    except AlertStreamError as error:
        return _failed("group", error)
    return Finding("group", True, f"{group} {'goes on where it stopped' if known else 'is new'}")


def _clock(newest: Message, clock: Clock) -> Finding:
    ahead = newest.timestamp / 1000 - clock.now()
    if ahead > SKEW:
        what = f"the newest message is {ahead:.1f} s in the future"
        return Finding("clock", False, what, "set this machine's clock by NTP, or the producer's")
    return Finding("clock", True, "no message is in the future")


async def _decoding(schemas: Schemas, messages: Sequence[Message]) -> Finding:
    decoder = AlertDecoder(schemas, field_paths(["visit"]))
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            await decoder.ready(messages, asyncio.Event())
    except TimeoutError:
        return Finding("decoding", False, "the registry does not give the schema", "try again")
    alerts = []
    for alert in map(decoder.decode, messages):
        if isinstance(alert, Undecodable):
            ids = ", ".join(sorted({str(schema_id_of(each.value)) for each in messages}))
            where = f" (schema ids of the newest: {ids})"
            todo = "give --registry, or the folder that has its schema with --schemas"
            return Finding("decoding", False, f"{alert.cause}{where}", todo)
        alerts.append(alert)
    surveys = ", ".join(sorted({each.survey.name for each in alerts}))
    return Finding("decoding", True, f"{len(alerts)} of the newest are alerts of {surveys}")
