"""Sending for Python programs: one function, the account of all visits as its result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from alertstream.avro.registry import schemas_from
from alertstream.errors import notice
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.producer import producer
from alertstream.kafka.topics import TopicLayout
from alertstream.sending.delivery import VisitSent
from alertstream.sending.sender import SendOptions
from alertstream.sending.sender import send as send_visits
from alertstream.sending.visits.encoders import message_encoders
from alertstream.sending.visits.schedule import Cadence, Clock, bursts, files_of, visits_in
from alertstream.system.files import paths_of


async def send(
    broker: str | Connection,
    topic: str,
    paths: str | Path | Sequence[str | Path],
    *,
    interval: float = 0.0,
    limit: int = 0,
    schemas: str | Path | Sequence[str | Path] = (),
    registry: str | None = None,
    registry_login: tuple[str, str] | None = None,
    schema_id: int | None = None,
    subject: str = "topic",
    partitions: int = 4,
    replication: int | None = None,
) -> VisitSent:
    """Send container files to a topic, one a visit, and return the account of all.

    :param paths: files, and folders of them, or of a folder for each visit.
    :param interval: seconds from burst to burst; 0 is as fast as possible.
    :param limit: alerts of a visit at most; 0 is all.
    :param schemas: folders of ``.avsc`` files, besides the package's own schemas; a new schema is
        written into the first, for the topic's readers.
    :param registry: URL of a schema registry, where schemas are registered and get their ids.
    :param registry_login: user name and password for it.
    :param subject: under which the registry has the schemas: ``topic`` (TOPIC-value), ``record``
        (the schema's full name), ``topic-record``, or a name.
    :param schema_id: id to send under, instead of the one derived from a file's schema.
    :param partitions: of the topic, if it has to be made.
    :param replication: copies of it; None is 3, or as many as there are brokers.
    :raises UsageError: the interval is not valid.
    :raises DataError: a file is not there, or is not a container file.
    :raises SchemaError: a file's schema has no id, or the registry rejects it.
    :raises RegistryError: the registry cannot be reached, or did not answer as it should.
    :raises BrokerError: Kafka cannot be reached, or refuses. Alerts that are not acknowledged are
        in the account instead, as ``failed``, with the reason as ``error``.
    """
    connection, cadence = Connection.to(broker), Cadence(interval, align=False)
    visits = visits_in(paths_of(paths))
    encoders = await message_encoders(
        files_of(visits),
        schemas_from(schemas, registry, registry_login),
        schema_id=schema_id,
        topic=topic,
        subject=subject,
        notice=notice,
    )
    target = (await make_topics(connection, [topic], TopicLayout(partitions, replication)))[topic]
    options = SendOptions(target, interval, limit)
    clock, stop = Clock(), asyncio.Event()
    due = bursts(visits, cadence, clock, stop)
    async with producer(connection, notice=notice) as writing:
        return await send_visits(writing, options, encoders, due, clock=clock, stop=stop)
