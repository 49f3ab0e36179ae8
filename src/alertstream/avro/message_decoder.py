"""Messages to alerts, each with the schema whose id it names or that it carries itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from alertstream.avro.blocks import CONTAINER_MAGIC, open_container_message
from alertstream.avro.decoder import Decoder
from alertstream.avro.schema_tree import Schema
from alertstream.avro.schemas import Schemas, parsed
from alertstream.avro.wire import HEADER_SIZE, unpack
from alertstream.errors import SchemaError, UndecodableError

MAX_CARRIED = 16
"""Schemas that messages carry themselves and whose decoders are kept."""


class MessageDecoder:
    """Decodes messages.

    :param fields: as for :class:`Decoder`.
    :param on_schema: called with each schema when its first message comes.
    """

    def __init__(
        self,
        schemas: Schemas,
        fields: Collection[str] | None = None,
        on_schema: Callable[[Schema], None] = lambda schema: None,
    ) -> None:
        self._schemas = schemas
        self._fields = fields
        self._on_schema = on_schema
        self._by_id: dict[int, Decoder] = {}
        self._by_schema: dict[bytes, Decoder] = {}

    def decode(self, message: bytes | None) -> dict[str, Any]:
        """Return the alert, or the fields of it that were asked for.

        :raises UndecodableError: the message is not an alert, or its schema is unknown.
        """
        if message is None:
            raise UndecodableError("no content")
        if message.startswith(CONTAINER_MAGIC):
            schema, body = open_container_message(message)
            return (self._by_schema.get(schema) or self._carried(schema)).decode(body)
        schema_id, _ = unpack(message)
        decoder = self._by_id.get(schema_id) or self._named(schema_id)
        return decoder.decode(message, HEADER_SIZE)

    def _named(self, schema_id: int) -> Decoder:
        try:
            schema = self._schemas.by_id(schema_id)
            decoder = Decoder(schema, self._fields)
        except SchemaError as error:
            raise UndecodableError(error.what) from error
        self._on_schema(schema)
        return self._by_id.setdefault(schema_id, decoder)

    def _carried(self, text: bytes) -> Decoder:
        try:
            schema = _carried_schema(text)
            decoder = Decoder(schema, self._fields)
        except SchemaError as error:
            raise UndecodableError(f"container file: {error.what}") from error
        if len(self._by_schema) == MAX_CARRIED:
            self._by_schema.clear()
        self._on_schema(schema)
        return self._by_schema.setdefault(text, decoder)


def writer_schema(message: bytes, schemas: Schemas) -> Schema:
    """Return the schema that a message was written with.

    :raises UndecodableError: the message is not an alert.
    :raises SchemaError: its schema is unknown, or is not valid.
    """
    if message.startswith(CONTAINER_MAGIC):
        return _carried_schema(open_container_message(message)[0])
    return schemas.by_id(unpack(message)[0])


def _carried_schema(text: bytes) -> Schema:
    try:
        return parsed(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise SchemaError("its schema is not valid JSON") from error
