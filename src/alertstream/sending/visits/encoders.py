"""Records to messages: how each file's messages are made, found out before the first burst.

Messages are in the wire format, except for files of a survey that sends container files, and for
files that hold whole messages, which are sent unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from alertstream.alert.surveys import survey_of
from alertstream.avro.container.blocks import container_header
from alertstream.avro.container.file import ContainerFile
from alertstream.avro.schema_tree import Schema
from alertstream.avro.schemas import Schemas, write_schema
from alertstream.avro.wire import pack, varint
from alertstream.errors import SchemaError, UsageError

SUBJECTS = {"topic": "{topic}-value", "record": "{record}", "topic-record": "{topic}-{record}"}
"""Where a registry has a topic's schemas, by Confluent's subject name strategies."""

Encoder = Callable[[bytes], tuple[bytes, ...]]
"""Makes a message, in parts, of a record's bytes."""


def wire_encoder(schema_id: int) -> Encoder:
    """Return what puts the header with a schema's id before a record's bytes."""
    header = pack(schema_id, b"")
    return lambda body: (header, body)


def container_encoder(schema: Schema) -> Encoder:
    """Return what makes a container file of one record's bytes: ZTF's messages."""
    marker = bytes(16)
    start = container_header(schema, sync_marker=marker) + varint(1)
    return lambda body: (start, varint(len(body)), body, marker)


def unchanged(message: bytes) -> tuple[bytes, ...]:
    """Return the one part of a message that is whole."""
    return (message,)


async def message_encoders(
    files: Iterable[Path],
    schemas: Schemas,
    *,
    schema_id: int | None = None,
    topic: str = "",
    subject: str = "topic",
) -> dict[Path, Encoder]:
    """Look into every file, and return how its messages are made; keep its schema, if it is new.

    :param schema_id: id to send under, instead of the one that follows from a file's schema.
    :param topic: to send to.
    :param subject: one of ``SUBJECTS``, or a name, under which a registry has the schemas.
    :raises UsageError: there is an id for a file of whole messages.
    :raises DataError: a file is not a container file.
    :raises SchemaError: no id follows from a file's schema, or it contradicts a known one.
    :raises RegistryError: the registry that says the ids cannot be reached, or refuses.
    """
    found: dict[Path, Encoder] = {}
    for path in files:
        with ContainerFile(path) as container:
            schema, stated = container.schema, container.schema_id
        if container.holds_messages:
            if schema_id is not None:
                what = "the file holds whole messages, with their ids"
                raise UsageError(what, where=str(path), todo="leave out --schema-id")
            found[path] = unchanged
            continue
        if schema_id is None and survey_of(schema).containers:
            found[path] = container_encoder(schema)
            continue
        number = schema_id
        if number is None:
            named = SUBJECTS.get(subject, "").format(topic=topic, record=schema["name"])
            number = await schemas.id_for(schema, named or subject, stated)
        found[path] = wire_encoder(number)
        if schemas.keep_in:
            with suppress(SchemaError):
                await schemas.look_up(number)
            if not schemas.has(number, schema):
                write_schema(schema, number, schemas.keep_in)
    return found
