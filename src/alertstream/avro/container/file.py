"""Container files of alerts: each record's bytes as they are, and what it takes to append to one.

A block normally holds one record, and then that block's bytes are what goes on the wire.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import fastavro

from alertstream.avro.container.blocks import (
    MESSAGES,
    NOTHING,
    SCHEMA_ID,
    WHOLE,
    Blocks,
    CutShortError,
    Shard,
)
from alertstream.avro.container.foreign import open_container
from alertstream.avro.decoder import Decoder
from alertstream.avro.schema_tree import Schema
from alertstream.avro.schemas import parsed
from alertstream.avro.wire import varint
from alertstream.errors import DataError, SchemaError, UndecodableError


class ContainerFile:
    """An open Avro container file, or what :func:`open_container` presents as one.

    ``schema`` is the parsed writer schema, ``schema_id`` the id that a recorded file keeps;
    ``holds_messages`` if they are whole messages, with or without a header, instead of alerts.

    :raises DataError: the file cannot be opened, is not a container file, or has a schema that
        nothing can be decoded with; when iterated, the file is damaged: the records before the
        damage come first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records_read = 0
        with _readable(path, "not an Avro container file"), ExitStack() as opened:
            self._file: BinaryIO = opened.enter_context(open_container(path))
            self._size = self._file.seek(0, SEEK_END)
            self._file.seek(0)
            self._blocks = Blocks(self._file, self._size)
            self.schema = schema_in(self._blocks.schema)
            self.holds_messages = self.schema is MESSAGES
            stated = self._blocks.meta.get(SCHEMA_ID)
            self.schema_id = None if stated is None else int(stated)
            # All went well: keep the file open.
            opened.pop_all()

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

    def count(self, limit: int | None = None, shard: Shard = WHOLE) -> int:
        """Return how many records :meth:`records` would yield, up to damage, without reading them.

        Nothing can be read afterwards.
        """
        found = passed = 0
        with suppress(Exception):
            for number, (count, _) in enumerate(self._blocks.of_shard(NOTHING)):
                wanted = count if limit is None else max(min(count, limit - passed), 0)
                found += wanted if number % shard.of == shard.number else 0
                passed += wanted
        return found

    def places(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield where each block starts, and its record; None where it does not have just one.

        :raises DataError: the file is damaged.
        """
        with _readable(self.path, "the file is damaged"):
            start = self._file.tell()
            for count, content in self._blocks.of_shard():
                yield start, self._only(content or b"") if count == 1 else None
                start = self._file.tell()

    def record_at(self, start: int) -> bytes:
        """Return the record of the block at a place.

        :raises DataError: the file is damaged.
        """
        with _readable(self.path, "the file is damaged"):
            self._file.seek(start)
            _, content = next(self._blocks.of_shard())
            return self._only(content or b"")

    def _only(self, block: bytes) -> bytes:
        return next(_records_in(block, 1, self.schema))

    @property
    def sync_marker(self) -> bytes:
        """What ends each block."""
        return self._blocks.sync_marker

    def records(self, limit: int | None = None, shard: Shard = WHOLE) -> Iterator[bytes]:
        """Yield the records of a shard that are among the first ``limit`` of the file.

        ``records_read`` says how far that went, those of other shards counted, too.
        """
        self.records_read = 0
        try:
            for count, content in self._blocks.of_shard(shard):
                if content is None:
                    self.records_read += count
                else:
                    for body in _records_in(content, count, self.schema):
                        if self.records_read == limit:
                            return
                        yield body
                        self.records_read += 1
                if limit is not None and self.records_read >= limit:
                    return
        except Exception as error:
            raise DataError(
                f"the file is damaged after record {self.records_read}",
                where=str(self.path),
                todo="what comes before is intact; fetch the file again for the rest",
            ) from error


def schema_in(text: bytes) -> Schema:
    """Return a container file's schema, from its JSON.

    :raises SchemaError: alerts cannot be decoded with it.
    """
    schema = json.loads(text)
    return MESSAGES if schema in ("bytes", MESSAGES) else parsed(schema)


def _records_in(block: bytes, count: int, schema: Schema) -> Iterator[bytes]:
    if count == 1 and schema is not MESSAGES:
        yield block
        return
    if not 0 <= count <= len(block):
        raise UndecodableError("a block with an impossible number of records")
    if schema is MESSAGES:
        stream = BytesIO(block)
        for _ in range(count):
            yield fastavro.schemaless_reader(stream, schema, None)
        return
    decoder, end = Decoder(schema), 0
    for _ in range(count):
        start, end = end, decoder.end_of_record(block, end)
        yield block[start:end]
    if end != len(block):
        raise UndecodableError("trailing bytes after the last record of a block")


class ContainerTail(NamedTuple):
    """The schema, as JSON; what ends each block; and where the last whole one ends.

    There is no such place if blocks that are whole follow after damage.
    """

    schema: bytes
    sync_marker: bytes
    end: int | None


def container_tail(path: Path) -> ContainerTail:
    """Find out what it takes to append to a container file.

    :raises DataError: the file cannot be read, is not a container file, or is compressed.
    """
    with _readable(path, "not an Avro container file"), path.open("rb") as file:
        blocks = Blocks(file, path.stat().st_size)
        if blocks.codec != b"null":
            what = "cannot append to a compressed file"
            raise DataError(what, where=str(path), todo="choose another file")
        end = None
        with suppress(ValueError):
            end = blocks.end()
        return ContainerTail(blocks.schema, blocks.sync_marker, end)


def values_block(schema: Schema, values: Collection[Any], sync_marker: bytes) -> bytes:
    """Return a block of small values."""
    out = BytesIO()
    for each in values:
        fastavro.schemaless_writer(out, schema, each)
    content = out.getvalue()
    return b"".join((varint(len(values)), varint(len(content)), content, sync_marker))


def value_blocks(
    path: Path, schema: Schema, sync_marker: bytes
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield where each block of small values starts, and the values, up to where it is cut short.

    :raises DataError: the file is not there, is damaged, or has another schema or sync marker.
    """
    with _readable(path, "the file is damaged"), path.open("rb") as file:
        blocks = Blocks(file, path.stat().st_size)
        if blocks.sync_marker != sync_marker:
            what = "it belongs to another file"
            raise DataError(what, where=str(path), todo="give back its own name to that one")
        start = file.tell()
        with suppress(CutShortError):
            for count, content in blocks.of_shard():
                stream = BytesIO(content or b"")
                values = [fastavro.schemaless_reader(stream, schema, None) for _ in range(count)]
                yield start, values
                start = file.tell()


@contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    """Turn what goes wrong when a file is opened into an error of ours, in general ``what``."""
    try:
        yield
    except OSError as error:
        what = f"the file cannot be read ({error.strerror})"
        raise DataError(what, where=str(path)) from error
    except Exception as error:
        if isinstance(error, DataError):
            raise
        todo = "choose another file"
        if isinstance(error, SchemaError):
            what = f"the file's schema cannot be used: {error.what}"
        elif isinstance(error, UndecodableError) and error.todo:
            what, todo = error.what, error.todo
        raise DataError(what, where=str(path), todo=todo) from error
