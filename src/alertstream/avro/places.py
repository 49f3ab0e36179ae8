"""Where a number stands in an alert's bytes: found by skipping what comes before it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import fastavro

from alertstream.avro.decoder import Decoder
from alertstream.avro.schema_tree import Schema, Type, tree
from alertstream.avro.wire import varint
from alertstream.errors import SchemaError, UndecodableError

_DOUBLE = struct.Struct("<d")


class DoubleField:
    """A field of the type ``double``, or of a union with it, in the alerts of one schema.

    :param path: to the field, through records.
    :raises SchemaError: the schema has no such field.
    """

    def __init__(self, schema: Schema, path: Sequence[str]) -> None:
        before, kind = _before(tree(schema), path)
        self._branch = b""
        if kind.kind == "union":
            kinds = [each.kind for each in kind.inside]
            self._branch = varint(kinds.index("double")) if "double" in kinds else b""
        if kind.kind != "double" and not self._branch:
            raise SchemaError(f"{'.'.join(path)} is not a double")
        self._before: Schema = fastavro.parse_schema(before)
        self._decoder = Decoder(schema, ())

    def add(self, body: bytes, number: float) -> bytes:
        """Return an alert's body with a number added to the field; as it is, if that is null.

        :raises UndecodableError: it is not what the schema says.
        """
        place = self._decoder.skip(self._decoder.stream(body, 0), self._before, len(body))
        if not body.startswith(self._branch, place):
            return body
        place += len(self._branch)
        end = place + _DOUBLE.size
        if end > len(body):
            raise UndecodableError("cut short")
        (value,) = _DOUBLE.unpack_from(body, place)
        return b"".join((body[:place], _DOUBLE.pack(value + number), body[end:]))


def _before(node: Type, path: Sequence[str], level: int = 0) -> tuple[Any, Type]:
    """Return the schema of what comes before a field, and the field's type."""
    names = [field.name for field in node.fields]
    if not path or path[0] not in names:
        raise SchemaError(f"no field {'.'.join(path)}")
    place = names.index(path[0])
    fields = [dict(field.schema) for field in node.fields[:place]]
    inner = node.fields[place].type
    if path[1:]:
        before, inner = _before(inner, path[1:], level + 1)
        fields.append({"name": path[0], "type": before})
    # A record within may be one that is defined before it.
    name = f"before{level}" if level else node.name
    return {"type": "record", "name": name, "fields": fields}, inner
