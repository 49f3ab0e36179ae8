"""Finds a message's schema, and where its body starts.

Known are the wire format; a container file of one record, as of ZTF; and a body alone, whose schema
is the message's key, as JSON: the streams of Fink (fink-client reads them so).
"""

from __future__ import annotations

import json
from io import BytesIO
from itertools import islice
from pathlib import Path

from alertstream.avro.container.blocks import CONTAINER_MAGIC, MAX_HEADER, MAX_MESSAGE_BLOCK, Blocks
from alertstream.avro.container.file import ContainerFile
from alertstream.avro.container.foreign import kind_of
from alertstream.avro.decoder import Decoder
from alertstream.avro.schemas import Schema, Schemas, parsed, plain_schema, read_schema
from alertstream.avro.wire import HEADER_SIZE, schema_id_of
from alertstream.errors import SchemaError, UndecodableError
from alertstream.kafka.messages import Message

MAX_BLOCKS = 16
"""Blocks of a message that is a container file; all but one are empty."""

MAX_HEADERS = 32
"""Headers remembered as such, if all messages have one schema."""

SchemaKey = int | bytes
"""A schema's id, or itself as JSON."""


class SingleSchema(Schemas):
    """One schema for all messages, with a header, whatever its id, or without one.

    A container file still has its own schema.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self._schema = schema
        self._as_json = json.dumps(plain_schema(schema)).encode()
        self._decoder = Decoder(schema, ())
        self._headers: set[bytes] = set()

    def ids(self) -> list[int]:
        """Return an id, which stands for all."""
        return [0]

    def by_id(self, schema_id: int) -> Schema:
        """Return the schema."""
        return self._schema

    def opened(self, value: bytes) -> tuple[SchemaKey, bytes, int]:
        """Return what :func:`opened` does, for a message that is not a container file."""
        schema_id = schema_id_of(value)
        if schema_id is not None and self._has_header(value):
            return schema_id, value, HEADER_SIZE
        return self._as_json, value, 0

    def _has_header(self, value: bytes) -> bool:
        """Return whether the body comes after a header, and does not just begin like one."""
        header = value[:HEADER_SIZE]
        if header not in self._headers:
            try:
                self._decoder.decode(value, HEADER_SIZE)
            except UndecodableError:
                return False
            if len(self._headers) < MAX_HEADERS:
                self._headers.add(header)
        return True


def schema_from(path: Path) -> Schema:
    """Return the schema that a file is (``.avsc``), or that a file's alerts have.

    :raises SchemaError: it cannot be read, or is not valid.
    :raises DataError: as for :class:`ContainerFile`.
    """
    if path.suffix in (".avsc", ".json"):
        return read_schema(path)
    with ContainerFile(path) as container:
        if container.holds_messages:
            what = "the file has messages without their schema"
            raise SchemaError(what, where=str(path), todo="give an .avsc file")
        return container.schema


def opened(
    value: bytes | None, key: bytes | None = None, schemas: Schemas | None = None
) -> tuple[SchemaKey, bytes, int]:
    """Return what a message's schema is, and bytes with the place where its body starts.

    :param key: the message's.
    :param schemas: in which ids are looked up.
    :raises UndecodableError: it has no header, and no other form with a schema.
    """
    if value is None:
        raise UndecodableError("no content")
    if value.startswith(CONTAINER_MAGIC):
        return _in_container(value)
    if isinstance(schemas, SingleSchema):
        return schemas.opened(value)
    if key is not None and is_schema(key):
        return key, value, 0
    schema_id = schema_id_of(value)
    if schema_id is None:
        kind = kind_of(value)
        empty = "empty message" if kind == "empty" else f"{kind}, not Avro"
        raise UndecodableError(empty if kind else "no wire-format header")
    return schema_id, value, HEADER_SIZE


def is_schema(key: bytes | None) -> bool:
    """Return whether a message's key is its schema."""
    return (
        key is not None and key.startswith(b"{") and len(key) <= MAX_HEADER and b'"fields"' in key
    )


def schema_id_in(message: Message) -> int | None:
    """Return the id in a message's header; None if it has none."""
    return None if is_schema(message.key) else schema_id_of(message.value)


def _in_container(value: bytes) -> tuple[bytes, bytes, int]:
    try:
        blocks = Blocks(BytesIO(value), len(value), MAX_MESSAGE_BLOCK)
        found = [*islice(blocks.of_shard(), MAX_BLOCKS + 1)]
    except UndecodableError as error:
        raise UndecodableError(f"container file: {error.what}") from error
    except Exception as error:
        raise UndecodableError("damaged container file") from error
    # Some writers end a file with an empty block.
    bodies = [(count, content) for count, content in found if count or content]
    if len(found) > MAX_BLOCKS or [count for count, _ in bodies] != [1]:
        raise UndecodableError("container file without exactly one record")
    return blocks.schema, bodies[0][1] or b"", 0


def schema_of(key: SchemaKey, schemas: Schemas) -> Schema:
    """Return the schema that a message names by its id, or has in itself as JSON.

    :raises SchemaError: it is unknown, or is not valid.
    """
    if isinstance(key, int):
        return schemas.by_id(key)
    try:
        return parsed(json.loads(key))
    except (ValueError, RecursionError) as error:
        raise SchemaError("its schema is not valid JSON") from error
