"""Container files, block by block (Avro specification, "Object Container Files"), within bounds.

fastavro's own reader parses any schema, and decompresses without bounds.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from io import SEEK_CUR, BytesIO
from typing import Any, BinaryIO, NamedTuple

import cramjam
import fastavro

from alertstream.avro.schema_tree import Schema
from alertstream.errors import UndecodableError, printable

CONTAINER_MAGIC = b"Obj\x01"
MESSAGES: Schema = {"type": "bytes"}
"""Schema of a file that holds whole messages instead of alerts."""
SCHEMA_ID = "alertstream.schema_id"
"""What in a container file's header keeps the id under which its records were sent."""

MAX_HEADER = 1024 * 1024
"""Bytes of a container file before its first block, mostly the schema; LSST's has 24 to 160 KB."""
MAX_BLOCK = 64 * 1024 * 1024
"""Bytes of a compressed block once it is decompressed."""
MAX_MESSAGE_BLOCK = 16 * 1024 * 1024
"""The same for a message, which has only one block."""

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


class Shard(NamedTuple):
    """Every ``of``-th block of a file, from ``number`` on, which begins with 0."""

    number: int
    of: int


WHOLE = Shard(0, 1)
NOTHING = Shard(-1, 1)


MAX_SEARCHED = 16 * 1024 * 1024
"""Bytes of a file that are searched at a time for a sync marker."""


class CutShortError(ValueError):
    """The file ends within a block."""


class Blocks:
    """The header of a container file, and its blocks: how many records each has, and their bytes.

    :param size: bytes of the file.
    :param max_block: instead of ``MAX_BLOCK``.
    :raises UndecodableError: its codec is not supported.
    :raises Exception: of any other type: it is not a container file, or damaged.
    """

    def __init__(self, file: BinaryIO, size: int, max_block: int | None = None) -> None:
        start = BytesIO(file.read(MAX_HEADER))
        header: dict[str, Any] = fastavro.schemaless_reader(start, _HEADER, None)
        if header["magic"] != CONTAINER_MAGIC:
            raise ValueError("not a container file")
        file.seek(start.tell())
        self.meta: dict[str, bytes] = header["meta"]
        self.schema = self.meta["avro.schema"]
        self.codec = self.meta.get("avro.codec", b"null")
        self.sync_marker: bytes = header["sync"]
        if self.codec not in _DECOMPRESS:
            codec = printable(self.codec.decode("latin-1"), 20)
            raise UndecodableError(f"the codec {codec} is not supported", todo=_REWRITE)
        self._decompress, self._max_block = _DECOMPRESS[self.codec], max_block or MAX_BLOCK
        self._file = file
        self._size = size

    def of_shard(self, shard: Shard = WHOLE) -> Iterator[tuple[int, bytes | None]]:
        """Yield all blocks, decompressed, those of other shards without their bytes."""
        number = 0
        while self._file.tell() < self._size:
            try:
                block = fastavro.schemaless_reader(self._file, _BLOCK, None)
            except (EOFError, IndexError) as error:
                raise CutShortError from error
            if block["size"] + len(self.sync_marker) > self._size - self._file.tell():
                raise CutShortError
            if block["size"] < 0:
                raise ValueError("a block of impossible size")
            content = None
            if number % shard.of == shard.number:
                content = self._file.read(block["size"])
            else:
                self._file.seek(block["size"], SEEK_CUR)
            if self._file.read(len(self.sync_marker)) != self.sync_marker:
                raise ValueError("no sync marker after a block")
            if content is not None:
                content = self._decompress(content, self._max_block)
            yield block["count"], content
            number += 1

    def end(self) -> int:
        """Return where the last whole block ends, without reading what is in the blocks.

        :raises ValueError: what follows is not one block that was cut short, but damage.
        """
        end = self._file.tell()
        try:
            for _ in self.of_shard(NOTHING):
                end = self._file.tell()
        except CutShortError as error:
            # If the size itself is damaged, whole blocks may follow.
            if self._is_marked_after(end):
                raise ValueError("a block of impossible size") from error
        return end

    def _is_marked_after(self, start: int) -> bool:
        """Return whether a block ends anywhere after a place in the file."""
        self._file.seek(start)
        seen = b""
        while content := self._file.read(MAX_SEARCHED):
            seen = seen[1 - len(self.sync_marker) :] + content
            if self.sync_marker in seen:
                return True
        return False


def container_header(
    schema: Schema, schema_id: int | None = None, sync_marker: bytes | None = None
) -> bytes:
    """Return a container file's header.

    :param schema_id: under which its records were sent, which a file of ours keeps.
    :param sync_marker: 16 bytes that end each block; None is random ones.
    """
    header = BytesIO()
    meta = {} if schema_id is None else {SCHEMA_ID: str(schema_id)}
    fastavro.writer(header, schema, (), sync_marker=sync_marker, metadata=meta)
    return header.getvalue()


def with_body(message: bytes, body: bytes) -> bytes:
    """Return a message that is a container file of one record, with another record's body."""
    blocks = Blocks(BytesIO(message), len(message))
    out = BytesIO()
    meta = {**blocks.meta, "avro.codec": b"null"}
    header = {"magic": CONTAINER_MAGIC, "meta": meta, "sync": blocks.sync_marker}
    fastavro.schemaless_writer(out, _HEADER, header)
    fastavro.schemaless_writer(out, _BLOCK, {"count": 1, "size": len(body)})
    return out.getvalue() + body + blocks.sync_marker


def _bounded(decompressor: Any, content: bytes, limit: int) -> bytes:
    out: bytes = decompressor.decompress(content, limit)
    if not decompressor.eof:
        raise ValueError("a block that is cut short or too large")
    return out


def _snappy(content: bytes, limit: int) -> bytes:
    # Avro puts a checksum of four bytes after it.
    if cramjam.snappy.decompress_raw_len(content[:-4]) > limit:
        raise ValueError("a block that is too large")
    return bytes(cramjam.snappy.decompress_raw(content[:-4]))


def _zstandard(content: bytes, limit: int) -> bytes:
    out = bytearray(limit)
    size = cramjam.zstd.decompress_into(content, out)
    return bytes(memoryview(out)[:size])


_DECOMPRESS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"null": lambda content, limit: content,
    b"deflate": lambda content, limit: _bounded(zlib.decompressobj(-15), content, limit),
    b"bzip2": lambda content, limit: _bounded(bz2.BZ2Decompressor(), content, limit),
    b"xz": lambda content, limit: _bounded(
        lzma.LZMADecompressor(memlimit=MAX_BLOCK), content, limit
    ),
    b"snappy": _snappy,
    b"zstandard": _zstandard,
}
_REWRITE = f"write it with {', '.join(each.decode() for each in _DECOMPRESS)}"
