"""Alerts without some of their fields: those become null in the bytes, and the schema stays.

Nothing is decoded: where the fields are is found by skipping, and all the rest is copied.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby
from typing import BinaryIO

import fastavro

from alertstream.avro.decoder import Decoder
from alertstream.avro.schema_tree import Schema, Type, cut, select, tree
from alertstream.avro.wire import varint
from alertstream.errors import UndecodableError

_FITS_MAGIC = b"SIMPLE  ="


def nullable_fields(schema: Schema) -> dict[str, bytes]:
    """Return the top-level fields that can be null, each with null's encoding in its union."""
    kinds = {field.name: [each.kind for each in field.type.inside] for field in tree(schema).fields}
    return {name: varint(each.index("null")) for name, each in kinds.items() if "null" in each}


class Thinner:
    """Nulls fields of the alerts written with one schema.

    ``names`` are the top-level fields that become null: of those asked for, what can be null.
    """

    def __init__(self, schema: Schema, names: Collection[str]) -> None:
        root, nullable = tree(schema), nullable_fields(schema)
        self.names = tuple(name for name in nullable if name in names)
        self._decoder = Decoder(schema, ())
        self._nothing = fastavro.parse_schema(cut(root, {}))
        self._runs: list[tuple[Schema, bytes | None]] = []
        for is_nulled, run in groupby(root.fields, lambda field: field.name in self.names):
            fields = [field.name for field in run]
            nulls = b"".join(nullable[name] for name in fields) if is_nulled else None
            self._runs.append((_only(root, fields), nulls))
        last = self._runs[-1][0]["fields"] if self._runs else ()
        are_images = all(field["type"] == ["null", "bytes"] for field in last)
        self._images = len(last) if are_images and self._runs[-1][1] is not None else 0

    def thin(self, body: bytes, start: int = 0) -> bytes:
        """Return an alert's body, which starts at ``start``, with null for the fields.

        :raises UndecodableError: it is not what the schema says.
        """
        images = _images_start(body, start, self._images)
        stream, parts = self._decoder.stream(body, start), []
        for number, (schema, nulls) in enumerate(self._runs, 1):
            if number == len(self._runs):
                end = len(body)
            elif number == len(self._runs) - 1 and images >= start:
                end = images
            else:
                end = self._end_of(schema, stream, start)
            parts.append(body[start:end] if nulls is None else nulls)
            start = end
        return b"".join(parts)

    def _end_of(self, schema: Schema, stream: BinaryIO, start: int) -> int:
        stream.seek(start)
        try:
            fastavro.schemaless_reader(stream, schema, self._nothing)
        except UndecodableError:
            raise
        except Exception as error:
            raise UndecodableError("not as its schema says") from error
        return stream.tell()


def _only(root: Type, names: Collection[str]) -> Schema:
    """Return a record's schema with some of its fields, and their whole types."""
    schema: Schema = fastavro.parse_schema(cut(root, select(root, [[name] for name in names])))
    return schema


def _images_start(body: bytes, start: int, count: int) -> int:
    """Return where the FITS images start that fill the last ``count`` fields; -1 if none do.

    Going back from the end costs the same whatever the history. It is not done where the images
    might hold others.
    """
    end = len(body)
    if body.count(_FITS_MAGIC, start) != count or not count:
        return -1
    for _ in range(count):
        at = body.rfind(_FITS_MAGIC, start, end)
        prefix = b"\x02" + varint(end - at)
        if not body.endswith(prefix, start, at):
            return -1
        end = at - len(prefix)
    return end
