"""What is fetched, within bounds: no batch that a stranger has written takes much memory or fails.

aiokafka decompresses a batch however large it becomes, gives out all that was fetched at once, and
fails for good at a header whose name is not UTF-8, or at a record that is damaged.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import cramjam
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import decode_varint

from alertstream.kafka._aiokafka.batches import OVERHEAD

MAX_BATCH = 32 * 1024 * 1024
"""Bytes of a compressed batch's records once they are decompressed: no more of them are read."""
RECORD_OVERHEAD = 1024
"""Bytes of memory that a record takes besides what is in it."""

_LENGTH = struct.Struct(">qi")
_MAGIC = 16
_ATTRIBUTES = 22
_CODEC = 0b111
_XERIAL = b"\x82SNAPPY\0"
"""What begins each batch that Java compresses with snappy: blocks follow, after 16 bytes."""
_GUESS = 64 * 1024
_TOO_LARGE = f"damaged, or larger than {MAX_BATCH >> 20} MiB once it is decompressed"


class Unreadable(bytes):
    """The value of a message that cannot be read, and why; nothing is left of it."""

    cause: str


class _Record(NamedTuple):
    """A record as aiokafka's own are."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    checksum: None = None


class RecordBatch:
    """A batch of records, all of which can be read, or are :class:`Unreadable`."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._batch = batch = DefaultRecordBatch(content)
        self.producer_id: int = batch.producer_id
        self.base_offset: int = batch.base_offset
        self.next_offset: int = batch.next_offset
        self.is_control_batch: bool = batch.is_control_batch
        self.is_transactional: bool = batch.is_transactional

    def validate_crc(self) -> bool:
        """Return whether its checksum is right; only some of our consumers ask."""
        return bool(self._batch.validate_crc())

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        """Yield the records; after one that aiokafka does not read, it begins again."""
        content, whole, records = self._content, True, self._batch
        if decompress := _DECOMPRESS.get(content[_ATTRIBUTES] & _CODEC):
            content, whole = decompress(content)
            content[:OVERHEAD] = self._content[:OVERHEAD]
            content[_ATTRIBUTES] &= ~_CODEC
            records = DefaultRecordBatch(content)
        offset, end = self.base_offset, self.next_offset
        try:
            for record in records:
                if not offset <= record.offset < end:
                    break
                offset = record.offset + 1
                yield record
            else:
                return
        except Exception:
            pass
        yield from self._salvaged(bytes(content), whole)

    def _salvaged(self, content: bytes, whole: bool) -> Iterator[_Record]:
        batch, offset, end = self._batch, self.base_offset, self.next_offset
        with suppress(ValueError, IndexError):
            for record in _records(content, batch):
                if not offset <= record.offset < end:
                    break
                offset = record.offset + 1
                yield record
        for each in range(offset, end):
            value = Unreadable()
            value.cause = "damaged" if whole else _TOO_LARGE
            yield _Record(each, batch.max_timestamp, batch.timestamp_type, None, value)


def _records(content: bytes, batch: Any) -> Iterator[_Record]:
    position = OVERHEAD
    while position < len(content):
        record, position = _record(content, position, batch)
        yield record


def _record(content: bytes, position: int, batch: Any) -> tuple[_Record, int]:
    """Return the record that begins at a position, and where it ends.

    :raises ValueError: it is damaged.
    """

    def number() -> int:
        nonlocal position
        found: int
        found, position = decode_varint(content, position)
        return found

    def text() -> bytes | None:
        nonlocal position
        size = number()
        if size < 0:
            return None
        position += size
        if position > end:
            raise ValueError("it goes beyond its end")
        return content[position - size : position]

    end = number() + position
    position += 1
    if end > len(content):
        raise ValueError("it is not whole")
    timestamp = batch.first_timestamp + number()
    offset = batch.base_offset + number()
    key, value = text(), text()
    headers = tuple(((text() or b"").decode(errors="replace"), text()) for _ in range(number()))
    if position != end:
        raise ValueError("it is not as long as it says")
    if batch.timestamp_type:
        timestamp = batch.max_timestamp
    return _Record(offset, timestamp, batch.timestamp_type, key, value, headers), end


class _Records:
    """The batches that were fetched of a partition."""

    def __init__(self, fetched: bytes) -> None:
        self._fetched = memoryview(fetched)
        self._position = 0

    def has_next(self) -> bool:
        """Return whether there is another whole batch."""
        left = len(self._fetched) - self._position
        return left >= OVERHEAD and left >= self._size()

    def _size(self) -> int:
        return _LENGTH.size + int(_LENGTH.unpack_from(self._fetched, self._position)[1])

    def next_batch(self) -> Any:
        """Return it."""
        begin = self._position
        self._position += self._size()
        content = self._fetched[begin : self._position]
        magic = content[_MAGIC]
        return RecordBatch(content) if magic > 1 else LegacyRecordBatch(content, magic)


class KafkaFetcher(Fetcher):  # type: ignore[misc]
    """Gives out no more than ``MAX_BATCH`` bytes at once, which includes at least one message."""

    room = 0

    async def _proc_fetch_request(self, assignment: Any, node_id: Any, request: Any) -> bool:
        before = self._records.copy()
        try:
            found: bool = await super()._proc_fetch_request(assignment, node_id, request)
        except asyncio.CancelledError:
            # It was waiting to ask again; who closes the fetcher does not expect to hear of that.
            return False
        for topic, partitions in request.response.topics if found else ():
            for number, *_, fetched in partitions:
                partition = TopicPartition(topic, number)
                result = self._records.get(partition)
                if isinstance(result, FetchResult) and result is not before.get(partition):
                    result._partition_records._records = _Records(fetched)
                    result.getall = partial(self._take, result)
        return found

    async def fetched_records(self, *which: Any, **more: Any) -> Any:
        """Return what has been fetched."""
        self.room = MAX_BATCH
        return await super().fetched_records(*which, **more)

    def _take(self, result: FetchResult, max_records: int | None = None) -> list[ConsumerRecord]:
        """Take as many messages as there is room for."""
        taken: list[ConsumerRecord] = []
        if self.room <= 0 or not (result.check_assignment(None) and result.has_more()):
            return taken
        room = self.room
        for record in result._partition_records:
            taken.append(record)
            room -= RECORD_OVERHEAD + record.serialized_value_size + record.serialized_key_size
            if record.headers:
                room -= sum(RECORD_OVERHEAD + len(each or b"") for _, each in record.headers)
            if room <= 0 or len(taken) == max_records:
                self.room = room
                result._update_position()
                return taken
        self.room = room
        result._update_position()
        result._partition_records = None
        return taken


def _into(decompress: Callable[[memoryview, memoryview], int]) -> Any:
    """Return what decompresses a batch's records with one of cramjam's functions.

    It returns them after room for the batch's header, and whether that is all of them.
    """

    def decompressed(content: memoryview) -> tuple[memoryview, bool]:
        room = min(4 * len(content) + _GUESS, MAX_BATCH)
        while True:
            out = memoryview(bytearray(OVERHEAD + room))
            try:
                return out[: OVERHEAD + decompress(content[OVERHEAD:], out[OVERHEAD:])], True
            except cramjam.DecompressionError:
                # There may have been no room for it. What there was room for is there.
                if room == MAX_BATCH:
                    return out, False
            room = min(8 * room, MAX_BATCH)

    return decompressed


def _gzip(content: memoryview) -> tuple[memoryview, bool]:
    decompressor = zlib.decompressobj(31)
    try:
        records = decompressor.decompress(content[OVERHEAD:], MAX_BATCH)
    except zlib.error:
        records = b""
    whole = not decompressor.unconsumed_tail
    return memoryview(bytearray(OVERHEAD) + records), whole


def _snappy(content: memoryview) -> tuple[memoryview, bool]:
    blocks = [content[OVERHEAD:]]
    if bytes(blocks[0][: len(_XERIAL)]) == _XERIAL:
        position, blocks = OVERHEAD + 16, []
        while position < len(content):
            size = int.from_bytes(content[position : position + 4], "big")
            position += 4 + size
            blocks.append(content[position - size : position])
    out, end = memoryview(bytearray(OVERHEAD)), OVERHEAD
    try:
        sizes = [cramjam.snappy.decompress_raw_len(each) for each in blocks]
        if sum(sizes) > MAX_BATCH:
            return out, False
        out = memoryview(bytearray(OVERHEAD + sum(sizes)))
        for block, size in zip(blocks, sizes, strict=True):
            cramjam.snappy.decompress_raw_into(block, out[end : end + size])
            end += size
    except cramjam.DecompressionError:
        pass
    return out, True


_DECOMPRESS: dict[int, Callable[[memoryview], tuple[memoryview, bool]]] = {
    1: _gzip,
    2: _snappy,
    3: _into(cramjam.lz4.decompress_into),
    4: _into(cramjam.zstd.decompress_into),
}
