"""Messages to alerts, each with the schema whose id it names or that it carries itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from alertstream.avro.blocks import CONTAINER_MAGIC, open_container_message
from alertstream.avro.decoder import Decoder
from alertstream.avro.schema_tree import Schema
from alertstream.avro.schemas import Schemas, parsed
from alertstream.avro.wire import HEADER_SIZE, schema_id_of
from alertstream.errors import SchemaError, UndecodableError

MAX_DECODERS = 32
"""Schemas whose decoders are kept; messages may carry any number of them."""


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
        self._decoders: dict[int | bytes, Decoder] = {}

    def decode(self, message: bytes | None) -> dict[str, Any]:
        """Return the alert, or the fields of it that were asked for.

        :raises UndecodableError: the message is not an alert, or its schema is unknown.
        """
        if message is None:
            raise UndecodableError("no content")
        key, body, start = opened(message)
        return (self._decoders.get(key) or self._new_decoder(key)).decode(body, start)

    def _new_decoder(self, key: int | bytes) -> Decoder:
        try:
            schema = schema_of(key, self._schemas)
            decoder = Decoder(schema, self._fields)
        except SchemaError as error:
            where = "" if isinstance(key, int) else "container file: "
            raise UndecodableError(f"{where}{error.what}") from error
        if len(self._decoders) == MAX_DECODERS:
            self._decoders.clear()
        self._on_schema(schema)
        return self._decoders.setdefault(key, decoder)


def opened(message: bytes) -> tuple[int | bytes, bytes, int]:
    """Return a message's schema, as id or as JSON, and bytes with the place where its body starts.

    :raises UndecodableError: the message is not an alert.
    """
    if message.startswith(CONTAINER_MAGIC):
        return *open_container_message(message), 0
    schema_id = schema_id_of(message)
    if schema_id is None:
        raise UndecodableError("no wire-format header")
    return schema_id, message, HEADER_SIZE


def schema_of(key: int | bytes, schemas: Schemas) -> Schema:
    """Return the schema that :func:`opened` has named.

    :raises SchemaError: it is unknown, or is not valid.
    """
    if isinstance(key, int):
        return schemas.by_id(key)
    try:
        return parsed(json.loads(key))
    except (ValueError, RecursionError) as error:
        raise SchemaError("its schema is not valid JSON") from error
