"""Alerts without some of their fields, which become null in the bytes; the schema stays.

Nothing is decoded: the fields are found by skipping, and the rest is copied.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby

import fastavro

from alertstream.avro.decoder import FITS_MAGIC, Decoder, has_duplicate_fields, images_start
from alertstream.avro.schema_tree import Schema, Type, cut, select, tree
from alertstream.avro.wire import varint


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
        self.names = (
            () if has_duplicate_fields(root) else tuple(name for name in nullable if name in names)
        )
        self._decoder = Decoder(schema, ())
        self._runs: list[tuple[Schema, bytes | None]] = []
        for is_nulled, run in groupby(root.fields, lambda field: field.name in self.names):
            fields = [field.name for field in run]
            nulls = b"".join(nullable[name] for name in fields) if is_nulled else None
            self._runs.append((_only(root, fields), nulls))
        last = self._runs[-1][0]["fields"] if self._runs else ()
        are_images = all(field["type"] == ["null", "bytes"] for field in last)
        are_nulled = bool(self._runs) and self._runs[-1][1] is not None
        self._image_sizes = [0] * len(last) if are_images and are_nulled else []

    def thin(self, body: bytes, start: int = 0) -> bytes:
        """Return an alert's body, which starts at ``start``, with null for the fields.

        :raises UndecodableError: it is not what the schema says.
        """
        images = -1
        # With more FITS headers, an image might hold others, and its start would be ambiguous.
        if body.count(FITS_MAGIC, start) == len(self._image_sizes):
            images = images_start(body, start, self._image_sizes)
        stream, parts = self._decoder.stream(body, start), []
        for number, (schema, nulls) in enumerate(self._runs, 1):
            if number == len(self._runs):
                end = len(body)
            elif number == len(self._runs) - 1 and images >= start:
                end = images
            else:
                stream.seek(start)
                end = self._decoder.skip(stream, schema, len(body))
            parts.append(body[start:end] if nulls is None else nulls)
            start = end
        return b"".join(parts)


def _only(root: Type, names: Collection[str]) -> Schema:
    """Return a record's schema with some of its fields, and their whole types."""
    schema: Schema = fastavro.parse_schema(cut(root, select(root, [[name] for name in names])))
    return schema
