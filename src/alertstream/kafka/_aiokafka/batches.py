"""Kafka's record batches (message format 2, KIP-98), of alerts that are not copied into them.

aiokafka builds a batch by copying each message into it, one by one, and then reads all of it for
the checksum, in software. Here a batch is a list of parts, a message's own bytes among them; the
checksum is the processor's own; and the records of a batch are made once for all the topics that
they go to, as a filtered alert goes to those of many filters.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import google_crc32c
from aiokafka import TopicPartition, codec
from aiokafka.client import CoordinationType
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.producer.sender import BACKOFF_OVERRIDE, AddPartitionsToTxnHandler, Sender

from alertstream.avro.wire import varint

Headers = Sequence[tuple[str, bytes | None]]

CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, lambda data: data),
    "gzip": (1, codec.gzip_encode),
    "snappy": (2, codec.snappy_encode),
    # By itself, aiokafka takes level 9, which is ten times slower and hardly smaller.
    "lz4": (3, partial(codec.lz4_encode, level=1)),
    "zstd": (4, codec.zstd_encode),
}
"""By name: the number in a batch's attributes, and what compresses its records."""

_START = struct.Struct(">qiibI")
_CHECKED = struct.Struct(">hiqqqhii")
_TRANSACTIONAL = 0x10
OVERHEAD = _START.size + _CHECKED.size
"""Bytes of a batch that are not its records: 61."""

PREVIOUS_TRANSACTION_INTERVAL = 0.004
"""Seconds until Kafka is asked again whether it has ended a producer's previous transaction."""
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
"""Why a batch is rejected that is larger than its topic takes."""


class Records:
    """The records of a batch, in order.

    :param compression: a name of ``CODECS``.
    """

    def __init__(self, compression: str = "none") -> None:
        self.count = 0
        self.size = 0
        self.value_bytes = 0
        self._codec, self._compress = CODECS[compression]
        self._parts: list[bytes] = []
        self.first_timestamp = self.last_timestamp = 0

    def append(
        self,
        timestamp: int,
        value: Sequence[bytes] | None,
        key: bytes | None = None,
        headers: Headers = (),
    ) -> None:
        """Add a record.

        :param timestamp: ms since 1970.
        :param value: the parts of which the value is made; they are not copied.
        """
        if self.count == 0:
            self.first_timestamp = self.last_timestamp = timestamp
        self.last_timestamp = max(self.last_timestamp, timestamp)
        before = [b"\0", varint(timestamp - self.first_timestamp), varint(self.count)]
        before += _sized(key)
        parts = list(value) if value is not None else []
        before.append(varint(sum(map(len, parts)) if value is not None else -1))
        after = [varint(len(headers))]
        for name, content in headers:
            after += [*_sized(name.encode()), *_sized(content)]
        record = [b"".join(before), *parts, b"".join(after)]
        length = sum(map(len, record))
        record.insert(0, varint(length))
        self._parts += record
        self.size += len(record[0]) + length
        self.count += 1
        self.value_bytes += sum(map(len, parts))

    @cached_property
    def encoded(self) -> tuple[int, list[bytes], int]:
        """The codec's number, the records' parts, and the bytes of all parts."""
        if self._codec:
            compressed = self._compress(b"".join(self._parts))
            if len(compressed) < self.size:
                return self._codec, [compressed], len(compressed)
        return 0, self._parts, self.size


class Batch:
    """Records on their way to one partition, as aiokafka's producer takes them (``send_batch``)."""

    def __init__(self, records: Records, *, transactional: bool) -> None:
        self._records = records
        self._transactional = transactional
        self._producer = (-1, -1, 0)
        self._built: list[bytes] = []

    def record_count(self) -> int:
        """Return how many records it has."""
        return self._records.count

    def size(self) -> int:
        """Return its size in bytes, before compression."""
        return OVERHEAD + self._records.size

    def append(self, **_: Any) -> None:
        """Take no more: aiokafka asks when it is full."""

    def closed(self) -> bool:
        """Return whether it takes no more, which is always so."""
        return True

    def close(self) -> None:
        """Do nothing."""

    def _set_producer_state(self, producer_id: int, epoch: int, sequence: int) -> None:
        self._producer = (producer_id, epoch, sequence)

    def _build(self) -> list[bytes]:
        if not self._built:
            number, parts, size = self._records.encoded
            count = self._records.count
            checked = _CHECKED.pack(
                number | (_TRANSACTIONAL if self._transactional else 0),
                count - 1,
                self._records.first_timestamp,
                self._records.last_timestamp,
                *self._producer,
                count,
            )
            checksum = google_crc32c.value(checked)
            for part in parts:
                checksum = google_crc32c.extend(checksum, part)
            # What the length counts starts after it, with the leader's epoch, which is unknown.
            start = _START.pack(0, OVERHEAD - 12 + size, -1, 2, checksum)
            self._built = [start + checked, *parts]
        return self._built


class _AddPartitions(AddPartitionsToTxnHandler):  # type: ignore[misc]
    """Adds partitions to a transaction as soon as the one before has written its end to all."""

    def handle_response(self, response: Any) -> float | None:
        """Return the seconds until it is tried again; None if there is no need."""
        wait: float | None = super().handle_response(response)
        return PREVIOUS_TRANSACTION_INTERVAL if wait == BACKOFF_OVERRIDE else wait


class KafkaSender(Sender):  # type: ignore[misc]
    """Sends on after a batch that is too large: the next one takes its place in the sequence."""

    def add_partitions(self, partitions: Iterable[TopicPartition]) -> None:
        """Add all that will be written to to the transaction, in one request, if there is one."""
        for each in partitions if self._txn_manager else ():
            self._txn_manager.maybe_add_partition_to_txn(each)

    async def _do_add_partitions_to_txn(self, partitions: Collection[TopicPartition]) -> Any:
        name = self._txn_manager.transactional_id
        node_id = await self._find_coordinator(CoordinationType.TRANSACTION, name)
        added = await _AddPartitions(self, partitions).do(node_id)
        group = self._txn_manager.consumer_group_to_add()
        if added and group is not None:
            # While Kafka adds the group, it refuses batches: aiokafka sends them 100 ms later.
            await self._do_add_offsets_to_txn(group)
        return added

    async def _send_produce_req(self, node_id: Any, batches: Mapping[TopicPartition, Any]) -> None:
        await super()._send_produce_req(node_id, batches)
        for partition, batch in batches.items() if self._txn_manager else ():
            failure = batch.future.exception() if batch.future.done() else None
            # One that had been sent before might have been written.
            if isinstance(failure, TOO_LARGE) and batch.retry_count == 1:
                self._txn_manager._sequence_numbers[partition] -= batch.record_count


def _sized(content: bytes | None) -> tuple[bytes, ...]:
    return (varint(-1),) if content is None else (varint(len(content)), content)
