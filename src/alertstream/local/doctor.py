"""Checks, one after another, what it takes to follow a stream, and says how to fix what is wrong.

The checks are in the order in which they depend on each other: after one that fails, most end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TypeVar

from alertstream.alert.surveys import field_paths
from alertstream.avro.registry import RegistrySchemas
from alertstream.avro.schemas import Schemas
from alertstream.errors import AlertStreamError
from alertstream.kafka.admin import has_committed, may_use_group, topics, writable_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.messages import Message
from alertstream.kafka.subscription import Subscription
from alertstream.kafka.topics import STAND_IN_SUFFIX, about_missing
from alertstream.local.broker.java import MIN_VERSION, find_java
from alertstream.printing.lines import time_text
from alertstream.reading.decoder import AlertDecoder, Undecodable
from alertstream.reading.envelope import schema_id_in
from alertstream.sending.visits.schedule import Clock

CHECK_TIMEOUT = 10.0
"""Seconds that a host, the registry or a topic gets to answer."""
OFFSETS_READ = 20
"""Before the end of each partition; some of these offsets are markers of transactions."""
MAX_CLOCK_SKEW = 1.0
"""Seconds that the newest message may be ahead of this machine's clock."""

TRIED = "alertstream"
"""Suffix of the groups and topics whose names are tried; none is created."""

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """What a check has found.

    :param good: None if there was nothing to check.
    :param todo: how to fix it if it is not good.
    """

    name: str
    good: bool | None
    what: str
    todo: str | None = None


class _Failed(Exception):
    """A check's :class:`Finding` after which other checks are useless."""


@dataclass(frozen=True)
class Plan:
    """What is to be done with a topic.

    :param topic: None: check the broker only.
    :param group: None: any that the user may use.
    :param prefix: what group names must begin with, as far as the user knows.
    :param to: the cluster to write to, if it is another one.
    :param filter_command: how to filter the topic to a cluster of one's own.
    """

    topic: str | None
    group: str | None = None
    prefix: str = ""
    to: Connection | None = None
    filter_command: str = "alertstream filter BROKER TOPIC 1 --to HOST:PORT"


async def examine(
    connection: Connection, plan: Plan, schemas: Schemas, clock: Clock
) -> AsyncIterator[Finding]:
    """Yield the findings on a broker and what is read there, in the order of a reader's work."""
    yield _java()
    async for each in _source(connection, plan, schemas, clock):
        yield each
    if plan.to is not None:
        async for each in _target(plan.to, plan):
            yield replace(each, name=f"to: {each.name}")


async def _source(
    connection: Connection, plan: Plan, schemas: Schemas, clock: Clock
) -> AsyncIterator[Finding]:
    topic = plan.topic
    try:
        known: dict[str, int] = {}
        async for each in _cluster(connection, known):
            yield each
        yield await _registry(schemas)
        if topic is None:
            yield Finding("topic", None, "none given")
            return
        yield _topic(topic, known, connection)
        if plan.group is not None and plan.to is None:
            yield await _group(connection, plan.group, topic)
        elif connection.is_authenticated:
            yield await _group_names(connection, plan.prefix)
        yield await _writing(connection, plan)
        last = await _checked("messages", _last_messages(connection, topic), "Kafka")
        if not last:
            yield Finding("messages", None, "there are none")
            return
        newest = max(each.timestamp for each in last)
        yield Finding("messages", True, f"the newest is from {time_text(newest)}")
        yield _clock(newest / 1000 - clock.now())
        yield await _decoding(schemas, last)
    except _Failed as failure:
        yield failure.args[0]


async def _target(to: Connection, plan: Plan) -> AsyncIterator[Finding]:
    try:
        async for each in _cluster(to, {}):
            yield each
        tried = f"{plan.topic or TRIED}{STAND_IN_SUFFIX}"
        if not await _checked("writing", writable_topics(to, tried), "Kafka"):
            todo = "ask for Create, Write and Read on your topics, or choose another Kafka"
            yield Finding("writing", False, "no right to write", todo)
            return
        yield Finding("writing", True, "topics can be made, or written")
        if plan.group is not None and plan.topic is not None:
            yield await _group(to, plan.group, f"{plan.topic}{STAND_IN_SUFFIX}")
    except _Failed as failure:
        yield failure.args[0]


async def _cluster(connection: Connection, known: dict[str, int]) -> AsyncIterator[Finding]:
    """Yield findings on reaching a cluster; ``known`` gets its topics' partition counts."""
    hosts = [await _host(*address) for address in connection.addresses()]
    for host in hosts[:-1]:
        yield host
    if not any(host.good for host in hosts):
        raise _Failed(hosts[-1])
    yield hosts[-1]
    known |= await _checked("Kafka", topics(connection), "Kafka")
    yield Finding("Kafka", True, f"{_login(connection)}: {len(known)} topics")


async def _group(connection: Connection, group: str, topic: str) -> Finding:
    known = await _checked("group", has_committed(connection, group, [topic]), "Kafka")
    what = "continues where it stopped" if known else "is new"
    return Finding("group", True, f"{group} {what}")


async def _group_names(connection: Connection, prefix: str) -> Finding:
    """Find out which group names are allowed; on some streams, they begin with the user's."""
    for each in [prefix] if prefix else ["", f"{connection.username}-"]:
        tried = may_use_group(connection, f"{each}{TRIED}")
        if not await _checked("group", tried, "Kafka"):
            continue
        if not each:
            return Finding("group", True, "any name can be used")
        todo = None if prefix else f'write group_prefix = "{each}" in the profile'
        return Finding("group", True, f"names that begin with {each} can be used", todo)
    todo = "ask which names you may use, and set --group-prefix"
    return Finding("group", None, f"no right to use {prefix}{TRIED}, as an example", todo)


async def _writing(connection: Connection, plan: Plan) -> Finding:
    """Find out whether filters can write to the cluster that is read."""
    if await _checked("writing", writable_topics(connection, TRIED), "Kafka"):
        return Finding("writing", True, "topics can be made, or written")
    if plan.to is not None:
        return Finding("writing", None, "no right to write, nor is it needed with --to")
    what = "no right to write: filtered alerts go to a Kafka of your own"
    return Finding("writing", None, what, plan.filter_command)


async def _checked(name: str, answer: Awaitable[T], who: str) -> T:
    """Return an answer if it comes in time; turn our errors into failed checks."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await answer
    except AlertStreamError as error:
        raise _Failed(Finding(name, False, error.what, error.todo)) from error
    except TimeoutError as error:
        todo = "check that it is up, and rerun"
        raise _Failed(Finding(name, False, f"{who} does not answer", todo)) from error


def _java() -> Finding:
    """Look for what ``alertstream broker`` needs; to read a stream, it is not needed."""
    try:
        java = find_java(None)
    except AlertStreamError as error:
        return Finding("Java", None, "none for alertstream broker", error.todo)
    return Finding("Java", True, f"{MIN_VERSION} or later, for alertstream broker: {java}")


async def _host(host: str, port: int) -> Finding:
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        todo = "check the address, and that no firewall blocks it; locally: alertstream broker"
        return Finding("host", False, f"{name} cannot be reached ({reason})", todo)
    writer.close()
    return Finding("host", True, f"{name} answers")


def _login(connection: Connection) -> str:
    encrypted = "with TLS" if connection.security_protocol.endswith("SSL") else "without TLS"
    if connection.security_protocol.startswith("SASL"):
        return f"{encrypted}, as {connection.username} by {connection.sasl_mechanism}"
    return encrypted


async def _registry(schemas: Schemas) -> Finding:
    if not isinstance(schemas, RegistrySchemas):
        return Finding("registry", None, f"none: {len(schemas.ids())} schemas are in folders")
    registry = schemas.client
    subjects = await _checked("registry", registry.subjects(), str(registry.url))
    return Finding("registry", True, f"{registry.url} has {len(subjects)} subjects")


def _topic(topic: str, known: dict[str, int], connection: Connection) -> Finding:
    if topic in known:
        return Finding("topic", True, f"{topic} has {known[topic]} partitions")
    near = get_close_matches(topic, known, n=1)
    todo = f"did you mean {near[0]}?" if near else about_missing(known, connection)
    what = f"there is no topic {topic}, or no right to see it"
    raise _Failed(Finding("topic", False, what, todo))


async def _last_messages(connection: Connection, topic: str) -> list[Message]:
    last = Subscription((topic,), start=-OFFSETS_READ, exit_on_eof=True)
    async with subscribe(connection, last) as stream:
        return [each async for batch in stream.batches(asyncio.Event()) for each in batch]


def _clock(ahead: float) -> Finding:
    if ahead <= MAX_CLOCK_SKEW:
        return Finding("clock", True, "no message is in the future")
    todo = "synchronize this machine's clock (NTP), or the producer's"
    return Finding("clock", False, f"the newest message is {ahead:.1f} s in the future", todo)


async def _decoding(schemas: Schemas, messages: Sequence[Message]) -> Finding:
    decoder = AlertDecoder(schemas, field_paths(["visit"]))
    await _checked("decoding", decoder.ready(messages, asyncio.Event()), "the registry")
    surveys = set()
    for alert in map(decoder.decode, messages):
        if isinstance(alert, Undecodable):
            ids = ", ".join(sorted({str(schema_id_in(each)) for each in messages}))
            what = f"{alert.cause} (schema ids of the newest messages: {ids})"
            todo = "give --registry, or the folder that has its schema with --schemas"
            if schema_id_in(alert.message) is None:
                todo = "choose a topic of alerts; if they have no header, print --schema reads them"
            return Finding("decoding", False, what, todo)
        surveys.add(alert.survey.name)
    what = f"{len(messages)} of the newest are alerts of {', '.join(sorted(surveys))}"
    return Finding("decoding", True, what)
