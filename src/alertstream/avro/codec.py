"""Bytes to alerts: raw records out of container files, whole and partial decoding.

An alert is mostly images and history, so nothing here decodes more than it is asked for.
A container file's block normally holds one record, and that block's bytes are what goes on
the wire. A :class:`Decoder` that is told which fields are wanted stops behind the last of them.
"""

from __future__ import annotations

import bz2
import json
import lzma
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from io import SEEK_CUR, BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import cramjam
import fastavro

from alertstream.avro.schemas import Schema, Schemas, full_name, parsed
from alertstream.avro.wire import HEADER_SIZE, unpack
from alertstream.errors import DataError, SchemaError, UndecodableError

CONTAINER_MAGIC = b"Obj\x01"
SCHEMA_ID = "alertstream.schema_id"
"""What in a container file's header keeps the id under which its records were sent."""

LARGEST_HEADER = 1024 * 1024
"""Bytes of a container file before its first block, mostly the schema; LSST's has 24 to 160 KB."""
LARGEST_BLOCK = 64 * 1024 * 1024
"""Bytes of a compressed block once it is decompressed."""
MOST_CARRIED = 16
"""Schemas that messages carry themselves and whose decoders are kept."""

_FITS_MAGIC = b"SIMPLE  ="
_MESSAGE = {"type": "bytes"}
_HEADER: Schema = {
    "type": "record",
    "name": "header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
    ],
}
_BLOCK: Schema = {
    "type": "record",
    "name": "block",
    "fields": [{"name": "count", "type": "long"}, {"name": "size", "type": "long"}],
}


class Part(NamedTuple):
    """A part of a file's blocks: every ``of``-th one, from ``number`` on, which begins with 0."""

    number: int
    of: int


WHOLE = Part(0, 1)


class Container:
    """An Avro container file (Avro specification, "Object Container Files"), open for reading.

    ``schema`` is the parsed writer schema, ``schema_id`` the id that a recorded file keeps. A file
    of plain ``bytes`` holds whole messages, with or without a header, instead of alerts:
    ``holds_messages``.

    :raises DataError: the file cannot be opened, is no container file, or has a schema that
        nothing can be decoded with; when iterated, the file is damaged: the records before the
        damage have been given by then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records_read = 0
        try:
            self._file: BinaryIO = path.open("rb")
            self._size = path.stat().st_size or 1
        except OSError as error:
            raise DataError(f"no file to read: {error.strerror}", where=str(path)) from error
        try:
            self._blocks = _Blocks(self._file, self._size)
            self.schema = schema_in(self._blocks.schema)
            self.holds_messages = self.schema is _MESSAGE
            stated = self._blocks.meta.get(SCHEMA_ID)
            self.schema_id = None if stated is None else int(stated)
        except Exception as error:
            self._file.close()
            known = isinstance(error, SchemaError)
            what = f"no usable schema in the file: {error}" if known else "no Avro container file"
            raise DataError(what, where=str(path), todo="choose another") from error

    @property
    def share_read(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return self._file.tell() / self._size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        """Yield each record's bytes, in order, without decoding them; or each whole message."""
        return self.records()

    def records(self, first: int | None = None, part: Part = WHOLE) -> Iterator[bytes]:
        """Yield the records of a part of the file, as far as they are among the ``first`` of it.

        ``records_read`` says how far that went, those of other parts counted, too.
        """
        split = _messages if self.holds_messages else _records
        self.records_read = 0
        try:
            for count, wanted, block in self._blocks.part(part):
                for body in split(block, count, self.schema) if wanted else ():
                    if self.records_read == first:
                        return
                    yield body
                    self.records_read += 1
                self.records_read += 0 if wanted else count
                if first is not None and self.records_read >= first:
                    return
        except Exception as error:
            raise DataError(
                f"the file is damaged behind record {self.records_read}",
                where=str(self.path),
                todo="what comes before is intact; get the file again for the rest",
            ) from error


class _Blocks:
    """A container file's blocks: how many records each has, and their bytes, decompressed.

    fastavro's own reader parses any schema and decompresses without bounds.

    :raises Exception: of any type: it is none, or damaged.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        start = BytesIO(file.read(LARGEST_HEADER))
        header: dict[str, Any] = fastavro.schemaless_reader(start, _HEADER, None)
        if header["magic"] != CONTAINER_MAGIC:
            raise ValueError("no container file")
        file.seek(start.tell())
        self.meta: dict[str, bytes] = header["meta"]
        self.schema = self.meta["avro.schema"]
        self.codec = self.meta.get("avro.codec", b"null")
        self.marker: bytes = header["sync"]
        self._decompress = _DECOMPRESS[self.codec]
        self._file = file
        self._size = size

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for count, _, block in self.part(WHOLE):
            yield count, block

    def part(self, part: Part) -> Iterator[tuple[int, bool, bytes]]:
        """Yield all blocks, whether they belong to a part, and the bytes of those that do."""
        number = 0
        while self._file.tell() < self._size:
            block = fastavro.schemaless_reader(self._file, _BLOCK, None)
            if not 0 <= block["size"] <= self._size - self._file.tell():
                raise ValueError("a block of impossible size")
            wanted = number % part.of == part.number
            content = self._file.read(block["size"]) if wanted else b""
            if not wanted:
                self._file.seek(block["size"], SEEK_CUR)
            if self._file.read(len(self.marker)) != self.marker:
                raise ValueError("no marker behind a block")
            yield block["count"], wanted, self._decompress(content) if wanted else content
            number += 1

    def end(self) -> int:
        """Return where the last whole block ends, without reading what is in the blocks."""
        end = self._file.tell()
        while end < self._size:
            try:
                block = fastavro.schemaless_reader(self._file, _BLOCK, None)
            except EOFError:
                break
            behind = self._file.tell() + block["size"] + len(self.marker)
            if behind > self._size:
                break
            self._file.seek(behind - len(self.marker))
            if block["size"] < 0 or self._file.read(len(self.marker)) != self.marker:
                raise ValueError("no marker behind a block")
            end = behind
        return end


def _all_of(decompressor: Any, content: bytes) -> bytes:
    out: bytes = decompressor.decompress(content, LARGEST_BLOCK)
    if not decompressor.eof:
        raise ValueError("a block that is cut short or too large")
    return out


def _snappy(content: bytes) -> bytes:
    # Avro puts a checksum of four bytes behind it.
    if cramjam.snappy.decompress_raw_len(content[:-4]) > LARGEST_BLOCK:
        raise ValueError("a block that is too large")
    return bytes(cramjam.snappy.decompress_raw(content[:-4]))


def _zstandard(content: bytes) -> bytes:
    out = bytearray(LARGEST_BLOCK)
    size = cramjam.zstd.decompress_into(content, out)
    return bytes(memoryview(out)[:size])


_DECOMPRESS: dict[bytes, Callable[[bytes], bytes]] = {
    b"null": lambda content: content,
    b"deflate": lambda content: _all_of(zlib.decompressobj(-15), content),
    b"bzip2": lambda content: _all_of(bz2.BZ2Decompressor(), content),
    b"xz": lambda content: _all_of(lzma.LZMADecompressor(memlimit=LARGEST_BLOCK), content),
    b"snappy": _snappy,
    b"zstandard": _zstandard,
}


def _records(block: bytes, count: int, schema: Schema) -> Iterator[bytes]:
    if count == 1:
        yield block
        return
    decoder = Decoder(schema)
    end = 0
    for _ in range(_possible(count, block)):
        start, end = end, decoder.end_of_record(block, end)
        yield block[start:end]
    if end != len(block):
        raise UndecodableError("bytes behind the last record of a block")


def _messages(block: bytes, count: int, schema: Schema) -> Iterator[bytes]:
    stream = BytesIO(block)
    for _ in range(_possible(count, block)):
        yield fastavro.schemaless_reader(stream, schema, None)


def _possible(count: int, block: bytes) -> int:
    if not 0 <= count <= len(block):
        raise UndecodableError("a block with an impossible number of records")
    return count


class MessageDecoder:
    """Decodes messages, each with the schema whose id it names or that it carries itself.

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

        :raises UndecodableError: the message is no alert, or its schema is unknown.
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

    def _carried(self, schema: bytes) -> Decoder:
        try:
            own = parsed(json.loads(schema))
            decoder = Decoder(own, self._fields)
        except SchemaError as error:
            raise UndecodableError(f"container file with {error.what}") from error
        except (ValueError, RecursionError) as error:
            raise UndecodableError("container file with a schema that is no JSON") from error
        if len(self._by_schema) == MOST_CARRIED:
            self._by_schema.clear()
        self._on_schema(own)
        return self._by_schema.setdefault(schema, decoder)


def schema_id_of(message: bytes | None) -> int | None:
    """Return the schema id that a message names; None for one that names none."""
    try:
        return unpack(message or b"")[0]
    except UndecodableError:
        return None


def container_header(
    schema: Schema, schema_id: int | None = None, marker: bytes | None = None
) -> bytes:
    """Return what a container file begins with.

    :param schema_id: under which its records were sent, which a file of ours keeps.
    :param marker: 16 bytes that end each block; None is random ones.
    """
    header = BytesIO()
    meta = {} if schema_id is None else {SCHEMA_ID: str(schema_id)}
    fastavro.writer(header, schema, (), sync_marker=marker, metadata=meta)
    return header.getvalue()


class ContainerTail(NamedTuple):
    """What it takes to append to a container file.

    :param schema: the writer schema, as JSON.
    :param marker: what ends each block.
    :param end: where the last whole block ends.
    """

    schema: bytes
    marker: bytes
    end: int


def container_tail(path: Path) -> ContainerTail:
    """Find out what it takes to append to a container file.

    :raises DataError: the file cannot be read, is no container file, is compressed, or is damaged
        elsewhere than in its last block.
    """
    try:
        with path.open("rb") as file:
            blocks = _Blocks(file, path.stat().st_size)
            if blocks.codec != b"null":
                raise DataError(
                    "a compressed file is not appended to", where=str(path), todo="choose another"
                )
            return ContainerTail(blocks.schema, blocks.marker, blocks.end())
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"no file to read: {error.strerror}", where=str(path)) from error
    except Exception as error:
        raise DataError(
            "no whole Avro container file", where=str(path), todo="choose another"
        ) from error


def schema_in(text: bytes) -> Schema:
    """Return a container file's schema, from its JSON.

    :raises SchemaError: it is none that alerts are decoded with.
    """
    schema = json.loads(text)
    return _MESSAGE if schema in ("bytes", _MESSAGE) else parsed(schema)


def container_packer(schema: Schema) -> Callable[[bytes], tuple[bytes, ...]]:
    """Return what makes a container file, in parts, of one record's bytes: ZTF's messages."""
    marker = bytes(16)
    start = container_header(schema, marker=marker) + varint(1)
    return lambda body: (start, varint(len(body)), body, marker)


def open_container_message(message: bytes) -> tuple[bytes, bytes]:
    """Return the writer schema, as JSON, and the body of a message that is a container file.

    :raises UndecodableError: it is damaged, or holds other than one record.
    """
    try:
        blocks = _Blocks(BytesIO(message), len(message))
        found = [*islice(blocks, 2)]
    except Exception as error:
        raise UndecodableError("damaged container file") from error
    if [count for count, _ in found] != [1]:
        raise UndecodableError("container file without exactly one record")
    return blocks.schema, found[0][1]


class Decoder:
    """Decodes the alerts written with one schema, whole or only some fields of them.

    ``fields`` are dotted paths such as ``diaSource.snr``; a path to a record or an array takes
    all of it, one through an array takes that field of each item. None decodes everything.
    A path that the schema does not have is left out, so that a filter can name the fields of
    several schema versions.
    """

    def __init__(self, schema: Schema, fields: Collection[str] | None = None) -> None:
        self._whole = schema
        self._nothing = _subset(schema, ())
        self._writer = schema
        self._reader: Schema | None = None
        self._images = 0
        if fields is not None:
            paths = [tuple(field.split(".")) for field in fields]
            self._writer = _cut_behind(schema, {path[0] for path in paths})
            self._reader = _subset(self._writer, paths)
            self._images = _trailing_images(schema, len(self._writer["fields"]))
        self._image_sizes = [0] * self._images
        self._stream = BytesIO if _notices_end(schema) else _StrictBytes

    def decode(self, message: bytes, start: int = 0) -> dict[str, Any]:
        """Return the alert, or the fields of it that were asked for.

        :param start: where in ``message`` the alert's body starts; it must end with it.
        :raises UndecodableError: the body is cut short, has trailing bytes, or is otherwise
            not what the schema says.
        """
        if self._writer is self._whole:
            return self._read_to_the_end(message, start, self._reader)
        # Of bytes, and of nothing else, this makes no copy.
        stream = self._stream(message)
        stream.seek(start)
        alert = _read(stream, self._writer, self._reader, len(message))
        if not self._images_fill(message, stream.tell()):
            self._read_to_the_end(message, start, self._nothing)
        return alert

    def _read_to_the_end(self, message: bytes, start: int, reader: Schema | None) -> dict[str, Any]:
        # fastavro takes a bytes field that the end cuts short for a shorter one; with a byte more
        # than there should be, it goes too far instead.
        stream = self._stream(message + b"\0")
        stream.seek(start)
        alert = _read(stream, self._whole, reader, len(message))
        if stream.tell() < len(message):
            raise UndecodableError("bytes behind the alert's end")
        if stream.tell() > len(message):
            raise UndecodableError("cut short")
        return alert

    def end_of_record(self, block: bytes, start: int) -> int:
        """Return where the record that starts at ``start`` ends.

        :raises UndecodableError: the block ends first.
        """
        stream = self._stream(block)
        stream.seek(start)
        _read(stream, self._whole, self._nothing, len(block))
        return stream.tell()

    def _images_fill(self, message: bytes, start: int) -> bool:
        """Whether FITS images fill the last fields up to the message's last byte.

        Walks back from the end, so it costs the same whatever the history; where it says no,
        all has to be read to know.
        """
        end = len(message)
        for index in range(self._images):
            size = self._image_sizes[index]
            if not message.startswith(_FITS_MAGIC, max(end - size, 0), end):
                size = end - message.rfind(_FITS_MAGIC, start, end)
            prefix = b"\x02" + varint(size)
            if not message.endswith(prefix, start, max(end - size, 0)):
                return False
            self._image_sizes[index] = size
            end -= size + len(prefix)
        return self._images > 0 and end >= start


def _read(stream: BytesIO, writer: Schema, reader: Schema | None, size: int) -> dict[str, Any]:
    try:
        alert: dict[str, Any] = fastavro.schemaless_reader(stream, writer, reader)
    except Exception as error:
        # What fastavro raises on bytes that are no alert is of any type.
        cause = "cut short" if stream.tell() >= size else "not as its schema says"
        raise UndecodableError(cause) from error
    return alert


class _StrictBytes(BytesIO):
    """Bytes that cannot be read beyond their end.

    fastavro skips numbers of fixed size that are not there, as many as an array claims to have;
    from this it does not, but reads it more slowly.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if size is not None and len(content) < size:
            raise EOFError
        return content


def varint(number: int) -> bytes:
    """Return a number in the zigzag encoding of Avro and of Kafka's records."""
    number = number << 1 ^ number >> 63
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _cut_behind(schema: Schema, names: Collection[str]) -> Schema:
    """Return the schema up to the last top-level field in ``names``."""
    fields = schema["fields"]
    wanted = [index for index, field in enumerate(fields) if field["name"] in names]
    if not wanted:
        return schema
    return _prepared(_record(schema, fields[: wanted[-1] + 1]))


def _trailing_images(schema: Schema, first: int) -> int:
    """Return how many nullable bytes fields end the schema, from field ``first`` on."""
    count = 0
    for field in reversed(schema["fields"][first:]):
        if field["type"] != ["null", "bytes"]:
            break
        count += 1
    return count


def _record(schema: Schema, fields: list[Any]) -> Schema:
    return {"type": "record", "name": full_name(schema), "fields": fields}


def _prepared(schema: Schema) -> Schema:
    """Return what was made of a parsed schema in the form that fastavro decodes with.

    :raises SchemaError: two names of it are the same without their namespaces.
    """
    try:
        prepared: Schema = fastavro.parse_schema(schema)
    except Exception as error:
        raise SchemaError("a schema with names that are mixed up") from error
    return prepared


def _subset(schema: Schema, paths: Iterable[tuple[str, ...]]) -> Schema:
    """Return a reader schema with just the fields at ``paths``.

    A record type that stands in several places (LSST's diaSource) has one definition in a
    schema, so it gets the fields that any of the places needs.
    """
    definitions = named_types(schema)
    wanted: dict[str, set[str] | None] = {}
    for path in paths:
        _want(schema, path, definitions, wanted)
    return _prepared(_written(schema, definitions, wanted, set()))


def named_types(node: Any) -> dict[str, Schema]:
    """Return the named types of a parsed schema, by their full names."""
    found: dict[str, Schema] = {}
    if isinstance(node, list):
        for branch in node:
            found |= named_types(branch)
    elif isinstance(node, dict):
        if node["type"] in ("record", "enum", "fixed"):
            found[full_name(node)] = node
        for field in node.get("fields", ()):
            found |= named_types(field["type"])
        if isinstance(node["type"], dict | list):
            found |= named_types(node["type"])
        found |= named_types(node.get("items")) | named_types(node.get("values"))
    return found


def _notices_end(schema: Schema) -> bool:
    """Whether the items of all arrays have what fastavro does not skip beyond the end."""
    definitions = named_types(schema)
    arrays = _arrays(schema)
    return all(_has_length(array["items"], definitions) for array in arrays)


def _arrays(node: Any) -> Iterator[Schema]:
    if isinstance(node, list):
        for branch in node:
            yield from _arrays(branch)
    elif isinstance(node, dict):
        if node["type"] == "array":
            yield node
        for field in node.get("fields", ()):
            yield from _arrays(field["type"])
        for key in ("items", "values"):
            yield from _arrays(node.get(key))


def _has_length(node: Any, definitions: dict[str, Schema]) -> bool:
    """Whether a type starts with a number of variable length, or a field of it does."""
    node = definitions.get(node, node) if isinstance(node, str) else node
    if isinstance(node, list):
        return True
    kind = node["type"] if isinstance(node, dict) else node
    if kind == "record":
        return any(_has_length(field["type"], {}) for field in node["fields"])
    return kind in ("array", "bytes", "enum", "int", "long", "map", "string")


def _want(
    node: Any,
    path: tuple[str, ...],
    definitions: dict[str, Schema],
    wanted: dict[str, set[str] | None],
) -> None:
    """Note in ``wanted`` which fields of each record type ``path`` needs; None stands for all."""
    if isinstance(node, str):
        node = definitions.get(node, node)
    if isinstance(node, list):
        for branch in node:
            _want(branch, path, definitions, wanted)
    elif isinstance(node, dict) and node["type"] in ("array", "map"):
        _want(node.get("items", node.get("values")), path, definitions, wanted)
    elif isinstance(node, dict) and node["type"] == "record":
        name = full_name(node)
        if wanted.get(name, ()) is None:
            return
        if not path:
            wanted[name] = None
            for field in node["fields"]:
                _want(field["type"], (), definitions, wanted)
            return
        known = wanted.setdefault(name, set())
        for field in node["fields"]:
            if field["name"] == path[0] and known is not None:
                known.add(path[0])
                _want(field["type"], path[1:], definitions, wanted)


def _written(
    node: Any,
    definitions: dict[str, Schema],
    wanted: dict[str, set[str] | None],
    done: set[str],
) -> Any:
    """Return ``node`` with its records cut to ``wanted``, each defined where it comes first."""
    if isinstance(node, list):
        return [_written(branch, definitions, wanted, done) for branch in node]
    if isinstance(node, str):
        if node not in definitions or node in done:
            return node
        node = definitions[node]
    kind = node["type"]
    if kind in ("array", "map"):
        inside = "items" if kind == "array" else "values"
        return {**node, inside: _written(node[inside], definitions, wanted, done)}
    if kind not in ("record", "enum", "fixed"):
        return node
    name = full_name(node)
    if name in done:
        return name
    done.add(name)
    if kind != "record":
        return node
    keep = wanted.get(name, set())
    fields = [
        {**field, "type": _written(field["type"], definitions, wanted, done)}
        for field in node["fields"]
        if keep is None or field["name"] in keep
    ]
    return _record(node, fields)
