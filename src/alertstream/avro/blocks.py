"""Container files, block by block (Avro specification, "Object Container Files"), within bounds.

fastavro's own reader parses any schema, and decompresses without bounds.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from io import SEEK_CUR, BytesIO
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import cramjam
import fastavro

from alertstream.avro.schema_tree import Schema
from alertstream.errors import UndecodableError

CONTAINER_MAGIC = b"Obj\x01"
SCHEMA_ID = "alertstream.schema_id"
"""What in a container file's header keeps the id under which its records were sent."""

MAX_HEADER = 1024 * 1024
"""Bytes of a container file before its first block, mostly the schema; LSST's has 24 to 160 KB."""
MAX_BLOCK = 64 * 1024 * 1024
"""Bytes of a compressed block once it is decompressed."""

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


class Block(NamedTuple):
    """How many records a block has, and their bytes, decompressed; None of another shard."""

    records: int
    content: bytes | None


class Blocks:
    """The header of a container file, and its blocks as they are iterated.

    :param size: bytes of the file.
    :raises Exception: of any type: it is not a container file, or damaged.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        start = BytesIO(file.read(MAX_HEADER))
        header: dict[str, Any] = fastavro.schemaless_reader(start, _HEADER, None)
        if header["magic"] != CONTAINER_MAGIC:
            raise ValueError("not a container file")
        file.seek(start.tell())
        self.meta: dict[str, bytes] = header["meta"]
        self.schema = self.meta["avro.schema"]
        self.codec = self.meta.get("avro.codec", b"null")
        self.sync_marker: bytes = header["sync"]
        self._decompress = _DECOMPRESS[self.codec]
        self._file = file
        self._size = size

    def __iter__(self) -> Iterator[Block]:
        return self.of_shard(WHOLE)

    def of_shard(self, shard: Shard) -> Iterator[Block]:
        """Yield all blocks, those of other shards without their content."""
        number = 0
        while self._file.tell() < self._size:
            count, size = self._block_header()
            if not 0 <= size <= self._size - self._file.tell():
                raise ValueError("a block of impossible size")
            content = None
            if number % shard.of == shard.number:
                content = self._file.read(size)
            else:
                self._file.seek(size, SEEK_CUR)
            self._require_sync_marker()
            yield Block(count, None if content is None else self._decompress(content))
            number += 1

    def end(self) -> int:
        """Return where the last whole block ends, without reading what is in the blocks."""
        end = self._file.tell()
        while end < self._size:
            try:
                _, size = self._block_header()
            except EOFError:
                break
            marker_at = self._file.tell() + size
            if marker_at + len(self.sync_marker) > self._size:
                break
            if size < 0:
                raise ValueError("a block of impossible size")
            self._file.seek(marker_at)
            self._require_sync_marker()
            end = self._file.tell()
        return end

    def _block_header(self) -> tuple[int, int]:
        block = fastavro.schemaless_reader(self._file, _BLOCK, None)
        return block["count"], block["size"]

    def _require_sync_marker(self) -> None:
        if self._file.read(len(self.sync_marker)) != self.sync_marker:
            raise ValueError("no sync marker after a block")


def open_container_message(message: bytes) -> tuple[bytes, bytes]:
    """Return the writer schema, as JSON, and the body of a message that is a container file.

    :raises UndecodableError: it is damaged, or does not hold exactly one record.
    """
    try:
        blocks = Blocks(BytesIO(message), len(message))
        found = [*islice(blocks, 2)]
    except Exception as error:
        raise UndecodableError("damaged container file") from error
    if [block.records for block in found] != [1]:
        raise UndecodableError("container file without exactly one record")
    return blocks.schema, found[0].content or b""


def container_header(
    schema: Schema, schema_id: int | None = None, sync_marker: bytes | None = None
) -> bytes:
    """Return what a container file begins with.

    :param schema_id: under which its records were sent, which a file of ours keeps.
    :param sync_marker: 16 bytes that end each block; None is random ones.
    """
    header = BytesIO()
    meta = {} if schema_id is None else {SCHEMA_ID: str(schema_id)}
    fastavro.writer(header, schema, (), sync_marker=sync_marker, metadata=meta)
    return header.getvalue()


def _bounded(decompressor: Any, content: bytes) -> bytes:
    out: bytes = decompressor.decompress(content, MAX_BLOCK)
    if not decompressor.eof:
        raise ValueError("a block that is cut short or too large")
    return out


def _snappy(content: bytes) -> bytes:
    # Avro puts a checksum of four bytes after it.
    if cramjam.snappy.decompress_raw_len(content[:-4]) > MAX_BLOCK:
        raise ValueError("a block that is too large")
    return bytes(cramjam.snappy.decompress_raw(content[:-4]))


def _zstandard(content: bytes) -> bytes:
    out = bytearray(MAX_BLOCK)
    size = cramjam.zstd.decompress_into(content, out)
    return bytes(memoryview(out)[:size])


_DECOMPRESS: dict[bytes, Callable[[bytes], bytes]] = {
    b"null": lambda content: content,
    b"deflate": lambda content: _bounded(zlib.decompressobj(-15), content),
    b"bzip2": lambda content: _bounded(bz2.BZ2Decompressor(), content),
    b"xz": lambda content: _bounded(lzma.LZMADecompressor(memlimit=MAX_BLOCK), content),
    b"snappy": _snappy,
    b"zstandard": _zstandard,
}
