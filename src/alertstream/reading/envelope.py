"""What a message says of its content: which schema that was written with, and where it starts.

Known are the wire format; a container file of one record, as of ZTF; and a body alone, whose schema
is the message's key, as JSON: the streams of Fink (fink-client reads them so).
"""

from __future__ import annotations

import json
from io import BytesIO
from itertools import islice

from alertstream.avro.container.blocks import CONTAINER_MAGIC, MAX_HEADER, MAX_MESSAGE_BLOCK, Blocks
from alertstream.avro.container.foreign import kind_of
from alertstream.avro.schemas import Schema, Schemas, parsed
from alertstream.avro.wire import HEADER_SIZE, schema_id_of
from alertstream.errors import SchemaError, UndecodableError
from alertstream.kafka.messages import Message

MAX_BLOCKS = 16
"""Blocks of a message that is a container file; all but one are empty."""

SchemaKey = int | bytes
"""A schema's id, or itself as JSON."""


def opened(value: bytes | None, key: bytes | None = None) -> tuple[SchemaKey, bytes, int]:
    """Return what a message's schema is, and bytes with the place where its body starts.

    :param key: the message's.
    :raises UndecodableError: it has no header, and is nothing else that has a schema.
    """
    if value is None:
        raise UndecodableError("no content")
    if value.startswith(CONTAINER_MAGIC):
        return _in_container(value)
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
