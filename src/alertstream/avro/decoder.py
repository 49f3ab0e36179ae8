"""Avro bodies to alerts, whole or in part: what is not asked for is not decoded.

An alert is mostly images and history. A decoder that needs only some fields stops after the last
of them; the images at the alert's end then show that nothing is missing after it.
"""

from __future__ import annotations

from collections.abc import Collection
from io import BytesIO
from itertools import takewhile
from typing import Any

import fastavro

from alertstream.avro.bounds import MAX_DECODED, memory_per_byte
from alertstream.avro.schema_tree import Schema, Selection, Type, cut, select, tree, walk
from alertstream.avro.wire import varint
from alertstream.errors import SchemaError, UndecodableError

FITS_MAGIC = b"SIMPLE  ="
_VARIABLE_LENGTH = ("array", "bytes", "enum", "int", "long", "map", "string", "union")

_ALIKE = ({"int", "long", "float", "double"}, {"bytes", "string"})


class Decoder:
    """Decodes the alerts written with one schema, whole or only some fields of them.

    ``fields`` are dotted paths such as ``diaSource.snr``; a path to a record or an array takes
    all of it, one through an array takes that field of each item. None decodes everything.
    A path that the schema does not have is left out, so that a filter can name the fields of
    several schema versions.
    """

    def __init__(self, schema: Schema, fields: Collection[str] | None = None) -> None:
        root = tree(schema)
        if any(_is_decimal(each) for each in walk(root)):
            schema = _prepared(_without_decimals(schema))
            root = tree(schema)
        self._whole = self._writer = schema
        self._max_reads = MAX_DECODED // memory_per_byte(root)
        self._nothing = _prepared(cut(root, {}))
        self._reader: Schema | None = None
        self._image_sizes: list[int] = []
        if fields is not None and not any(_is_ambiguous(each) for each in walk(root)):
            selected = select(root, [field.split(".") for field in fields])
            self._writer = _cut_after_last(schema, root, selected)
            self._reader = _prepared(cut(root, selected))
            skipped = reversed(schema["fields"][len(self._writer["fields"]) :])
            images = takewhile(lambda field: field["type"] == ["null", "bytes"], skipped)
            self._image_sizes = [0 for _ in images]
        self._kind = BytesIO if _notices_end(root) else _StrictBytes

    def decode(self, message: bytes, start: int = 0) -> dict[str, Any]:
        """Return the alert, or the fields of it that were asked for.

        :param start: where in ``message`` the alert's body starts; it must end with it.
        :raises UndecodableError: the body is cut short, has trailing bytes, or is otherwise
            not what the schema says.
        """
        if self._writer is self._whole:
            return self._read_to_the_end(message, start, self._reader)
        stream = self.stream(message, start)
        alert = _read(stream, self._writer, self._reader, len(message))
        # Otherwise, only reading everything tells.
        if images_start(message, stream.tell(), self._image_sizes) < stream.tell():
            self._read_to_the_end(message, start, self._nothing)
        return alert

    def end_of_record(self, block: bytes, start: int) -> int:
        """Return where the record that starts at ``start`` ends.

        :raises UndecodableError: the block ends first.
        """
        stream = self._kind(block)
        stream.seek(start)
        return self.skip(stream, self._whole, len(block))

    def skip(self, stream: BytesIO, writer: Schema, size: int) -> int:
        """Return where something ends that starts at a stream's position.

        :param writer: the schema that it was written with.
        :param size: bytes of the stream.
        :raises UndecodableError: it is not what the schema says.
        """
        _read(stream, writer, self._nothing, size)
        return stream.tell()

    def _read_to_the_end(self, message: bytes, start: int, reader: Schema | None) -> dict[str, Any]:
        # fastavro takes a bytes field that the end cuts short for a shorter one; with a byte more
        # than there should be, it goes too far instead.
        stream = self.stream(message + b"\0", start)
        alert = _read(stream, self._whole, reader, len(message))
        if stream.tell() < len(message):
            raise UndecodableError("trailing bytes after the alert")
        if stream.tell() > len(message):
            raise UndecodableError("cut short")
        return alert

    def stream(self, message: bytes, start: int) -> BytesIO:
        """Return a stream of a message from a place on.

        Reading more values than an alert may have raises :class:`UndecodableError`.
        """
        # BytesIO copies anything but bytes.
        if len(message) - start > self._max_reads:
            stream: BytesIO = _CountedBytes(message, self._max_reads)
        else:
            stream = self._kind(message)
        stream.seek(start)
        return stream


def images_start(message: bytes, start: int, sizes: list[int]) -> int:
    """Return where the FITS images start that fill the last fields up to a message's last byte.

    Walks back from the end, so it costs the same whatever the history. -1 if they do not fill the
    fields, or if there are no such fields.

    :param sizes: bytes of each image of the last message, the last image first; they are changed.
    """
    end = len(message) if sizes else -1
    for index, size in enumerate(sizes):
        if not message.startswith(FITS_MAGIC, max(end - size, 0), end):
            size = end - message.rfind(FITS_MAGIC, start, end)
        prefix = b"\x02" + varint(size)
        if not message.endswith(prefix, start, max(end - size, 0)):
            return -1
        sizes[index] = size
        end -= size + len(prefix)
    return end


def _read(stream: BytesIO, writer: Schema, reader: Schema | None, size: int) -> dict[str, Any]:
    try:
        alert: dict[str, Any] = fastavro.schemaless_reader(stream, writer, reader)
    except UndecodableError:
        raise
    except Exception as error:
        # On bytes that are not an alert, fastavro may raise any type of error.
        cause = "cut short" if stream.tell() >= size else "not as its schema says"
        raise UndecodableError(cause) from error
    return alert


class _StrictBytes(BytesIO):
    """Bytes that cannot be read beyond their end.

    In plain bytes, fastavro skips beyond the end over numbers of fixed size, as many as an array
    claims to have. This is slower to read.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if size is not None and len(content) < size:
            raise EOFError
        return content


class _CountedBytes(_StrictBytes):
    """Bytes that can be read only so many times: each value takes at least one read."""

    def __init__(self, content: bytes, max_reads: int) -> None:
        super().__init__(content)
        self._left = max_reads

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise UndecodableError("more values than an alert may have")
        return super().read(size)


def _is_decimal(node: Type) -> bool:
    return isinstance(node.schema, dict) and node.schema.get("logicalType") == "decimal"


def _is_ambiguous(node: Type) -> bool:
    """Whether fastavro, reading in part, may confuse types of a union, or fields of one name.

    When it reads whole records, the last field of a name counts.
    """
    if has_duplicate_fields(node):
        return True
    kinds = [each.kind for each in node.inside if node.kind == "union"]
    return any(len(alike.intersection(kinds)) > 1 for alike in _ALIKE)


def has_duplicate_fields(node: Type) -> bool:
    """Whether a record has several fields of one name, which Avro forbids but WINTER has."""
    return len({field.name for field in node.fields}) < len(node.fields)


def _without_decimals(schema: Any) -> Any:
    """Return a schema that leaves decimal numbers as bytes.

    No survey has any, and decoding one of a megabyte of digits takes a minute.
    """
    if isinstance(schema, list):
        return [_without_decimals(each) for each in schema]
    if isinstance(schema, dict):
        return {
            key: _without_decimals(value)
            for key, value in schema.items()
            if not key.startswith("__") and (key, value) != ("logicalType", "decimal")
        }
    return schema


def _notices_end(root: Type) -> bool:
    """Whether fastavro cannot skip any array's items beyond the end of the bytes."""
    return all(_has_length(each.inside[0]) for each in walk(root) if each.kind == "array")


def _has_length(node: Type) -> bool:
    """Whether a type starts with a number of variable length, or a field of it does."""
    if node.kind == "record":
        return any(_has_length(each) for each in node.inside)
    return node.kind in _VARIABLE_LENGTH


def _cut_after_last(schema: Schema, root: Type, selected: Selection) -> Schema:
    """Return the schema up to the last top-level field that is selected."""
    names = selected.get(root.name, ())
    wanted = [index for index, field in enumerate(root.fields, 1) if field.name in names]
    if not wanted:
        return schema
    fields = schema["fields"][: wanted[-1]]
    return _prepared({"type": "record", "name": root.name, "fields": fields})


def _prepared(schema: Schema) -> Schema:
    """Return a schema that was made of a parsed one in the form that fastavro decodes with.

    :raises SchemaError: two names in it are the same without their namespaces.
    """
    try:
        prepared: Schema = fastavro.parse_schema(schema)
    except Exception as error:
        raise SchemaError("a schema with ambiguous names") from error
    return prepared
