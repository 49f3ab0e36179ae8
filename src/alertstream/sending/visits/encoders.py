"""Records to messages: each file's encoder is chosen before the first burst.

Messages are in the wire format, except for files of a survey that sends container files, and for
files that hold whole messages, which are sent unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from alertstream.alert.surveys import survey_of
from alertstream.avro.container.blocks import container_header
from alertstream.avro.container.file import ContainerFile
from alertstream.avro.schema_tree import Schema
from alertstream.avro.schemas import HOW_TO_KEEP, Schemas, write_schema
from alertstream.avro.wire import pack, varint
from alertstream.errors import Notice, SchemaError, UsageError

SUBJECTS = {"topic": "{topic}-value", "record": "{record}", "topic-record": "{topic}-{record}"}
"""Where a registry has a topic's schemas, by Confluent's subject name strategies."""

Encoder = Callable[[bytes], tuple[bytes, ...]]
"""Makes a message, in parts, of a record's bytes."""


def wire_encoder(schema_id: int) -> Encoder:
    """Return an encoder that puts the header with a schema's id before a record's bytes."""
    header = pack(schema_id, b"")
    return lambda body: (header, body)


def container_encoder(schema: Schema) -> Encoder:
    """Return an encoder that makes a container file of one record, as ZTF sends."""
    marker = bytes(16)
    start = container_header(schema, sync_marker=marker) + varint(1)
    return lambda body: (start, varint(len(body)), body, marker)


def unchanged(message: bytes) -> tuple[bytes, ...]:
    """Return a complete message as its only part."""
    return (message,)


async def message_encoders(
    files: Iterable[Path],
    schemas: Schemas,
    *,
    schema_id: int | None = None,
    topic: str = "",
    subject: str = "topic",
    keyed: Collection[Path] = (),
    notice: Notice = lambda text: None,
) -> dict[Path, Encoder]:
    """Return each file's encoder; store its schema if it is new.

    :param schema_id: id to send under, instead of the one derived from a file's schema.
    :param topic: to send to.
    :param keyed: files whose messages have their schema as their key: they are bodies alone.
    :param notice: called when a schema is kept.
    :param subject: one of ``SUBJECTS``, or a name, under which a registry has the schemas.
    :raises UsageError: there is an id for a file of whole messages.
    :raises DataError: a file is not a container file.
    :raises SchemaError: a file's schema has no id, it contradicts a known one, or the given id is
        unknown.
    :raises RegistryError: the registry that says the ids cannot be reached, or refuses.
    """
    found: dict[Path, Encoder] = {}
    for path in files:
        with ContainerFile(path) as container:
            schema, stated = container.schema, container.schema_id
        if path in keyed or container.holds_messages:
            if schema_id is not None and path not in keyed:
                what = "the file holds whole messages, with their ids"
                raise UsageError(what, where=str(path), todo="leave out --schema-id")
            found[path] = unchanged
            continue
        if schema_id is None and survey_of(schema).containers:
            found[path] = container_encoder(schema)
            continue
        try:
            number = schema_id
            if number is None:
                named = SUBJECTS.get(subject, "").format(topic=topic, record=schema["name"])
                number = await schemas.id_for(schema, named or subject, stated)
            await _keep(schema, number, schemas, notice, is_given=schema_id is not None)
        except SchemaError as error:
            where = error.where or str(path)
            raise SchemaError(error.what, where=where, todo=error.todo) from error
        found[path] = wire_encoder(number)
    return found


async def _keep(
    schema: Schema, number: int, schemas: Schemas, notice: Notice, *, is_given: bool
) -> None:
    """Store a schema for the topic's readers, if it is not known under its id.

    :param is_given: whether the user chose the id.
    :raises SchemaError: such an id is another schema's, or nobody would know what it means.
    """
    # With a registry, a given id is a convention of which the registry does not know.
    must_be_known = is_given and schemas.known_in_advance
    if schemas.keep_in is None and not must_be_known:
        return
    with suppress(SchemaError):
        await schemas.look_up(number)
    if schemas.has(number, schema):
        return
    if must_be_known and number in schemas.ids():
        what = f"schema id {number} is that of another schema than {schema['name']}"
        raise SchemaError(what, todo="choose another --schema-id")
    if schemas.keep_in is None:
        what = f"nobody would know what schema id {number} means"
        raise SchemaError(what, todo=HOW_TO_KEEP)
    write_schema(schema, number, schemas.keep_in)
    what = f"{schema['name']} is kept as schema id {number} in {schemas.keep_in}"
    notice(f"{what}: its readers need that folder, with --schemas")
